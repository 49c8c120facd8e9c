"""Chaos on a stack of its own: everything that can fail fails, and in the end nothing is missing; see `make chaos`.

That the verdict can be another is shown by taking from the stores what they have.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
import requests

from sandbox.chaos.queues import Letter, Queues
from sandbox.chaos.report import Report, table
from sandbox.chaos.run import Chaos
from sandbox.chaos.verdict import differences, published
from sandbox.search import GIVEN
from sandbox.stack import INDEX_PREFIX

ROOT = Path(__file__).resolve().parents[2]
WEBHOOKS = 2000
SEED = 7
PATIENCE = 30


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with Chaos.start(ROOT / ".local/chaos-test", SEED) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def report(chaos: Chaos) -> Report:
    return chaos.play(WEBHOOKS, SEED, 10)


def test_nothing_is_lost_and_the_stores_are_equal_to_the_site(chaos: Chaos, report: Report) -> None:
    assert report.is_good, table(report, [store.name for store in chaos.stack.stores])
    assert sum(report.accepted.values()) == WEBHOOKS
    assert report.published > 100


def test_everything_has_failed_meanwhile(report: Report) -> None:
    whose = {name.partition(":")[0] for name in report.struck}
    late = {name.removesuffix(" after acting") for name in report.struck if "late" in name}

    assert whose >= {"butter", "algolia", "opensearch", "sns", "sqs", "dynamodb", "s3"}
    assert late >= {"sns: 5 s late", "dynamodb: 5 s late", "s3: 5 s late", "s3: 0.3 s late"}
    assert sum(number for name, number in report.happened.items() if "killed" in name) >= 3
    assert report.happened["PostgreSQL restarted"]
    assert report.happened["OpenSearch restarted"] or GIVEN in os.environ


def test_what_a_store_lacks_has_too_much_of_or_has_of_old_is_seen(chaos: Chaos, report: Report) -> None:
    assert report.is_good
    source = published(chaos.stack.sandbox)
    missing, old = (ref for ref in list(source)[:2] if ref.startswith("post:"))

    take_from_postgres(chaos, missing)
    spoil_in_opensearch(chaos, old)
    add_to_algolia(chaos, "post:never:en")

    found = {(one.store, one.ref, one.kind) for one in differences(chaos.stack.stores, source)}
    assert found == {
        ("PostgreSQL", missing, "missing"),
        ("OpenSearch", old, "other"),
        ("Algolia", "post:never:en", "too many"),
    }


def take_from_postgres(chaos: Chaos, ref: str) -> None:
    connection = psycopg2.connect(chaos.stack.postgres.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM posts WHERE ref = %s", [ref])
    connection.close()


def spoil_in_opensearch(chaos: Chaos, ref: str) -> None:
    address = f"{chaos.stack.search.endpoint}/{INDEX_PREFIX}posts/_update/{quote(ref, safe='')}"
    requests.post(address, json={"doc": {"title": "Edition of old"}}, timeout=10).raise_for_status()


def add_to_algolia(chaos: Chaos, ref: str) -> None:
    sandbox = chaos.stack.sandbox
    headers = {"x-algolia-application-id": sandbox.algolia.app_id, "x-algolia-api-key": sandbox.algolia.api_key}
    address = f"{sandbox.algolia_hosts[0].url}/1/indexes/posts/{quote(ref, safe='')}"
    requests.put(address, json={"title": "Never told"}, headers=headers, timeout=10).raise_for_status()


def test_a_dead_letter_tells_its_reason_and_goes_back_where_it_came_from(chaos: Chaos) -> None:
    queues = Queues(chaos.stack)
    chaos.stack.client("sqs").send_message(QueueUrl=chaos.stack.outputs["algoliaQueueUrl"], MessageBody="not ours")
    (letter,) = eventually(lambda: queues.snapshot().letters)

    queues.redrive()

    assert letter.owner == "algolia"
    assert letter.reason.startswith("malformed: ")
    # It is given up again, so it was in the queue.
    assert eventually(lambda: queues.snapshot().letters) == [letter]
    eventually(lambda: [] if queues.snapshot().waiting else [letter])


def eventually(found: Callable[[], Sequence[Letter]]) -> Sequence[Letter]:
    end = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return result
