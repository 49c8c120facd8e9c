"""How long it takes from a webhook until the search services have the change, and until a search finds it."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import requests

from sandbox.stack import INDEX_PREFIX, Stack
from sandbox.webhooks import send

EDITS = 20
ROUNDS = 3
P95 = round(0.95 * EDITS) - 1
REFRESH_SECONDS = 1.0
"""`index.refresh_interval`, as setup makes it."""
PATIENCE = 30
REF = "post:timed:en"


@dataclass(frozen=True)
class Edit:
    """Seconds from the moment that the webhook was sent."""

    algolia: float
    """Until Algolia accepted the record."""
    opensearch: float
    """Until OpenSearch had the document."""
    searchable: float
    """From then on, until a search found it."""


def edits(stack: Stack, number: int) -> Iterator[Edit]:
    """Edits a post so many times, one after the other."""
    for one in range(number):
        title = f"Edition {time.monotonic_ns()} {one}"
        webhook = stack.sandbox.site.publish_post("timed", title=title)
        began = time.time()
        assert send(webhook, stack.webhook_url, stack.webhook_secret).status == 200
        had, found = in_opensearch(stack, title)
        yield Edit(accepted(stack, title) - began, had - began, found - had)


def in_opensearch(stack: Stack, title: str) -> tuple[float, float]:
    """When it had the document, and when a search found it."""
    posts, had = f"{stack.search.endpoint}/{INDEX_PREFIX}posts", 0.0
    for _ in polls():
        if not had:
            held = requests.get(f"{posts}/_doc/{quote(REF)}", timeout=5).json().get("_source", {}).get("title")
            had = time.time() if held == title else 0
        else:
            query = {"query": {"term": {"title.raw": title}}}
            if requests.post(f"{posts}/_search", json=query, timeout=5).json()["hits"]["hits"]:
                return had, time.time()
    raise AssertionError("unreachable")


def accepted(stack: Stack, title: str) -> float:
    """When Algolia was sent the record that it accepted."""
    for _ in polls():
        for request in reversed(stack.sandbox.requests_to("algolia", "posts/batch$")):
            bodies = [one["body"] for one in json.loads(request.request.body)["requests"]]
            if request.status == 200 and title in [body.get("title") for body in bodies]:
                return request.at
    raise AssertionError("unreachable")


def polls() -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE
    while True:
        yield
        assert time.monotonic() < deadline, f"it should have happened within {PATIENCE} s"
        time.sleep(0.005)


@dataclass(frozen=True)
class Round:
    """What a number of edits took, in seconds."""

    algolia: float
    """The p95, as of OpenSearch."""
    opensearch: float
    searchable: float
    """The longest."""

    @classmethod
    def of(cls, done: Sequence[Edit]) -> Self:
        algolia, opensearch = sorted(edit.algolia for edit in done), sorted(edit.opensearch for edit in done)
        return cls(algolia[P95], opensearch[P95], max(edit.searchable for edit in done))

    @property
    def is_good(self) -> bool:
        return max(self.algolia, self.opensearch) < 1 and self.searchable < REFRESH_SECONDS + 0.5


def test_p95_until_search_has_an_edit_is_under_a_second_and_a_search_finds_it_one_refresh_later(stack: Stack) -> None:
    """What else the machine does can only add to the time, so the first good round of three will do."""
    list(edits(stack, 3))  # cold starts
    rounds: list[Round] = []
    while not (rounds and rounds[-1].is_good) and len(rounds) < ROUNDS:
        rounds.append(Round.of(list(edits(stack, EDITS))))

    assert rounds[-1].is_good, rounds
