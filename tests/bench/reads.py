"""How often ButterCMS is read for an event, and for an item of a backfill: counted at the sandbox, no timing.

The code of resolve runs as it is, the looks that it sends itself included; its table, archive and topic are the strict
doubles of the unit tests, since they do not read ButterCMS.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from backfill import Lists, Walk, Walker
from buttersync.butter import Butter
from buttersync.model import Change
from documents import UrlPatterns
from protocol import Resolver, Rules, now
from sandbox.examples import example_site
from sandbox.progress import step
from sandbox.server import Sandbox
from sandbox.site import SINGLE_PAGES, Site
from sandbox.webhooks import Webhook
from tests.bench.pairs import Bench, Figure, Goal
from tests.doubles import ArchiveDouble, Sent, TableDouble, TopicDouble
from webhook import Ignored, change_of

ITEMS = 1_000
"""In each list of the backfilled site: pages of 100, all full."""
READ_ONCE = Goal(1)
BACKFILLED = Goal(0.02)

LOOKS = (5, 60, 900, 3_600)
"""The default of `LookSeconds`."""


class Reading:
    """resolve with a site before it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._queue = Sent()
        self._table = TableDouble()
        self._butter = Butter(sandbox.butter.token, sandbox.butter_endpoint)
        rules = Rules("en", LOOKS, 72 * 3_600_000, UrlPatterns("", "", ""))
        self._resolver = Resolver(self._table, self._butter, ArchiveDouble(), TopicDouble(), self._queue, rules)

    @classmethod
    @contextmanager
    def of(cls, site: Site) -> "Iterator[Reading]":
        """Both, until the block ends."""
        with Sandbox(site=site) as sandbox:
            yield cls(sandbox)

    @property
    def published(self) -> Collection[str]:
        """The refs of what it has found published."""
        return [ref for ref, row in self._table.items.items() if row.published]

    def of_the_last(self, webhooks: Iterable[Webhook]) -> int:
        """The readings until everything that the last webhook has caused is done."""
        readings = 0
        for webhook in webhooks:
            time.sleep(0.002)  # No event arrives in the millisecond in which its item has been read.
            change = change_of(webhook.body(""), now(), "en")
            if isinstance(change, Ignored):
                raise RuntimeError(f"{webhook.event} is ignored")  # noqa: TRY004  it is not the type that is wrong
            self._queue(change, 0)
            readings = self._done()
        return readings

    def backfill(self, lists: Lists) -> int:
        """The readings of a whole backfill."""
        for walk in lists.walks("bench", ""):
            self._queue(walk, 0)
        return self._done(Walker(self._resolver, self._butter, lists, self._table.add, self._queue))

    def _done(self, walker: Walker | None = None) -> int:
        before = len(self.sandbox.requests_to("butter"))
        while self._queue.messages:
            message, _ = self._queue.messages.pop(0)
            if walker is not None and isinstance(message, Walk):
                walker.walk(message)
            elif isinstance(message, Change):
                self._resolver.resolve(message)
        return len(self.sandbox.requests_to("butter")) - before


def figures(_: Bench) -> Iterator[Figure]:
    """For events, then for items."""
    with step("readings of ButterCMS"):
        with Reading.of(Site()) as reading:
            for what, story in EVENTS.items():
                yield Figure(f"readings: {what}", [reading.of_the_last(story(reading.sandbox.site))], READ_ONCE)
        yield from _of_backfills()


def _of_backfills() -> Iterator[Figure]:
    lists = Lists(page_types=["landing"], collections=["tools"], locales=["en"])
    with Reading.of(_large_site()) as reading:
        readings, items = reading.backfill(lists), len(reading.published)
        note = f"{readings} readings of {items:,} items"
        yield Figure("readings: a backfilled item", [readings / items], BACKFILLED, note)
    with Reading.of(example_site()) as reading:
        small = Lists(page_types=["landing-page"], collections=["makers", "tools"], locales=["en", "de"])
        readings, items = reading.backfill(small), len(reading.published)
        note = f"{readings} readings of {items} items in two locales"
        yield Figure("readings: a backfilled item, few in each list", [readings / items], None, note)


def _large_site() -> Site:
    site = Site()
    for number in range(ITEMS):
        slug = f"number-{number}"
        site.publish_post(slug, title=slug)
        site.publish_page(SINGLE_PAGES, slug, {"headline": slug})
        site.publish_page("landing", f"landing-{slug}", {"headline": slug})
        site.publish_item("tools", {"name": slug})
    return site


# Stories of which the last event counts; those before it have been read.


def _published(site: Site) -> Iterator[Webhook]:
    yield site.publish_post("published", title="One")


def _edited(site: Site) -> Iterator[Webhook]:
    yield site.publish_page("landing", "edited", {"headline": "One"})
    yield site.publish_page("landing", "edited", {"headline": "Two"})


def _removed_item(site: Site) -> Iterator[Webhook]:
    item = site.publish_item("tools", {"name": "Hand fork"})
    yield item
    yield site.delete_item("tools", item.number)


def _removed_post(site: Site) -> Iterator[Webhook]:
    yield site.publish_post("removed", title="One")
    yield site.unpublish_post("removed")


def _renamed(site: Site) -> Iterator[Webhook]:
    yield site.publish_post("old", title="One")
    yield site.rename_post("old", "new")


def _repeated(site: Site) -> Iterator[Webhook]:
    again = site.publish_post("repeated", title="One")
    yield again
    yield again


EVENTS = {
    "a post is published": _published,
    "a page is edited": _edited,
    "an item is removed": _removed_item,
    "a post is removed": _removed_post,
    "a post is renamed": _renamed,
    "an event comes twice: the second": _repeated,
}
"""What happens. The last four are read more often by decision: see docs/decisions.md."""
