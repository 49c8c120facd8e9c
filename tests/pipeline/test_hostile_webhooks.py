"""Hostile input at the deployed stack: through the gateway to the door, and past the door straight into the queues."""

import gzip
import json
import re
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings

from sandbox.stack import TARGETS, Stack
from sandbox.webhooks import Webhook, send
from tests.fakes.hostile import DEEP, TEXTS, to_json
from tests.fakes.payloads import POST, payload
from tests.pipeline.test_story import PATIENCE, eventually, log_lines
from tests.unit.test_hostile_input import KNOWN, bodies

SECRET_HEADER = "X-Webhook-Secret"
OWNERS = ("resolve", *TARGETS)
WEBHOOK = json.dumps(payload("post.draft", id="by-the-gateway")).encode()


@pytest.fixture(scope="module", autouse=True)
def _tidied(stack: Stack) -> Iterator[None]:
    """What asks for a locale that the site has not would be asked again for a day."""
    yield
    stack.client("sqs").purge_queue(QueueUrl=stack.outputs["resolveQueueUrl"])


def accepted(stack: Stack) -> list[str]:
    """The refs of what the door has published, by its log."""
    lines = [json.loads(line) for line in log_lines(stack, "ingest") if line.startswith("{")]
    return [line["ref"] for line in lines if line["message"] == "Accepted"]


