"""The door: who is let in, what becomes of a webhook, and that the caller has an answer in time whatever fails."""

import base64
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buttersync.clients import client
from buttersync.model import Change
from tests.fakes.aws import FakeAws, Fault, fake_aws
from tests.fakes.payloads import ITEM, NEARLY_WEBHOOKS, PAGE, POST, payload

ROOT = Path(__file__).parents[2]
SECRET = "correct-horse"
NEXT_SECRET = "battery-staple"
PATH = "/buttersync/test/butter/"
CALLER_WAITS_SECONDS = 5


@dataclass
class Door:
    """The function as API Gateway sees it, before an AWS that can be told to fail."""

    ingest: ModuleType
    aws: FakeAws

    def send(self, body: str | None, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer of a POST; `changes` replaces members of API Gateway's event."""
        event = {
            "httpMethod": "POST",
            "headers": {"X-Webhook-Secret": SECRET},
            "multiValueHeaders": None,
            "body": body,
            "isBase64Encoded": False,
            "requestContext": {"requestId": "delivery-1"},
        }
        answer = self.invoke({**event, **changes})
        assert answer["headers"]["Content-Type"] == "application/json"
        return answer["statusCode"], json.loads(answer["body"])

    def post(self, webhook: object, **changes: Any) -> tuple[int, dict[str, Any]]:
        return self.send(json.dumps(webhook), **changes)

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.ingest.handler(event, SimpleNamespace(aws_request_id="invocation-1"))
        return answer


@contextmanager
def opened(**environment: str) -> Iterator[Door]:
    """A function that has just been started."""
    with fake_aws() as aws, pytest.MonkeyPatch.context() as patch:
        aws.parameters[f"{PATH}webhook_secret"] = SECRET
        for name, value in {
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "STAGE": "test",
            "DEFAULT_LOCALE": "en",
            "TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:topic",
            "RESOLVE_QUEUE_URL": f"{aws.url}/123456789012/resolve",
            **environment,
        }.items():
            patch.setenv(name, value)
        client.cache_clear()
        sys.modules.pop("ingest", None)
        yield Door(importlib.import_module("ingest"), aws)
        client.cache_clear()


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def long_open() -> Iterator[Door]:
    with opened() as door:
        yield door


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# What is no change


@pytest.mark.parametrize(
    "event",
    ["page.draft", "media.videouploaded", "post.unpublished", "page.localization.published", "post", "x", ".all"],
)
def test_events_that_change_nothing_and_unknown_ones_are_accepted_and_go_nowhere(
    door: Door, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = door.post(payload(event, id="clip"))

    assert (status, answer) == (200, {"accepted": True, "event": event, "id": "clip"})
    assert door.aws.published == door.aws.sent == []
    assert [line["event"] for line in log_lines(capsys)] == [event]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ([], "The body"),
        ({}, "webhook.event"),
        ({"webhook": "post.published"}, "webhook.event"),
        ({"webhook": {"event": 7}}, "webhook.event"),
        ({"webhook": {"event": ""}}, "webhook.event"),
        ({"webhook": {"event": "post.published"}}, "data"),
        ({"webhook": {"event": "post.published"}, "data": ["a"]}, "data"),
        (payload("post.published"), "data.id"),
        (payload("post.published", id=None), "data.id"),
        (payload("post.published", id=190412), "data.id"),
        *[
            (payload("post.published", id=name), "data.id")
            for name in ("", " ", ".", "..", "a/b", "a\nb", "\x9f", "\uffff")
        ],
        (payload("post.published", id="a" * 256), "data.id"),
        (payload("page.published", id="海" * 255, page_type="海"), "data.id"),
        (payload("post.localization.published", id="a", locale=""), "data.locale"),
        (payload("post.localization.published", id="a", locale=3), "data.locale"),
        (payload("post.localization.published", id="a", locale="e n"), "data.locale"),
        (payload("post.localization.published", id="a", locale="x" * 36), "data.locale"),
        (payload("page.published", id="a"), "data.page_type"),
        (payload("page.published", id="a", page_type=".."), "data.page_type"),
        (payload("collectionitem.published", id="a"), "data.itemid"),
        (payload("collectionitem.published", id="a", itemid="/v2/content/?keys=a"), "data.itemid"),
        (payload("collectionitem.published", id="a", itemid="/v2/content/?keys=a[_id=\uff11]"), "data.itemid"),
        (payload("collectionitem.published", id="a", itemid="/v2/content/?keys=b[_id=1]"), "data.itemid"),
        (payload("collectionitem.published", id="a", itemid=5), "data.itemid"),
    ],
)
def test_a_wrong_shape_is_answered_400_with_the_field_named(long_open: Door, sent: object, field: str) -> None:
    before = len(long_open.aws.published)

    status, answer = long_open.post(sent)

    assert (status, answer["accepted"]) == (400, False)
    assert answer["error"].startswith(f"{field} ")
    assert len(long_open.aws.published) == before


