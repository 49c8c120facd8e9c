# ruff: noqa: N803 - the parameters of boto3
"""Hostile input from end to end: what the door, the queues and ButterCMS's answers may hold, and what comes of it.

Whatever arrives: an answer that is no 5xx, nothing published that is no webhook, nothing secret told, and an end for
each message, done with or in the dead-letter queue: never back for ever, and never at the cost of another.
"""

import base64
import codecs
import gzip
import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import msgspec
import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

import conversation
import hosts
import resolve
from backfill import Walk
from buttersync import delivery
from buttersync.butter import Butter
from buttersync.model import REF_BYTES, Change, Claim, Document, Identity
from buttersync.outcomes import Unavailable
from buttersync.queues import sendable
from sandbox.server import Sandbox
from sandbox.site import Account, Site
from sandbox.wire import Response, json_response
from tests.fakes.cloud import DEAD_LETTERS, QUEUE, S3, Cloud, Dynamo, Ssm, Stored, refusal
from tests.fakes.hostile import ANY_TEXT, ENCODINGS, LONG, Anything, scrambled, spoiled, to_json
from tests.fakes.payloads import ITEM, PAGE, POST, payload
from tests.fakes.target import Target, document, target
from tests.unit.test_ingest import SECRET, Door, opened
from tests.unit.test_protocol import LOOKS, World, post

PRIVATE = "Ida Example", "Bearer of-a-token", "https://x.test", "nearly-" + SECRET
LINE_CHARACTERS = 4_000
"""A line of the log, or an answer: the longest ref, and an event and an id of which each letter is escaped."""

WEBHOOKS = (
    POST,
    PAGE,
    ITEM,
    payload("post.localization.delete", id="sopa", _id="12", locale="es", editor="Ida Example"),
    payload("page.draft", id="about", page_type="landing", locale=None, editor="Ida Example"),
    payload("collectionitem.all", id="r", itemid="elsewhere[_id=5]", label="Soup"),
)
KNOWN = re.compile(
    r"post\.(localization\.)?(published|draft|delete|all|\*)"
    r"|page\.(published|unpublished|delete|all|\*)|collectionitem\.(published|unpublished|draft|delete|all|\*)"
)

# ---------------------------------------------------------------------------------------------------------- the door


@dataclass(frozen=True)
class Sent:
    """A request as API Gateway hands it on, and what AWS makes of it."""

    body: bytes
    headers: Mapping[str, str]
    encoded: bool
    down: tuple[str, ...]

    @property
    def event(self) -> dict[str, Any]:
        text = base64.b64encode(self.body) if self.encoded else self.text.encode()
        return {
            "httpMethod": "POST",
            "headers": self.headers,
            "body": text.decode(),
            "isBase64Encoded": self.encoded,
            "requestContext": {"requestId": "delivery-1"},
        }

    @property
    def text(self) -> str:
        """What API Gateway makes of bytes that are no UTF-8."""
        return self.body.decode(errors="replace")

    def to(self, door: Door) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        answer = door.invoke(self.event)
        return answer["statusCode"], json.loads(answer["body"])

    @property
    def is_let_in(self) -> bool:
        return [value.strip() for name, value in self.headers.items() if name.lower() == "x-webhook-secret"] == [SECRET]


@st.composite
def bodies(draw: st.DrawFn) -> list[bytes]:
    """Four of them, of which each is further from a webhook than the one before."""
    webhook = draw(st.sampled_from(WEBHOOKS))
    if draw(st.booleans()):
        spoils = list(map(to_json, draw(spoiled(webhook, steps=3))))
        return [*map(str.encode, spoils), spoils[0].encode(draw(st.sampled_from(ENCODINGS)))]
    whole = json.dumps(webhook).encode()
    return [whole, whole.decode().encode(draw(st.sampled_from(ENCODINGS))), draw(scrambled(whole)), draw(st.binary())]


NAMES_OF_HEADERS = ANY_TEXT | st.sampled_from(["Authorization", "Content-Type", "Content-Encoding", "X-HTTP-Method"])
HEADERS = st.lists(
    st.tuples(NAMES_OF_HEADERS, st.sampled_from(["Bearer of-a-token", "text/html", "gzip", "GET", "\r\n"]))
)
SECRETS = st.sampled_from([SECRET] * 12 + [f" {SECRET} ", "nearly-" + SECRET, SECRET.upper(), "", "\udc80"])
SPELLINGS = st.sampled_from(["X-Webhook-Secret", "x-webhook-secret", "X-WEBHOOK-SECRET"])
DOWN = st.sampled_from([()] * 6 + [("sns",), ("sns", "sqs")])


