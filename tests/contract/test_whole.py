"""Random interleavings of the whole: however it comes about, every store ends up as the site is.

A story is a handful of edits and a tape of chances. Whoever is due goes on, one call at a time, and the tape says where
another worker goes first, a call fails, a worker dies, a message comes twice, late or never without an operator. Where
the tape ends nothing is in the way any more, and everything must come to rest. Then PostgreSQL, OpenSearch and the
sandbox's Algolia must hold what the site has, to the letter, as resolve maps it and as the content table counts it.

They are real servers, which all stories share: each names its content by a number of its own.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeVar, get_args

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opensearchpy import OpenSearch
from psycopg2.extras import RealDictCursor

import opensearch
import postgres
import records
from buttersync.butter import Butter
from buttersync.model import Document, Identity
from decisions import Row, document_of
from documents import UrlPatterns, mapped
from mapping import ALIASES
from sandbox.postgres import Postgres
from sandbox.search import SearchServer
from sandbox.site import Account, instant
from storage import ContentTable
from tests.fakes.account import FUNCTIONS, TARGETS
from tests.fakes.editor import Edit, Kind
from tests.fakes.world import Environments, Invocation, World

STORIES = int(os.environ.get("STORIES", "1000"))
AT_MOST = 1000
"""stories until a broken copy must be found out; each is within the first 300"""
Thing = TypeVar("Thing")
PREFIX = "whole-"
MOST_MOVES = 20_000
MOST_CHANCES = 400
PATTERNS = UrlPatterns("https://example.com/{slug}", "", "")

numbers = count(1)


# --- what becomes of a story ---


class Chances:
    """A tape of bytes; 0, and what comes after its end, is what happens anyway."""

    def __init__(self, tape: bytes) -> None:
        self._tape = iter(tape)
        self.over = False

    def next(self) -> int:
        byte = next(self._tape, None)
        self.over = byte is None
        return byte or 0

    def one_of(self, options: Sequence[Thing]) -> Thing:
        return options[self.next() % len(options)]


class Story:
    """A world, what an editor wants of it, and the chances."""

    def __init__(self, world: World, edits: Sequence[Edit], tape: bytes) -> None:
        self.world = world
        self.edits = list(edits)
        self.chances = Chances(tape)

    def play(self) -> None:
        """Tell it to its end; raises AssertionError if it does not come to one."""
        for _ in range(MOST_MOVES):
            byte = self.chances.next()
            if self.chances.over:
                break
            self._disturb(byte)
        self.world.butter.cdn.thaw()
        for _ in range(MOST_MOVES):
            if not self._plain() and not self._redrive():
                return
        raise AssertionError("it does not end")

    def _disturb(self, byte: int) -> None:
        moves = BEFORE_SENDING if self._brisk and self._brisk[-1].sends else MOVES
        move = moves[255 - byte] if byte > 255 - len(moves) else Story._plain
        if not move(self):
            self._plain()

    def _plain(self) -> bool:
        """What happens if nothing is in the way; False if nothing is left to happen."""
        world = self.world
        world.pass_time(0.001)
        if self._brisk:
            world.go_on(self._brisk[-1])
        elif function := next(filter(self._may_begin, FUNCTIONS), None):
            world.begin(function, 50)
        elif world.webhooks:
            world.send(world.webhooks[0])
        elif self.edits:
            self._edit()
        elif world.invocations:
            world.go_on(world.invocations[0])
        elif world.landings:
            world.land(world.landings[0])
        elif sleeping := [one.visible_at for name in FUNCTIONS for one in world.account.sqs.waiting(name)]:
            world.pass_time(max(0, min(sleeping) - world.account.clock.now))
        else:
            return False
        return True

    def _edit(self) -> bool:
        if not self.edits:
            return False
        self.world.pass_time(1)
        self.world.edit(self.edits.pop(0))
        if self.chances.next() % 4 < 3:
            return self._send()
        return True

    def _send(self) -> bool:
        if not self.world.webhooks:
            return False
        self.world.account.sns.down = self.chances.next() % 8 == 7
        self.world.send(self._out_of_order(self.world.webhooks))
        self.world.account.sns.down = False
        return True

    def _switch(self) -> bool:
        """Another worker goes first."""
        others = self._brisk[:-1]
        if others:
            self._to_the_fore(self.chances.one_of(others))
        return bool(others)

    def _stall(self) -> bool:
        """The worker goes on when nothing else can be done."""
        brisk = self._brisk
        if brisk:
            brisk[-1].stalls = True
        return bool(brisk)

    def _resume(self) -> bool:
        """Or before that."""
        stalled = [one for one in self.world.invocations if one.stalls]
        if stalled:
            self._to_the_fore(self.chances.one_of(stalled))
        return bool(stalled)

    def _to_the_fore(self, one: Invocation) -> None:
        one.stalls = False
        self.world.invocations.remove(one)
        self.world.invocations.append(one)

    @property
    def _brisk(self) -> list[Invocation]:
        return [one for one in self.world.invocations if not one.stalls]

    def _begin(self) -> bool:
        ready = list(filter(self._may_begin, FUNCTIONS))
        if not ready:
            return False
        function = self.chances.one_of(ready)
        waiting = self.world.account.sqs.waiting(function)
        first = self._out_of_order(self.world.due(function))
        waiting.insert(0, waiting.pop(waiting.index(first)))
        self.world.begin(function, self.chances.one_of([50, 1, 2]))
        return True

    def _out_of_order(self, those: Sequence[Thing]) -> Thing:
        chosen = self.chances.one_of(those)
        self.world.happened["reorder"] += chosen is not those[0]
        return chosen

    def _may_begin(self, function: str) -> bool:
        return self.world.has_room(function) and bool(self.world.due(function))

    def _tick(self) -> bool:
        self.world.pass_time(self.chances.one_of([0.05, 1, 1, 1, 5, 5, 5, 20, 61, 900]))
        return True

    def _fault(self) -> bool:
        brisk = self._brisk
        if not brisk or not brisk[-1].worker.faults:
            return False
        self.world.go_on(brisk[-1], self.chances.one_of(brisk[-1].worker.faults))
        return True

    def _die(self) -> bool:
        if not self.world.invocations:
            return False
        one: Invocation = self.chances.one_of(self.world.invocations[::-1])
        self.world.die(one, on_its_way=self.chances.next() % 2 == 1)
        return True

    def _land(self) -> bool:
        if not self.world.landings:
            return False
        self.world.land(self.chances.one_of(self.world.landings))
        return True

    def _message(self) -> Any:
        """One that no worker has; None if there is none."""
        held = {id(message) for one in self.world.invocations for message in one.batch}
        queue = [one for name in FUNCTIONS for one in self.world.account.sqs.waiting(name) if id(one) not in held]
        return self.chances.one_of(queue) if queue else None

    def _wake(self) -> bool:
        if message := self._message():
            message.visible_at = self.world.account.clock.now
        return bool(message)

    def _delay(self) -> bool:
        if message := self._message():
            message.visible_at = self.world.account.clock.now + self.chances.one_of([5, 60, 900])
            self.world.happened["delay"] += 1
        return bool(message)

    def _grow_old(self) -> bool:
        """Ten days pass it by."""
        message = self._message()
        if not message or message.sent_at < self.world.account.clock.now - 86_400:
            return False
        message.sent_at -= 10 * 86_400
        return True

    def _duplicate(self) -> bool:
        function = self.chances.one_of(list(FUNCTIONS))
        waiting = self.world.account.sqs.waiting(function)
        if not waiting:
            return False
        self.world.duplicate(function, self.chances.one_of(waiting))
        return True

    def _redrive(self) -> bool:
        return self.world.redrive()

    def _backfill(self) -> bool:
        self.world.backfill()
        return True

    def _freeze(self) -> bool:
        self.world.note("CDN freezes")
        self.world.butter.cdn.freeze()
        return True

    def _thaw(self) -> bool:
        self.world.note("CDN thaws")
        self.world.butter.cdn.thaw()
        return True


WEIGHTS: Mapping[Callable[[Story], bool], int] = {
    Story._switch: 20,
    Story._stall: 14,
    Story._resume: 2,
    Story._begin: 20,
    Story._edit: 8,
    Story._send: 5,
    Story._tick: 7,
    Story._fault: 14,
    Story._die: 5,
    Story._land: 4,
    Story._wake: 4,
    Story._delay: 3,
    Story._duplicate: 4,
    Story._grow_old: 2,
    Story._redrive: 2,
    Story._backfill: 2,
    Story._freeze: 6,
    Story._thaw: 1,
}
MOVES = [move for move, weight in WEIGHTS.items() for _ in range(weight)]
BEFORE_SENDING = [*MOVES, *[Story._fault] * 60, *[Story._stall] * 40]
"""The stores are what it is all about."""


# --- what must be there in the end ---

Held = Mapping[str, Mapping[str, Any]]
"""By ref, what a store has of a document."""


@dataclass(frozen=True)
class Servers:
    """The stores' servers, read as they are."""

    environments: Environments
    database: psycopg2.extensions.connection
    search: OpenSearch

    def held(self, world: World, refs: Sequence[str]) -> dict[str, Held]:
        """What each store has of these refs."""
        return {"postgres": self._rows(refs), "opensearch": self._sources(refs), "algolia": _records(world)}

    def _rows(self, refs: Sequence[str]) -> Held:
        with self.database.cursor(cursor_factory=RealDictCursor) as work:
            rows: dict[str, dict[str, Any]] = {}
            for table in postgres.TABLES.values():
                work.execute(f"SELECT * FROM {table} WHERE ref = ANY(%s)", (list(refs),))  # noqa: S608 - our own names
                rows |= {one["ref"]: _row(one) for one in work}
            return rows

    def _sources(self, refs: Sequence[str]) -> Held:
        wanted = [{"_index": PREFIX + ALIASES[ref.partition(":")[0]], "_id": ref} for ref in refs]
        answer = self.search.mget(body={"docs": wanted}) if wanted else {"docs": []}
        found = [one for one in answer["docs"] if one["found"]]
        return {one["_id"]: one["_source"] for one in found}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    typed = {name: instant(row[name]) for name in ("published_at", "updated_at")}
    if "item_id" in row:
        typed["item_id"] = str(row["item_id"])
    return {name: value for name, value in {**row, **typed}.items() if name not in ("synced_at", "status")}


