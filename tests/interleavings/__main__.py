"""``python -m tests.interleavings``: every interleaving, history by history, with the numbers of what was seen."""

import argparse
import sys

from tests.interleavings.scheduler import Explored
from tests.interleavings.spaces import LARGE, LARGE_OF_LEASE, SMALL, SMALL_OF_LEASE, searched

HEAD = ("", "worlds", "moves", "ends", "runs", "seconds")
WIDTHS = (44, 12, 12, 7, 9, 8)


def row(name: str, seen: Explored) -> tuple[str, ...]:
    """What a search has seen, in words."""
    runs = f"{seen.runs:.1e}" if seen.runs > 0 else ""
    return name, f"{seen.worlds:,}", f"{seen.moves:,}", f"{seen.ends:,}", runs, f"{seen.seconds:.1f}"


def line(cells: tuple[str, ...]) -> str:
    """A line of the table."""
    first, *others = zip(cells, WIDTHS, strict=True)
    return first[0].ljust(first[1]) + "".join(f"  {cell:>{width}}" for cell, width in others)


def main() -> None:
    """Prints the table, and the shortest way to whatever is wrong."""
    small = SMALL | SMALL_OF_LEASE
    spaces = small | LARGE | LARGE_OF_LEASE
    parser = argparse.ArgumentParser(prog="python -m tests.interleavings", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(spaces), help=f"of: {'; '.join(spaces)} (default: all)")
    parser.add_argument("--small", action="store_true", help="only what the tests search too")
    options = parser.parse_args()
    print(line(HEAD), flush=True)
    failed = False
    for name in small if options.small else options.names:
        seen = searched(spaces[name])
        print(line(row(name, seen)), flush=True)
        if seen.wrong:
            failed = True
            print(seen)
    sys.exit(failed)


if __name__ == "__main__":
    main()
