"""Every interleaving of the lease: the real loop of a store, stepped at its calls to DynamoDB, SQS, vendor and clock.

Messages of one item wait in a queue, two versions and a duplicate. Two workers take them one by one, at any time and in
any order; one may die, and its message comes back; one write may go unanswered, or be turned down. What was sent and
not answered takes effect at any time within the slack of a lease, or never. Time passes in steps of `STEP`, whenever
something waits for it and nobody would outlive his time-out; all times are told from now, so that worlds that differ in
nothing else are one. The store has no versions: the last write wins.

As with resolve, a call that nobody can tell from a later one is made at once, and a worker dies after a call that has
left something; at the vendor what it has sent may still take effect.
"""

import logging
import os
import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from botocore.exceptions import ClientError

from buttersync.delivery import LEASE_SLACK, Adapter, Delivery
from buttersync.model import Document, Effect
from buttersync.outcomes import DONE, Unavailable
from buttersync.rows import DELIVERED_KEY
from tests.fakes.cloud import Dynamo, Stored, refusal
from tests.fakes.target import ENOUGH_MS, WORST_CASE, document, target
from tests.interleavings.scheduler import Answers, Call, Move, Raised, Worker, Wrong

NOW = 1_764_000_000_000
"""The time of every world (ms)."""
LIFE = ENOUGH_MS // 1000
"""seconds until Lambda ends a worker"""
STEP = 59
"""Seconds: a worker lives through one of them."""
PAST = LIFE + 1
"""What is longer ago than that, in seconds, is as if it were so long ago: nobody alive has seen that time."""
WORKERS = 2
TIMES = ("leased_until", "not_before", "now")
"""The attributes and operands that are moments (ms)."""

LASTING = ("dynamodb.update_item", "sqs.later")
"""The calls that leave something behind, beside the vendor's."""
OF_TIME = ("clock.now", "clock.remaining")
"""The calls that are answered alike until time passes."""

CONFLICT = Raised(lambda: refusal("ConditionalCheckFailedException", "UpdateItem"))
Item = tuple[tuple[str, str, str], ...]
"""An item of the table: name, type and value of each attribute."""


class Version(NamedTuple):
    """A document that is to be delivered."""

    number: int
    change: Effect


class Sent(NamedTuple):
    """A message in the queue."""

    version: Version
    receives: int
    visible_in: int
    """seconds"""


class Task(NamedTuple):
    """What a worker has taken."""

    version: Version
    receives: int
    owner: str
    """In place of what its lease would be called."""


class Working(NamedTuple):
    """A worker, and what the world knows of it."""

    worker: Worker[Task]
    age: int
    """seconds"""
    gave_back: bool = False
    """Its message is in the queue again."""


class Late(NamedTuple):
    """What was sent to the vendor and not answered."""

    version: Version
    seconds: int
    """So long it may still take effect."""


class World(NamedTuple):
    """All that there is at a time."""

    item: Item
    held: int
    """The version that the store has; none is 0."""
    queue: tuple[Sent, ...]
    workers: tuple[Working, ...] = ()
    late: tuple[Late, ...] = ()
    deaths: int = 1
    troubles: int = 1
    """So many writes may still go unanswered or be turned down."""
    stalls: int = 1
    """So often a step of time may still pass while somebody is at work."""


class Clients:
    """The clients of boto3, as the worker has them whose code runs now."""

    def __init__(self) -> None:
        self.answers = Answers(())
        self.owner = ""

    def update_item(self, **request: Any) -> None:
        if request["Key"]["key"]["S"] != DELIVERED_KEY:
            values = dict(request["ExpressionAttributeValues"])
            values |= {name: {"S": text} for name, text in ((":at", ""), (":lease", self.owner)) if name in values}
            self.answers.ask("dynamodb.update_item", {**request, "ExpressionAttributeValues": values})

    def batch_get_item(self, **request: Any) -> Mapping[str, Any]:
        item = self.answers.ask("dynamodb.batch_get_item", request)
        return {"Responses": {"deliveries": [_typed(item)] if item else []}}

    def change_message_visibility(self, VisibilityTimeout: int, **_: Any) -> None:  # noqa: N803 - boto3's
        self.answers.ask("sqs.later", VisibilityTimeout)

    def send_message(self, **_: Any) -> None:
        self.answers.ask("sqs.send_message")


