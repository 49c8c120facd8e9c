"""What became of an item: pure decisions from the row that is known, the change, and what ButterCMS shows now."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from buttersync.model import Change, Document, Effect, Identity
from documents import Content

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Status = Literal["absent", "published", "removed"]


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one ref. A ref that nobody has seen has the defaults; `absent` has been looked for in vain."""

    ref: str
    status: Status = "absent"
    version: int = 0
    hash: str = ""
    """Of the published content; empty when there is none."""
    updated: str = ""
    """The highest `updated` ever seen, kept through removals."""
    url: str = ""
    archive_key: str = ""
    announce_key: str = ""
    """Fixed with the first version."""
    numeric_id: int | None = None
    read_at: int = 0
    """When ButterCMS was read for this row (ms)."""
    readings: int = 0
    """Counts every write of a reading: the condition of the next one."""
    pending: Effect | Literal[""] = ""
    """The change of `version`, until it is published."""

    @property
    def published(self) -> bool:
        return self.status == "published"


class Pointer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an item with a numeric id was seen last."""

    ref: str
    """The pointer's own key."""
    item_ref: str = ""
    announce_key: str = ""
    writes: int = 0


class Reading(msgspec.Struct, frozen=True):
    """What ButterCMS showed, and when it was asked (ms); no content means not published, whatever the reason."""

    at: int
    content: Content | None


class Site(msgspec.Struct, frozen=True):
    """What decides whether something is news."""

    live_since: int | None
    """When the first backfill began (ms); before it nothing is `created`."""
    announce_window: int
    """ms"""


def pointer_key(change: Change) -> str:
    """The key of the pointer for the change's item, or nothing where there is no numeric id to point from."""
    identity = change.identity
    if change.numeric_id is None or identity.kind == "item":
        return ""
    return f"pointer:{identity.kind}:{change.numeric_id}:{identity.locale}"


def same(row: Row, reading: Reading) -> bool:
    """Is the reading what the row says already?"""
    if reading.content is None:
        return not row.published
    return row.published and row.hash == reading.content.hash


def doubt(row: Row, change: Change, reading: Reading) -> str:
    """Why the reading may be an old copy, or nothing if it can only be new."""
    content = reading.content
    if change.claims == "published" and content is None:
        return "not published, though the event says published"
    if change.claims == "removed" and content is not None:
        return "published, though the event says removed"
    if same(row, reading):
        return "nothing new"
    if content is not None and content.updated_at is not None and content.updated_at <= row.updated:
        return "not newer than what has been seen"
    if row.read_at >= change.received_at:
        return "different, though read since the event arrived"
    return ""


def effect_of(row: Row, change: Change, reading: Reading, site: Site) -> Effect | None:
    """The change that the targets hear of, or None where nothing became of the item."""
    content = reading.content
    if content is None:
        unknown = row.status == "absent" and change.claims == "removed"
        return "removed" if row.published or unknown else None
    if row.published and not _another_item(row, change):
        if row.hash == content.hash:
            return None
        return "created" if row.pending == "created" else "updated"
    return "created" if _is_news(content, reading.at, site) else "updated"


def recorded(row: Row, change: Change, pointer: Pointer | None, reading: Reading, effect: Effect | None) -> Row:
    """The row after this reading; with an effect it has a new version, and the effect is pending."""
    content = reading.content
    seen = msgspec.structs.replace(
        row,
        readings=row.readings + 1,
        read_at=max(row.read_at, reading.at),
        updated=max(row.updated, (content and content.updated_at) or ""),
        numeric_id=change.numeric_id or row.numeric_id,
        pending="",  # what the row had pending was published before the reading
    )
    if effect is None:
        return seen
    version = max(row.version + 1, reading.at)
    return msgspec.structs.replace(
        seen,
        version=version,
        status="published" if content else "removed",
        hash=content.hash if content else "",
        url=content.url if content else row.url,
        archive_key=f"{row.ref}/{version}-{content.hash if content else 'removed'}",
        announce_key=_announce_key(row, change, pointer),
        pending=effect,
    )


def document_of(identity: Identity, row: Row, content: Content | None, effect: Effect) -> Document:
    """The document of the row's version."""
    values = {"url": row.url} if content is None else msgspec.structs.asdict(content)
    return Document(
        identity=identity,
        version=row.version,
        change=effect,
        announce_key=row.announce_key,
        archive_key=row.archive_key,
        **values,
    )


def _another_item(row: Row, change: Change) -> bool:
    return None not in (row.numeric_id, change.numeric_id) and row.numeric_id != change.numeric_id


def _is_news(content: Content, now: int, site: Site) -> bool:
    if content.published_at is None or site.live_since is None:
        return False
    published = (datetime.fromisoformat(content.published_at) - EPOCH) // timedelta(milliseconds=1)
    return published >= site.live_since and now - published <= site.announce_window


def _announce_key(row: Row, change: Change, pointer: Pointer | None) -> str:
    if row.announce_key and not _another_item(row, change):
        return row.announce_key
    if pointer and pointer.announce_key:
        return pointer.announce_key
    identity = change.identity
    if change.numeric_id is None or identity.kind == "item":
        return identity.ref
    parts = [identity.kind, str(change.numeric_id)]
    return ":".join(parts if identity.kind == "post" else [*parts, identity.locale])
