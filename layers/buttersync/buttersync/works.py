"""One version of one item on its way through a batch, and what is decided about it, without doing anything.

To the outcomes of an adapter come those of the loop itself: skipped, dormant, busy and given up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from buttersync.model import REF_BYTES, UNREADABLE, Document
from buttersync.outcomes import Failure, Misconfigured, Outcome, Refused, Unavailable
from buttersync.queues import Message, delay, exhausted, sendable
from buttersync.rows import ABSENT, Row

SUSPECT_RECEIVES = 5
"""Received so often without a recorded end, a message is handled alone: it may have killed its workers."""

KILLS = 3
"""So often begun alone and never ended, it has."""


class Skipped(Failure):
    """There is nothing to do any more, for example because a newer version is known: the message is deleted."""

    status = "skipped"


class Dormant(Skipped):
    """The target has no settings and has never delivered: its documents are deleted, and nothing alarms."""

    status = "dormant"


class Busy(Failure):
    """Not now, and nobody's fault: back after `seconds`, and no attempt is counted."""

    status = "busy"

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class GivenUp(Failure):
    """No more tries: into the dead-letter queue, after that many `attempts`."""

    status = "dead"

    def __init__(self, reason: str, attempts: int) -> None:
        super().__init__(reason)
        self.attempts = attempts


@dataclass(frozen=True)
class Work:
    """One version of one item, and every message of the batch that carries it."""

    document: Document
    messages: tuple[Message, ...]
    stored: Row = ABSENT
    """The row as the table has it."""
    lease: str = ""
    """By which this worker alone may write the item, to be released at the end; empty where there is none."""

    @property
    def ref(self) -> str:
        return self.document.identity.ref

    @property
    def version(self) -> int:
        return self.document.version

    @property
    def row(self) -> Row:
        """Where this version stands: a version that the row does not know yet starts afresh."""
        return self.stored if self.stored.version == self.version else Row(self.version)

    @property
    def attempts(self) -> int:
        """The failed tries of this schedule; what comes again after an end, by a redrive or a replay, has a new one."""
        return self.row.attempts if self.row.status not in ("done", "refused", "dead") else 0

    @property
    def sent_at(self) -> int:
        return max(message.sent_at for message in self.messages)

    @property
    def receive_count(self) -> int:
        return max(message.receive_count for message in self.messages)


def parsed(message: Message) -> Document:
    """The document in a message; raises Refused, with the field named, for what no target could take."""
    try:
        document = Document.from_json(message.body)
        ref = document.identity.ref
    except UNREADABLE as error:
        raise Refused(f"malformed: {error}") from error
    # A key that DynamoDB turns down would sink the whole batch's reading.
    if len(ref.encode()) > REF_BYTES:
        raise Refused(f"malformed: the ref is longer than {REF_BYTES} bytes - at `$.identity`")
    if document.change != "removed" and not document.archive_key:
        raise Refused("malformed: empty - at `$.archive_key`")
    return document


def collapsed(documents: Iterable[tuple[Message, Document]]) -> tuple[list[Work], list[Work]]:
    """One work for each version of each item: the newest of every item, and those that they overtake."""
    works: dict[tuple[str, int], Work] = {}
    for message, document in documents:
        key = (document.identity.ref, document.version)
        messages = works[key].messages if key in works else ()
        works[key] = Work(document, (*messages, message))
    newest = dict(sorted(works))  # of one ref's versions the last, the highest, stays
    return (
        [work for (ref, version), work in works.items() if version == newest[ref]],
        [work for (ref, version), work in works.items() if version < newest[ref]],
    )


def judged(work: Work, now: int) -> Failure | None:
    """Why the work is not to be tried now (ms), if there is a reason."""
    row = work.row
    if work.stored.version > work.version:
        return Skipped(f"version {work.stored.version} is known already")
    if row.marks >= KILLS:
        return GivenUp(f"kills its worker: begun alone {row.marks} times and never ended", work.attempts)
    if row.status in (Unavailable.status, Misconfigured.status) and row.not_before > now:
        return Busy(row.reason, (row.not_before - now) / 1000)
    return None


def suspect(work: Work) -> bool:
    """Whether the work may have killed the workers that had it."""
    return work.row.marks > 0 or work.receive_count - work.row.ends >= SUSPECT_RECEIVES


def started(row: Row) -> Row:
    """The row of what is begun now."""
    return replace(row, status="started") if row.status == "new" else row


def marked(row: Row) -> Row:
    """The row of a suspect that is begun now; any end takes the mark away."""
    return replace(started(row), marks=row.marks + 1)


def ended(work: Work, outcome: Outcome, now: int) -> Outcome:
    """The outcome, or GivenUp for the same reason if there is to be no further try (`now` in ms)."""
    if not isinstance(outcome, (Unavailable, Misconfigured, Busy)):
        return outcome
    attempts = work.attempts if isinstance(outcome, Busy) else work.attempts + 1
    return GivenUp(outcome.reason, attempts) if exhausted(attempts, work.sent_at, now) else outcome


def row_after(work: Work, outcome: Outcome, now: int) -> Row:
    """The row after a try, or after none (Busy). Every end but Busy and the waits leaves nothing to count on from."""
    row = work.row
    match outcome:
        case Busy():
            status = "busy" if row.status in ("new", "started") else row.status
            return replace(row, status=status, ends=row.ends + 1, marks=0)
        case Refused():
            return Row(work.version, outcome.status, work.attempts + 1, reason=sendable(outcome.reason))
        case GivenUp():
            return Row(work.version, outcome.status, outcome.attempts, reason=sendable(outcome.reason))
        case Failure():
            return _waiting(work, outcome, now)
    return Row(work.version, "done")


def _waiting(work: Work, outcome: Failure, now: int) -> Row:
    wait = delay(work.attempts + 1, retry_after(outcome), isinstance(outcome, Misconfigured))
    return Row(
        version=work.version,
        status=outcome.status,
        attempts=work.attempts + 1,
        not_before=now + round(wait * 1000),
        reason=sendable(outcome.reason),
        ends=work.row.ends + 1,
    )


def retry_after(outcome: Outcome) -> float:
    """The seconds that the vendor asked to be left alone."""
    return outcome.retry_after if isinstance(outcome, Unavailable) else 0
