"""The loop that every target shares: from a batch of messages to the vendor, and to each message's end.

Each message of a batch comes to exactly one end: acknowledged (delivered, skipped), back to the queue, or in the
dead-letter queue. What is to be done with a document, and what its row says afterwards, is decided in `works`.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from buttersync.archive import whole
from buttersync.clients import client
from buttersync.model import Document
from buttersync.outcomes import DONE, Failure, Misconfigured, Outcome, Refused, Unavailable, described
from buttersync.queues import BEHIND_MS, Message, Queue, delay, exhausted
from buttersync.rows import ABSENT, DeliveryTable, Row
from buttersync.settings import Settings
from buttersync.works import (
    Busy,
    Dormant,
    GivenUp,
    Skipped,
    Work,
    collapsed,
    ended,
    judged,
    marked,
    parsed,
    retry_after,
    row_after,
    started,
    suspect,
)

MARGIN = 10
"""Seconds kept free after the vendor's worst case, for the rows and the queue."""

BUSY_SECONDS = 5
"""A message that did not fit into the remaining time comes back after this."""

LEASE_SLACK = 60
"""So many seconds a lease outlasts the worker, for what it has sent at its end and the vendor has not acted on yet."""

LEASED = Busy("another worker is writing the item", BUSY_SECONDS)
OUT_OF_TIME = Busy("it did not fit into the rest of the function's time", BUSY_SECONDS)

LOADERS = 8
"""Archive objects that are read at a time; boto3 keeps 10 connections. By the time-outs of `client` a silent AWS takes
16 s of it: two tries of 4 s at S3 and, for what is gone, as many at DynamoDB."""

CALL_CHARACTERS = 4_000_000
"""With so much JSON, a call to the vendor is full: what 50 long articles have, or one that is odd."""

METRICS = {
    "done": "Delivered",
    "skipped": "Skipped",
    "dormant": "Dormant",
    "unavailable": "Unavailable",
    "misconfigured": "Misconfigured",
    "refused": "Refused",
}
"""What is counted under which name, beside ``DeadLettered`` and ``Behind``."""

QUIET = ("done", "skipped", "dormant", "busy")
"""The ends that are not worth a warning."""

OUTCOMES = (Skipped, Busy, Unavailable, Misconfigured, Refused)
"""What an adapter may return or raise, beside `DONE`."""

logger = Logger()

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Adapter:
    """What a target brings along; see `handler`."""

    target: str
    required: tuple[str, ...]
    deliver: Callable[[Mapping[str, str], Sequence[Document]], Sequence[Outcome]]
    check: Callable[[Mapping[str, str]], str]
    setup: Callable[[Mapping[str, str]], str]
    reset: Callable[[], None]
    worst_case: float
    leased: Callable[[Mapping[str, str]], bool]


