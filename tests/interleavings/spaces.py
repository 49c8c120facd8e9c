"""The spaces that are searched: the small ones with every run of the tests, the large ones by the command only.

Histories are the least that bring the protocol to each of its decisions. Readings of an earlier moment are left out
where a post changes its slug: that is why items are read past the caches (docs/decisions.md), and a test shows it.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from tests.interleavings.of_lease import Lease, Version
from tests.interleavings.of_resolve import History, Moment, Resolve, post
from tests.interleavings.scheduler import Explored, Space, explored

A, B, NOTHING = ("A", 0), ("B", 1), None
A_AGAIN = ("A", 2)

NO_LOOKS: Sequence[int] = ()
"""Every reading is believed at once."""


def at_one_slug(*states: tuple[str, int] | None, number: int | None = None) -> History:
    """A post that is published with these titles, each edited at that moment, or is removed."""
    return [
        Moment({"a": post("a", *state)} if state else {}, "published" if state else "removed", "a", number)
        for state in states
    ]


def renamed(slugs: str) -> History:
    """A post that moves from one slug to the next."""
    return [Moment({slug: post(slug, "A", moment)}, "published", slug, number=7) for moment, slug in enumerate(slugs)]


def slug_taken() -> History:
    """A post moves to another slug, and another post takes the old one."""
    *before, after = renamed("ab")
    other = Moment({**after.posts, "a": post("a", "Another", 2)}, "published", "a", number=8)
    return [*before, after, other]


def renamed_and_removed() -> History:
    """A post moves to another slug and goes offline in one edit: one webhook tells, with the new slug."""
    return [*renamed("a"), Moment({}, "removed", "b", number=7)]


def removal_told_late() -> History:
    """A post is removed and published again untouched, and only then the removal's webhook arrives."""
    *_, published = moments = at_one_slug(A, NOTHING, A)
    return [moments[0], published._replace(posts={}), published, published._replace(claims="removed")]


UPSERT, REMOVAL = Version(5, "updated"), Version(6, "removed")
REMOVAL_BEFORE, UPSERT_AGAIN = Version(5, "removed"), Version(6, "updated")

Make = Callable[[], Space[Any]]

SMALL: dict[str, Make] = {
    "publish, edit": lambda: Resolve(at_one_slug(A, B)),
    "publish, edit, by number": lambda: Resolve(at_one_slug(A, B, number=7)),
    "publish, remove, republish untouched": lambda: Resolve(at_one_slug(A, NOTHING, A)),
    "publish, remove, republish; removal told late": lambda: Resolve(removal_told_late(), deaths=0),
    "publish, edit, remove": lambda: Resolve(at_one_slug(A, B, NOTHING)),
    "rename": lambda: Resolve(renamed("ab"), stale=0),
    "rename and remove at once": lambda: Resolve(renamed_and_removed(), stale=0, looks_outlast_workers=True),
    "rename twice, no looks": lambda: Resolve(renamed("abc"), stale=0, look_seconds=NO_LOOKS),
    "rename and back, no looks, no death": lambda: Resolve(renamed("aba"), 0, 0, NO_LOOKS),
    "slug taken by another, no death": lambda: Resolve(slug_taken(), deaths=0, stale=0),
}
"""Within a minute of a processor. If a name says nothing else: looks, a death and, at one slug, an old reading."""

LARGE: dict[str, Make] = {
    "publish, edit, edit back": lambda: Resolve(at_one_slug(A, B, A_AGAIN)),
    "publish, remove, republish, remove, no death": lambda: Resolve(at_one_slug(A, NOTHING, A, NOTHING), deaths=0),
    "publish, remove, republish, remove, none old": lambda: Resolve(at_one_slug(A, NOTHING, A, NOTHING), stale=0),
    "rename and back, no death": lambda: Resolve(renamed("aba"), deaths=0, stale=0),
    "rename and back, no looks": lambda: Resolve(renamed("aba"), stale=0, look_seconds=NO_LOOKS),
    "rename to and fro, no looks, no death": lambda: Resolve(renamed("abab"), 0, 0, NO_LOOKS),
    "slug taken by another, no looks": lambda: Resolve(slug_taken(), stale=0, look_seconds=NO_LOOKS),
}
"""By the command only. Too large even for that are deaths and looks together in two renames or more, and a death and an
old reading together in four moments."""

SMALL_OF_LEASE: dict[str, Make] = {
    "upsert, removal, no stall": lambda: Lease(UPSERT, REMOVAL, stalls=0),
    "upsert, removal, stall only": lambda: Lease(UPSERT, REMOVAL, deaths=0, troubles=0),
    "removal, upsert, no stall, no death": lambda: Lease(REMOVAL_BEFORE, UPSERT_AGAIN, deaths=0, stalls=0),
    "upsert twice, removal, no stall, no death": lambda: Lease(UPSERT, UPSERT, REMOVAL, deaths=0, stalls=0),
}
LARGE_OF_LEASE: dict[str, Make] = {
    "upsert, removal": lambda: Lease(UPSERT, REMOVAL),
    "removal, upsert": lambda: Lease(REMOVAL_BEFORE, UPSERT_AGAIN),
    "upsert twice, removal, no stall": lambda: Lease(UPSERT, UPSERT, REMOVAL, stalls=0),
    "upsert, removal twice, no stall": lambda: Lease(UPSERT, REMOVAL, REMOVAL, stalls=0),
}


def searched(make: Make) -> Explored:
    """What a search of the space has seen; coverage, which others measure, would take longer than the search."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        with Lease.installed():
            return explored(make())
    finally:
        sys.settrace(tracer)
