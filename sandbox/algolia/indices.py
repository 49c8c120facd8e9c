"""Algolia's indices: records and settings, and the queue through which every change of them goes."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sandbox.algolia.settings import changed

Record = Mapping[str, Any]
Status = Literal["published", "notPublished"]

FIRST_TASK = 10_000_000_001
"""Task ids are beyond 32 bit."""


# --- what can be done to an index ---


@dataclass(frozen=True)
class Save:
    """A record is added, or replaces the one with its id."""

    record: Record


@dataclass(frozen=True)
class Update:
    """Attributes of a record are set, or changed by built-in operations; without the record, it is made of them."""

    object_id: str
    attributes: Mapping[str, Any]
    creates: bool


@dataclass(frozen=True)
class Delete:
    """A record goes; that it is not there is no error."""

    object_id: str


@dataclass(frozen=True)
class DeleteMatching:
    """All records go of which it is true."""

    matches: Callable[["Index"], Callable[[Record], bool]]


@dataclass(frozen=True)
class Clear:
    """All records go, the settings stay."""


@dataclass(frozen=True)
class Drop:
    """The index goes."""


@dataclass(frozen=True)
class Configure:
    """Settings are set; null resets one."""

    settings: Mapping[str, Any]


Operation = Save | Update | Delete | DeleteMatching | Clear | Drop | Configure


def now() -> str:
    """The time, as Algolia writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Index:
    """What a search sees."""

    records: dict[str, Record] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """What was set, not what a fresh index has."""
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


# --- built-in operations ---


def updated(record: Record | None, update: Update) -> Record | None:
    """The record after an update, None if the update is ignored because of a version.

    IncrementSet wants a value above the one that is there, IncrementFrom the one that is there; what is not there
    counts as 0. One that fails ignores the update whole.
    https://www.algolia.com/doc/rest-api/search/partial-update-object
    https://www.algolia.com/doc/guides/sending-and-managing-data/send-and-update-your-data/in-depth/handling-concurrency-with-versioning
    """
    before = record or {}
    after = dict(before)
    for name, value in update.attributes.items():
        if not is_built_in(value):
            after[name] = value
            continue
        operation, operand = value["_operation"], value["value"]
        if not _is_current(operation, before.get(name), operand):
            return None
        after[name] = _OPERATIONS[operation](before.get(name), operand)
    return {**after, "objectID": update.object_id}


def is_built_in(value: Any) -> bool:
    """Whether an attribute of an update is not a value but an operation; deeper ones are values."""
    return isinstance(value, Mapping) and "_operation" in value


def _is_current(operation: str, stored: Any, operand: Any) -> bool:
    version = 0 if stored is None else stored
    if operation == "IncrementSet":
        return is_integer(version) and operand > version
    return operation != "IncrementFrom" or (is_integer(version) and operand == version)


def is_integer(value: Any) -> bool:
    """Whether it is one in JSON, where true is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is one in JSON, where true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> Any:
    return value if is_number(value) else 0


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


_OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "Increment": lambda stored, value: _number(stored) + value,
    "Decrement": lambda stored, value: _number(stored) - value,
    "Add": lambda stored, value: [*_list(stored), value],
    "Remove": lambda stored, value: [one for one in _list(stored) if one != value],
    "AddUnique": lambda stored, value: _list(stored) if value in _list(stored) else [*_list(stored), value],
    "IncrementFrom": lambda _, value: value + 1,
    "IncrementSet": lambda _, value: value,
}
BUILT_IN = frozenset(_OPERATIONS)


# --- the indices and their queue ---


@dataclass(frozen=True)
class _Task:
    number: int
    index: str
    due: float
    operations: Sequence[Operation]


class Indices:
    """All indices of an application. What changes them is a task, and tasks are done in the order of their acceptance.

    Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._indices: dict[str, Index] = {}
        self._waiting: deque[_Task] = deque()
        self._statuses: dict[tuple[str, int], Status] = {}

    def accept(self, index: str, operations: Sequence[Operation], delay: float) -> int:
        """Puts a task at the end of the queue, not to be done for `delay` seconds; its number."""
        with self._lock:
            number = FIRST_TASK + len(self._statuses)
            self._waiting.append(_Task(number, index, time.monotonic() + delay, operations))
            self._statuses[index, number] = "notPublished"
            return number

    def status(self, index: str, number: int) -> Status | None:
        """Whether a task is done, None if it is none of this index.

        One in which a version was outdated never is: such a task "won't necessarily show up as published".
        """
        with self._lock:
            self._work()
            return self._statuses.get((index, number))

    @property
    def waiting(self) -> int:
        """How many tasks are not done yet."""
        with self._lock:
            self._work()
            return len(self._waiting)

    def get(self, index: str) -> Index | None:
        """What a search sees of an index now, to be read only; None if it does not exist."""
        with self._lock:
            self._work()
            found = self._indices.get(index)
            return (
                Index(dict(found.records), dict(found.settings), found.created_at, found.updated_at) if found else None
            )

    def names(self) -> list[str]:
        """The names of all indices, sorted."""
        with self._lock:
            self._work()
            return sorted(self._indices)

    def count(self, added: Mapping[str, Iterable[str]]) -> int:
        """How many records there would be if those with these ids were added to these indices."""
        with self._lock:
            self._work()
            ids = {name: set(index.records) for name, index in self._indices.items()}
        for name, more in added.items():
            ids[name] = ids.get(name, set()) | set(more)
        return sum(map(len, ids.values()))

    def _work(self) -> None:
        while self._waiting and self._waiting[0].due <= time.monotonic():
            task = self._waiting.popleft()
            done = [self._apply(task.index, operation) for operation in task.operations]
            self._statuses[task.index, task.number] = "published" if all(done) else "notPublished"

    def _apply(self, name: str, operation: Operation) -> bool:
        """Whether it was not ignored because of a version."""
        if isinstance(operation, Drop):
            self._indices.pop(name, None)
            return True
        if name not in self._indices and not _makes_an_index(operation):
            return True
        index = self._indices.setdefault(name, Index())
        index.updated_at = now()
        return _applied(index, operation)


def _makes_an_index(operation: Operation) -> bool:
    return isinstance(operation, Save | Configure) or (isinstance(operation, Update) and operation.creates)


def _applied(index: Index, operation: Save | Update | Delete | DeleteMatching | Clear | Configure) -> bool:
    match operation:
        case Save():
            index.records[operation.record["objectID"]] = operation.record
        case Update():
            return _updated_in(index, operation)
        case Delete():
            index.records.pop(operation.object_id, None)
        case DeleteMatching():
            matches = operation.matches(index)
            index.records = {number: record for number, record in index.records.items() if not matches(record)}
        case Clear():
            index.records.clear()
        case Configure():
            index.settings = changed(index.settings, operation.settings)
    return True


def _updated_in(index: Index, update: Update) -> bool:
    before = index.records.get(update.object_id)
    if before is None and not update.creates:
        return True
    after = updated(before, update)
    if after is not None:
        index.records[update.object_id] = after
    return after is not None