def _records(world: World) -> Held:
    vendor = world.algolia
    return {record["objectID"]: record for index in vendor.indices for record in vendor.records(index).values()}


def wanted(documents: Iterable[Document]) -> dict[str, Held]:
    """The same for what is published."""
    by_ref = {one.identity.ref: one for one in documents}
    rows = {ref: postgres.row(one) for ref, one in by_ref.items()}
    return {
        "postgres": {ref: {**row, "fields": json.loads(str(row["fields"]))} for ref, row in rows.items()},
        "opensearch": {ref: json.loads(json.dumps(opensearch.source(one))) for ref, one in by_ref.items()},
        "algolia": {ref: records.record(one, 10_000) for ref, one in by_ref.items()},
    }


def published(world: World) -> dict[Identity, Mapping[str, Any]]:
    """What the site shows now, read past every cache."""
    content, reader = world.site.content, Butter(world.butter.token)
    identities = [
        Identity("post", "", one.slug, one.locale) for one in content.posts.values() if one.status == "published"
    ]
    identities += [Identity("page", one.group, one.name, one.locale) for one in content.pages.values() if one.live]
    identities += [Identity("item", one.group, one.name, one.locale) for one in content.items.values() if one.live]
    locales = {"en": None}
    return {one: reader.item(one, locales.get(one.locale, one.locale)) or {} for one in identities}


