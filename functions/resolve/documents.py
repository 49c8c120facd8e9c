"""What ButterCMS shows of an item, as the content of a document. The rules are in docs/documents.md; all of it is pure.

https://buttercms.com/docs/core-concepts/field-types/field-basics has the shapes of fields. Whatever the API answers
gives a Content or is Nonsense: a field of the wrong type counts as missing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

import content_fields
from buttersync.model import LABEL_CHARACTERS, SINGLE_PAGES, SUMMARY_CHARACTERS, TITLE_CHARACTERS, Identity
from buttersync.text import cut
from buttersync.words import texts
from cleaning import Nonsense, clean, without_addresses
from content_fields import Fields
from url_patterns import UrlPatterns

__all__ = ["Content", "Nonsense", "UrlPatterns", "is_published", "mapped", "matches"]

HASH_CHARACTERS = 32

_IN_SOME_READINGS = frozenset({"url", "deleted", "rank"})
"""A post's `url` is in lists only, `deleted` in the detail only, `rank` in search only: no part of the content."""


class Content(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What one reading shows of a published item; the fields are those of `buttersync.model.Document`."""

    name: str
    title: str
    summary: str
    url: str
    image: str
    author: str
    categories: tuple[str, ...]
    tags: tuple[str, ...]
    published_at: str | None
    updated_at: str | None
    text: str
    fields: dict[str, Any]
    """A post's data, a page's `fields`, a collection item; without null values and authors' e-mail addresses."""

    @cached_property
    def hash(self) -> str:
        """Of everything in it; the order of keys does not count."""
        return sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:HASH_CHARACTERS]


def mapped(identity: Identity, item: Mapping[str, Any], patterns: UrlPatterns) -> Content:
    """The content of a post, a page or a collection item as the Read API answers it, in a list or alone.

    Raises Nonsense, with the field's name, for what cannot be an item.
    """
    data = clean(item)
    if not isinstance(data, dict):
        raise Nonsense(f"the item is not an object: {type(item).__name__}")
    data = without_addresses(data)
    if identity.kind == "post":
        return _post(identity, data, patterns)
    return _page(identity, data, patterns) if identity.kind == "page" else _item(identity, data, patterns)


def matches(identity: Identity, item: Mapping[str, Any]) -> bool:
    """Is it the item that was asked for? The path ``/pages/*/<slug>/`` finds pages of every type."""
    if identity.kind == "item":
        meta = item.get("meta")
        return isinstance(meta, Mapping) and str(meta.get("id")) == identity.name
    if item.get("slug") != identity.name:
        return False
    return identity.kind == "post" or item.get("page_type") == _page_type(identity)


def is_published(identity: Identity, item: Mapping[str, Any]) -> bool:
    """May the public see it? A single post is answered in any state, drafts too.

    https://buttercms.com/docs/api-reference/blog-posts/retrieve-single-post. A page without `status`, as older accounts
    have it, is published if it has a date of publication. Collection items have neither: only published ones are given.
    """
    if identity.kind == "item":
        return True
    status = item.get("status")
    if identity.kind == "page" and status is None:
        return bool(item.get("published"))
    return bool(status == "published") and item.get("deleted") is None


def _post(identity: Identity, data: Fields, patterns: UrlPatterns) -> Content:
    text = content_fields.text_at(data, "body")
    title = content_fields.text_at(data, "title") or content_fields.text_at(data, "seo_title")
    summary = content_fields.text_at(data, "summary") or content_fields.text_at(data, "meta_description")
    return Content(
        name=cut(title, TITLE_CHARACTERS),
        title=cut(title, TITLE_CHARACTERS),
        summary=cut(summary or text, SUMMARY_CHARACTERS),
        url=patterns.url(identity),
        image=content_fields.media(data.get("featured_image")),
        author=cut(content_fields.person(data.get("author")), LABEL_CHARACTERS),
        categories=content_fields.labels(data.get("categories")),
        tags=content_fields.labels(data.get("tags")),
        published_at=instant(data.get("published")),
        updated_at=instant(data.get("updated")),
        text=text,
        fields=_kept(data, _IN_SOME_READINGS),
    )


def _page(identity: Identity, data: Fields, patterns: UrlPatterns) -> Content:
    fields = data.get("fields")
    return _from_fields(
        fields if isinstance(fields, dict) else {},
        name=content_fields.text_at(data, "name"),
        url=patterns.url(identity),
        published_at=instant(data.get("published")),
        updated_at=instant(data.get("updated")),
    )


def _item(identity: Identity, data: Fields, patterns: UrlPatterns) -> Content:
    fields = _kept(data, frozenset({"meta"}))
    slug = fields.get("slug")
    url = patterns.url(identity, slug if isinstance(slug, str) else "")
    return _from_fields(fields, name="", url=url, published_at=None, updated_at=None)


def _from_fields(fields: Fields, *, name: str, url: str, published_at: str | None, updated_at: str | None) -> Content:
    title = content_fields.title_of(fields, name)
    every_text = texts(fields)
    return Content(
        name=cut(name or title, TITLE_CHARACTERS),
        title=cut(title, TITLE_CHARACTERS),
        summary=cut(content_fields.summary_of(fields, title, every_text), SUMMARY_CHARACTERS),
        url=url,
        image=content_fields.image_of(fields),
        author=cut(content_fields.author_of(fields), LABEL_CHARACTERS),
        categories=content_fields.categories_of(fields),
        tags=content_fields.tags_of(fields),
        published_at=published_at,
        updated_at=updated_at,
        text=" ".join(every_text),
        fields=_kept(fields, frozenset()),
    )


def instant(value: Any) -> str | None:
    """An ISO 8601 date in UTC with microseconds and ``Z``, so that strings compare as instants; None for anything else.

    Without an offset it is UTC. The account's time zone changes the offset of ButterCMS's dates:
    https://buttercms.com/docs/core-concepts/field-types/date-time-fields
    """
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        utc = parsed.astimezone(UTC) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        return None
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _page_type(identity: Identity) -> str | None:
    return None if identity.group == SINGLE_PAGES else identity.group


def _kept(data: Fields, left_out: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None and key not in left_out}
