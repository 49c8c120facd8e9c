"""Random interleavings of resolve's workers: in whatever order their calls fall, a store ends up as the site is.

Each seed is a story: an editor changes the posts of a small site, and up to three workers handle the webhooks and now
and then a walk of the backfill. A worker stops before each of its calls to the table, the archive, the topic, ButterCMS
and the queue; chance decides who goes on, and sometimes a worker dies there. Lists may come in any earlier copy, as a
CDN has them. When nothing is left to do, a store in which the highest version of each ref wins must hold exactly what
is published, and the content table must say the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar, cast

import msgspec

from backfill import Lists, Walk, Walker
from buttersync.butter import Listing
from buttersync.model import Change, Claim, Document, Identity
from buttersync.outcomes import Unavailable
from decisions import Row
from documents import UrlPatterns
from protocol import Resolver, Rules
from tests.doubles import ArchiveDouble, TableDouble, TopicDouble
from tests.fakes.workers import Died, Worker
from tests.unit.test_protocol import DAY, LOOKS, NOW, post

SEEDS = 400
AT_MOST = 2000
"""seeds until a broken copy must be found out; each is within the first few hundred"""
SLUGS = ("ant", "bee")
WORKERS = 3
PACES = (1, 5, 50)
"""How often a worker goes on while others wait: a slow one is overtaken by whole readings."""
DEATHS = 2
LONGEST_STORY = 5000
"""moves"""
VISIBILITY_TIMEOUT = 720_000
"""ms until the message of a worker that died is received again, unless its batch was given back at once"""
UNAVAILABLE_WAIT = 5_000
"""ms"""

Body = Mapping[str, Any] | None
Double = TypeVar("Double")


class Post(msgspec.Struct, frozen=True):
    """A post as the editor sees it; times in ms."""

    number: int
    title: str
    published: int
    updated: int
    status: str = "published"

    def body(self, slug: str) -> Body:
        """The answer of the Read API."""
        dates = {"published": _iso(self.published), "updated": _iso(self.updated)}
        return post(slug, self.title, status=self.status) | dates


class Event(msgspec.Struct, frozen=True):
    """What the webhook of an edit says."""

    claims: Claim
    slug: str
    number: int


class Site:
    """ButterCMS: an editor's posts by slug, and a CDN that has kept every copy it ever showed."""

    def __init__(self, random: Random, note: Callable[[str], None]) -> None:
        self.posts: dict[str, Post] = {}
        self.time = NOW
        self._random = random
        self._note = note
        self._numbers = 0
        self._copies: dict[str, list[Body]] = defaultdict(list)
        self._lists: list[Listing] = []

    def item(self, identity: Identity, locale: str | None = None) -> Body:  # noqa: ARG002
        return self._body(identity.name)

    def listing(self, kind: str, group: str, page: int, locale: str | None = None, fresh: bool = False) -> Listing:  # noqa: ARG002
        now = self._list()
        return now if fresh else self._perhaps_old(self._lists, now)

    @property
    def published(self) -> dict[str, str]:
        """The titles of what is published, by slug."""
        return {slug: one.title for slug, one in self.posts.items() if one.status == "published"}

    def edits(self, slug: str) -> list[Callable[[str], Event]]:
        """What an editor may do now with the post at `slug`, or with no post there."""
        if slug not in self.posts:
            return [self.publish]
        if slug not in self.published:
            return [self.edit, self.republish, self.delete]
        renames = [self.rename, self.rename_as_draft, self.rename_unpublished] if self._free(slug) else []
        return [self.edit, self.save_draft, self.unpublish, self.delete, *renames]

    def keep_copies(self) -> None:
        """The CDN keeps what it shows now."""
        self._lists.append(self._list())
        for slug in SLUGS:
            self._copies[slug].append(self._body(slug))

    def publish(self, slug: str) -> Event:
        self._numbers += 1
        self.posts[slug] = Post(self._numbers, self._title(), self.time, self.time)
        return self._event("published", slug)

    def edit(self, slug: str) -> Event:
        return self._event("published", slug, title=self._title(), updated=self.time, status="published")

    def save_draft(self, slug: str) -> Event:
        return self._event("draft", slug, updated=self.time, status="draft")

    def unpublish(self, slug: str) -> Event:
        return self._event("removed", slug, status="draft")

    def republish(self, slug: str) -> Event:
        """Untouched: ButterCMS leaves `updated` as it was."""
        return self._event("published", slug, status="published")

    def rename(self, slug: str) -> Event:
        free = self._free(slug)
        self.posts[free] = self.posts.pop(slug)
        return self._event("published", free, updated=self.time)

    def rename_as_draft(self, slug: str) -> Event:
        """Renamed and taken offline at once: a single event tells, with the new slug."""
        return self.save_draft(self.rename(slug).slug)

    def rename_unpublished(self, slug: str) -> Event:
        """The same, by unpublishing."""
        return self.unpublish(self.rename(slug).slug)

    def delete(self, slug: str) -> Event:
        return Event("removed", slug, self.posts.pop(slug).number)

    def _event(self, claims: Claim, slug: str, **values: Any) -> Event:
        self.posts[slug] = msgspec.structs.replace(self.posts[slug], **values)
        return Event(claims, slug, self.posts[slug].number)

    def _title(self) -> str:
        return f"Text of {self.time - NOW}"

    def _free(self, slug: str) -> str:
        return next((other for other in SLUGS if other != slug and other not in self.posts), "")

    def _body(self, slug: str) -> Body:
        return self.posts[slug].body(slug) if slug in self.posts else None

    def _list(self) -> Listing:
        return Listing([cast(dict[str, Any], self._body(slug)) for slug in sorted(self.published)], None)

    def _perhaps_old(self, copies: list[Any], now: Any) -> Any:
        if not copies or self._random.random() < 0.6:
            return now
        shown = self._random.choice(copies)
        self._note(f"the CDN shows {_told(shown)}")
        return shown


