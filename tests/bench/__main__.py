"""``make bench``: what buttersync adds to what it uses, measured on this machine in pairs; see docs/performance.md.

The exit status is 0 if all was measured, also where a goal is missed: a noisy machine is no fault of the code, and the
table says how noisy it was.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from sandbox.processes import SandboxError, orderly_end, stopped
from sandbox.stack import Stack
from sandbox.tools import LOCAL
from tests.bench import deployed, imports, ingest, latency, postgres, reads, search
from tests.bench.pairs import Bench, Figure, percentile

HOME = LOCAL / "bench"
ROUNDS = 15
WIDTHS = (46, 8, 18, 8, 7)

ALONE: Mapping[str, Callable[[Bench], Iterator[Figure]]] = {
    "ingest": ingest.figures,
    "imports": imports.figures,
    "postgres": postgres.figures,
    "opensearch": search.of_opensearch,
    "algolia": search.of_algolia,
    "reads": reads.figures,
}
ON_THE_STACK: Mapping[str, Callable[[Bench, Stack], Iterator[Figure]]] = {
    "latency": latency.figures,
    "burst": deployed.of_burst,
    "throughput": deployed.of_throughput,
}
PARTS = (*ALONE, *ON_THE_STACK)


def measured(parts: Collection[str], bench: Bench) -> Iterator[Figure]:
    """The figures of these parts, as they are measured."""
    for name in ALONE:
        if name in parts:
            yield from ALONE[name](bench)
    if wanted := [name for name in ON_THE_STACK if name in parts]:
        with Stack.start(HOME) as stack:
            # It starts, however long that takes: a webhook would wait 5 s.
            stack.invoke("ingest", {"command": "check"})
            for name in wanted:
                yield from ON_THE_STACK[name](bench, stack)


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """The lines of the table."""
    yield _line("", "median", "middle half", "goal", "", "ours / alone, or what it is made of")
    for figure in figures:
        low, high = figure.spread
        spread = f"{_number(low)} to {_number(high)}" if len(figure.values) > 1 else ""
        goal = str(figure.goal or "")
        yield _line(figure.what, _number(figure.median), spread, goal, figure.verdict, figure.note)


def _line(*cells: str) -> str:
    return "  ".join([*(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)), cells[-1]]).rstrip()


def _number(number: float) -> str:
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"


def noise(bench: Bench, load: Sequence[float]) -> str:
    """How even the machine was, in a sentence."""
    seconds = bench.noise.seconds
    said = f"load {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} processors"
    if not seconds:
        return said
    ten, fifty, ninety = (1000 * percentile(seconds, percent) for percent in (10, 50, 90))
    return f"{said}; the same work took {fifty:.1f} ms, {ten:.1f} to {ninety:.1f} in 8 of 10 times"


def main() -> int | str:
    """Measures, says how far it is, and prints the table at the end; the exit status, or what went wrong."""
    options = _options()
    bench, load, began = Bench(options.rounds), os.getloadavg(), time.monotonic()
    figures: list[Figure] = []
    try:
        with orderly_end():
            figures.extend(measured(options.parts or PARTS, bench))
    except SandboxError as error:
        return f"\n{error}"
    except KeyboardInterrupt:
        return stopped()
    finally:
        print("", *table(figures), "", noise(bench, load), f"{time.monotonic() - began:.0f} s in all", sep="\n")
    if options.json:
        options.json.write_text(json.dumps(_report(figures, bench), indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"what to measure (default: all): {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"pairs of each figure (default: {ROUNDS})")
    parser.add_argument("--json", type=Path, help="write all values there, too")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    return options


def _report(figures: Sequence[Figure], bench: Bench) -> Mapping[str, object]:
    machine = {"python": platform.python_version(), "processors": os.cpu_count(), "noise": bench.noise.seconds}
    measured = [{**asdict(figure), "median": figure.median, "verdict": figure.verdict} for figure in figures]
    return {"machine": machine, "figures": measured}


if __name__ == "__main__":
    sys.exit(main())
