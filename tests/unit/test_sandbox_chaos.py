"""The parts of chaos: a story that tells all it changes, faults as often as said, one clock, a verdict that fails."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.model import Change
from sandbox.chaos.clock import Clock
from sandbox.chaos.queues import Letter, Snapshot, Waiting
from sandbox.chaos.report import Report, table, write
from sandbox.chaos.sending import Sending
from sandbox.chaos.story import Story, new_site
from sandbox.chaos.trouble import AWS_ERRORS, VENDORS, Strikes, aws_turns, vendor_faults
from sandbox.chaos.verdict import Difference, Expected, differences, published
from sandbox.faults import Fault
from sandbox.processes import SandboxError
from sandbox.proxy import Proxy, aws_service
from sandbox.server import Sandbox
from sandbox.site import Site
from sandbox.stores import MOST_HITS, Held, Store
from sandbox.webhooks import SECRET_HEADER, Webhook
from sandbox.wire import Request, Response, Route
from webhook import change_of

# --- the story ---


def told(site: Site, webhooks: int, seed: int) -> list[Webhook]:
    """All webhooks of a story, in the order in which they are sent."""
    return list(iter(Story(site, webhooks, seed).take, None))


def refs(webhooks: list[Webhook]) -> set[str]:
    """The refs that webhooks are about, as ingest reads them."""
    changes = [change_of(webhook.body(""), 0, "en") for webhook in webhooks]
    return {change.identity.ref for change in changes if isinstance(change, Change)}


@settings(max_examples=12, deadline=None)
@given(webhooks=st.integers(0, 400), seed=st.integers(0, 10_000))
def test_a_story_has_as_many_webhooks_as_asked_for_and_tells_of_all_that_is_published(webhooks: int, seed: int) -> None:
    with Sandbox(site=new_site()) as sandbox:
        sent = told(sandbox.site, webhooks, seed)
        source = published(sandbox)

    assert len(sent) == webhooks
    assert source.keys() <= refs(sent)


def test_the_same_seed_tells_the_same_story_and_another_another() -> None:
    first, second, other = ([(one.event, one.data["id"]) for one in told(new_site(), 300, seed)] for seed in (5, 5, 6))

    assert first == second
    assert first != other


def test_a_story_has_everything_that_editors_do_and_half_of_it_are_drafts_of_pages() -> None:
    events = Counter(webhook.event for webhook in told(new_site(), 5000, 1))

    assert set(events) == {
        *("post.published", "post.draft", "post.delete", "post.localization.published"),
        *("page.published", "page.draft", "page.unpublished", "page.delete"),
        *("collectionitem.published", "collectionitem.draft", "collectionitem.unpublished", "collectionitem.delete"),
        "media.videouploaded",
    }
    assert 0.4 < events["page.draft"] / 5000 < 0.6


def test_webhooks_come_twice_late_and_out_of_order() -> None:
    site = new_site()
    story = Story(site, 2000, 1)
    at_once, sent = [], []
    while webhook := story.take():
        at_once.append(site.revision)
        sent.append(webhook)

    twice = len(sent) - len({id(webhook) for webhook in sent})
    assert 50 < twice < 200
    # A webhook that is taken without an edit being made was held back.
    assert 200 < sum(before == now for before, now in pairwise(at_once)) < 600


def test_what_was_turned_away_is_told_again_and_does_not_count() -> None:
    site = new_site()
    story, is_accepted = Story(site, 200, 3), cycle((True, False, False, True, True))
    accepted: list[Webhook] = []
    while webhook := story.take():
        if next(is_accepted):
            accepted.append(webhook)
        else:
            story.again(webhook)

    assert len(accepted) == 200
    with Sandbox(site=site) as sandbox:
        assert published(sandbox).keys() <= refs(accepted)


# --- the sender ---


class Door:
    """Answers webhooks with one status after the other, and then with 200."""

    name = "door"
    paths = "/"
    controls: tuple[Route, ...] = ()

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[Request] = []

    def answer(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as server:
        yield server


def sent(server: Sandbox, door: Door, webhooks: int) -> Sending:
    server.vendors = (door,)
    sending = Sending(Story(new_site(), webhooks, 1), f"{server.url}/local/webhooks", "a secret")
    sending.begin()
    try:
        end = time.monotonic() + 10
        while not sending.is_over and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        sending.abandon()
    return sending


def test_all_webhooks_are_accepted_in_the_end_and_those_turned_away_are_counted(server: Sandbox) -> None:
    server.faults.add(Fault(kind="drop", times=2))
    door = Door(503, 502, 429, 500)

    sending = sent(server, door, 50)

    assert sum(sending.accepted.values()) == 50
    assert sending.turned_away == {"no answer": 2, "503": 1, "502": 1, "429": 1, "500": 1}
    assert len(door.asked) == 54
    assert {request.headers[SECRET_HEADER.lower()] for request in door.asked} == {"a secret"}
    assert {request.path for request in door.asked} == {"/local/webhooks"}


def test_a_webhook_that_is_found_wanting_ends_the_run(server: Sandbox) -> None:
    with pytest.raises(SandboxError, match="was answered with 400"):
        sent(server, Door(400), 50)


# --- the trouble ---


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_fails_as_often_as_said_and_in_every_way(vendor: str) -> None:
    strikes = Strikes(1)
    for fault in vendor_faults(vendor, 10):
        strikes.add(fault)

    struck = sum(bool(strikes.striking(vendor, Request("GET", "/"))) for _ in range(20_000))

    assert 0.09 < struck / 20_000 < 0.11
    assert len(strikes.struck) == len(vendor_faults(vendor, 10))
    assert not strikes.striking("another", Request("GET", "/"))


CALLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "sns": ("publish", {"TopicArn": "arn:aws:sns:us-east-1:000000000000:x", "Message": "x"}),
    "sqs": ("send_message", {"QueueUrl": "http://127.0.0.1/000000000000/x", "MessageBody": "x"}),
    "dynamodb": ("get_item", {"TableName": "x", "Key": {"x": {"S": "x"}}}),
    "s3": ("put_object", {"Bucket": "x", "Key": "x", "Body": b"x"}),
}

CODES = {
    "sns": {"InternalError", "Throttled"},
    "sqs": {"ServiceUnavailable", "RequestThrottled"},
    "dynamodb": {"InternalServerError", "ThrottlingException"},
    "s3": {"InternalError", "SlowDown"},
}


@pytest.mark.parametrize("service", AWS_ERRORS)
def test_boto3_reads_an_error_of_aws_as_what_it_says(server: Sandbox, service: str) -> None:
    call, arguments = CALLS[service]
    codes = set()
    with Proxy(server.url, aws_service) as proxy:
        client = boto3.client(service, endpoint_url=proxy.url, config=Config(retries={"total_max_attempts": 1}))
        for error in AWS_ERRORS[service]:
            proxy.faults.add(Fault(kind="status", vendor=f"^{service}$", times=1, **error))
            with pytest.raises(ClientError) as caught:
                getattr(client, call)(**arguments)
            codes.add(caught.value.response["Error"]["Code"])
        client.close()

    assert codes == CODES[service]


def test_aws_fails_service_by_service_and_is_well_at_times() -> None:
    turns = aws_turns()
    services = [{fault.vendor.strip("^$") for fault in turn} for turn in turns]

    for service in AWS_ERRORS:
        assert services.count({service}) >= 2, "one turn of errors, one of silence"
    assert {"sns", "sqs"} in services
    assert set() in services


# --- the clock ---

CLOCK = "import time; print(time.time(), time.time_ns() / 1e9, time.monotonic(), flush=True)"


def test_the_clock_goes_for_a_program_and_for_what_that_starts_and_monotonic_time_stays(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    program = f"import subprocess, sys; {CLOCK}; subprocess.run([sys.executable, '-c', {CLOCK!r}])"
    clock.put_forward(3600)
    clock.put_forward(60)

    done = subprocess.run(
        (sys.executable, "-c", program), env={**os.environ, **clock.variables}, stdout=subprocess.PIPE, check=True
    )

    for line in done.stdout.splitlines():
        shown, shown_ns, monotonic = map(float, line.split())
        assert abs(shown - clock.now()) < 5
        assert abs(shown_ns - clock.now()) < 5
        assert abs(monotonic - time.monotonic()) < 5
    assert clock.forward == 3660
    assert abs(clock.now() - time.time() - 3660) < 1


def test_a_program_that_runs_already_sees_the_clock_put_forward(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    program = "import time\nwhile input(): print(time.time(), flush=True)"
    with subprocess.Popen(
        (sys.executable, "-c", program),
        env={**os.environ, **clock.variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin
        assert running.stdout
        shown = []
        for _ in range(2):
            running.stdin.write("?\n")
            running.stdin.flush()
            shown.append(float(running.stdout.readline()))
            clock.put_forward(7200)
        running.stdin.write("\n")

    assert 7200 <= shown[1] - shown[0] < 7205


# --- the queues ---


def test_a_snapshot_knows_what_is_due_and_when_the_next_message_is() -> None:
    messages = frozenset(
        {
            Waiting("resolve", "a", 1, 1000, is_visible=True),
            Waiting("postgres", "b", 7, 2000, is_visible=False),
            Waiting("algolia", "c", 2, 1500, is_visible=False),
        }
    )
    snapshot = Snapshot(messages, [Letter("algolia", "too long")])

    assert (snapshot.due, snapshot.next_at, snapshot.receive_count) == (1, 1000, 7)
    assert Snapshot(frozenset(), []).receive_count == 0


# --- the verdict ---


def store(**held: Held) -> Store:
    return Store("postgres", "PostgreSQL", lambda: held)


def test_the_source_is_what_is_published_as_resolve_maps_it() -> None:
    site = new_site()
    site.publish_post("grüße & co", title="Hello", body="<p>To <b>all</b></p>")
    site.save_draft_post("draft", title="Draft")
    site.publish_page("*", "about", {"headline": "About us"}, locale="de")
    site.publish_page("landing-page", "offline", {"headline": "Offline"})
    site.unpublish_page("landing-page", "offline")
    number = site.publish_item("tools", {"name": "Fork"}).number

    with Sandbox(site=site) as sandbox:
        source = published(sandbox)

    assert {ref: (one.title, one.text) for ref, one in source.items()} == {
        "post:gr%C3%BC%C3%9Fe%20%26%20co:en": ("Hello", "To all"),
        "page:*:about:de": ("About us", "About us"),
        f"item:tools:{number}:en": ("Fork", "Fork"),
    }


def test_a_store_differs_by_what_it_lacks_what_it_should_not_have_and_what_is_of_another_edition() -> None:
    source = {name: Expected(name.upper(), f"All of {name}", f"/{name}") for name in ("a", "b", "ç")}
    right = {name: held(name.upper(), f"All of {name}", f"/{name}") for name in ("a", "ç")}

    found = differences([store(**right, b=held("B", "All of b", "/b")), store(**right, d=Held("D", ""))], source)
    older = differences([store(**right, b=held("B", "All of an older b", "/b"))], source)
    elsewhere = differences([store(**right, b=held("B", "All of b", "/of-b"))], source)

    assert found == [Difference("PostgreSQL", "b", "B", ""), Difference("PostgreSQL", "d", "", "D")]
    assert older == elsewhere == [Difference("PostgreSQL", "b", "B", "B")]
    assert [difference.kind for difference in (*found, *older)] == ["missing", "too many", "other"]


def held(title: str, text: str, url: str) -> Held:
    return Held(title, json.dumps({"text": text, "url": url}))


def test_a_store_that_holds_more_than_can_be_read_is_not_judged() -> None:
    full = {str(number): Held("", "") for number in range(MOST_HITS)}

    with pytest.raises(SandboxError, match="cannot be read at once"):
        differences([store(**full)], {})


# --- the report ---


def report(**values: Any) -> Report:
    good: dict[str, Any] = {
        "webhooks": 3, "seed": 1, "accepted": {"post.published": 2, "page.draft": 1}, "turned_away": {"503": 1},
        "published": 2, "differences": [], "unsettled": 0, "dead_letters": {"algolia: record is too big": 1},
        "story_seconds": 1.0, "converged_seconds": 2.0, "put_forward_seconds": 5400, "highest_receive_count": 4,
        "struck": {"butter: drop": 2}, "happened": {"PostgreSQL restarted": 1},
    }  # fmt: skip
    return Report(**{**good, **values})


LOST = [Difference(store, "post:a:en", "A", "") for store in ("PostgreSQL", "Algolia")]


def test_a_run_is_good_if_all_was_accepted_nothing_differs_and_nothing_is_left() -> None:
    assert report().is_good
    assert not report(differences=LOST).is_good
    assert not report(unsettled=1).is_good
    assert not report(webhooks=4).is_good


def test_what_several_stores_lack_of_one_item_is_one_loss() -> None:
    assert report(differences=LOST).lost == 1


def test_the_file_has_all_and_the_verdict(tmp_path: Path) -> None:
    write(report(differences=LOST), tmp_path / "report.json")

    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["changes"], written["lost"], written["good"]) == (2, 1, False)
    assert written["differences"][0] == {"store": "PostgreSQL", "ref": "post:a:en", "expected": "A", "found": ""}
    assert written["accepted"] == {"post.published": 2, "page.draft": 1}


def test_the_table_says_what_is_lost_and_where() -> None:
    lines = table(report(differences=LOST), ["PostgreSQL", "OpenSearch"]).splitlines()

    said = dict(line.strip().split("  ", 1) for line in lines if "  " in line.strip())
    values = {name: value.strip() for name, value in said.items()}
    assert values["PostgreSQL"] == "1 missing"
    assert values["OpenSearch"] == "equal to the site"
    assert values["LOST"] == "1"
    assert values["webhooks accepted"] == "3"
    assert values["which may have changed something"] == "2"
    assert values["algolia: record is too big"] == "1"
    assert "1.5 h that the stack's clock was put forward" in values["converged after the last fault in"]
    assert "    PostgreSQL: post:a:en is '', not 'A'" in lines