class Handling(Worker):
    """A worker of resolve with its message, and how often it goes on while others wait."""

    def __init__(self, name: str, pace: int, message: Change | Walk, work: Callable[[], object]) -> None:
        self.pace = pace
        self.message = message
        super().__init__(name, work)


class Stepped:
    """Stands before a double: the worker that calls it stops first."""

    def __init__(self, double: object, stop: Callable[[str], None]) -> None:
        self._double = double
        self._stop = stop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._double, name)

        def stepped(*arguments: Any, **named: Any) -> Any:
            self._stop(name)
            return call(*arguments, **named)

        return stepped


class Story:
    """What happens with one seed; `play` tells it to its end."""

    def __init__(
        self,
        seed: int,
        site: type[Site] = Site,
        table: type[TableDouble] = TableDouble,
        resolver: type[Resolver] = Resolver,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - a story must be told twice alike
        self.time, self.lines = NOW, list[str]()
        self.site, self.archive, self.topic = site(self.random, self.note), ArchiveDouble(), TopicDouble()
        self.edits_left, self.deaths_left, self.begun = self.random.randint(2, 6), DEATHS, 0
        self.queue: list[tuple[int, Change | Walk]] = []
        self.workers: list[Handling] = []
        self.running: Handling | None = None
        self.table = table()
        self.table.began = NOW - DAY
        self._connect(resolver)

    def _connect(self, resolver: type[Resolver]) -> None:
        rules = Rules("en", LOOKS, 3 * DAY, UrlPatterns("https://example.com/{slug}", "", ""))
        table, site = self._stepped(self.table), self._stepped(self.site)
        archive, topic, send = self._stepped(self.archive), self._stepped(self.topic), self._stepped(self).send
        self.resolver = resolver(table, site, archive, topic, send, rules, now=self.now)
        self.walker = Walker(self.resolver, site, Lists([], [], ["en"]), table.add, send)

    def _stepped(self, double: Double) -> Double:
        return cast(Double, Stepped(double, self.stop_before))

    def now(self) -> int:
        self.time += 1
        return self.time

    def send(self, message: Change | Walk, seconds: float) -> None:
        """Resolve's own queue."""
        self.queue.append((self.time + int(seconds * 1000), message))

    def stop_before(self, call: str) -> None:
        if self.running:
            self.running.stand(call)

    def note(self, line: str) -> None:
        self.lines.append(f"{(self.time - NOW) / 1000:10.3f}  {line}")

    def play(self) -> str:
        """Tell the story; what is wrong at its end, or nothing."""
        try:
            for _ in range(LONGEST_STORY):
                if not (moves := self._moves()):
                    return self._wrong()
                self.random.choice(moves)()
            return "it does not end"
        finally:
            for worker in self.workers:
                worker.step("dies")

    def _moves(self) -> list[Callable[[], None]]:
        edits = [self._edit] if self.edits_left else []
        begins = [self._begin] * 2 if self._due() and len(self.workers) < WORKERS else []
        moves = edits + begins + [self._go_on] * 2 * len(self.workers)
        return moves or ([self._sleep] if self.queue else [])

    def _edit(self) -> None:
        self.edits_left -= 1
        self.time += self.random.choice([1, 50, 500, 3000])
        self.site.keep_copies()
        self.site.time = self.now()
        slug = self.random.choice(SLUGS)
        edit = self.random.choice(self.site.edits(slug))
        event = edit(slug)
        self.note(f"EDITOR: {edit.__name__} {slug}; published is {self.site.published}")
        self._webhook(event)
        if self.random.random() < 0.2:
            self.queue.append((self.time, Walk(run=str(self.time), kind="post", locale="en")))

    def _webhook(self, event: Event) -> None:
        arrives = self.now() + self.random.choice([0, 0, 2000])
        change = Change(
            identity=Identity("post", "", event.slug, "en"),
            event=f"post.{event.claims}",
            claims=event.claims,
            received_at=arrives,
            numeric_id=event.number,
        )
        self.queue.append((arrives, change))

    def _due(self) -> list[tuple[int, Change | Walk]]:
        return [waiting for waiting in self.queue if waiting[0] <= self.time]

    def _sleep(self) -> None:
        self.time = min(due for due, _ in self.queue)

    def _begin(self) -> None:
        waiting = self.random.choice(self._due())
        self.queue.remove(waiting)
        self.begun += 1
        message = waiting[1]
        worker = Handling(f"worker {self.begun}", self.random.choice(PACES), message, lambda: self._handle(message))
        self.workers.append(worker)
        self.note(f"{worker.name} takes {_told(message)}")

    def _handle(self, message: Change | Walk) -> object:
        return self.walker.walk(message) if isinstance(message, Walk) else self.resolver.resolve(message)

    def _go_on(self) -> None:
        [worker] = self.random.choices(self.workers, [one.pace for one in self.workers])
        self.running = worker
        self.time += self.random.choice([0, 1, 20, 200])
        dies = self.deaths_left > 0 and self.random.random() < 0.03
        self.note(f"{worker.name}{' DIES before' if dies else ':'} {worker.next_call}")
        self.deaths_left -= dies
        worker.step("dies" if dies else "")
        if worker.ended:
            self._end(worker)

    def _end(self, worker: Handling) -> None:
        self.workers.remove(worker)
        self.note(f"{worker.name} ends: {worker.outcome!r}")
        if isinstance(worker.outcome, Died):
            self.queue.append((self.time + self.random.choice([0, VISIBILITY_TIMEOUT]), worker.message))
        elif isinstance(worker.outcome, Unavailable):
            self.queue.append((self.time + UNAVAILABLE_WAIT, worker.message))
        elif isinstance(worker.outcome, Exception):
            raise worker.outcome

    def _wrong(self) -> str:
        store = {one.identity.name: one.title for one in _newest(self.topic.documents) if one.change != "removed"}
        if not store == self._recorded() == self.site.published:
            return f"the store holds {store}, the table {self._recorded()}, the site {self.site.published}"
        if len({(one.identity, one.version) for one in self.topic.documents}) != len(self._archived()):
            return "a version was published with two contents, or is not in the archive"
        return ""

    def _recorded(self) -> dict[str, str]:
        """The titles of what the rows say is published, by slug; a lost archive object has none."""
        rows = [row for row in self.table.items.values() if row.published]
        kept = self.archive.objects
        return {Identity.parse(row.ref).name: kept[row.archive_key].title for row in rows if row.archive_key in kept}

    def _archived(self) -> set[str]:
        return {one.archive_key for one in self.topic.documents} & self.archive.objects.keys()


def _newest(documents: Iterable[Document]) -> Iterable[Document]:
    """What a store keeps: of each ref the highest version."""
    return {one.identity: one for one in sorted(documents, key=lambda one: one.version)}.values()


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _told(what: Change | Walk | Listing | Body) -> str:
    if isinstance(what, Change):
        return f"{what.event} {what.identity.name} #{what.numeric_id}, look {what.look}"
    if isinstance(what, Walk):
        return "a walk"
    if isinstance(what, Listing):
        return f"a list of {[item['slug'] for item in what.items]}"
    return f"{what['slug']}: {what['title']!r}, {what['status']}" if what else "no such post"


def first_wrong(seeds: int = SEEDS, **broken: Any) -> str:
    """The first of the stories that ends wrongly, line by line; nothing if none does."""
    for seed in range(seeds):
        story = Story(seed, **broken)
        if wrong := story.play():
            return "\n".join([f"seed {seed}: {wrong}", *story.lines])
    return ""


def test_in_whatever_order_workers_go_on_or_die_a_store_ends_up_as_the_site_is() -> None:
    wrong = first_wrong()

    assert not wrong, wrong


class Overwriting(TableDouble):
    """A table without conditions: the last writer wins."""

    def record(self, row: Row) -> None:
        self.items[row.ref] = row


def test_a_table_without_conditions_is_found_out() -> None:
    assert "the store holds" in first_wrong(AT_MOST, table=Overwriting)


class NothingPending(TableDouble):
    """A table in which no row says that its version is yet to be published."""

    def record(self, row: Row) -> None:
        super().record(msgspec.structs.replace(row, pending=""))


def test_a_row_that_does_not_say_what_is_pending_is_found_out() -> None:
    assert "the store holds" in first_wrong(AT_MOST, table=NothingPending)


class DraftsDropped(Resolver):
    """A resolve that forgets a draft where it knows of nothing published."""

    def resolve(self, change: Change) -> str:
        if change.claims == "draft" and not self.table.row(change.identity.ref).published:
            return "dropped"
        return super().resolve(change)


def test_dropping_the_draft_of_what_is_not_recorded_yet_is_found_out() -> None:
    assert "the store holds" in first_wrong(AT_MOST, resolver=DraftsDropped)


class ThroughTheCache(Site):
    """A reader that asks the CDN, which may show any earlier copy of an item."""

    def item(self, identity: Identity, locale: str | None = None) -> Body:
        shown: Body = self._perhaps_old(self._copies[identity.name], super().item(identity, locale))
        return shown


def test_reading_items_through_the_cache_is_found_out() -> None:
    assert "the store holds" in first_wrong(AT_MOST, site=ThroughTheCache)
