"""``python -m tests.bench``: what buttersync adds to the libraries that it uses, measured in pairs on this machine."""

import argparse
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench import imports, search
from tests.bench.pairs import Figure

HEAD = ("", "ours", "alone", "ratio", "of the pairs", "goal", "")


def measured(rounds: int) -> Iterator[Figure]:
    """Every figure, as it is measured."""
    yield search.of_opensearch(rounds)
    yield search.of_algolia(rounds)
    with imports.ColdStarts.prepared() as starts:
        for function in imports.SDKS:
            yield from starts.figures(function, rounds)


def row(figure: Figure) -> tuple[str, ...]:
    """A figure in words."""
    spread = f"{min(figure.ratios):.2f} to {max(figure.ratios):.2f}"
    verdict = "met" if figure.is_met else "missed"
    return (
        *(figure.what, _milliseconds(figure.ours), _milliseconds(figure.alone)),
        *(f"{figure.ratio:.2f}", spread, f"{figure.goal:.2f}", verdict),
    )


def _milliseconds(times: Sequence[float]) -> str:
    return f"{1000 * statistics.median(times):.0f} ms"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of each figure (default: 15)")
    parser.add_argument("--json", type=Path, help="write all times there, in seconds")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; times are medians, ratios are ours / alone")
    show(HEAD)
    figures = []
    for figure in measured(options.rounds):
        figures.append(figure)
        show(row(figure))
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2))


def show(cells: Sequence[str]) -> None:
    """A line of the table."""
    widths = (34, 9, 9, 7, 14, 6, 6)
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