@st.composite
def four_requests(draw: st.DrawFn) -> list[Sent]:
    """Four requests of one sender."""
    headers = {**dict(draw(HEADERS)), draw(SPELLINGS): draw(SECRETS)}
    down, encoded = draw(DOWN), draw(st.booleans())
    return [Sent(body, headers, (number % 2 == 0) == encoded, down) for number, body in enumerate(draw(bodies()))]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with opened() as ready:
        yield ready


@settings(max_examples=2_500, deadline=None)
@given(four_requests())
@example(
    [
        Sent(
            json.dumps(payload("e" * 5_000, id="i" * 5_000)).encode(),
            {"X-Webhook-Secret": SECRET},
            encoded=False,
            down=(),
        )
    ]
)
def test_ten_thousand_requests_are_answered_and_no_more_is_published_than_their_webhooks(
    door: Door, four: list[Sent]
) -> None:
    for sent in four:
        is_answered_as_it_should_be(door, sent)


def is_answered_as_it_should_be(door: Door, sent: Sent) -> None:
    door.aws.faults = dict.fromkeys(sent.down, 500)
    del door.aws.published[:], door.aws.sent[:]
    log = io.StringIO()

    with redirect_stdout(log):
        status, answer = sent.to(door)

    out = [*door.aws.published, *door.aws.sent]
    refused = (503,) if len(sent.down) == 2 else ()
    assert status in (200, 400, *refused) if sent.is_let_in else status == 401, answer
    tells_nothing_private(log.getvalue(), json.dumps(answer))
    assert answer["accepted"] == (status == 200)
    assert len(out) <= (status == 200)
    for message in out:
        assert says(sent, Change.from_json(message.body))
        assert all(text == sendable(text) != "" for text in (message.body, *message.attributes.values()))


def says(sent: Sent, change: Change) -> bool:
    """Whether another parser finds in the body a webhook that says just this."""
    webhook = json.loads(sent.body if sent.encoded else sent.text)
    data, identity = webhook["data"], change.identity
    named = [data["id"]]
    if identity.kind == "page":
        named = [data["page_type"], data["id"]]
    if identity.kind == "item":
        named = [data["id"], *re.findall(r"\[_id=([0-9]+)\]", data["itemid"])[:1]]
    event = webhook["webhook"]["event"]
    assert len(identity.ref) <= REF_BYTES
    return (
        event == change.event
        and KNOWN.fullmatch(event) is not None
        and [part for part in (identity.group, identity.name) if part] == named
        and identity.locale == (data.get("locale") or "en")
    )


def tells_nothing_private(log: str, answer: str) -> None:
    """Each line is one of ours, and short, and neither a line nor the answer has a secret or what nobody asked for."""
    for line in log.splitlines():
        assert json.loads(line)["service"] == "ingest"
    assert max(map(len, [*log.splitlines(), answer])) < LINE_CHARACTERS
    assert not [word for word in (SECRET, *PRIVATE) if word in log or word in answer]


@pytest.mark.parametrize("webhook", [POST, ITEM])
@pytest.mark.parametrize(
    "spelled",
    [
        lambda plain: re.sub("[a-z]", lambda letter: f"\\u{ord(letter[0]):04X}", plain),
        lambda plain: plain.replace(" ", "\r\n\t"),
        lambda plain: '{"webhook": {"event": "page.draft"}, "data": [], ' + plain[1:],
        lambda plain: plain[:-1] + ', "more": ' + "[" * 500 + "]" * 500 + "}",
    ],
    ids=["escaped", "spaced", "every key twice", "nested"],
)
def test_a_webhook_is_one_however_it_is_spelled(
    door: Door, webhook: Mapping[str, Any], spelled: Callable[[str], str]
) -> None:
    door.aws.faults = {}
    before = len(door.aws.published)

    statuses = [door.send(text)[0] for text in (json.dumps(webhook), spelled(json.dumps(webhook)))]

    plain, other = (Change.from_json(message.body) for message in door.aws.published[before:])
    assert statuses == [200, 200]
    assert msgspec.structs.replace(other, received_at=plain.received_at) == plain


