"""``python -m sandbox.chaos --help``; `make chaos` does it with what it needs on the path."""

import argparse
import sys
from pathlib import Path

from sandbox.chaos.report import table, write
from sandbox.chaos.run import Chaos
from sandbox.processes import SandboxError, stopped
from sandbox.tools import LOCAL

HOME = LOCAL / "chaos"

ABOUT = """\
Starts the whole stack, sends webhooks through its gateway while everything fails that can (ButterCMS, Algolia,
OpenSearch and AWS in every way that the sandbox knows, workers killed, PostgreSQL and OpenSearch restarted), lets all
become well again, and compares the stores with the site. Exits with 1 if anything is lost."""


def main() -> int:
    """Plays, reports; 0 only if nothing is lost and the stores are equal to the site."""
    parser = argparse.ArgumentParser("python -m sandbox.chaos", description=ABOUT)
    parser.add_argument(
        "--webhooks", type=int, default=2000, metavar="N", help="how many (default: 2000, a few minutes)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the story and the trouble (default: 1)")
    parser.add_argument(
        "--fail-percent",
        type=float,
        default=10,
        metavar="P",
        help="of the calls to each vendor that fail (default: 10)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the report is written, as JSON")
    options = parser.parse_args()
    try:
        with Chaos.start(HOME, options.seed) as chaos:
            report = chaos.play(options.webhooks, options.seed, options.fail_percent)
            names = [store.name for store in chaos.stack.stores]
    except SandboxError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return stopped()
    print("\n" + table(report, names))
    if options.json:
        write(report, options.json)
        print(f"\nThe same as JSON, with every difference: {options.json}")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
