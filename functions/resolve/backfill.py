"""The backfill: a walk over every list of the site, a list page a message, so that it can stop and go on anywhere.

It keeps to the protocol: the list tells which refs there are, the rows are read, the list is read again past every
cache, and only then is anything recorded; so no content is older than its row. What is doubtful is sent to resolve as a
change.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

import decisions
import documents
from buttersync.butter import PAGE_SIZE, Listing
from buttersync.model import REF_BYTES, SINGLE_PAGES, Change, Claim, Count, Group, Identity, Kind, Locale, usable
from buttersync.outcomes import Unavailable
from decisions import Reading, Row
from protocol import Resolver
from storage import Conflict


class Walk(msgspec.Struct, frozen=True, kw_only=True, tag_field="stage", tag="walk"):
    """One page of one list, on its way to resolve."""

    run: str
    kind: Kind
    group: Group = ""
    locale: Locale
    page: Count = 1
    count: Count = 0
    """How many items the list had when the page before was read."""
    republish: str = ""
    """The target (or ``all``) that is to hear unchanged items too."""
    attempts: Count = 0
    not_before: Count = 0

    def __post_init__(self) -> None:
        """Raises ValueError if nothing in such a list could have an identity."""
        Identity(self.kind, self.group, "-", self.locale)

    @property
    def key(self) -> str:
        """Where the content table counts this walk."""
        return f"walk:{self.run}:{self.kind}:{self.group}:{self.locale}"

    @property
    def attributes(self) -> dict[str, str]:
        """The message attributes."""
        return {"stage": "walk"}

    def to_json(self) -> str:
        """The message's body."""
        return msgspec.json.encode(self).decode()


class Lister(Protocol):
    """The part of Butter that the walk needs."""

    def listing(
        self, kind: str, group: str, page: int, locale: str | None = None, fresh: bool = False
    ) -> Listing | None: ...


class Lists(msgspec.Struct, frozen=True):
    """Which lists there are, from the stack's parameters: no endpoint of ButterCMS tells."""

    page_types: Sequence[str]
    collections: Sequence[str]
    locales: Sequence[str]
    """The default one first."""

    def walks(self, run: str, republish: str) -> Iterator[Walk]:
        """The first page of every list. Posts are listed in the default locale: the list is not said to know others."""
        yield Walk(run=run, kind="post", locale=self.locales[0], republish=republish)
        for locale in self.locales:
            for page_type in dict.fromkeys([SINGLE_PAGES, *self.page_types]):
                yield Walk(run=run, kind="page", group=page_type, locale=locale, republish=republish)
            for collection in self.collections:
                yield Walk(run=run, kind="item", group=collection, locale=locale, republish=republish)


