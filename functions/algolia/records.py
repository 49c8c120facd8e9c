"""What a document is to Algolia: its index, and its record there, within the plan's size. All of it is pure.

A record is JSON without nesting: https://www.algolia.com/doc/guides/sending-and-managing-data/prepare-your-data
"""

import math
import re
from bisect import bisect_right
from datetime import datetime
from typing import Any

import msgspec

from buttersync.html_text import plain_text
from buttersync.model import Document, Identity
from buttersync.outcomes import Refused
from buttersync.text import storable
from buttersync.words import texts

Record = dict[str, Any]
Request = dict[str, Any]
"""One action of a batch."""

PAGES, POSTS, COLLECTION = "pages", "posts", "collection_"

LEAST_BYTES = 500
"""No text of an item's own is cut below this: labels and addresses stay whole."""

_ADDRESS = re.compile(r"\s*+https?://[^\s<]++\s*+", re.IGNORECASE)
"""Kept as it is: as HTML, ``?a=1&copy=2`` would hold a copyright sign."""

_WHOLE = re.compile(rb'"(?:[^\\]++|\\u[0-9a-f]{4}|\\[^u])*+')
"""The beginning of a JSON string, up to an escape that is cut off."""

_LARGEST = 2**63
_DIGITS = 19
"""An integer of fewer digits has 64 bits at the most."""


def index_of(identity: Identity, prefix: str) -> str:
    """``pages``, ``posts`` or ``collection_<key>``, which no key can make one of the other two; behind the prefix."""
    if identity.kind == "item":
        return f"{prefix}{COLLECTION}{identity.group}"
    return prefix + (PAGES if identity.kind == "page" else POSTS)


def request(document: Document, record_bytes: int) -> Request:
    """What puts the document's record in the place of the one that is there, or deletes it; raises Refused."""
    if document.change == "removed":
        return {"action": "deleteObject", "body": {"objectID": document.identity.ref}}
    return {"action": "addObject", "body": record(document, record_bytes)}


# -------------------------------------------------------------------------------------- from documents to records


def record(document: Document, record_bytes: int) -> Record:
    """The record in at most `record_bytes`, texts cut if need be; raises Refused if that is not enough."""
    ours = _ours(document)
    fields = {} if document.identity.kind == "post" else document.fields
    attributes = {storable(name): _attribute(field) for name, field in fields.items()}
    theirs = {name: value for name, value in _present(attributes).items() if _is_free(name) and name not in ours}
    return _fitted(_present(ours), theirs, record_bytes)


def _ours(document: Document) -> Record:
    """The attributes that have the same name in every record, None for what is not there."""
    return {
        "objectID": document.identity.ref,
        "type": document.identity.kind,
        "title": storable(document.title),
        **_place(document),
        "locale": storable(document.identity.locale),
        "url": storable(document.url) or None,
        "summary": storable(document.summary),
        "image": storable(document.image) or None,
        "author": storable(document.author) or None,
        "categories": [storable(category) for category in document.categories],
        "tags": [storable(tag) for tag in document.tags],
        "published_at": _seconds(document.published_at),
        "updated_at": _seconds(document.updated_at),
        "content": storable(document.text),
    }


def _place(document: Document) -> Record:
    group, name = storable(document.identity.group), storable(document.identity.name)
    if document.identity.kind == "page":
        return {"slug": name, "page_type": group}
    if document.identity.kind == "post":
        return {"slug": name}
    slug = document.fields.get("slug")
    number = int(name) if name.isdecimal() and len(name) < _DIGITS else name
    return {"slug": _scalar(slug) if isinstance(slug, str) else None, "collection": group, "item_id": number}


def _seconds(instant: str | None) -> int | None:
    """Whole seconds since 1970: Algolia ranks and filters by numbers only.

    https://www.algolia.com/doc/guides/managing-results/refine-results/sorting/how-to/sort-an-index-by-date
    """
    try:
        return math.floor(datetime.fromisoformat(instant).timestamp()) if instant else None
    except (ValueError, OverflowError):
        return None


def _present(attributes: Record) -> Record:
    return {name: value for name, value in attributes.items() if value is not None}


def _is_free(name: str) -> bool:
    """Names like ``_tags`` and ``_geoloc`` mean something to Algolia, and ``objectID`` is one of ours."""
    return bool(name) and not name.startswith("_")


def _attribute(field: Any) -> Any:
    """A scalar, a list of scalars, or the words of whatever is nested deeper; None if there are none."""
    if isinstance(field, list) and not any(map(_is_nested, field)):
        return [value for value in map(_scalar, field) if value is not None] or None
    return _flattened(field) if _is_nested(field) else _scalar(field)


def _is_nested(field: Any) -> bool:
    return isinstance(field, dict | list) and not _is_media(field)


def _is_media(field: Any) -> bool:
    """Media are ``{"url", "alt"}`` where they are not just a url; a component with more in it is no medium."""
    return isinstance(field, dict) and isinstance(field.get("url"), str) and field.keys() <= {"url", "alt"}


def _scalar(field: Any) -> Any:
    value = field["url"] if isinstance(field, dict) else field
    if isinstance(value, str):
        text = value.strip() if _ADDRESS.fullmatch(value) else plain_text(value)
        return storable(text) or None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and -_LARGEST <= value < _LARGEST else None


def _flattened(field: Any) -> str | None:
    try:
        return storable(" ".join(texts(field))) or None
    except RecursionError:
        return None


# ------------------------------------------------------------------------------------------------------- size


def _bytes(value: Any) -> int:
    """How a plan measures a record: minified JSON in UTF-8.

    https://support.algolia.com/hc/en-us/articles/4406981897617
    """
    return len(msgspec.json.encode(value))


def _fitted(ours: Record, theirs: Record, limit: int) -> Record:
    """Both together within the limit: `content` is cut first, and only then the item's own long texts, evenly."""
    size = _bytes(ours | theirs)
    if size <= limit:
        return ours | theirs
    content = ours["content"]
    cut = ours | {"content": _cut(content, _bytes(content) - (size - limit))}
    left = limit - _bytes(cut | theirs)
    return cut | theirs if left >= 0 else cut | _shortened(theirs, -left, f"{size} bytes, {limit} allowed")


def _shortened(theirs: Record, excess: int, sizes: str) -> Record:
    """The same with its long texts in `excess` fewer bytes, each in as much as there is for each; raises Refused."""
    long = {name: _bytes(value) for name, value in theirs.items() if _is_long(value)}
    room = sum(long.values()) - excess
    if LEAST_BYTES * len(long) > room:
        raise Refused(f"the record is too big even when its texts are cut: {sizes} by the setting record_bytes")
    levels = range(LEAST_BYTES, room + 1)
    level = levels[bisect_right(levels, room, key=lambda level: sum(min(size, level) for size in long.values())) - 1]
    return theirs | {name: _cut(theirs[name], level) for name in long}


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and _bytes(value) > LEAST_BYTES and not _ADDRESS.fullmatch(value)


def _cut(text: str, room: int) -> str:
    """The longest beginning that takes no more than `room` bytes as JSON, its quotation marks included."""
    encoded = msgspec.json.encode(text[: max(room, 0)])
    # Without the closing mark; the expression stops before half an escape, the decoding before half a character.
    whole = _WHOLE.match(encoded[: min(room, len(encoded)) - 1])
    return msgspec.json.decode(whole[0].decode(errors="ignore") + '"', type=str) if whole else ""
