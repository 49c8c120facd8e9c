"""How long it takes from a webhook until each store has the change, and until a search finds it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from urllib.parse import quote

import psycopg2
import requests
from psycopg2.extensions import connection

from sandbox.progress import step
from sandbox.stack import INDEX_PREFIX, Stack
from sandbox.webhooks import send
from tests.bench.pairs import Bench, Figure, percentile

EDITS_A_ROUND = 7
"""100 edits in 15 rounds."""
COLD = 3
"""Edits before those that count: the first starts the functions, and each has two workers."""
PATIENCE = 30
"""Seconds."""
POLL = 0.005
REF = "post:timed:en"

Edit = Mapping[str, float]
"""Seconds from the moment that the webhook was sent, by what has it then: ``algolia`` accepted the record,
``opensearch`` has the document, ``postgres`` the row, and a ``search`` of OpenSearch finds it."""

Look = Callable[[str], float | None]
"""When something had a title, or None if it has it not yet."""


def edits(stack: Stack, number: int) -> Iterator[Edit]:
    """Edits a post so many times, one after the other; raises TimeoutError if a store does not get an edit."""
    with closing(psycopg2.connect(stack.postgres.dsn)) as database:
        database.autocommit = True
        looks: Mapping[str, Look] = {
            "algolia": lambda title: _accepted(stack, title),
            "opensearch": lambda title: _now_if(_is_held(stack, title)),
            "postgres": lambda title: _now_if(_is_a_row(database, title)),
            "search": lambda title: _now_if(_is_found(stack, title)),
        }
        for one in range(number):
            title = f"Edition {time.monotonic_ns()} {one}"
            webhook = stack.sandbox.site.publish_post("timed", title=title)
            began = time.time()
            if (delivery := send(webhook, stack.webhook_url, stack.webhook_secret)).status != 200:
                raise RuntimeError(f"the webhook was not accepted: {delivery}")
            yield {name: at - began for name, at in _times(looks, title).items()}


def _times(looks: Mapping[str, Look], title: str) -> Mapping[str, float]:
    deadline = time.monotonic() + PATIENCE
    times: dict[str, float] = {}
    while missing := looks.keys() - times.keys():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(sorted(missing))} should have had it within {PATIENCE} s")
        # One after the other, so that each answer is as fresh as its time.
        found = {name: looks[name](title) for name in missing}
        times |= {name: at for name, at in found.items() if at is not None}
        time.sleep(POLL)
    return times


def _now_if(is_there: bool) -> float | None:
    return time.time() if is_there else None


def _accepted(stack: Stack, title: str) -> float | None:
    """When Algolia was sent the record that it accepted."""
    for request in reversed(stack.sandbox.requests_to("algolia", "posts/batch$")):
        bodies = [one["body"] for one in json.loads(request.request.body)["requests"]]
        if request.status == 200 and title in [body.get("title") for body in bodies]:
            return request.at
    return None


def _is_held(stack: Stack, title: str) -> bool:
    answer = requests.get(f"{_posts(stack)}/_doc/{quote(REF)}", timeout=5).json()
    return bool(answer.get("_source", {}).get("title") == title)


def _is_found(stack: Stack, title: str) -> bool:
    query = {"query": {"term": {"title.raw": title}}}
    return bool(requests.post(f"{_posts(stack)}/_search", json=query, timeout=5).json()["hits"]["hits"])


def _posts(stack: Stack) -> str:
    return f"{stack.search.endpoint}/{INDEX_PREFIX}posts"


def _is_a_row(database: connection, title: str) -> bool:
    with database.cursor() as work:
        work.execute("SELECT FROM posts WHERE ref = %s AND title = %s", (REF, title))
        return work.rowcount == 1


STORES = {
    "algolia": "Algolia",
    "opensearch": "OpenSearch",
    "postgres": "PostgreSQL",
    "search": "a search of OpenSearch",
}


def figures(bench: Bench, stack: Stack) -> Iterator[Figure]:
    """One for each store, in seconds."""
    number = EDITS_A_ROUND * bench.rounds
    done: list[Edit] = []
    list(edits(stack, COLD))
    with step("webhook to each store", lambda: (len(done), number)):
        for edit in edits(stack, number):
            if len(done) % EDITS_A_ROUND == 0:
                bench.noise.look()
            done.append(edit)
    for store, name in STORES.items():
        values = [edit[store] for edit in done]
        note = ", ".join(f"p{percent} {percentile(values, percent):.2f}" for percent in (50, 95, 99))
        yield Figure(f"webhook to {name} (s)", values, note=f"{note} of {number} edits")
