"""What came of it all: a table for people, a JSON file for programs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from sandbox.chaos.story import CHANGE_NOTHING
from sandbox.chaos.verdict import Difference

EXAMPLES = 20
"""So many differences are shown; the file has all."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run. Counts are by what they count."""

    webhooks: int
    seed: int
    accepted: dict[str, int]
    """By event."""
    turned_away: dict[str, int]
    """By what was answered; each was sent again later, as an editor's next save would be."""
    published: int
    """How many items the site has published in the end."""
    differences: Sequence[Difference]
    unsettled: int
    """Messages and dead letters that were left in the end."""
    dead_letters: dict[str, int]
    """By owner and reason. They were sent back once all was well, as an operator does."""
    story_seconds: float
    converged_seconds: float
    """From the end of the faults until all queues were empty, by the machine's clock …"""
    put_forward_seconds: int
    """… and by how much the stack's clock was put forward meanwhile."""
    highest_receive_count: int
    struck: dict[str, int]
    """Faults, by whose and which they are."""
    happened: dict[str, int]
    """What was killed, restarted and taken down."""

    @property
    def changes(self) -> int:
        """Those of the accepted webhooks that may have changed what is live."""
        return sum(number for event, number in self.accepted.items() if event not in CHANGE_NOTHING)

    @property
    def lost(self) -> int:
        """Items that a store does not have as the webhooks about them say: all were accepted.

        A webhook whose loss a later one of the same item has made up for is not seen here.
        """
        return len({difference.ref for difference in self.differences})

    @property
    def is_good(self) -> bool:
        return not self.differences and not self.unsettled and sum(self.accepted.values()) >= self.webhooks


def write(report: Report, path: Path) -> None:
    """The report as JSON, with what follows from it."""
    everything = {**msgspec.to_builtins(report), "changes": report.changes, "lost": report.lost, "good": report.is_good}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(everything)) + b"\n")


def table(report: Report, stores: Sequence[str]) -> str:
    """The report as a person reads it."""
    rows = [
        ("webhooks accepted", f"{sum(report.accepted.values())}"),
        *_counts("  ", report.accepted),
        ("which may have changed something", f"{report.changes}"),
        ("turned away, and sent again later", f"{sum(report.turned_away.values())}"),
        *_counts("  ", report.turned_away),
        ("faults that struck", f"{sum(report.struck.values())}"),
        *_counts("  ", report.struck),
        *_counts("", report.happened),
        ("dead letters, and sent back", f"{sum(report.dead_letters.values())}"),
        *_counts("  ", report.dead_letters),
        ("highest receive count", f"{report.highest_receive_count}"),
        ("the story took", f"{report.story_seconds:.0f} s"),
        ("converged after the last fault in", _converged(report)),
        ("messages left", f"{report.unsettled}"),
        ("published in the end", f"{report.published} items"),
        *((store, _verdict(store, report.differences)) for store in stores),
        ("LOST" if report.lost else "lost", f"{report.lost}"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {value}" for name, value in rows]
    shown = [f"    {one.store}: {one.ref} is {one.found!r}, not {one.expected!r}" for one in report.differences]
    return "\n".join([*lines, *shown[:EXAMPLES]])


def _counts(indent: str, counts: dict[str, int]) -> Iterable[tuple[str, str]]:
    return [(f"{indent}{name}", str(number)) for name, number in Counter(counts).most_common()]


def _converged(report: Report) -> str:
    hours = report.put_forward_seconds / 3600
    return f"{report.converged_seconds:.0f} s, and {hours:.1f} h that the stack's clock was put forward"


def _verdict(store: str, differences: Sequence[Difference]) -> str:
    mine = Counter(difference.kind for difference in differences if difference.store == store)
    return ", ".join(f"{number} {kind}" for kind, number in mine.items()) or "equal to the site"
