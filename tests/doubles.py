"""In-memory doubles of what resolve talks to, as strict about conditions as the real things."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from buttersync.archive import Gone
from buttersync.butter import Listing
from buttersync.model import Change, Document, Identity
from decisions import Pointer, Row
from storage import Conflict


class TableDouble:
    """The content table: a write is refused unless its counter is the one after what is there."""

    def __init__(self) -> None:
        self.items: dict[str, Row] = {}
        self.pointers: dict[str, Pointer] = {}
        self.began: int | None = None
        self.counts: dict[str, dict[str, int]] = {}
        self.before_record: Callable[[], object] = lambda: None
        self.before_move: Callable[[], object] = lambda: None

    def row(self, ref: str) -> Row:
        return self.items.get(ref, Row(ref=ref))

    def rows(self, refs: Iterable[str]) -> dict[str, Row]:
        return {ref: self.row(ref) for ref in refs}

    def record(self, row: Row) -> None:
        self.before_record()
        if self.row(row.ref).readings != row.readings - 1:
            raise Conflict
        self.items[row.ref] = row

    def clear_pending(self, row: Row) -> None:
        if self.row(row.ref).version == row.version:
            self.items[row.ref] = msgspec.structs.replace(self.row(row.ref), pending="")

    def pointer(self, key: str) -> Pointer:
        return self.pointers.get(key, Pointer(ref=key))

    def move(self, pointer: Pointer) -> None:
        self.before_move()
        if self.pointer(pointer.ref).writes != pointer.writes - 1:
            raise Conflict
        self.pointers[pointer.ref] = pointer

    def live_since(self) -> int | None:
        return self.began

    def add(self, key: str, counts: Mapping[str, int], page: int) -> None:
        counted = self.counts.setdefault(key, {})
        if counted.get("page", 0) >= page:
            return
        for name, number in counts.items():
            counted[name] = counted.get(name, 0) + number
        counted["page"] = page


class ArchiveDouble:
    """The archive: nothing is overwritten."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.failure: Exception | None = None

    def put(self, document: Document) -> None:
        if self.failure:
            raise self.failure
        self.objects.setdefault(document.archive_key, document)

    def get(self, key: str) -> Document:
        if key not in self.objects:
            raise Gone(key)
        return self.objects[key]


class TopicDouble:
    """The topic: what was published, in order; it can fail."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.targets: list[str] = []
        self.failure: Exception | None = None

    def publish(self, document: Document, target: str = "all") -> None:
        if self.failure:
            raise self.failure
        self.documents.append(Document.from_json(document.to_message()))
        self.targets.append(target)


class ButterDouble:
    """ButterCMS: items by ref, and old copies that it shows instead until they are taken away."""

    def __init__(self) -> None:
        self.items: dict[str, Mapping[str, Any]] = {}
        self.cached: dict[str, Mapping[str, Any] | None] = {}
        self.asked: list[tuple[str, str | None, bool]] = []
        self.lists: dict[tuple[str, str, int, str | None], Listing] = {}
        self.before_answer: Callable[[], object] = lambda: None

    def item(self, identity: Identity, locale: str | None = None) -> Mapping[str, Any] | None:
        self.asked.append((identity.ref, locale, True))
        self.before_answer()
        if identity.ref in self.cached:
            return self.cached[identity.ref]
        return self.items.get(identity.ref)

    def listing(
        self, kind: str, group: str, page: int, locale: str | None = None, fresh: bool = False
    ) -> Listing | None:
        self.asked.append((f"{kind}:{group}:{page}", locale, fresh))
        return self.lists.get((kind, group, page, locale))


class Sent:
    """Resolve's own queue: what was sent to it, and for how many seconds it sleeps there."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, float]] = []

    def __call__(self, message: Any, seconds: float) -> None:
        self.messages.append((message, seconds))

    @property
    def changes(self) -> list[Change]:
        return [message for message, _ in self.messages if isinstance(message, Change)]