@pytest.mark.parametrize(
    "disguise",
    [
        lambda plain: codecs.BOM_UTF8 + plain,
        lambda plain: plain.decode().encode("utf-16"),
        gzip.compress,
        base64.b64encode,
        lambda plain: urlencode({"payload": plain}).encode(),
        lambda plain: b"--x\r\nContent-Disposition: form-data; name=data\r\n\r\n" + plain + b"\r\n--x--",
        lambda plain: f"{len(plain):x}\r\n".encode() + plain + b"\r\n0\r\n\r\n",
        lambda plain: plain + plain,
    ],
    ids=["byte order mark", "UTF-16", "gzip", "base64 twice", "form", "multipart", "chunks", "two in one"],
)
@pytest.mark.parametrize("encoded", [False, True])
def test_what_would_first_have_to_be_unwrapped_is_turned_away(
    door: Door, disguise: Callable[[bytes], bytes], encoded: bool
) -> None:
    before = len(door.aws.published)

    status, answer = Sent(disguise(json.dumps(POST).encode()), {"X-Webhook-Secret": SECRET}, encoded, ()).to(door)

    assert (status, answer["error"]) == (400, "The body is not JSON in UTF-8.")
    assert len(door.aws.published) == before


# -------------------------------------------------------------------------------------------------- resolve's queue

RECEIVED_AT = 1_763_999_000_000
ITEM_PATH = re.compile(r"/v2/(posts/[^/]+|(pages|content)/[^/]+/[^/]+)/|/v2/(posts|(pages|content)/[^/]+)/")
"""An item or a list."""
ROUNDS = 100
"""Two receives for each step of the schedule, and four messages."""


class Contents(Dynamo):
    """The content table."""

    def put_item(
        self,
        TableName: str,
        Item: Mapping[str, Any],
        ConditionExpression: str,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ) -> None:
        [name] = re.findall(r"readings|writes", ConditionExpression)
        key = self._key({"ref": Item["ref"]})
        before = self.tables[TableName].get(key, {}).get(name)
        if before != (ExpressionAttributeValues or {}).get(":before"):
            raise refusal("ConditionalCheckFailedException", "PutItem")
        self.tables[TableName][key] = dict(Item)

    def update_item(self, TableName: str, Key: Mapping[str, Any], **_: Any) -> None:  # type: ignore[override]
        self.tables[TableName].setdefault(self._key(Key), dict(Key)).pop("pending", None)


class Archive(S3):
    """The archive, written too."""

    def put_object(self, Key: str, Body: bytes, **_: str) -> None:
        assert len(Key.encode()) <= 1024
        self.objects[Key] = Body


@dataclass
class Topic:
    """What was published."""

    names: list[str] = field(default_factory=list)

    def publish(self, TopicArn: str, Message: str, MessageAttributes: Mapping[str, Any]) -> None:
        del TopicArn
        texts = [Message, *(value["StringValue"] for value in MessageAttributes.values())]
        if not all(texts) or len("".join(texts).encode()) > 256 * 1024 or sendable("".join(texts)) != "".join(texts):
            raise refusal("InvalidParameter", "Publish")
        self.names.append(Document.from_json(Message).identity.name)


class Parameters(Ssm):
    """Read by name."""

    def get_parameters(self, Names: Sequence[str], WithDecryption: bool) -> Mapping[str, Any]:
        assert WithDecryption
        return {"Parameters": [{"Name": name, "Value": self.parameters[name]} for name in Names]}


@dataclass
class AwsOfResolve(Cloud):
    """What resolve talks to."""

    dynamodb: Dynamo = field(default_factory=lambda: Contents({"contents": {}}))
    s3: S3 = field(default_factory=Archive)
    ssm: Ssm = field(default_factory=Parameters)
    sns: Topic = field(default_factory=Topic)