def ask(stack: Stack, method: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and answer; a list of bodies is sent in chunks."""
    address = urlsplit(stack.webhook_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        whole = iter(body) if isinstance(body, list) else body
        connection.request(method, address.path, whole, headers, encode_chunked=True)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else text
    finally:
        connection.close()


def post(stack: Stack, body: Any, **headers: str) -> tuple[int, Any]:
    return ask(stack, "POST", body, {SECRET_HEADER: stack.webhook_secret, **headers})


@settings(max_examples=40, deadline=None)
@given(bodies())
def send_four(stack: Stack, answers: list[tuple[int, Any]], four: list[bytes]) -> None:
    answers += [post(stack, body) for body in four]


def test_the_gateway_and_the_door_answer_whatever_is_sent_and_let_webhooks_in(stack: Stack) -> None:
    answers: list[tuple[int, Any]] = []
    before = len(accepted(stack))

    send_four(stack, answers)

    let_in = [answer["event"] for status, answer in answers if status == 200]
    assert {status for status, _ in answers} <= {200, 400}
    published = sum(KNOWN.fullmatch(event) is not None for event in let_in) + 1
    # Its line is the last: there are none after it that should not be.
    assert post(stack, WEBHOOK)[0] == 200
    eventually(lambda: len(accepted(stack)) - before == published, f"{published} lines in the log of the door")
    assert not [line for line in log_lines(stack, "ingest") if stack.webhook_secret in line or "Ida Example" in line]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (WEBHOOK, {}, 200),
        ([WEBHOOK[:20], WEBHOOK[20:]], {"Transfer-Encoding": "chunked"}, 200),
        (WEBHOOK, {"Content-Type": "multipart/form-data; boundary=x"}, 200),
        (WEBHOOK, {"X-Long": "x" * 60_000}, 200),
        (WEBHOOK, {f"X-{number}": "x" for number in range(400)}, 200),
        (WEBHOOK, {"X-HTTP-Method-Override": "DELETE", "X-Odd": "\xff\xfe", "Authorization": "Bearer x"}, 200),
        (gzip.compress(WEBHOOK), {"Content-Encoding": "gzip"}, 400),
        (WEBHOOK.decode().encode("utf-16"), {"Content-Type": "application/json; charset=utf-16"}, 400),
        (bytes(range(256)), {"Content-Type": "application/octet-stream"}, 400),
        (b"", {}, 400),
        (b"[" * 200_000, {}, 400),
        (WEBHOOK.ljust(1_000_000), {}, 413),
        (WEBHOOK, {SECRET_HEADER: "\xff\xfe"}, 401),
        (WEBHOOK, {SECRET_HEADER.lower(): "wrong"}, 401),
    ],
)
def test_what_is_around_a_webhook_changes_nothing_about_it(
    stack: Stack, body: Any, headers: dict[str, str], status: int
) -> None:
    assert post(stack, body, **headers)[0] == status


def test_no_other_method_reaches_the_door(stack: Stack) -> None:
    methods = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
    before = len(log_lines(stack, "ingest"))

    statuses = {ask(stack, method, WEBHOOK, {SECRET_HEADER: stack.webhook_secret})[0] for method in methods}

    assert statuses == {403}
    assert len(log_lines(stack, "ingest")) == before


def garbage() -> Iterator[str]:
    """What is no message of ours, from far away to nearly one."""
    identity = {"kind": "post", "group": "", "name": "hello", "locale": "en"}
    change = {"identity": identity, "event": "e", "claims": "any", "received_at": 1}
    document = {"identity": identity, "version": 1, "change": "updated", "announce_key": "k", "archive_key": "a"}
    yield from (" ", "null", "[]", "{", '"', "\u20ac", "<xml/>", "{}" * 1_000, to_json(DEEP), "x" * 262_144)
    yield from (to_json(POST), json.dumps(TEXTS), '{"stage": "change"}', '{"stage": "document"}')
    for stage, message in (("change", change), ("document", document), ("walk", {"run": "r", "kind": "post"})):
        yield to_json({"stage": stage, **message, "identity": {**identity, "name": ".."}, "kind": "cat"})
        yield to_json({"stage": stage, **message, "received_at": -1, "version": -1, "page": -1})
        yield to_json({"stage": stage, **message, "attempts": 10**400, "version": 2**63})


def test_garbage_in_any_queue_ends_as_a_dead_letter_and_the_queue_goes_on(stack: Stack) -> None:
    sqs, sent = stack.client("sqs"), list(garbage())
    for owner in OWNERS:
        for body in sent:
            sqs.send_message(QueueUrl=stack.outputs[f"{owner}QueueUrl"], MessageBody=body)

    letters = {owner: sorted(dead_letters(stack, owner, len(sent))) for owner in OWNERS}

    assert letters == dict.fromkeys(OWNERS, sorted(sent))
    arrives(stack, stack.sandbox.site.publish_post("unharmed", title="Unharmed"))


def arrives(stack: Stack, webhook: Webhook) -> None:
    assert send(webhook, stack.webhook_url, stack.webhook_secret).succeeded
    ref = f"post:{webhook.data['id']}:en"
    eventually(lambda: all(ref in store.read() for store in stack.stores), f"{ref} in each store")


def test_hostile_content_arrives_in_every_store_as_the_same_text(stack: Stack) -> None:
    site, texts = stack.sandbox.site, [text for text in TEXTS if not re.search("[\ud800-\udfff]", text)]
    refs = {f"post:hostile-{number}:en" for number in range(len(texts))}
    for number, text in enumerate(texts):
        webhook = site.publish_post(f"hostile-{number}", title=text, body=text, tags=[text], summary=text)
        assert send(webhook, stack.webhook_url, stack.webhook_secret).succeeded

    arrives(stack, site.publish_post("after-them", title="Mate"))
    eventually(lambda: all(refs <= store.read().keys() for store in stack.stores), "all of them in each store")

    titles = [{ref: held.title for ref, held in store.read().items() if ref in refs} for store in stack.stores]
    assert titles[0] == titles[1] == titles[2]
    assert {"{title} {{7*7}} ${jndi:ldap://x.test/a} <%= 7*7 %> #{7*7} *|MERGE|*", "'); DROP TABLE posts; --"} <= {
        *titles[0].values()
    }


def dead_letters(stack: Stack, owner: str, number: int) -> list[str]:
    """The bodies of so many dead letters, which are taken away."""
    sqs, url = stack.client("sqs"), stack.outputs[f"{owner}DeadLetterQueueUrl"]
    bodies: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(bodies) < number:
        assert time.monotonic() < deadline, f"{len(bodies)} of {number} dead letters of {owner}"
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies
