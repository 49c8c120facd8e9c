"""Every interleaving of resolve: the real protocol, stepped at each call to DynamoDB, S3, SNS, SQS and ButterCMS.

The site goes through a history of moments, each of which brings one webhook. Webhooks and what resolve sends itself are
handled by two workers at any time and in any order; one worker may die, and its message then comes back; one reading of
ButterCMS may show any earlier moment, though not the last look, for looks go on for longer than a cache lives.

Two things keep the space small and hide nothing. A call that no other worker can tell from a later one (an object of
the archive, a publication, a message, the end, or a reading of a site that changes no more) is made at once. And a
worker dies after a call that has left something, for a death before it is one after the call before.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from buttersync.model import Change, Claim, Document, Identity
from decisions import Row
from documents import UrlPatterns
from protocol import Resolver, Rules
from storage import Conflict
from tests.doubles import ArchiveDouble, TableDouble, TopicDouble
from tests.interleavings.scheduler import Answers, Call, Move, Raised, Worker, Wrong

NOW = 1_763_900_000_000
DAY = 86_400_000
MOMENT = 1000
"""ms between two moments of a history"""
LOOK_SECONDS = (5,)
WORKERS = 2
CONFLICT = Raised(Conflict)

LASTING = ("table.record", "table.clear_pending", "table.move", "archive.put", "topic.publish", "queue.send")
"""The calls that leave something behind."""
AT_ONCE = ("table.live_since", "archive.put", "archive.get", "topic.publish", "queue.send")
"""The calls that no other worker can tell from later ones: nothing is read before a row or a message tells of it."""
OF_THE_SITE = ("clock.now", "butter.item")
"""The calls that are answered alike until the site changes."""


class Item(dict[str, Any]):
    """A post as the Read API answers it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash((self["slug"], self["title"], self["updated"]))


class Moment(NamedTuple):
    """What the site shows by slug, and the webhook that has told of the last edit."""

    posts: Mapping[str, Item]
    claims: Claim
    slug: str
    number: int | None


History = Sequence[Moment]


def post(slug: str, title: str, updated: int) -> Item:
    """Published when history began, edited at that moment."""
    dates = {"published": _iso(NOW), "updated": _iso(NOW + updated * MOMENT)}
    return Item(slug=slug, title=title, status="published", body="", **dates)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Kept(NamedTuple):
    """What lasts outside the workers."""

    rows: tuple[Row, ...] = ()
    pointers: tuple[Any, ...] = ()
    archived: tuple[tuple[str, str], ...] = ()
    """Objects by their keys."""
    stored: tuple[tuple[str, int, str], ...] = ()
    """What a store holds, in which the highest version of a ref wins: ref, version, title; the removed have none."""
    announced: frozenset[str] = frozenset()
    """Refs of which a `created` was heard, and that have been published ever since: however late an announcer looks
    at the row, it finds what it was told of."""


class Doubles:
    """The table, the archive and the topic with what is kept; `kept` says what is when a call has been made."""

    def __init__(self, kept: Kept, table: TableDouble) -> None:
        self.table, self.archive, self.topic = table, ArchiveDouble(), TopicDouble()
        table.items = {row.ref: row for row in kept.rows}
        table.pointers = {pointer.ref: pointer for pointer in kept.pointers}
        table.began = NOW - DAY
        self.archive.objects = {key: Document.from_json(body) for key, body in kept.archived}
        self._before = kept

    def answer(self, call: Call) -> Hashable:
        """Raises Wrong for what never may be."""
        double, method = call.name.split(".")
        if call.name == "topic.publish" and call.arguments[0].archive_key not in self.archive.objects:
            raise Wrong("what is published is not in the archive")
        try:
            answer: Hashable = getattr(getattr(self, double), method)(*call.arguments)
        except Conflict:
            return CONFLICT
        return answer.to_json() if isinstance(answer, Document) else answer

    def kept(self) -> Kept:
        """Raises Wrong if a version fell, or was published with two contents."""
        before = self._before
        if any(self.table.row(row.ref).version < row.version for row in before.rows):
            raise Wrong("a version fell")
        published = {row.ref for row in self.table.items.values() if row.published}
        news = {one.identity.ref for one in self.topic.documents if one.change == "created"}
        return Kept(
            tuple(row for _, row in sorted(self.table.items.items())),
            tuple(pointer for _, pointer in sorted(self.table.pointers.items())),
            tuple((key, document.to_json()) for key, document in sorted(self.archive.objects.items())),
            tuple(sorted(self._stored())),
            (before.announced | news) & published,
        )

    def _stored(self) -> Iterator[tuple[str, int, str]]:
        stored = {ref: (version, title) for ref, version, title in self._before.stored}
        for one in self.topic.documents:
            heard = (one.version, "" if one.change == "removed" else one.title)
            before = stored.get(one.identity.ref, (0, ""))
            if heard[0] == before[0] and heard != before:
                raise Wrong("a version was published with two contents")
            stored[one.identity.ref] = max(before, heard)
        return ((ref, *held) for ref, held in stored.items())