class Lines(logging.Handler):
    """A log as CloudWatch gets it."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logger.registered_formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class Resolving:
    """resolve behind its queue, on a clock of its own, before a ButterCMS with a few items."""

    cloud: AwsOfResolve
    log: Lines

    def send(self, body: str) -> None:
        self.cloud.sqs.send_message(QUEUE, body, {})

    def round(self) -> None:
        """A batch, as soon as there is one."""
        self.cloud.clock.now = max(self.cloud.clock.now, min(message.visible_at for message in self.waiting))
        batch = self.cloud.sqs.receive()
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: 110_000)
        answer = resolve.handler({"Records": [message.record() for message in batch]}, context)
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        self.cloud.sqs.delete({message.id for message in batch} - failed)

    def live_on(self) -> None:
        for _ in range(ROUNDS):
            if not self.waiting:
                return
            self.round()
        raise AssertionError(f"still in the queue: {self.waiting}")

    @property
    def waiting(self) -> list[Stored]:
        return self.cloud.sqs.queues[QUEUE]

    @property
    def reasons(self) -> list[str]:
        return [letter.attributes["reason"] for letter in self.cloud.sqs.queues[DEAD_LETTERS]]


@pytest.fixture(scope="module")
def butter() -> Iterator[Sandbox]:
    site = Site(Account(locales=("en", "de")))
    for slug in ("mate", "hello"):
        site.publish_post(slug, title=slug)
    site.publish_page("landing", "spring", {"headline": "Spring"})
    site.publish_item("products", {"name": "Lamp"})
    with Sandbox(site=site) as sandbox:
        sandbox.butter.paths = ""  # every path: none shall be asked for unnoticed
        yield sandbox


VARIABLES = {
    "QUEUE_URL": QUEUE, "DEAD_LETTER_QUEUE_URL": DEAD_LETTERS, "CONTENT_TABLE": "contents", "ARCHIVE_BUCKET": "archive",
    "TOPIC_ARN": "arn", "DEFAULT_LOCALE": "en", "LOCALES": "de", "PAGE_TYPES": "landing", "COLLECTIONS": "products",
    "LOOK_SECONDS": "1,2", "POST_URL": "https://example.com/{slug}", "PAGE_URL": "", "ITEM_URL": "",
    "TARGETS": "postgres", "ANNOUNCE_WINDOW_HOURS": "72",
}  # fmt: skip


@contextmanager
def resolving(butter: Sandbox) -> Iterator[Resolving]:
    cloud, log = AwsOfResolve(), Lines(resolve.logger)
    cloud.ssm.parameters = {
        f"{resolve.settings.path}read_token": butter.butter.token,
        f"{resolve.settings.path}endpoint": butter.butter_endpoint,
    }
    clock = patch("time.time_ns", lambda: int(cloud.clock.now * 1e9))
    with cloud.installed(), patch.dict(os.environ, VARIABLES), clock:
        resolve._resolver.cache_clear()
        resolve.settings.drop()
        resolve.logger.addHandler(log)
        yield Resolving(cloud, log)
        logging.getLogger(resolve.logger.name).removeHandler(log)


def change(identity: Identity, claims: Claim = "published", **more: Any) -> Change:
    return Change(identity=identity, event="post.published", claims=claims, received_at=RECEIVED_AT, **more)


CHANGES = (
    change(Identity("post", "", "hello", "en"), numeric_id=1002),
    change(Identity("page", "landing", "spring", "de"), "removed"),
    change(Identity("item", "products", "1004", "en"), "any", republish="all"),
    Walk(run="r", kind="post", locale="en", count=1),
    Walk(run="r", kind="item", group="products", locale="de"),
)
MATE = change(Identity("post", "", "mate", "en"), "any").to_json()


def altered(body: str, identity: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """The message with other members, and its identity with other ones."""
    message = json.loads(body)
    return {**message, **members, "identity": {**message["identity"], **(identity or {})}}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([json.loads(one.to_json()) for one in CHANGES]).flatmap(spoiled))
@example([altered(MATE, not_before=10**400)])
@example([altered(MATE, attempts=-(10**9), identity={"locale": "zz"})])
@example([altered(MATE, identity={"name": ".."})])
@example([altered(MATE, identity={"kind": "page", "group": ".."})])
@example([altered(MATE, stage=LONG), altered(MATE, event=LONG)])
def test_whatever_is_in_resolves_queue_comes_to_an_end_and_keeps_nobody_waiting(
    butter: Sandbox, spoils: list[Any]
) -> None:
    butter._memory.clear()
    with resolving(butter) as queue:
        for spoilt in spoils:
            queue.send(to_json(spoilt))
        queue.send(MATE)

        queue.round()
        in_the_first_round = list(queue.cloud.sns.names)
        queue.live_on()

        assert "mate" in in_the_first_round
        assert all(ITEM_PATH.fullmatch(request.path) for request in butter.requests)
        assert max(map(len, queue.log.lines)) < LINE_CHARACTERS
        assert not [line for line in queue.log.lines if "\n" in line or butter.butter.token in line]
        assert not [reason for reason in queue.reasons if reason.startswith("unexpected")]


def test_a_body_that_cannot_even_be_encoded_is_no_change(butter: Sandbox) -> None:
    with resolving(butter) as queue:
        queue.send(MATE)
        queue.waiting[0].body = '"\ud800"'
        queue.send(MATE)

        queue.round()

        assert (queue.waiting, len(queue.reasons)) == ([], 1)


# ------------------------------------------------------------------------------------------------ the queues of targets

DOCUMENT = document(tags=("a", "b"), published_at="2025-11-24T08:00:00.000000Z", fields={"slug": "hello", "rank": [3]})
ARCHIVED = DOCUMENT.to_json().encode()


@contextmanager
def delivering() -> Iterator[tuple[Target, Lines]]:
    log = Lines(delivery.logger)
    with target() as shop:
        delivery.logger.addHandler(log)
        yield shop, log
        logging.getLogger(delivery.logger.name).removeHandler(log)


def delivers_the_mate_and_ends_the_rest(shop: Target, log: Lines) -> None:
    shop.send(document("mate"))

    shop.round()
    mate = shop.row("mate")
    shop.live_on(rounds=ROUNDS)

    assert mate["status"] == "done"
    assert max(map(len, log.lines)) < LINE_CHARACTERS
    assert not [line for line in log.lines if "\n" in line or '"unexpected ' in line]


@settings(max_examples=300, deadline=None)
@given(spoiled(json.loads(DOCUMENT.to_message())))
@example([altered(DOCUMENT.to_message(), stage=LONG), altered(DOCUMENT.to_message(), archive_key=LONG)])
def test_whatever_is_in_the_queue_of_a_target_comes_to_an_end_and_keeps_nobody_waiting(spoils: list[Any]) -> None:
    with delivering() as (shop, log):
        for spoilt in spoils:
            shop.send(to_json(spoilt))

        delivers_the_mate_and_ends_the_rest(shop, log)


@settings(max_examples=300, deadline=None)
@given(
    spoiled(json.loads(ARCHIVED)).map(lambda spoils: to_json(spoils[-1]).encode()) | scrambled(ARCHIVED) | st.binary()
)
@example(ARCHIVED.replace(b"Hello", b"Hell\xf6"))
def test_whatever_the_archive_holds_it_is_delivered_or_dead_lettered_and_keeps_nobody_waiting(archived: bytes) -> None:
    with delivering() as (shop, log):
        shop.send(DOCUMENT)
        shop.cloud.s3.objects[DOCUMENT.archive_key] = archived

        delivers_the_mate_and_ends_the_rest(shop, log)

        assert shop.row()["status"] in ("done", "refused")


# -------------------------------------------------------------------------------------------------- ButterCMS's answers


@pytest.fixture(scope="module")
def cms() -> Iterator[tuple[Anything, Butter]]:
    with Sandbox() as sandbox:
        anything = Anything(Response(200))
        sandbox.vendors = [anything]
        yield anything, Butter(SECRET, sandbox.butter_endpoint)


POST_SHOWN = {"data": {**post(), "author": {"first_name": "Ida", "email": "ida@x.test"}, "tags": [{"name": "a"}]}}
PAGE_SHOWN = {
    "data": {
        "slug": "hello",
        "name": "Hello",
        "status": "published",
        "published": "2025-05-02T08:00:00.500000Z",
        "updated": "2025-05-03T08:30:00+02:00",
        "page_type": "landing",
        "fields": {"headline": "x", "seo": {"title": "y"}, "body": [{"type": "c", "fields": {"t": "<p>a</p>"}}]},
    }
}
ITEM_SHOWN = {"data": {"products": [{"meta": {"id": 7}, "name": "Lamp", "image": {"url": "https://x.test/a.png"}}]}}
SHOWN = (
    (Identity("post", "", "hello", "en"), POST_SHOWN),
    (Identity("page", "landing", "hello", "en"), PAGE_SHOWN),
    (Identity("item", "products", "7", "en"), ITEM_SHOWN),
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Identity, list[Response]]:
    """An item that is asked for, and answers that are less and less those that it should have."""
    identity, shown = draw(st.sampled_from(SHOWN))
    texts = list(map(to_json, draw(spoiled(shown))))
    scrap = draw(scrambled(json.dumps(shown).encode()))
    whole = [*map(str.encode, texts), texts[0].encode(draw(st.sampled_from(ENCODINGS))), scrap]
    media_type = draw(
        st.sampled_from(["application/json", "text/html", "application/json; charset=utf-16", "\x01", ""])
    )
    encoding = draw(st.sampled_from([{}, {}, {}, {"Content-Encoding": "gzip"}, {"Transfer-Encoding": "x"}]))
    return identity, [Response(200, body, {"Content-Type": media_type, **encoding}) for body in whole]


@settings(max_examples=300, deadline=None)
@given(answers())
def test_whatever_butter_answers_is_a_document_that_can_travel_or_a_reason_to_ask_again(
    cms: tuple[Anything, Butter], asked: tuple[Identity, list[Response]]
) -> None:
    identity, responses = asked
    for cms[0].response in responses:
        world = World()
        world.resolver._reader = cms[1]
        reason = ""

        try:
            world.resolve(world.change(identity=identity, look=len(LOOKS)))
        except Unavailable as failure:
            reason = failure.reason

        assert SECRET not in reason
        for small in world.topic.documents:
            whole = world.archive.objects[small.archive_key]
            assert Document.from_json(whole.to_json()) == whole
            assert len(small.to_message().encode()) < 256 * 1024


@pytest.mark.parametrize("page", [1, 7])
@pytest.mark.parametrize("following", [-1, 0, 1, 7])
def test_a_list_that_goes_in_circles_is_not_walked(cms: tuple[Anything, Butter], page: int, following: int) -> None:
    """Once the next page of a page was the page itself, each walk of it would have sent the next, for ever."""
    cms[0].response = json_response(200, {"data": [], "meta": {"next_page": following, "count": 1}})

    if 0 < following <= page:
        with pytest.raises(Unavailable, match="/posts/ with an earlier one as the next"):
            cms[1].listing("post", "", page)
    else:
        listing = cms[1].listing("post", "", page)
        assert listing is not None
        assert listing.next_page == (following if following > 0 else None)


# ---------------------------------------------------------------------------------------------------- stores' answers

COMPLAINT = {
    "message": f"Record quota of {SECRET}",
    "error": {
        "type": "mapper_parsing_exception",
        "reason": f"of [{SECRET}]",
        "caused_by": {"type": "a", "reason": "b"},
    },
    "status": 400,
}


@st.composite
def complaints(draw: st.DrawFn) -> bytes:
    """The body of an answer that is no 2xx."""
    whole = json.dumps(COMPLAINT).encode()
    return draw(spoiled(COMPLAINT).map(lambda spoils: to_json(spoils[-1]).encode()) | scrambled(whole) | st.binary())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([400, 401, 403, 404, 413, 429, 500, 503]), complaints())
@example(503, b'{"message": "caf\xe9"}')
@example(503, b'{"error": "\xed\xa0\x80"}')
def test_whatever_a_store_says_in_trouble_is_an_outcome_and_after_a_5xx_unsure(status: int, body: bytes) -> None:
    """Once what was no UTF-8 passed for an error of our own, after which a lease would have ended too early."""
    answer = requests.Response()
    answer.status_code, answer._content = status, body
    answer.request = requests.Request("POST", "https://x.test", headers={"x-algolia-api-key": SECRET}).prepare()

    failures = [hosts.failure_of_answer("x.test", answer)]
    with suppress(UnicodeDecodeError):  # opensearch-py takes it for a lost connection
        complaint = conversation.Answered(status, body.decode("utf-8", "surrogatepass"))
        failures.append(conversation.failure_of_writing(complaint, 1))

    assert SECRET not in failures[0].reason
    assert [getattr(failure, "unsure", False) for failure in failures] == [status >= 500] * len(failures)
