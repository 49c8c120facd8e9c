"""A target with a vendor of our own behind the real loop, between queues on a virtual clock."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from buttersync import delivery
from buttersync.delivery import Adapter, Delivery
from buttersync.model import Document, Effect, Identity
from buttersync.outcomes import DONE, Outcome
from tests.fakes.cloud import DEAD_LETTERS, QUEUE, Cloud, Stored

WORST_CASE = 20
ENOUGH_MS = 60_000
PATH = "/buttersync/test/shop/"


class Killed(BaseException):
    """The worker is dead: nothing that it still had to do is done."""


def document(slug: str = "hello", version: int = 5, change: Effect = "updated", **more: Any) -> Document:
    identity = Identity("post", "", slug, "en")
    key = f"{identity.ref}/{version}-abc"
    values = {"identity": identity, "version": version, "change": change, "announce_key": slug, "archive_key": key}
    return Document(**{**values, "title": slug.title(), "url": f"https://example.com/{slug}", **more})


def ref(slug: str) -> str:
    return f"post:{slug}:en"


def _as_they_are(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    return outcomes


def _nothing() -> None:
    """Happens before a call."""


def _enough() -> int:
    return ENOUGH_MS


@dataclass
class Vendor:
    """Does as told: an outcome by ref, an exception for any call with a ref, or one for every call."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    raises: dict[str, BaseException] = field(default_factory=dict)
    always: BaseException | None = None
    answer: Callable[[Sequence[Outcome]], Sequence[Outcome]] = _as_they_are
    calls: list[list[Document]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    resets: int = 0
    before: Callable[[], object] = _nothing

    def deliver(self, settings: Mapping[str, str], documents: Sequence[Document]) -> Sequence[Outcome]:
        self.settings = settings
        self.calls.append(list(documents))
        self.before()
        if self.always:
            raise self.always
        for one in documents:
            if one.identity.ref in self.raises:
                raise self.raises[one.identity.ref]
        return self.answer([self.outcomes.get(one.identity.ref, DONE) for one in documents])

    def check(self, settings: Mapping[str, str]) -> str:
        return self._said("looks well", settings)

    def setup(self, settings: Mapping[str, str]) -> str:
        return self._said("is set up", settings)

    def reset(self) -> None:
        self.resets += 1

    def _said(self, what: str, settings: Mapping[str, str]) -> str:
        if self.always:
            raise self.always
        return f"{settings['key']} {what}"


@dataclass
class Target:
    """The target `shop`; `sends` documents to its queue and lets workers take them."""

    cloud: Cloud
    vendor: Vendor
    records: list[logging.LogRecord]
    remaining: Callable[[], int] = _enough
    required: tuple[str, ...] = ("key",)
    leased: bool = False

    def __post_init__(self) -> None:
        self.start_worker()

    def start_worker(self) -> None:
        """A cold start."""
        vendor = self.vendor
        adapter = Adapter(
            "shop",
            self.required,
            vendor.deliver,
            vendor.check,
            vendor.setup,
            vendor.reset,
            WORST_CASE,
            leased=lambda _: self.leased,
        )
        self.loop = Delivery(adapter, clock=self.cloud.clock)

    def send(self, one: Document | str, archived: bool = True, **attributes: str) -> str:
        """Put a document into the archive and its message into the queue; the message's id."""
        if isinstance(one, Document):
            if archived:
                whole = Document.from_json(one.to_json())
                self.cloud.s3.objects[one.archive_key] = whole.to_json().encode()
            attributes = {**one.attributes(), **attributes}
        body = one if isinstance(one, str) else one.to_message()
        self.cloud.sqs.send_message(
            QUEUE, body, {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()}
        )
        return self.cloud.sqs.queues[QUEUE][-1].id

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.loop.handle(event, SimpleNamespace(get_remaining_time_in_millis=self.remaining))

    def round(self, most: int = 10) -> set[str]:
        """One batch through a worker, as the event source mapping does it; the ids that came back."""
        batch = self.cloud.sqs.receive(most)
        try:
            answer = self.invoke({"Records": [one.record() for one in batch]})
        except Killed:
            self.start_worker()
            return {one.id for one in batch}
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        self.cloud.sqs.delete({one.id for one in batch} - failed)
        return failed

    def live_on(self, rounds: int = 1000, most: int = 10) -> None:
        """Turn the clock to each next visible message and let a worker take a batch, until the queue is empty."""
        for _ in range(rounds):
            if not self.waiting:
                return
            self.cloud.clock.now = max(self.cloud.clock.now, min(one.visible_at for one in self.waiting))
            self.round(most)
        raise AssertionError(f"still in the queue: {self.waiting}")

    @property
    def waiting(self) -> list[Stored]:
        return self.cloud.sqs.queues[QUEUE]

    @property
    def letters(self) -> list[Stored]:
        return self.cloud.sqs.queues[DEAD_LETTERS]

    def redrive(self) -> None:
        """What an operator does: every dead letter back into the queue, as a new message."""
        letters, self.cloud.sqs.queues[DEAD_LETTERS] = self.letters, []
        for letter in letters:
            self.send(letter.body, archived=True, **letter.attributes)

    def row(self, slug: str = "hello") -> dict[str, Any]:
        """The delivery row, its values as they are."""
        item = self.cloud.dynamodb.tables["deliveries"].get(f"shop|{ref(slug)}", {})
        return {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}

    def visible_in(self, message_id: str) -> float:
        [message] = [one for one in self.waiting if one.id == message_id]
        return message.visible_at - self.cloud.clock.now

    def logged(self, outcome: str) -> list[logging.LogRecord]:
        return [record for record in self.records if record.__dict__.get("outcome") == outcome]


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def target(**settings: str) -> Iterator[Target]:
    """The target with these settings in SSM; with ``key`` if none are given."""
    kept = _Kept()
    environment = {
        "STAGE": "test",
        "QUEUE_URL": QUEUE,
        "DEAD_LETTER_QUEUE_URL": DEAD_LETTERS,
        "DELIVERY_TABLE": "deliveries",
        "CONTENT_TABLE": "contents",
        "ARCHIVE_BUCKET": "archive",
        "POWERTOOLS_METRICS_NAMESPACE": "buttersync",
    }
    with Cloud().installed() as cloud, patch.dict(os.environ, environment):
        cloud.ssm.parameters = {PATH + name: value for name, value in (settings or {"key": "sesame"}).items()}
        delivery.logger.addHandler(kept)
        yield Target(cloud, Vendor(), kept.records)
        logging.getLogger(delivery.logger.name).removeHandler(kept)