@given(st.binary() | NEARLY_WEBHOOKS.map(lambda sent: json.dumps(sent).encode()))
@example(b"[" * 200_000)
@example(b'{"a":' * 50_000)
@example(b"9" * 200_000)
@example(b"1e999")
@example(b'{"webhook": {"event": "post.published"}, "data": {"id": "\\ud800", "_id": 1}}')
@example(b'{"webhook": {"event": "page.draft\\ud83d"}}')
def test_any_bytes_are_accepted_and_sent_or_turned_away_with_400(long_open: Door, body: bytes) -> None:
    before = len(long_open.aws.published)

    status, answer = long_open.send(base64.b64encode(body).decode(), isBase64Encoded=True)

    published = long_open.aws.published[before:]
    assert status in (200, 400)
    assert answer["accepted"] == (status == 200)
    assert len(published) <= (status == 200)
    assert all(Change.from_json(message.body).event == answer["event"] for message in published)


@given(body=st.none() | st.text(st.characters(exclude_categories=())), encoded=st.booleans())
def test_any_text_from_the_gateway_has_an_answer(long_open: Door, body: str | None, encoded: bool) -> None:
    status, _ = long_open.send(body, isBase64Encoded=encoded)

    assert status in (200, 400)


# Who is let in


def test_the_greeting_tells_the_person_with_a_browser_what_this_is(door: Door) -> None:
    answer = door.invoke({"httpMethod": "GET", "headers": None, "body": None})

    assert answer["statusCode"] == 200
    assert "X-Webhook-Secret" in answer["body"]
    assert door.aws.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"headers": {"x-webhook-secret": SECRET}},
        {"headers": {"X-WEBHOOK-SECRET": f" {SECRET} "}},
        {"headers": None, "multiValueHeaders": {"x-Webhook-secret": [SECRET]}},
        {"headers": {}, "multiValueHeaders": {"Accept": [], "X-Webhook-Secret": ["old", SECRET]}},
    ],
)
def test_the_header_is_found_however_it_is_spelled(door: Door, headers: dict[str, Any]) -> None:
    assert door.post(POST, **headers)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"X-Webhook-Secret": None},
        *[{"X-Webhook-Secret": s} for s in ("", "wrong", SECRET[:-1], "é", "\ud800")],
    ],
)
def test_a_wrong_secret_or_none_is_turned_away_before_the_body_is_looked_at(
    door: Door, headers: dict[str, Any] | None
) -> None:
    status, answer = door.send("\x00 not JSON, and too long" * 100_000, headers=headers)

    assert (status, answer["accepted"]) == (401, False)
    assert "X-Webhook-Secret" in answer["error"]
    assert door.aws.published == []


def test_two_secrets_are_live_while_one_replaces_the_other(door: Door) -> None:
    door.aws.parameters[f"{PATH}webhook_secret_next"] = NEXT_SECRET

    answers = [
        door.post(POST, headers={"X-Webhook-Secret": secret})[0] for secret in (SECRET, NEXT_SECRET, "third", "")
    ]

    assert answers == [200, 200, 401, 401]