class Lease:
    """The space of one sequence of versions; to be searched within `installed`."""

    clients = Clients()

    def __init__(
        self,
        *versions: Version,
        dynamo: type[Dynamo] = Dynamo,
        unsure: bool = True,
        deaths: int = 1,
        troubles: int = 1,
        stalls: int = 1,
    ) -> None:
        queue = tuple(sorted(Sent(version, 0, 0) for version in versions))
        self.start = World((), 0, queue, deaths=deaths, troubles=troubles, stalls=stalls)
        self._newest = max(versions)
        self._dynamo = dynamo
        self._unanswered = Raised(lambda: Unavailable("timed out", unsure=unsure))
        self._fresh: dict[Task, Worker[Task]] = {}
        self._made: dict[tuple[Item, Worker[Task], int], tuple[Item, Hashable]] = {}

    @classmethod
    @contextmanager
    def installed(cls) -> Iterator[None]:
        """What the loop finds around it: settings, an archive, an environment, and the clients."""
        with target() as shop, patch.dict(os.environ, POWERTOOLS_METRICS_DISABLED="true"):
            for number in range(1, 10):
                shop.send(document(version=number))
            shop.cloud.dynamodb = shop.cloud.sqs = cls.clients  # type: ignore[assignment]
            logging.disable()
            yield
            logging.disable(logging.NOTSET)

    def wrong(self, end: World) -> str:
        """What is not as it should be when all is delivered, or nothing."""
        wanted = 0 if self._newest.change == "removed" else self._newest.number
        if end.held != wanted:
            return f"the store holds {end.held or 'nothing'}, and should hold {wanted or 'nothing'}"
        row = {name: value for name, _, value in end.item}
        if (row["version"], row["status"]) != (str(self._newest.number), "done"):
            return f"version {row['version']} is {row['status']} in the table"
        return ""

    def moves(self, world: World) -> Iterator[Move[World]]:
        """What may happen next; first of all, and alone, what nobody can tell from something later."""
        for working in world.workers:
            if _is_made_at_once(world, working):
                yield from self._steps(world, working)
                return
        if self._waits_for_time(world):
            yield f"{STEP} s pass", _later(world)
        for late in dict.fromkeys(world.late):
            landed = world._replace(late=_without(world.late, late), held=_written(late.version))
            yield f"what was sent of {_told(late.version)} takes effect", landed
        if len(world.workers) < WORKERS:
            yield from self._begins(world)
        for working in dict.fromkeys(world.workers):
            yield from self._steps(world, working)

    def _waits_for_time(self, world: World) -> bool:
        if world.workers:
            return world.stalls > 0 and all(working.age + STEP <= LIFE for working in world.workers)
        leased = {name: value for name, _, value in world.item}.get("leased_until", "0")
        return bool(world.late) or any(sent.visible_in for sent in world.queue) or int(leased) >= NOW

    def _begins(self, world: World) -> Iterator[Move[World]]:
        """A worker takes a message, and makes its first call."""
        for sent in dict.fromkeys(sent for sent in world.queue if not sent.visible_in):
            task = Task(sent.version, sent.receives + 1, _free_owner(world))
            if task not in self._fresh:
                self._fresh[task] = Worker(self._deliver, task, f"{_told(task.version)} ({task.owner})")
            working = Working(self._fresh[task], 0)
            taken = world._replace(queue=_without(world.queue, sent), workers=(*world.workers, working))
            yield from self._steps(taken, working)

    def _steps(self, world: World, working: Working) -> Iterator[Move[World]]:
        worker, call = working.worker, working.worker.call
        if call is None:
            yield worker.text, self._ended(world, working)
        elif call.name == "vendor.deliver":
            yield from self._writes(world, working)
        else:
            made = self._after(world, working, call)
            yield worker.text, made
            if world.deaths and call.name in LASTING:
                without = world._replace(item=made.item, queue=made.queue)
                gave_back = working.gave_back or call.name == "sqs.later"
                yield f"{worker.text}, and the worker DIES", _dead(without, working, gave_back=gave_back)

    def _writes(self, world: World, working: Working) -> Iterator[Move[World]]:
        """The vendor does what it is told and says so; or the worker never hears of it."""
        version, text = working.worker.task.version, working.worker.text
        yield text, _answered(world._replace(held=_written(version)), working, (DONE,))
        late = (*world.late, Late(version, LIFE + LEASE_SLACK - working.age))
        unanswered = world._replace(late=tuple(sorted(late)))
        if world.troubles:
            less = world.troubles - 1
            yield f"{text}, UNANSWERED", _answered(unanswered._replace(troubles=less), working, self._unanswered)
            yield f"{text}, turned down", _answered(world._replace(troubles=less), working, TURNED_DOWN)
        if world.deaths:
            yield f"{text}, and the worker DIES", _dead(unanswered, working, gave_back=working.gave_back)

    def _after(self, world: World, working: Working, call: Call) -> World:
        match call.name:
            case "clock.now":
                return _answered(world, working, NOW + 1000 * working.age)
            case "clock.remaining":
                return _answered(world, working, 1000 * (LIFE - working.age))
            case "sqs.later":
                task = working.worker.task
                queue = tuple(sorted((*world.queue, Sent(task.version, task.receives, *call.arguments))))
                return _answered(world._replace(queue=queue), working._replace(gave_back=True), None, working)
            case "sqs.send_message":
                raise Wrong("dead-lettered")
        key = (world.item, working.worker, working.age)
        if key not in self._made:
            self._made[key] = self._of_table(world.item, call, 1000 * working.age)
        item, answer = self._made[key]
        return _answered(world._replace(item=item), working, answer)

    def _of_table(self, item: Item, call: Call, age: int) -> tuple[Item, Hashable]:
        """The item after the call, and the answer; the worker's clock stood still when it began, `age` ms ago."""
        dynamo, [request] = self._dynamo(), call.arguments
        rows = dynamo.tables["deliveries"] = {KEY: _typed(item)} if item else {}
        if call.name == "dynamodb.batch_get_item":
            found = dynamo.batch_get_item(**request)["Responses"]["deliveries"]
            return item, _shifted(_plain(found[0]), age) if found else ()
        values = _plain({name[1:]: value for name, value in request["ExpressionAttributeValues"].items()})
        values = _shifted(values, -age)
        operands = {f":{name}": {kind: value} for name, kind, value in values}
        try:
            dynamo.update_item(**{**request, "ExpressionAttributeValues": operands})
        except ClientError:
            return item, CONFLICT
        if _version(_plain(rows[KEY])) < _version(item):
            raise Wrong("a version fell")
        return _plain(rows[KEY]), None

    def _ended(self, world: World, working: Working) -> World:
        ended = world._replace(workers=_without(world.workers, working))
        if bool(working.worker.result["batchItemFailures"]) != working.gave_back:
            raise Wrong("a message is acknowledged and comes back, or neither")
        return ended

    def _deliver(self, task: Task, answers: Answers) -> Mapping[str, Any]:
        """The loop's real code, in a cold worker, with one message."""
        clients = Lease.clients
        clients.answers, clients.owner = answers, task.owner
        random.seed(0)  # the jitter of waits must be the same in each run
        port = answers.port
        adapter = Adapter(
            "shop", ("key",), port("vendor.").deliver, str, str, _nothing, WORST_CASE, leased=lambda _: True
        )
        loop = Delivery(adapter, clock=lambda: answers.ask("clock.now") / 1000)
        context = SimpleNamespace(get_remaining_time_in_millis=port("clock.").remaining)
        message = Stored("m", _document(task.version).to_message(), {}, NOW / 1000, 0, "m/1", 0, task.receives)
        return loop.handle({"Records": [message.record()]}, context)


