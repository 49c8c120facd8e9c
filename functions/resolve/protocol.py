"""The protocol of one reading: read the row, read ButterCMS, archive, record, publish, clear.

Why each step is there: publishing before recording would lose the winner's state when two readings cross; recording
only what changed would let a slow old reading be written after a newer one that found nothing new; without `pending` a
crash between recording and publishing would lose the document. Whatever fails or dies, the change comes again from its
queue.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

import decisions
import documents
from buttersync.archive import Gone
from buttersync.model import REF_BYTES, SINGLE_PAGES, Change, Document, Effect, Identity, usable
from buttersync.outcomes import Unavailable
from decisions import Pointer, Reading, Row, Site
from documents import UrlPatterns
from storage import Conflict

STARTS = 10
"""So often a worker starts again when others keep writing the same row; then the queue's schedule takes over."""

SIBLING = "sibling"
"""The event of a change for the translation that ButterCMS answered with instead of the post that was asked for."""


class Reader(Protocol):
    """The part of Butter that the protocol needs."""

    def item(self, identity: Identity, locale: str | None = None) -> Mapping[str, Any] | None: ...


class Table(Protocol):
    """The part of ContentTable that the protocol needs."""

    def row(self, ref: str) -> Row: ...
    def rows(self, refs: Iterable[str]) -> dict[str, Row]: ...
    def record(self, row: Row) -> None: ...
    def clear_pending(self, row: Row) -> None: ...
    def pointer(self, key: str) -> Pointer: ...
    def move(self, pointer: Pointer) -> None: ...
    def live_since(self) -> int | None: ...


class Documents(Protocol):
    """The part of Archive that the protocol needs."""

    def put(self, document: Document) -> None: ...
    def get(self, key: str) -> Document: ...


class Publisher(Protocol):
    """The part of Topic that the protocol needs."""

    def publish(self, document: Document, target: str = "all") -> None: ...


class Rules(msgspec.Struct, frozen=True):
    """What the stack's parameters say about the site."""

    default_locale: str
    look_seconds: Sequence[int]
    announce_window: int
    """ms"""
    patterns: UrlPatterns

    def locale_parameter(self, locale: str) -> str | None:
        """What to send to ButterCMS: a locale only if it is not the default one."""
        return None if locale == self.default_locale else locale

    def is_last(self, change: Change) -> bool:
        """Whether this look is the one after which a doubtful reading is believed."""
        return change.look >= len(self.look_seconds)


def now() -> int:
    """The time (ms)."""
    return time.time_ns() // 1_000_000