class Delivery:
    """One target's loop, kept for as long as the worker lives."""

    def __init__(self, adapter: Adapter, clock: Callable[[], float] = time.time) -> None:
        self.adapter = adapter
        self.table = DeliveryTable(adapter.target)
        self.queue = Queue(os.environ["QUEUE_URL"], os.environ["DEAD_LETTER_QUEUE_URL"])
        self._settings = Settings(adapter.target)
        self._clock = clock
        self._has_delivered = False

    def handle(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer an event of the queue, or a command; raises ValueError for anything else."""
        if "Records" in event:
            return self._batch(event["Records"], context)
        command = event.get("command")
        if command not in ("check", "setup"):
            raise ValueError(f"unknown command {command!r}; there are: check, setup")
        return self._command(self.adapter.check if command == "check" else self.adapter.setup)

    def now(self) -> int:
        """The time in ms."""
        return int(self._clock() * 1000)

    def settings(self) -> Mapping[str, str]:
        """The settings, complete. Raises Dormant, Misconfigured naming what is missing, or Unavailable."""
        settings = self._settings.read()
        self._require(settings)
        return settings

    def remember_delivery(self) -> None:
        """Remember that this target is at work, so that it never counts as dormant again."""
        if not self._has_delivered:
            try:
                self.table.remember_delivery()
                self._has_delivered = True
            except Unavailable as failure:
                logger.warning("the next delivery remembers it", extra={"reason": failure.reason})

    def forget(self) -> None:
        """Drop what is cached of settings and clients: the vendor has turned it down, or a person asks."""
        self._settings.drop()
        self.adapter.reset()

    def _require(self, settings: Mapping[str, str]) -> None:
        if not settings and not self._ever_delivered():
            raise Dormant(f"dormant: nothing is stored under {self._settings.path}, and nothing was ever delivered")
        names = [name for name in self.adapter.required if not settings.get(name, "").strip()]
        if names:
            raise Misconfigured("missing in SSM: " + ", ".join(self._settings.path + name for name in names))

    def _ever_delivered(self) -> bool:
        self._has_delivered = self._has_delivered or self.table.has_delivered()
        return self._has_delivered

    def _batch(self, records: Sequence[Mapping[str, Any]], context: Any) -> dict[str, Any]:
        batch = Batch(self, [Message.from_record(record) for record in records], context.get_remaining_time_in_millis)
        try:
            batch.run()
        except Exception as error:  # noqa: BLE001 - a fault of our own: what has no end yet goes back to the queue
            logger.error(described(error))
        finally:
            self._count(batch.counts)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in batch.unended]}

    def _count(self, counts: Mapping[str, int]) -> None:
        if not counts:
            return
        metrics = EphemeralMetrics(service=self.adapter.target)
        metrics.add_dimension("stage", os.environ["STAGE"])
        for name, count in counts.items():
            metrics.add_metric(name, MetricUnit.Count, count)
        metrics.flush_metrics()

    def _command(self, act: Callable[[Mapping[str, str]], str]) -> dict[str, Any]:
        answer: dict[str, Any] = {"target": self.adapter.target, "ok": False, "settings": "unread"}
        try:
            self.forget()
            settings = self._settings.read()
            answer["settings"] = "incomplete"
            self._require(settings)
            answer["settings"] = "complete"
            return answer | {"ok": True, "message": act(settings)}
        except Dormant as dormant:
            return answer | {"settings": "dormant", "message": dormant.reason}
        except Failure as failure:
            return answer | {"message": failure.reason}
        except Exception as error:  # noqa: BLE001 - a person asked, and shall have an answer
            return answer | {"message": described(error)}


class Batch:
    """One batch of messages on the way to their ends."""

    def __init__(self, loop: Delivery, messages: Sequence[Message], remaining: Callable[[], int]) -> None:
        self.unended = {message.id: message for message in messages}
        """The messages that SQS shall keep, by their ids: every one, until it is acknowledged."""
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._adapter = loop.adapter
        self._remaining = remaining

    def run(self) -> None:
        """Bring every message to its end; whatever this raises, `unended` holds those that have none."""
        newest, overtaken = collapsed(self._documents())
        for work in overtaken:
            self._end(work, Skipped("a newer version is in the same batch"))
        works = [work for work in self._with_rows(newest) if not self._ends_untried(work)]
        self._try([work for work in works if not suspect(work)])
        # The least suspect first: what does kill the worker takes the round from all that come after it.
        for work in sorted(filter(suspect, works), key=lambda work: work.row.marks):
            self._try_alone(work)
        if self.counts[METRICS[Misconfigured.status]]:
            self._loop.forget()

    def _documents(self) -> Iterator[tuple[Message, Document]]:
        for message in list(self.unended.values()):
            try:
                yield message, parsed(message)
            except Refused as refused:
                self._report(refused, message_id=message.id)
                self._dead_letter([message], refused.reason, attempts=0)

    def _with_rows(self, works: Sequence[Work]) -> list[Work]:
        try:
            rows = self._loop.table.read([work.ref for work in works])
        except Unavailable as failure:
            for work in works:
                self._report(failure, ref=work.ref, version=work.version)
                self._back_unrecorded(work, failure)
            return []
        return [replace(work, stored=rows.get(work.ref, ABSENT)) for work in works]

    def _ends_untried(self, work: Work) -> bool:
        failure = judged(work, self._loop.now())
        if failure is not None:
            self._end(work, failure)
        return failure is not None

    def _try(self, works: Sequence[Work]) -> None:
        if not works:
            return
        try:
            settings = self._loop.settings()
        except Failure as failure:
            for work in works:
                self._end(work, failure)
            return
        for loaded in self._calls(works):
            few = list(self._leased(loaded)) if self._adapter.leased(settings) else loaded
            for work, outcome in self._outcomes(settings, few):
                self._end(work, outcome)

    def _try_alone(self, work: Work) -> None:
        row = marked(work.row)
        if not self._fits():
            self._end(work, OUT_OF_TIME)
        elif self._recorded(work, row):
            self._try([replace(work, stored=row)])

    def _calls(self, works: Sequence[Work]) -> Iterator[list[Work]]:
        """The loaded works, for one call to the vendor, or for more if there is much in them."""
        few: list[Work] = []
        room = CALL_CHARACTERS
        for work in self._loaded(works):
            few.append(work)
            room -= len(work.document.to_json())
            if room <= 0:
                yield few
                few, room = [], CALL_CHARACTERS
        yield few

    def _loaded(self, works: Sequence[Work]) -> Iterator[Work]:
        """The works with their whole documents, a few at a time, for as long as there is time to deliver them."""
        for start in range(0, len(works), LOADERS):
            few = works[start : start + LOADERS]
            for work, document in zip(few, self._documents_of(few), strict=True):
                if isinstance(document, Failure):
                    self._end(work, document)
                else:
                    yield replace(work, document=document)

    def _documents_of(self, works: Sequence[Work]) -> list[Document | Failure]:
        if not self._fits():
            return [OUT_OF_TIME] * len(works)
        client("s3")  # Made before the threads start: boto3 may not make two at a time.
        with ThreadPoolExecutor(LOADERS) as pool:
            return list(pool.map(self._whole, works))

    def _whole(self, work: Work) -> Document | Failure:
        try:
            return work.document if work.document.change == "removed" else whole(work.document, self._adapter.target)
        except Failure as failure:
            return failure

    def _leased(self, works: Sequence[Work]) -> Iterator[Work]:
        """The works whose items nobody else may write now; the others come to their ends."""
        with ThreadPoolExecutor(LOADERS) as pool:
            for work, lease in zip(works, pool.map(self._lease, works), strict=True):
                if isinstance(lease, Failure):
                    self._end(work, lease)
                else:
                    yield replace(work, stored=started(work.row), lease=lease)

    def _lease(self, work: Work) -> str | Failure:
        """A new lease, which outlasts this worker."""
        lease, now = uuid4().hex, self._loop.now()
        until = now + self._remaining() + LEASE_SLACK * 1000
        try:
            if self._loop.table.take(work.ref, work.stored, started(work.row), lease, now, until):
                return lease
            row = self._loop.table.read([work.ref]).get(work.ref, ABSENT)
        except Unavailable as failure:
            return failure
        return Skipped(f"version {row.version} is known already") if row.version > work.version else LEASED

    def _outcomes(self, settings: Mapping[str, str], works: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        """What the vendor made of the works; one by one, where what became of all may be the fault of one."""
        outcomes: Sequence[Outcome]
        try:
            outcomes = self._delivered(settings, works)
        except (Unavailable, Misconfigured, Busy) as failure:
            outcomes = [failure] * len(works)
        except Exception as error:  # noqa: BLE001 - whatever an adapter lets slip, its batch mates go on
            told = error if isinstance(error, OUTCOMES) else Unavailable(described(error), unsure=True)
            if len(works) > 1:
                yield from self._one_by_one(settings, works, unsure=told.unsure)
                return
            outcomes = [told]
        yield from zip(works, outcomes, strict=True)

    def _one_by_one(
        self, settings: Mapping[str, str], works: Sequence[Work], *, unsure: bool
    ) -> Iterator[tuple[Work, Outcome]]:
        """The same alone; if the vendor may still act on them together, the leases run out by themselves."""
        for work in works:
            for one, outcome in self._outcomes(settings, [work]):
                yield replace(one, lease="") if unsure else one, outcome

    def _delivered(self, settings: Mapping[str, str], works: Sequence[Work]) -> Sequence[Outcome]:
        if not works:
            return []
        if not self._fits():
            raise OUT_OF_TIME
        outcomes = self._adapter.deliver(settings, [work.document for work in works])
        known = [outcome is DONE or isinstance(outcome, OUTCOMES) for outcome in outcomes]
        if known != [True] * len(works):
            raise TypeError("not one outcome for each document")
        return outcomes

    def _fits(self) -> bool:
        return self._remaining() >= (self._adapter.worst_case + MARGIN) * 1000

    def _end(self, work: Work, outcome: Outcome) -> None:
        """Bring the work's messages to their end: one of acknowledged, back to the queue, or dead-lettered."""
        self._report(outcome, ref=work.ref, version=work.version)
        if outcome is not None and outcome.unsure:
            work = replace(work, lease="")  # It runs out by itself.
        if isinstance(outcome, Skipped):
            self._release(work)
            self._acknowledge(work.messages)
            return
        now = self._loop.now()
        outcome = ended(work, outcome, now)
        row = row_after(work, outcome, now)
        if isinstance(outcome, (Refused, GivenUp)):
            self._bury(work, row)
        elif self._recorded(work, row, outcome):
            self._conclude(work, row, outcome, now)

    def _conclude(self, work: Work, row: Row, outcome: Outcome, now: int) -> None:
        if outcome is DONE:
            self._acknowledge(work.messages)
            self._loop.remember_delivery()
        else:
            self._back(work, outcome.seconds if isinstance(outcome, Busy) else (row.not_before - now) / 1000)

    def _recorded(self, work: Work, row: Row, outcome: Outcome = DONE) -> bool:
        """Write the row; where that cannot be, the messages come to another end.

        What was applied but not recorded is not acknowledged: it comes back and is applied again, which changes
        nothing, until the row is written or it is 10 days old. The row is the fence against older versions, so a store
        that has more than the row says could be set back.
        """
        try:
            if self._written(work, row):
                return True
        except Unavailable as failure:
            self._back_unrecorded(work, outcome if isinstance(outcome, Failure) else failure)
        else:
            self._end(replace(work, lease=""), Skipped("a newer version was recorded meanwhile"))
        return False

    def _written(self, work: Work, row: Row) -> bool:
        if work.lease:
            return self._loop.table.write_and_release(work.ref, work.stored, row, work.lease)
        return self._loop.table.write(work.ref, work.stored, row)

    def _release(self, work: Work) -> None:
        if work.lease:
            try:
                self._loop.table.release(work.ref, work.lease)
            except Unavailable as failure:
                logger.warning("the lease runs out by itself", extra={"ref": work.ref, "reason": failure.reason})

    def _back_unrecorded(self, work: Work, failure: Failure) -> None:
        """Without the row's help: by the receive count, and given up for its age alone."""
        if exhausted(0, work.sent_at, self._loop.now()):
            self._dead_letter(work.messages, failure.reason, work.receive_count)
        else:
            logger.warning("not recorded", extra={"ref": work.ref, "version": work.version})
            self._back(work, delay(work.receive_count, retry_after(failure)))

    def _back(self, work: Work, seconds: float) -> None:
        if self._loop.now() - work.sent_at > BEHIND_MS:
            self.counts["Behind"] += 1
        for message in work.messages:
            self._loop.queue.later(message.receipt, seconds)

    def _bury(self, work: Work, row: Row) -> None:
        # The letter first: a row that says so while the letter is lost would begin the schedule anew.
        if self._dead_letter(work.messages, row.reason, row.attempts):
            try:
                self._written(work, row)
            except Unavailable as failure:
                logger.warning(
                    "not recorded", extra={"ref": work.ref, "version": work.version, "reason": failure.reason}
                )

    def _dead_letter(self, messages: Sequence[Message], reason: str, attempts: int) -> bool:
        """One letter for all that say the same; False, and the messages stay, if SQS did not take it."""
        message = messages[0]
        try:
            self._loop.queue.dead_letter(message.body, message.attributes, reason, self._adapter.target, attempts)
        except (BotoCoreError, ClientError) as error:
            failure = {"message_id": message.id, "reason": str(error)}
            logger.warning("the dead-letter queue did not take it", extra=failure)
            return False
        self.counts["DeadLettered"] += 1
        self._acknowledge(messages)
        # At once: if a batch mate kills this worker, the answer is lost, and each round would write the letter again.
        for message in messages:
            self._loop.queue.delete(message.receipt)
        return True

    def _acknowledge(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.unended.pop(message.id, None)

    def _report(self, outcome: Outcome, **about: str | int) -> None:
        status = "done" if outcome is None else outcome.status
        if status in METRICS:
            self.counts[METRICS[status]] += 1
        reason = {} if outcome is None else {"reason": outcome.reason}
        log = logger.info if status in QUIET else logger.warning
        log(status, extra={"outcome": status, **about, **reason})


def handler(
    target: str,
    *,
    required: tuple[str, ...],
    deliver: Callable[[Mapping[str, str], Sequence[Document]], Sequence[Outcome]],
    check: Callable[[Mapping[str, str]], str],
    setup: Callable[[Mapping[str, str]], str],
    reset: Callable[[], None],
    worst_case: float,
    leased: Callable[[Mapping[str, str]], bool] = lambda _: False,
) -> Handler:
    """The Lambda handler of a store.

        `required` names the settings that must be there. `deliver` gets whole documents (removed ones have identity,
    version and url), at most one of a ref, and returns an outcome for each in their order, or raises a Failure that
    holds for all. `check` looks, `setup` prepares; both return a sentence or raise a Failure. `reset` drops cached
    clients. `worst_case` is how many seconds one `deliver` may take. `leased` says, by the settings, whether the store
    cannot refuse an old write by itself: then `deliver` gets only documents whose lease this worker holds.
    """
    adapter = Adapter(target, required, deliver, check, setup, reset, worst_case, leased)
    loop = cache(lambda: Delivery(adapter))  # At the first event, for the environment is the function's.
    return lambda event, context: loop().handle(event, context)
