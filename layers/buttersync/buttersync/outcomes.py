"""What became of a try, in the four words that every adapter turns its vendor's answer into.

An adapter returns `DONE` or raises (or returns) one of the others; nothing else escapes it. The text of a failure is
the vendor's own, shortened, and never holds a secret or a row's content: it is logged, kept in the delivery table, and
travels with a dead letter.
"""

import traceback
from pathlib import Path

REASON_CHARACTERS = 300


class Failure(Exception):
    """A try that did not end well; `reason` says why in at most 300 characters.

    `unsure` says that the vendor may act on the request all the same, now or in a while: what it was sent was not
    answered. A leased document then keeps its lease until that runs out, so that nothing newer can be overtaken.
    """

    status = ""
    unsure = False

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:REASON_CHARACTERS])

    @property
    def reason(self) -> str:
        return str(self)


class Unavailable(Failure):
    """A 5xx, a time-out, throttling: the same request may pass later, not before `retry_after` seconds."""

    status = "unavailable"

    def __init__(self, reason: str, retry_after: float = 0, *, unsure: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.unsure = unsure


class Misconfigured(Failure):
    """A bad key, no credit, a missing right: a person must mend it; alarms at once."""

    status = "misconfigured"


class Refused(Failure):
    """This document can never pass; it is dead-lettered with the reason, and its batch mates go on."""

    status = "refused"


Outcome = Failure | None
"""None is *done*: applied, or already so."""

DONE: Outcome = None


def described(error: Exception) -> str:
    """What an unexpected error is and where it arose, without its text, which may quote a document or a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"unexpected {type(error).__name__} at {where}"
