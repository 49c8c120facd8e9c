"""How long it takes from a webhook until the stores have the change, and until a search finds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sandbox.stack import Stack
from tests.bench.latency import COLD, Edit, edits
from tests.bench.pairs import percentile

EDITS = 20
ROUNDS = 3
STORES = ("algolia", "opensearch", "postgres")
REFRESH_SECONDS = 1.0
"""`index.refresh_interval`, as setup makes it."""


@dataclass(frozen=True)
class Round:
    """What a number of edits took, in seconds."""

    p95: dict[str, float]
    searchable: float
    """The longest that a search took to find what OpenSearch had."""

    @classmethod
    def of(cls, done: Sequence[Edit]) -> Self:
        p95 = {store: percentile([edit[store] for edit in done], 95) for store in STORES}
        return cls(p95, max(edit["search"] - edit["opensearch"] for edit in done))

    @property
    def is_good(self) -> bool:
        return max(self.p95.values()) < 1 and self.searchable < REFRESH_SECONDS + 0.5


def test_p95_until_search_has_an_edit_is_under_a_second_and_a_search_finds_it_one_refresh_later(stack: Stack) -> None:
    """What else the machine does can only add to the time, so the first good round of three will do.

    The emulated AWS has no batching window: on AWS, PostgreSQL has an edit up to BatchWindowSeconds later.
    """
    list(edits(stack, COLD))
    rounds: list[Round] = []
    while not (rounds and rounds[-1].is_good) and len(rounds) < ROUNDS:
        rounds.append(Round.of(list(edits(stack, EDITS))))

    assert rounds[-1].is_good, rounds