def wrong(servers: Servers, world: World) -> list[str]:
    """Everything that is not as it should be."""
    table = ContentTable("contents")
    contents = {one.ref: (one, mapped(one, item, PATTERNS)) for one, item in published(world).items()}
    heard = [Document.from_json(body) for body in world.account.sns.published if '"stage":"document"' in body]
    refs = sorted({one.identity.ref for one in heard} | set(contents))
    rows = table.rows(refs)
    documents = [document_of(identity, rows[ref], content, "updated") for ref, (identity, content) in contents.items()]
    faults = list(world.errors)
    for target, held in servers.held(world, refs).items():
        for ref in sorted({*held, *(theirs := wanted(documents)[target])}):
            if held.get(ref) != theirs.get(ref):
                faults.append(f"{target} has {held.get(ref)}, not {theirs.get(ref)}")
    for ref, row in rows.items():
        faults += _row_faults(world, row, contents[ref][1].hash if ref in contents else "", heard)
    return faults


def _row_faults(world: World, row: Row, hash_: str, heard: Sequence[Document]) -> Iterator[str]:
    mine = [one for one in heard if one.identity.ref == row.ref]
    if (row.hash, row.published, row.pending) != (hash_, bool(hash_), ""):
        yield f"the content table has {row}"
    if row.version != max((one.version for one in mine), default=0):
        yield f"the content table has version {row.version} of {row.ref}, which nobody heard last"
    if len({one.version for one in mine}) != len({one.archive_key for one in mine}):
        yield f"a version of {row.ref} has two contents"
    for target in TARGETS:
        item = world.account.dynamodb.tables["deliveries"].get(f"{target}|{row.ref}", {})
        has = (item.get("version", {}).get("N"), item.get("status", {}).get("S"))
        # Whose letter is redriven before it has recorded that, records it last.
        if row.version and has not in [(str(row.version), end) for end in ("done", "refused", "dead")]:
            yield f"{target} delivered {has} of {row.ref}, not {row.version}"


# --- the stories ---


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Postgres() as database, SearchServer() as search:
        own = {
            "postgres/dsn": database.dsn,
            "opensearch/endpoint": search.endpoint,
            "opensearch/auth": "none",
            "opensearch/index_prefix": PREFIX,
        }
        environments = Environments(own)
        postgres.setup({"dsn": database.dsn})
        opensearch.setup({name.removeprefix("opensearch/"): value for name, value in own.items()})
        reader = OpenSearch(search.endpoint)
        # A crash of the machine is not told of.
        reader.indices.put_settings(index=f"{PREFIX}*", body={"translog.durability": "async", "refresh_interval": "-1"})
        connection = psycopg2.connect(database.dsn)
        connection.autocommit = True
        yield Servers(environments, connection, reader)
        connection.close()
        environments.close()
        postgres.client.close()
        opensearch.client.close()