@pytest.mark.parametrize("stored", [None, "", " \n"])
def test_without_a_secret_nobody_is_let_in_and_the_log_names_the_parameter(
    door: Door, stored: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    door.aws.parameters = {f"{PATH}webhook_secret_next": NEXT_SECRET}
    if stored is not None:
        door.aws.parameters[f"{PATH}webhook_secret"] = stored

    answers = [door.post(POST, headers={"X-Webhook-Secret": secret})[0] for secret in ("", NEXT_SECRET)]

    assert answers == [500, 500]
    assert all(f"{PATH}webhook_secret" in line["reason"] for line in log_lines(capsys))
    assert door.aws.published == []


@pytest.mark.parametrize("fault", [400, 500, "hang", "drop"])
def test_without_ssm_a_fresh_function_lets_nobody_in(door: Door, fault: Fault) -> None:
    door.aws.faults["ssm"] = fault

    started = time.monotonic()
    status, answer = door.post(POST)

    assert (status, answer["accepted"]) == (500, False)
    assert time.monotonic() - started < CALLER_WAITS_SECONDS
    assert PATH not in answer["error"]


@pytest.mark.parametrize("fault", [400, 500, "hang", "drop"])
def test_an_expired_secret_serves_while_ssm_fails(door: Door, fault: Fault) -> None:
    assert door.post(POST)[0] == 200
    door.ingest.settings.drop()
    door.aws.faults["ssm"] = fault

    right, wrong = door.post(POST), door.post(POST, headers={"X-Webhook-Secret": "wrong"})

    assert (right[0], wrong[0]) == (200, 401)
    assert door.aws.calls.count("ssm") == 2


def test_the_role_is_asked_for_the_two_secrets_only(door: Door) -> None:
    door.aws.parameters[f"{PATH}read_token"] = "not-for-ingest"

    door.post(POST)

    assert set(door.ingest.settings.read()) == {"webhook_secret"}


# The body


def test_a_base64_body_is_decoded(door: Door) -> None:
    body = base64.b64encode(json.dumps(POST).encode()).decode()

    assert door.send(body, isBase64Encoded=True)[0] == 200
    assert len(door.aws.published) == 1


@pytest.mark.parametrize("body", ["a", "====", "é", '{"data": 1}'])
def test_broken_base64_is_answered_400(door: Door, body: str) -> None:
    status, answer = door.send(body, isBase64Encoded=True)

    assert (status, answer["error"]) == (400, "The body is not valid base64.")


@pytest.mark.parametrize("encoded", [False, True])
def test_256_kib_are_let_in_and_one_byte_more_is_not(door: Door, encoded: bool) -> None:
    def padded_to(size: int) -> str:
        text = json.dumps(POST).ljust(size)
        return base64.b64encode(text.encode()).decode() if encoded else text

    fits, too_long = (door.send(padded_to(size), isBase64Encoded=encoded)[0] for size in (262_144, 262_145))

    assert (fits, too_long) == (200, 413)


def test_the_length_is_counted_in_bytes_of_utf_8(door: Door) -> None:
    assert door.send(json.dumps({"x": "é" * 140_000}, ensure_ascii=False))[0] == 413


# Where it goes


def test_a_webhook_is_published_with_the_attributes_that_subscriptions_filter_by(door: Door) -> None:
    before = time.time_ns() // 1_000_000

    status, answer = door.post(ITEM)

    [message] = door.aws.published
    change = Change.from_json(message.body)
    assert (status, answer) == (200, {"accepted": True, "event": "collectionitem.published", "id": "902"})
    assert message.attributes == {"stage": "change", "kind": "item:recipes", "locale": "fr"}
    assert change.identity.ref == "item:recipes:902:fr"
    assert before <= change.received_at <= time.time_ns() // 1_000_000
    assert door.aws.calls == ["ssm", "sns"]


@pytest.mark.parametrize("fault", [400, 403, 429, 500, 503, "hang", "drop", "garbage"])
def test_when_sns_fails_or_hangs_the_same_message_goes_straight_to_the_queue_in_time(
    door: Door, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    door.post(PAGE)
    door.aws.faults["sns"] = fault
    capsys.readouterr()

    started = time.monotonic()
    status, answer = door.post(PAGE)

    [published], [sent] = door.aws.published, door.aws.sent
    assert (status, answer) == (200, {"accepted": True, "event": "page.published", "id": "about"})
    assert time.monotonic() - started < CALLER_WAITS_SECONDS
    assert sent.attributes == published.attributes
    assert {**json.loads(sent.body), "received_at": 0} == {**json.loads(published.body), "received_at": 0}
    assert [line["level"] for line in log_lines(capsys)] == ["ERROR", "INFO"]


def test_when_sns_refuses_the_connection_the_queue_gets_the_change() -> None:
    with opened(AWS_ENDPOINT_URL_SNS="http://127.0.0.1:1") as door:
        status, _ = door.post(POST)

        assert status == 200
        assert [Change.from_json(message.body).identity.name for message in door.aws.sent] == ["autumn-recipes"]


@pytest.mark.parametrize("fault", [500, "hang", "drop"])
def test_when_nothing_takes_the_change_the_caller_sees_503_in_time(door: Door, fault: Fault) -> None:
    assert door.post(POST)[0] == 200
    door.ingest.settings.drop()
    door.aws.faults = {"ssm": fault, "sns": fault, "sqs": fault}

    started = time.monotonic()
    status, answer = door.post(POST)

    assert (status, answer["accepted"]) == (503, False)
    assert time.monotonic() - started < CALLER_WAITS_SECONDS


def test_the_client_of_sqs_is_made_only_when_sns_has_failed(door: Door) -> None:
    door.post(POST)
    assert client.cache_info().currsize == 2

    door.aws.faults["sns"] = 500
    door.post(POST)
    assert client.cache_info().currsize == 3


# What is told


def test_the_log_names_event_ref_and_request_and_nothing_private(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    door.post(PAGE)
    door.post(PAGE, headers={"X-Webhook-Secret": "nearly-the-secret"})
    door.post({**PAGE, "webhook": {"event": "page.draft"}})
    door.aws.faults["sns"] = 500
    door.post(PAGE)

    output = capsys.readouterr().out
    accepted, *_ = map(json.loads, output.splitlines())
    assert (accepted["event"], accepted["ref"]) == ("page.published", "page:*:about:en")
    assert (accepted["delivery"], accepted["function_request_id"]) == ("delivery-1", "invocation-1")
    assert not [word for word in (SECRET, "nearly-the-secret", "Ida Example", "x.test") if word in output]


def test_a_log_line_stays_short_whatever_the_event_is_called(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.post(payload("e" * 100_000, id="a"))

    assert len(capsys.readouterr().out) < 1_000


def test_check_says_whether_the_secret_is_there(door: Door) -> None:
    present = door.invoke({"command": "check"})
    door.aws.parameters.clear()
    door.ingest.settings.drop()
    missing = door.invoke({"command": "check"})

    assert (present["ok"], missing["ok"]) == (True, False)
    assert f"{PATH}webhook_secret" in missing["message"]
    assert SECRET not in str(present)


# How fast it is


def test_a_warm_request_costs_less_than_20_ms_of_the_functions_own_time(door: Door) -> None:
    def own_milliseconds() -> float:
        started = time.thread_time()
        assert door.post(PAGE)[0] == 200
        return (time.thread_time() - started) * 1000

    own_milliseconds()
    times = [own_milliseconds() for _ in range(100)]

    assert statistics.quantiles(times, n=20)[-1] < 20


@pytest.mark.usefixtures("door")
def test_ingest_starts_within_a_quarter_more_than_the_client_of_sns_alone(tmp_path: Path) -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("layers/buttersync", "functions/ingest"))
    # Both find their modules compiled, whatever state this machine is in.
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def start_seconds(statement: str) -> float:
        code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return float(child.stdout)

    def pair() -> float:
        return start_seconds("import ingest") / start_seconds("import boto3; boto3.client('sns')")

    pair()
    ratios = [pair() for _ in range(9)]

    assert statistics.median(ratios) < 1.25