class Resolver:
    """Everything that the protocol talks to; `send` puts a change into resolve's own queue, for a number of seconds."""

    def __init__(
        self,
        table: Table,
        reader: Reader,
        archive: Documents,
        topic: Publisher,
        send: Callable[[Change, float], None],
        rules: Rules,
        now: Callable[[], int] = now,
    ) -> None:
        self.table = table
        self.rules = rules
        self.now = now
        self._reader = reader
        self._archive = archive
        self._topic = topic
        self._send = send
        self._live_since: int | None = None

    def resolve(self, change: Change) -> str:
        """Find out what became of the item and publish it; what happened, in a word or two, for the log.

        Raises Unavailable or Misconfigured, and the errors of botocore; the change must then be tried again.
        """
        for _ in range(STARTS):
            try:
                return self._once(change)
            except Conflict:
                continue
        raise Unavailable("other workers keep writing the same row")

    def _once(self, change: Change) -> str:
        pointer = self._pointer(change)
        row = self.publish_pending(self.table.row(change.identity.ref))
        if change.claims == "draft" and not row.published:
            # Another worker may have read it while it was published, and not have recorded it yet.
            return self._doubtful(change, pointer, "draft of nothing published")
        reading = self._read(change)
        if change.republish and reading.content and decisions.same(row, reading):
            self.republish(row, reading, change.republish)
        reason = decisions.doubt(row, change, reading)
        if reason and not self.rules.is_last(change):
            return self._doubtful(change, pointer, reason)
        return self._believed(row, change, reading, pointer)

    def _believed(self, row: Row, change: Change, reading: Reading, pointer: Pointer | None) -> str:
        if change.claims == "removed" and reading.content:
            # The event's item is gone; whoever is here by now is another.
            change, pointer = msgspec.structs.replace(change, numeric_id=None), None
        new = self.record(row, change, reading, pointer)
        self._leave(change, pointer)
        if pointer and reading.content:
            self._point(change, pointer, new.announce_key)
        elif not reading.content and (pointer or change.claims == "removed") and not self.rules.is_last(change):
            # Another worker may have read the item elsewhere, and not have moved the pointer yet; or the webhook is
            # late, the item was published again and read since, and this reading is from before.
            self._look_again(change, len(self.rules.look_seconds))
        return new.pending or "nothing new"

    def _doubtful(self, change: Change, pointer: Pointer | None, reason: str) -> str:
        if change.look == 0 or self.rules.is_last(change):
            self._leave(change, pointer)
        if not self.rules.is_last(change):
            self._look_again(change, change.look + 1)
        return f"doubtful: {reason}"

    def publish_pending(self, row: Row) -> Row:
        """Publish what a worker recorded and did not live to publish; a recorded version is always safe to publish.

        The row to go on with: if the archive has lost the document, one that every reading differs from.
        """
        if not row.pending:
            return row
        try:
            self._publish(row, self._pending_document(row, row.pending))
        except Gone:
            return msgspec.structs.replace(row, hash="")
        return row

    def record(self, row: Row, change: Change, reading: Reading, pointer: Pointer | None = None) -> Row:
        """Archive, record, publish, clear; the recorded row's `pending` says what was published. Raises Conflict."""
        effect = decisions.effect_of(row, change, reading, self._site())
        new = decisions.recorded(row, change, pointer, reading, effect)
        if effect is None:
            self.table.record(new)
            return new
        document = decisions.document_of(change.identity, new, reading.content, effect)
        self._archive.put(document)
        self.table.record(new)
        self._publish(new, document)
        return new

    def republish(self, row: Row, reading: Reading, target: str) -> None:
        """Publish the row's version again, unchanged, and put it back into the archive if it is gone from there."""
        document = decisions.document_of(Identity.parse(row.ref), row, reading.content, "updated")
        self._archive.put(document)
        self._topic.publish(document, target)

    def content_of(self, identity: Identity, item: Mapping[str, Any]) -> documents.Content:
        """The item as a document's content; raises Unavailable if ButterCMS answered nonsense."""
        try:
            return documents.mapped(identity, item, self.rules.patterns)
        except documents.Nonsense as error:
            raise Unavailable(f"ButterCMS answered nonsense: {error}") from error

    def _read(self, change: Change) -> Reading:
        identity, at = change.identity, self.now()
        item = self._reader.item(identity, self.rules.locale_parameter(identity.locale))
        if item is not None and not documents.matches(identity, item):
            self._meet_another(change, item)
            item = None
        if item is None or not documents.is_published(identity, item):
            return Reading(at, None)
        return Reading(at, self.content_of(identity, item))

    def _meet_another(self, change: Change, item: Mapping[str, Any]) -> None:
        """ButterCMS answered with another item than asked for.

        A typed page for `*`: the single page is not there. A post with another slug is the translation of the post
        that was asked for: it is not at this ref, and its own ref is looked at as well.
        """
        identity = change.identity
        if identity.kind == "page" and identity.group == SINGLE_PAGES:
            return
        slug = item.get("slug")
        if identity.kind != "post" or not isinstance(slug, str) or not usable(slug):
            raise Unavailable("ButterCMS answered with another item than asked for")
        sibling = msgspec.structs.replace(identity, name=slug)
        if change.event != SIBLING and len(sibling.ref) <= REF_BYTES:
            self._send(msgspec.structs.replace(change, identity=sibling, event=SIBLING), 0)

    def _look_again(self, change: Change, look: int) -> None:
        seconds = self.rules.look_seconds[look - 1]
        not_before = self.now() + seconds * 1000
        again = msgspec.structs.replace(change, look=look, attempts=0, not_before=not_before, republish="")
        self._send(again, seconds)

    def _publish(self, row: Row, document: Document) -> None:
        self._topic.publish(document)
        self.table.clear_pending(row)

    def _pending_document(self, row: Row, effect: Effect) -> Document:
        if effect == "removed":
            return decisions.document_of(Identity.parse(row.ref), row, None, effect)
        kept = self._archive.get(row.archive_key)
        return msgspec.structs.replace(kept, change=effect, announce_key=row.announce_key)

    def _pointer(self, change: Change) -> Pointer | None:
        key = decisions.pointer_key(change)
        return self.table.pointer(key) if key else None

    def _leave(self, change: Change, pointer: Pointer | None) -> None:
        """If the item was last seen elsewhere, ask what became of it there; that ref is read for itself."""
        if pointer and pointer.item_ref not in ("", change.identity.ref):
            self._send(_old_ref(change, pointer.item_ref), 0)

    def _point(self, change: Change, pointer: Pointer, announce_key: str) -> None:
        ref = change.identity.ref
        key = pointer.announce_key or announce_key
        self.table.move(Pointer(ref=pointer.ref, item_ref=ref, announce_key=key, writes=pointer.writes + 1))

    def _site(self) -> Site:
        # Once set it never changes; until then each reading asks.
        self._live_since = self._live_since or self.table.live_since()
        return Site(self._live_since, self.rules.announce_window)


def _old_ref(change: Change, ref: str) -> Change:
    """The item has been renamed: what became of its old ref is read like any other change."""
    return Change(
        identity=Identity.parse(ref), event="delete", claims="removed", received_at=change.received_at, numeric_id=None
    )