KINDS: tuple[Kind, ...] = get_args(Kind)
VERBS = ("publish", "publish", "publish", "republish", "draft", "unpublish", "delete", "delete", "rename")
SECOND = (False, False, False, True)


def _edits(kinds: Sequence[Kind]) -> st.SearchStrategy[list[Edit]]:
    edit = st.builds(Edit, st.sampled_from(VERBS), st.sampled_from(kinds), st.sampled_from(SECOND))
    return st.lists(edit, min_size=1, max_size=8)


EDITS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True).flatmap(_edits)
"""Few things that are edited, and so more often while they are on their way."""
TAPES = st.integers(0, MOST_CHANCES).flatmap(lambda length: st.binary(min_size=length, max_size=length))
ACCOUNTS = st.builds(
    Account,
    locales=st.just(("en", "de")),
    republishing_moves_updated=st.booleans(),
    default_locale_is_null=st.booleans(),
)
"""What ButterCMS's documentation leaves open."""

NAMED = (
    *("publish", "edit", "unpublish", "delete", "recreate", "rename"),
    *("duplicate", "reorder", "delay", "retry", "redrive", "dead-letter", "stale read"),
)


def told(servers: Servers, account: Account, edits: Sequence[Edit], tape: bytes) -> Counter[str]:
    """Tell a story; what has happened in it. Raises AssertionError if it ends wrongly."""
    world = World(servers.environments, next(numbers), account)
    with world.installed():
        Story(world, edits, tape).play()
        faults = wrong(servers, world)
    assert not faults, "\n".join([*faults, *world.lines])
    return world.happened


def stories(servers: Servers, most: int, **options: Any) -> Counter[str]:
    """Tell so many; in how many of them what has happened. Raises AssertionError for one that ends wrongly."""
    happened = Counter[str]()

    @settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, **options)
    @given(ACCOUNTS, EDITS, TAPES)
    def tell(account: Account, edits: list[Edit], tape: bytes) -> None:
        happened.update(dict.fromkeys(+told(servers, account, edits, tape), 1))
        happened["story"] += 1
        if happened["story"] % 1000 == 0:
            print(f"{happened['story']} of {most} stories have ended well")  # noqa: T201

    tell()
    return happened


def test_whatever_happens_on_the_way_every_store_ends_up_as_the_site_is(servers: Servers) -> None:
    happened = stories(servers, STORIES)

    print("\n".join(f"{number:6} stories with: {what}" for what, number in happened.most_common()))  # noqa: T201
    assert not [what for what in NAMED if happened[what] < STORIES // 200]


# --- what is broken is found out ---


def found_out(servers: Servers, function: str, line: str, other: str) -> str:
    """What is wrong in the first story that ends wrongly if `other` stands in the place of a line of the function."""
    broken = replace(servers, environments=servers.environments.broken(function, {line: other}))
    with closing(broken.environments), pytest.raises(AssertionError) as caught:
        stories(broken, AT_MOST, phases=[Phase.generate], database=None)
    return str(caught.value)


def test_a_database_that_takes_older_versions_is_found_out(servers: Servers) -> None:
    assert "postgres has" in found_out(servers, "postgres", "WHERE known.version <= excluded.version", "WHERE true")


def test_a_search_that_is_told_no_versions_is_found_out(servers: Servers) -> None:
    versions = '{"version": document.version, "version_type": "external_gte"}'

    assert "opensearch has" in found_out(servers, "opensearch", versions, "{}")


def test_a_store_that_can_refuse_nothing_and_has_no_lease_is_found_out(servers: Servers) -> None:
    assert "algolia has" in found_out(servers, "algolia", "leased=lambda _: True", "leased=lambda _: False")


TABLE = '    return ContentTable(os.environ["CONTENT_TABLE"])'
NOTHING_PENDING = """
    table = ContentTable(os.environ["CONTENT_TABLE"])
    record = table.record
    table.record = lambda row: record(msgspec.structs.replace(row, pending=""))
    return table
"""


def test_a_row_that_does_not_say_what_is_pending_is_found_out(servers: Servers) -> None:
    assert "postgres has" in found_out(servers, "resolve", TABLE, NOTHING_PENDING)


UNCONDITIONAL = """
    table = ContentTable(os.environ["CONTENT_TABLE"])
    table.record = lambda row: table._put(row, "readings", table.row(row.ref).readings)
    return table
"""


def test_a_reading_recorded_over_a_newer_one_is_found_out(servers: Servers) -> None:
    assert re.search("(postgres|the content table) has", found_out(servers, "resolve", TABLE, UNCONDITIONAL))