class Walker:
    """Handles the messages of a walk; `send` puts a change or the next page into resolve's own queue."""

    def __init__(
        self,
        resolver: Resolver,
        lister: Lister,
        lists: Lists,
        add: Callable[..., None],
        send: Callable[[Any, float], None],
    ) -> None:
        self._resolver = resolver
        self._lister = lister
        self._lists = lists
        self._add = add
        self._send = send

    def walk(self, walk: Walk) -> Mapping[str, int]:
        """Bring one list page into the content table, count it, and send the next one on its way.

        Raises Unavailable, Misconfigured and botocore's errors; the page must then be walked again, and what it has
        recorded already is found unchanged.
        """
        begun = self._resolver.now()
        first = self._list(walk, fresh=False) or self._list(walk, fresh=True)
        if first is None:
            # A list that ButterCMS does not know; a later page has gone since the one before was read.
            return self._counted(walk, {"unknown": 1 if walk.page == 1 else 0, "done": 1})
        rows = self._rows(walk, first)
        at = self._resolver.now()
        second = self._list(walk, fresh=True) or Listing([], None)
        counts = self._handle_all(walk, rows, second.items, at, begun)
        counts["done"] = 0 if (following := _next(walk, second)) else 1
        self._counted(walk, counts)
        if following:
            self._send(following, 0)
        return counts

    def _handle_all(
        self, walk: Walk, rows: dict[str, Row], items: Sequence[Mapping[str, Any]], at: int, begun: int
    ) -> Counter[str]:
        counts = Counter(listed=len(items), sent=0)
        for identity, item in _identified(walk, items):
            counts[self._handle(walk, rows.pop(identity.ref, None), identity, item, at, begun)] += 1
            counts["sent"] += self._translations(walk, identity, begun)
        for ref in rows:
            self._send(_change(walk, Identity.parse(ref), begun, claims="any"), 0)
            counts["sent"] += 1
        return counts

    def _counted(self, walk: Walk, counts: Mapping[str, int]) -> Mapping[str, int]:
        self._add(walk.key, counts, walk.page)
        return counts

    def _handle(
        self, walk: Walk, row: Row | None, identity: Identity, item: Mapping[str, Any], at: int, begun: int
    ) -> str:
        change = _change(walk, identity, begun)
        try:
            if row is not None and documents.is_published(identity, item):
                return self._settle(walk, row, change, Reading(at, self._resolver.content_of(identity, item)))
        except (Conflict, Unavailable):
            pass  # it goes its own way below, so that one item holds up no other
        self._send(change, 0)
        return "sent"

    def _settle(self, walk: Walk, row: Row, change: Change, reading: Reading) -> str:
        row = self._resolver.publish_pending(row)
        unchanged = decisions.same(row, reading)
        if not unchanged and decisions.doubt(row, change, reading):
            raise Conflict
        new = self._resolver.record(row, change, reading)
        if unchanged and walk.republish:
            self._resolver.republish(new, reading, walk.republish)
        return new.pending or "unchanged"

    def _translations(self, walk: Walk, identity: Identity, begun: int) -> int:
        """A post's translations have slugs of their own, which only a reading with their locale tells."""
        locales = self._lists.locales[1:] if walk.kind == "post" else ()
        for locale in locales:
            translation = msgspec.structs.replace(identity, locale=locale)
            last_look = len(self._resolver.rules.look_seconds)
            self._send(_change(walk, translation, begun, claims="any", look=last_look), 0)
        return len(locales)

    def _list(self, walk: Walk, fresh: bool) -> Listing | None:
        locale = self._resolver.rules.locale_parameter(walk.locale)
        return self._lister.listing(walk.kind, walk.group, walk.page, locale, fresh)

    def _rows(self, walk: Walk, listing: Listing) -> dict[str, Row]:
        return self._resolver.table.rows(identity.ref for identity, _ in _identified(walk, listing.items))


def _next(walk: Walk, listing: Listing) -> Walk | None:
    """The page to walk after this one, if any.

    If items have left the list since the page before was read, those behind them have moved to earlier pages: back to
    where they are now.
    """
    left = max(0, walk.count - listing.count)
    page = max(1, walk.page - math.ceil(left / PAGE_SIZE)) if left else listing.next_page
    return msgspec.structs.replace(walk, page=page, count=listing.count, attempts=0) if page else None


def _identified(walk: Walk, items: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Identity, Mapping[str, Any]]]:
    """The items that may have a ref, and that are what was asked for: the single pages of `*` have no page type."""
    for item in items:
        name = _name_of(walk.kind, item)
        identity = Identity(walk.kind, walk.group, name, walk.locale)
        if usable(name) and len(identity.ref) <= REF_BYTES and documents.matches(identity, item):
            yield identity, item


def _name_of(kind: Kind, item: Mapping[str, Any]) -> str:
    if kind != "item":
        return str(item.get("slug") or "")
    meta = item.get("meta")
    return str(meta.get("id") or "") if isinstance(meta, Mapping) else ""


def _change(walk: Walk, identity: Identity, begun: int, claims: Claim = "published", look: int = 0) -> Change:
    return Change(
        identity=identity, event="backfill", claims=claims, received_at=begun, look=look, republish=walk.republish
    )