TURNED_DOWN = Raised(lambda: Unavailable("503"))
KEY = "shop|post:hello:en"


def _is_made_at_once(world: World, working: Working) -> bool:
    """Whether nobody can tell the worker's next call from a later one."""
    call = working.worker.call
    time_stands = not world.stalls or working.age + STEP > LIFE
    return call is None or call.name == "sqs.later" or (call.name in OF_TIME and time_stands)


def _nothing() -> None:
    """No client is cached."""


def _document(version: Version) -> Document:
    return document(version=version.number, change=version.change)


def _told(version: Version) -> str:
    return f"{version.change} {version.number}"


def _written(version: Version) -> int:
    return 0 if version.change == "removed" else version.number


def _free_owner(world: World) -> str:
    """A name that no worker has, and no lease."""
    taken = {working.worker.task.owner for working in world.workers} | {value for _, _, value in world.item}
    return next(name for name in ("Ann", "Bob", "Cid", "Dan") if name not in taken)


def _without(many: tuple[Any, ...], one: Any) -> tuple[Any, ...]:
    place = many.index(one)
    return many[:place] + many[place + 1 :]


def _workers(many: Sequence[Working]) -> tuple[Working, ...]:
    return tuple(sorted(many, key=lambda working: (working.worker.number, *working[1:])))


def _answered(world: World, working: Working, answer: Hashable, before: Working | None = None) -> World:
    """The world after a call of the worker, who was `before` in it."""
    others = _without(world.workers, before or working)
    return world._replace(workers=_workers([*others, working._replace(worker=working.worker.told(answer))]))


def _dead(world: World, working: Working, *, gave_back: bool) -> World:
    """The worker is dead, and its message back in the queue."""
    task = working.worker.task
    back = () if gave_back else (Sent(task.version, task.receives, 0),)
    return world._replace(
        workers=_without(world.workers, working),
        queue=tuple(sorted((*world.queue, *back))),
        deaths=world.deaths - 1,
    )


def _later(world: World) -> World:
    """A step of time."""
    queue = tuple(sorted(sent._replace(visible_in=max(sent.visible_in - STEP, 0)) for sent in world.queue))
    late = tuple(one._replace(seconds=one.seconds - STEP) for one in world.late if one.seconds >= STEP)
    workers = _workers([working._replace(age=working.age + STEP) for working in world.workers])
    stalls = world.stalls - bool(workers)
    return World(
        _shifted(world.item, -STEP * 1000), world.held, queue, workers, late, world.deaths, world.troubles, stalls
    )


def _version(item: Item) -> int:
    return int({name: value for name, _, value in item}.get("version", 0))


def _shifted(item: Item, ms: int) -> Item:
    return tuple((name, kind, _moment(value, ms) if name in TIMES else value) for name, kind, value in item)


def _moment(value: str, ms: int) -> str:
    """0 is no moment."""
    return str(max(int(value) + ms, NOW - 1000 * PAST)) if value != "0" else value


def _plain(item: Mapping[str, Mapping[str, str]]) -> Item:
    return tuple(sorted((name, *typed) for name, value in item.items() for typed in value.items()))


def _typed(item: Item) -> dict[str, dict[str, str]]:
    return {name: {kind: value} for name, kind, value in item}