class Objects:
    """The archive as a worker sees it: answers are kept as text, for a document has no hash."""

    def __init__(self, answers: Answers) -> None:
        self._port = answers.port("archive.")

    def put(self, document: Document) -> None:
        self._port.put(document)

    def get(self, key: str) -> Document:
        return Document.from_json(self._port.get(key))


class Part:
    """A part of a world that is equal only to itself: what is equal is one object."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class World(NamedTuple):
    """All that there is at a time."""

    moment: int
    kept: Part
    queue: Part
    workers: tuple[Worker[Change], ...]
    deaths: int
    """So many workers may still die."""
    stale: int
    """So many readings may still show an earlier moment."""


class Resolve:
    """The space of one history.

    With `looks_outlast_workers` a last look is not taken before all who are at work have ended; otherwise looks may be
    taken at any time, which is more than can happen: the last comes an hour later.
    """

    def __init__(
        self,
        history: History,
        deaths: int = 1,
        stale: int = 1,
        look_seconds: Sequence[int] = LOOK_SECONDS,
        table: Callable[[], TableDouble] = TableDouble,
        *,
        looks_outlast_workers: bool = False,
    ) -> None:
        self.history = history
        self._table = table
        self._rules = Rules("en", look_seconds, 3 * DAY, UrlPatterns("https://example.com/{slug}", "", ""))
        self._looks_outlast_workers = looks_outlast_workers
        self._last = len(history) - 1
        self._parts: dict[Hashable, Part] = {}
        self._made: dict[tuple[Part, Worker[Change]], tuple[Part, Hashable]] = {}
        self._queues: dict[tuple[Part, Change | None, Change | None], Part] = {}
        self._fresh: dict[Change, Worker[Change]] = {}
        nothing = self._part(())
        self.start = World(0, self._part(Kept()), self._queue(nothing, self._webhook(0)), (), deaths, stale)

    def wrong(self, end: World) -> str:
        """What is not as it should be when all is handled, or nothing."""
        kept: Kept = end.kept.value
        site = {_ref(slug): item["title"] for slug, item in self.history[-1].posts.items()}
        stored = {ref: title for ref, _, title in kept.stored if title}
        published = {row.ref for row in kept.rows if row.published}
        if not stored.keys() == published == site.keys() or stored != site:
            return f"the store holds {stored}, published rows are {sorted(published)}, the site has {site}"
        if any(row.pending for row in kept.rows):
            return "something is still pending"
        if published - kept.announced:
            return f"never announced: {sorted(published - kept.announced)}"
        lost = {pointer.item_ref for pointer in kept.pointers} - published
        return f"a pointer leads to {sorted(lost)}" if lost and published else ""

    def moves(self, world: World) -> Iterator[Move[World]]:
        """What may happen next; first of all, and alone, what no other worker can tell from something later."""
        for worker in world.workers:
            if self._is_made_at_once(world, worker):
                yield from self._steps(world, worker)
                return
        if world.moment < self._last:
            following = world.moment + 1
            queue = self._queue(world.queue, self._webhook(following))
            yield f"the site goes on to moment {following}", world._replace(moment=following, queue=queue)
        if len(world.workers) < WORKERS:
            yield from self._begins(world)
        for worker in dict.fromkeys(world.workers):
            yield from self._steps(world, worker)

    def _is_made_at_once(self, world: World, worker: Worker[Change]) -> bool:
        name = worker.call.name if worker.call else "the end"
        return not worker.call or name in AT_ONCE or (name in OF_THE_SITE and world.moment == self._last)

    def _begins(self, world: World) -> Iterator[Move[World]]:
        """A worker takes a message, and makes its first call."""
        for change in dict.fromkeys(world.queue.value):
            if world.workers and self._looks_outlast_workers and change.look and self._rules.is_last(change):
                continue
            worker = self._fresh.get(change) or self._fresh.setdefault(
                change, Worker(self._resolve, change, _told(change))
            )
            workers = tuple(sorted((*world.workers, worker), key=_number))
            taken = world._replace(queue=self._queue(world.queue, without=change), workers=workers)
            yield from self._steps(taken, worker)

    def _steps(self, world: World, worker: Worker[Change]) -> Iterator[Move[World]]:
        call = worker.call
        if call is None:
            yield worker.text, world._replace(workers=_instead(world.workers, worker))
            return
        if call.name == "clock.now":
            yield worker.text, _answered(world, worker, self._time(world.moment))
        elif call.name == "butter.item":
            yield from self._readings(world, worker, call)
        else:
            made = self._after(world, worker, call)
            yield worker.text, made
            if world.deaths and call.name in LASTING:
                yield f"{worker.text}, and the worker DIES", self._after_death(made, world, worker)

    def _readings(self, world: World, worker: Worker[Change], call: Call) -> Iterator[Move[World]]:
        shown = [moment.posts.get(call.arguments[0].name) for moment in self.history[: world.moment + 1]]
        yield worker.text, _answered(world, worker, shown[-1])
        if world.stale and not self._rules.is_last(worker.task):
            for old in {id(item): item for item in shown if item != shown[-1]}.values():
                yield (
                    f"{worker.text}, and it shows {old and old['title']!r}",
                    _answered(world._replace(stale=world.stale - 1), worker, old),
                )

    def _after(self, world: World, worker: Worker[Change], call: Call) -> World:
        if call.name == "queue.send":
            sent = msgspec.structs.replace(call.arguments[0], not_before=0)  # it may be handled at any time
            return _answered(world, worker, None, queue=self._queue(world.queue, sent))
        made = self._made.get((world.kept, worker))
        if made is None:
            doubles = Doubles(world.kept.value, self._table())
            answer = doubles.answer(call)
            made = self._made[world.kept, worker] = self._part(doubles.kept()), answer
        kept, answer = made
        return _answered(world, worker, answer, kept)

    def _after_death(self, made: World, world: World, worker: Worker[Change]) -> World:
        """What the call has left remains, and the message comes back."""
        queue = self._queue(made.queue, worker.task)
        return made._replace(queue=queue, workers=_instead(world.workers, worker), deaths=world.deaths - 1)

    def _resolve(self, change: Change, answers: Answers) -> str:
        port = answers.port
        resolver = Resolver(
            port("table."),
            port("butter."),
            Objects(answers),
            port("topic."),
            lambda change, _: answers.ask("queue.send", change),
            self._rules,
            now=port("clock.").now,
        )
        return resolver.resolve(change)

    def _webhook(self, number: int) -> Change:
        moment = self.history[number]
        return Change(
            identity=Identity("post", "", moment.slug, "en"),
            event="webhook",
            claims=moment.claims,
            received_at=self._time(number),
            numeric_id=moment.number,
        )

    def _time(self, moment: int) -> int:
        return NOW + moment * MOMENT

    def _part(self, value: Hashable) -> Part:
        return self._parts.get(value) or self._parts.setdefault(value, Part(value))

    def _queue(self, queue: Part, more: Change | None = None, without: Change | None = None) -> Part:
        key = (queue, more, without)
        if key not in self._queues:
            changes = list(queue.value)
            if without:
                changes.remove(without)
            if more:
                changes.append(more)
            self._queues[key] = self._part(tuple(sorted(changes, key=repr)))
        return self._queues[key]


def _ref(slug: str) -> str:
    return Identity("post", "", slug, "en").ref


def _number(worker: Worker[Change]) -> int:
    return worker.number


def _instead(
    workers: tuple[Worker[Change], ...], old: Worker[Change], new: Worker[Change] | None = None
) -> tuple[Worker[Change], ...]:
    others = list(workers)
    others.remove(old)
    if new:
        others.append(new)
        others.sort(key=_number)
    return tuple(others)


def _answered(
    world: World, worker: Worker[Change], answer: Hashable, kept: Part | None = None, queue: Part | None = None
) -> World:
    """The world after a call with this answer; made in one, for this is done millions of times."""
    workers = _instead(world.workers, worker, worker.told(answer))
    return World(world.moment, kept or world.kept, queue or world.queue, workers, world.deaths, world.stale)


def _told(change: Change) -> str:
    number = f" #{change.numeric_id}" if change.numeric_id else ""
    return f"{change.event} ({change.claims} {change.identity.name}{number}, look {change.look})"
