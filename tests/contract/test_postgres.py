"""postgres against a real PostgreSQL: what its tables hold, whatever order and trouble the documents meet."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg2.sql import SQL, Composed, Identifier

import database
import postgres
from buttersync.model import Document, Effect, Identity, Kind
from buttersync.outcomes import DONE, Failure, Misconfigured, Refused, Unavailable
from sandbox.postgres import Postgres
from sandbox.tls_relay import TlsRelay
from tests.fakes.documents import HELLO

names = count()


def document(
    slug: str = "hello",
    version: int = 1,
    change: Effect = "updated",
    kind: Kind = "post",
    group: str = "",
    locale: str = "en",
    **more: Any,
) -> Document:
    """A version of an item; a removed one has its identity and version only."""
    identity = Identity(kind, group, slug, locale)
    if change == "removed":
        return Document(identity=identity, version=version, change=change, announce_key="post:7", archive_key="archive")
    given = {name: getattr(HELLO, name) for name in Document.__struct_fields__}
    return Document(**(given | {"identity": identity, "version": version, "change": change} | more))


class Database:
    """One database of the server, and what a person sees in it with `psql`."""

    def __init__(self, server: Postgres, name: str, dsn: str = "") -> None:
        self.server = server
        self.name = name
        self.settings = {"dsn": dsn or self.dsn_as("postgres", server.password)}

    def dsn_as(self, user: str, password: str, host: str = "127.0.0.1") -> str:
        port = self.server.port
        return f"postgresql://{user}:{quote(password)}@{host}:{port}/{self.name}?sslmode=disable"

    def run(self, sql: str | Composed, *values: object) -> list[Any]:
        with closing(psycopg2.connect(self.settings["dsn"])) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return cursor.fetchall() if cursor.description else []

    def deliver(self, *documents: Document) -> list[Failure | None]:
        return postgres.deliver(self.settings, documents)

    def failure(self, *documents: Document) -> Failure:
        """What all of the documents came to."""
        return failure(self.settings, *documents)

    def versions(self, table: str = "posts") -> dict[str, int]:
        return dict(self.run(SQL("SELECT ref, version FROM {}").format(Identifier(table))))

    def terminate_connections(self) -> None:
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            self.name,
        )


def failure(settings: Mapping[str, str], *documents: Document) -> Failure:
    first, *others = postgres.deliver(settings, documents or [HELLO])
    assert isinstance(first, Failure)
    assert all(other is first for other in others)
    return first


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


def make(server: Postgres) -> Database:
    made = Database(server, f"site_{next(names)}")
    Database(server, "postgres").run(f"CREATE DATABASE {made.name}")
    return made


def drop(made: Database) -> None:
    statement = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(made.name))
    Database(made.server, "postgres").run(statement)


@pytest.fixture
def empty(server: Postgres) -> Iterator[Database]:
    """A database that nobody has set up."""
    made = make(server)
    yield made
    postgres.client.close()
    server.start()
    drop(made)


@pytest.fixture
def store(empty: Database) -> Database:
    """A database after setup."""
    postgres.setup(empty.settings)
    return empty


@pytest.fixture(scope="module")
def shared(server: Postgres) -> Database:
    """A database after setup, for all examples of a property: each takes refs of its own."""
    made = make(server)
    postgres.setup(made.settings)
    return made


def transaction(store: Database, client: database.Client) -> Any:
    return client.transaction(store.settings, time.monotonic() + postgres.CALL_SECONDS, postgres.PATIENT)


# What a row holds


def test_a_post_is_found_with_every_column(store: Database) -> None:
    assert store.deliver(HELLO) == [DONE]

    found = store.run("""
        SELECT slug, locale, status, name, title, url, author, categories, tags, summary, image, text, fields, version,
               published_at = '2026-03-01 08:00:00Z', updated_at = '2026-03-02 09:30:00.25Z', synced_at <= now()
        FROM posts WHERE ref = 'post:hello:en'
    """)
    assert found == [
        (
            "hello",
            "en",
            "published",
            "Hello",
            "Hello there",
            "https://www.example.com/blog/hello",
            "Ada Example",
            ["Letters", "Notes"],
            ["first", "short"],
            "A greeting.",
            "https://cdn.example.com/hello.png",
            "Hello there, reader.",
            {"slug": "hello", "body": "<p>Hello there, reader.</p>", "featured": {"rank": 3}},
            1,
            True,
            True,
            True,
        )
    ]


def test_pages_and_items_have_tables_of_their_own(store: Database) -> None:
    page = document("about", kind="page", group="*", locale="de")
    thing = document("41", kind="item", group="products", fields={"slug": "lamp"})

    assert store.deliver(page, thing) == [DONE, DONE]

    assert store.run("SELECT page_type, slug, locale FROM pages") == [("*", "about", "de")]
    assert store.run("SELECT collection, item_id, slug FROM collection_items") == [("products", 41, "lamp")]


def test_the_view_holds_what_is_published_of_every_kind(store: Database) -> None:
    thing = document("41", kind="item", group="products", title="Lamp")
    store.deliver(HELLO, document("about", kind="page", group="landing", title="About us"), thing)
    store.deliver(document("41", 2, "removed", kind="item", group="products"))

    found = store.run("SELECT kind, type, slug, title FROM content ORDER BY kind")

    assert found == [("page", "landing", "about", "About us"), ("post", None, "hello", "Hello there")]


def test_locales_and_types_of_one_slug_are_rows_of_their_own(store: Database) -> None:
    same_slug = [document("x", kind="page", group=group, locale=locale) for group in "ab" for locale in ("en", "de")]

    assert store.deliver(*same_slug) == [DONE] * 4

    assert store.run("SELECT count(*) FROM pages") == [(4,)]


HOSTILE = """'); DROP TABLE posts; -- \\' \" %s %(x)s {} ${x} $$ \\x00 \u202e 👋 \r\n"""


def test_hostile_text_is_stored_as_it_is(store: Database) -> None:
    texts: dict[str, Any] = dict.fromkeys(("name", "title", "summary", "url", "image", "author", "text"), HOSTILE)
    hostile = document(HOSTILE, kind="page", group=HOSTILE, tags=(HOSTILE,), fields={HOSTILE: [HOSTILE]}, **texts)

    assert store.deliver(hostile) == [DONE]

    query = "SELECT page_type, slug, name, title, summary, url, image, author, text, tags[1], fields FROM pages"
    assert store.run(query) == [(*[HOSTILE] * 10, {HOSTILE: [HOSTILE]})]


def test_text_that_postgresql_cannot_hold_is_stored_without_it(store: Database) -> None:
    bad = document(title="a\0b", text="\ud83dc", tags=("\0d",), fields={"e\0": ["f\0", "\udfffg", r"\u0000"]})

    assert store.deliver(bad) == [DONE]

    assert store.run("SELECT title, text, tags, fields FROM posts") == [
        ("ab", "c", ["d"], {"e": ["f", "g", r"\u0000"]})
    ]


def test_large_content_fits(store: Database) -> None:
    tags = tuple(f"tag {number}" for number in range(10_000))
    body = "Büroklammer " * 90_000

    assert store.deliver(document(text=body, fields={"body": body}, tags=tags)) == [DONE]

    assert store.run(
        "SELECT text = %s, fields->>'body' = %s, tags[10000], cardinality(tags) FROM posts", body, body
    ) == [(True, True, "tag 9999", 10_000)]


# Order and repetition


def test_a_newer_version_replaces_the_row_and_an_older_one_does_not(store: Database) -> None:
    store.deliver(document(version=5, title="five", tags=("a",)))
    [(before,)] = store.run("SELECT synced_at FROM posts")

    assert store.deliver(document(version=6, title="six", tags=())) == [DONE]
    assert store.deliver(document(version=5, title="five", tags=("a",))) == [DONE]

    assert store.run("SELECT version, title, tags, synced_at > %s FROM posts", before) == [(6, "six", [], True)]


def test_a_stale_upsert_after_a_delete_changes_nothing(store: Database) -> None:
    store.deliver(document(version=5))
    store.deliver(document(version=6, change="removed"))

    assert store.deliver(document(version=5)) == [DONE]

    assert store.versions() == {}
    assert store.versions("buttersync_versions") == {"post:hello:en": 6}


def test_a_delete_of_what_never_was_there_fences_an_older_upsert_off(store: Database) -> None:
    assert store.deliver(document(version=6, change="removed")) == [DONE]

    store.deliver(document(version=5))

    assert store.versions() == {}


def test_a_late_delete_does_not_kill_a_republished_row(store: Database) -> None:
    store.deliver(document(version=7, change="created"))

    store.deliver(document(version=6, change="removed"))

    assert store.versions() == {"post:hello:en": 7}
    assert store.run("SELECT removed_at FROM buttersync_versions") == [(None,)]


def test_the_same_version_again_rebuilds_a_wiped_table(store: Database) -> None:
    store.deliver(document(version=5))
    store.run("TRUNCATE posts")

    store.deliver(document(version=5))

    assert store.versions() == {"post:hello:en": 5}


REFS = 4
CHANGES: tuple[Effect, ...] = ("created", "updated", "removed")
HISTORIES = st.lists(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=5), min_size=1, max_size=REFS)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[tuple[int, int, Effect]]]:
    """Batches of (item, version, change): every version of every item, in any order, some more than once."""
    versions = [
        (item, version, change)
        for item, history in enumerate(draw(HISTORIES))
        for version, change in enumerate(history, start=1)
    ]
    sent = draw(st.permutations(versions + draw(st.lists(st.sampled_from(versions), max_size=5))))
    batches: list[list[tuple[int, int, Effect]]] = [[]]
    for item, version, change in sent:
        if draw(st.booleans()) or item in [other for other, *_ in batches[-1]]:
            batches.append([])
        batches[-1].append((item, version, change))
    return batches


KINDS: list[tuple[Kind, str]] = [("post", ""), ("page", "landing"), ("item", "products"), ("page", "*")]


@given(batches=deliveries())
@settings(max_examples=60, deadline=None)
def test_whatever_the_order_the_newest_version_of_each_remains(
    shared: Database, batches: list[list[tuple[int, int, Effect]]]
) -> None:
    newest = {item: (version, change) for item, version, change in sorted(chain(*batches))}
    run = 1000 * next(names)

    for batch in batches:
        sent = [
            document(str(run + item), version, change, *KINDS[item], title=f"version {version}")
            for item, version, change in batch
        ]
        assert shared.deliver(*sent) == [DONE] * len(sent)

    for item, (version, change) in newest.items():
        ref = Identity(*KINDS[item], str(run + item), "en").ref
        rows = [] if change == "removed" else [(version, f"version {version}")]
        assert shared.run("SELECT version, title FROM content WHERE ref = %s", ref) == rows
        known = shared.run("SELECT version, removed_at IS NULL FROM buttersync_versions WHERE ref = %s", ref)
        assert known == [(version, bool(rows))]


# Two workers at once


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_thread(work: Callable[[], Any]) -> Any:
    """The future of `work`, once it waits for a lock or is done."""
    future = POOL.submit(work)
    time.sleep(0.3)
    return future


POOL = ThreadPoolExecutor(8)


def written(store: Database, *documents: Document) -> None:
    """As another process would do it."""
    other = database.Client()
    with transaction(store, other) as work:
        postgres.write(work, documents)
    other.close()


def test_a_stale_upsert_that_waits_for_a_delete_changes_nothing(store: Database) -> None:
    first = database.Client()

    with transaction(store, first) as work:
        postgres.write(work, [document(version=6, change="removed")])
        waiting = in_thread(lambda: written(store, document(version=5)))
        assert not waiting.done()
    waiting.result(5)

    first.close()
    assert store.versions() == {}


def test_a_delete_that_waits_for_the_upsert_of_a_new_row_removes_it(store: Database) -> None:
    # The row is not in the snapshot of a statement that began to wait before it was committed.
    first = database.Client()

    with transaction(store, first) as work:
        postgres.write(work, [document(version=5)])
        waiting = in_thread(lambda: written(store, document(version=6, change="removed")))
        assert not waiting.done()
    waiting.result(5)

    first.close()
    assert store.versions() == {}
    assert store.versions("buttersync_versions") == {"post:hello:en": 6}


def test_a_republishing_that_waits_for_a_delete_stays(store: Database) -> None:
    store.deliver(document(version=4))
    first = database.Client()

    with transaction(store, first) as work:
        postgres.write(work, [document(version=5, change="removed")])
        waiting = in_thread(lambda: written(store, document(version=6)))
        assert not waiting.done()
    waiting.result(5)

    first.close()
    assert store.versions() == {"post:hello:en": 6}


def test_workers_with_the_same_refs_in_other_orders_never_deadlock(store: Database) -> None:
    # Both wait for `middle`. If each held its first row meanwhile, they would then wait for each other's.
    holder = database.Client()

    with transaction(store, holder) as work:
        postgres.write(work, [document("middle", 1)])
        one = in_thread(lambda: written(store, document("a", 2), document("middle", 2), document("z", 2)))
        other = in_thread(lambda: written(store, document("z", 3), document("middle", 3), document("a", 3)))
        assert not one.done()
        assert not other.done()
    one.result(10)
    other.result(10)

    holder.close()
    assert set(store.versions().values()) == {3}


def test_a_row_that_someone_keeps_locked_keeps_only_its_own_document(store: Database) -> None:
    batch = [document(f"post-{i}", version=1) for i in range(50)]
    store.deliver(*batch)
    began = time.monotonic()

    with closing(psycopg2.connect(store.settings["dsn"])) as someone, someone.cursor() as cursor:
        cursor.execute("SELECT FROM posts WHERE slug = 'post-31' FOR UPDATE")
        outcomes = store.deliver(*[document(f"post-{i}", version=2) for i in range(50)])

    assert [i for i, outcome in enumerate(outcomes) if outcome is not DONE] == [31]
    assert isinstance(outcomes[31], Unavailable)
    assert outcomes[31].reason == "55P03 LockNotAvailable"
    assert time.monotonic() - began < postgres.CALL_SECONDS
    assert sorted(store.versions().values()) == [1, *[2] * 49]
    assert store.deliver(document("post-31", version=2)) == [DONE]


def test_a_table_that_someone_keeps_locked_keeps_no_other_table_and_ends_in_time(store: Database) -> None:
    posts = [document(f"post-{i}") for i in range(45)]
    pages = [document(f"page-{i}", kind="page", group="*") for i in range(5)]
    began = time.monotonic()

    with closing(psycopg2.connect(store.settings["dsn"])) as someone, someone.cursor() as cursor:
        cursor.execute("LOCK TABLE posts")
        outcomes = store.deliver(*posts, *pages)

    assert time.monotonic() - began < postgres.CALL_SECONDS
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes[:45])
    assert outcomes[45:] == [DONE] * 5


# Rows that the server turns down


def test_a_bad_row_does_not_sink_its_batch_mates(store: Database) -> None:
    batch = [document(f"post-{i}") for i in range(20)]
    batch[7] = document("post-7", published_at="the day before yesterday")
    batch[19] = document("post-19", updated_at="2026-02-31T00:00:00Z")

    outcomes = store.deliver(*batch)

    assert [i for i, outcome in enumerate(outcomes) if outcome is not DONE] == [7, 19]
    assert sorted(store.versions("posts")) == sorted(d.identity.ref for i, d in enumerate(batch) if i not in (7, 19))
    assert len(store.versions("buttersync_versions")) == 18


def test_a_refusal_names_code_and_column_but_never_the_content(store: Database) -> None:
    store.run("ALTER TABLE posts ADD CONSTRAINT short CHECK (length(title) < 10)")

    (constraint,) = store.deliver(document(title="a secret headline"))
    (bad_date,) = store.deliver(document(published_at="a secret date"))
    store.run("ALTER TABLE posts ALTER COLUMN url SET NOT NULL")
    (no_url,) = store.deliver(document(title="short", url=""))

    assert isinstance(constraint, Refused)
    assert constraint.reason == "23514 CheckViolation (posts, short)"
    assert isinstance(bad_date, Refused)
    assert bad_date.reason == "22007 InvalidDatetimeFormat"
    assert isinstance(no_url, Refused)
    assert no_url.reason == "23502 NotNullViolation (posts, url)"


def trigger(store: Database, body: str) -> None:
    """From now on, this happens before each new post."""
    store.run(f"CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body}; RETURN NEW; END$$")
    store.run("CREATE TRIGGER first BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION act()")


STATES = {"42501": Misconfigured, "42P01": Misconfigured, "40001": Unavailable, "XX000": Unavailable, "P0001": Refused}


@pytest.mark.parametrize(("state", "kind"), STATES.items())
def test_whatever_a_trigger_says_of_a_row_holds_for_that_row_and_is_not_repeated(
    store: Database, state: str, kind: type[Failure]
) -> None:
    said = f"RAISE EXCEPTION 'not you: %', NEW.title USING ERRCODE = '{state}'"
    trigger(store, f"IF NEW.slug = 'bad' THEN {said}; END IF")

    outcomes = store.deliver(document("a"), document("bad", title="a secret headline"), document("z"))

    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (DONE, kind, DONE)
    assert state in str(outcomes[1])
    assert not {"you", "secret"} & set(str(outcomes[1]).split())
    assert sorted(store.versions()) == ["post:a:en", "post:z:en"]


def test_a_row_that_a_policy_forbids_does_not_sink_its_batch_mates(store: Database) -> None:
    store.run("CREATE ROLE kept_out LOGIN PASSWORD 'keeps-out'")
    store.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO kept_out; ALTER TABLE posts ENABLE ROW LEVEL SECURITY")
    store.run("CREATE POLICY public_only ON posts USING (true) WITH CHECK (slug <> 'private')")

    settings = {"dsn": store.dsn_as("kept_out", "keeps-out")}
    outcomes = postgres.deliver(settings, [document("a"), document("private"), document("z")])

    assert (outcomes[0], outcomes[2]) == (DONE, DONE)
    assert isinstance(outcomes[1], Misconfigured)
    assert outcomes[1].reason == "42501 InsufficientPrivilege"


def test_a_constraint_that_is_checked_at_the_commit_refuses_its_document_alone(store: Database) -> None:
    store.run("CREATE TABLE authors (name text PRIMARY KEY); INSERT INTO authors VALUES ('Ada Example')")
    store.run("ALTER TABLE posts ADD FOREIGN KEY (author) REFERENCES authors DEFERRABLE INITIALLY DEFERRED")

    outcomes = store.deliver(document("a"), document("bad", author="Nobody"), document("z"))

    assert (outcomes[0], outcomes[2]) == (DONE, DONE)
    assert isinstance(outcomes[1], Refused)
    assert outcomes[1].reason == "23503 ForeignKeyViolation (posts, posts_author_fkey)"


def test_a_refused_version_is_not_recorded(store: Database) -> None:
    store.deliver(document(version=5))

    store.deliver(document(version=6, published_at="never"))

    assert store.versions() == store.versions("buttersync_versions") == {"post:hello:en": 5}


def test_a_key_that_a_row_of_someone_else_has_is_refused_with_the_name_of_the_index(store: Database) -> None:
    store.deliver(HELLO)
    store.run("UPDATE posts SET ref = 'mine'")

    (outcome,) = store.deliver(HELLO)

    assert isinstance(outcome, Refused)
    assert outcome.reason == "23505 UniqueViolation (posts, posts_key)"


SQLSTATES = {
    Refused: ["22001", "22P05", "23505", "23514", "44000", "54000", "P0001"],
    Misconfigured: ["0A000", "28000", "3D000", "3F000", "42P01", "42501", "42703"],
    Unavailable: ["08006", "25006", "40001", "40P01", "53300", "53100", "55P03", "57014", "57P01", "XX000", "ZZ999"],
}
CASES = [(kind, state) for kind, states in SQLSTATES.items() for state in states]


@pytest.mark.parametrize(("kind", "state"), CASES)
def test_each_sqlstate_has_its_outcome(shared: Database, kind: type[Failure], state: str) -> None:
    client = database.Client()

    with pytest.raises(psycopg2.Error) as raised, transaction(shared, client) as work:
        work.execute(f"DO $$ BEGIN RAISE EXCEPTION 'a sentence' USING ERRCODE = '{state}'; END $$")

    client.close()
    asked, writing = database.failure_of(raised.value), database.failure_of_writing(raised.value)
    assert (type(asked), type(writing)) == (kind, kind)
    assert asked.reason.startswith(f"{state} a sentence")
    assert writing.reason.startswith(f"{state} ")
    assert "sentence" not in writing.reason


def test_what_the_encoding_of_the_database_lacks_is_refused_alone(server: Postgres) -> None:
    latin = Database(server, f"site_{next(names)}")
    Database(server, "postgres").run(
        SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc").format(
            Identifier(latin.name)
        )
    )
    postgres.setup(latin.settings)

    outcomes = latin.deliver(document("buero", title="Büro"), document("tea", title="お茶"))

    assert outcomes[0] is DONE
    assert isinstance(outcomes[1], Refused)
    assert outcomes[1].reason == "22P05 UntranslatableCharacter"
    assert latin.run("SELECT title FROM posts") == [("Büro",)]
    postgres.client.close()
    drop(latin)


# The connection


def test_one_connection_serves_every_call(store: Database) -> None:
    store.deliver(document(version=1))
    before = store.run("SELECT pid FROM pg_stat_activity WHERE application_name = 'buttersync'")

    store.deliver(document(version=2))

    assert store.run("SELECT pid FROM pg_stat_activity WHERE application_name = 'buttersync'") == before
    assert len(before) == 1


def test_a_connection_that_the_server_ended_is_made_anew(store: Database) -> None:
    store.deliver(document(version=1))
    store.terminate_connections()

    assert store.deliver(document(version=2)) == [DONE]


def test_a_restart_of_the_server_goes_unnoticed(store: Database) -> None:
    store.deliver(document(version=1))
    store.server.restart()

    assert store.deliver(document(version=2)) == [DONE]


def test_an_outage_is_unavailable_and_heals(store: Database) -> None:
    store.deliver(document(version=1))
    store.server.stop()

    refused = store.failure(document("a"), document("b"))
    store.server.start()

    assert isinstance(refused, Unavailable)
    assert "Connection refused" in refused.reason
    assert store.deliver(document(version=2)) == [DONE]


def test_a_connection_that_ends_within_a_transaction_is_unavailable(store: Database) -> None:
    client = database.Client()

    def interrupted() -> None:
        with transaction(store, client) as work:
            postgres.write(work, [document(version=1)])
            store.terminate_connections()

    with pytest.raises(Unavailable, match="the connection broke within a transaction"):
        interrupted()

    assert store.versions() == {}
    with transaction(store, client) as work:
        postgres.write(work, [document(version=1)])
    client.close()
    assert store.versions() == {"post:hello:en": 1}


def test_a_kept_connection_that_fell_silent_is_replaced(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store.deliver(document(version=1))
    [(backend,)] = store.run("SELECT pid FROM pg_stat_activity WHERE application_name = 'buttersync'")
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.5)
    os.kill(backend, signal.SIGSTOP)

    try:
        outcomes = store.deliver(document(version=2))
    finally:
        os.kill(backend, signal.SIGCONT)

    assert outcomes == [DONE]


def test_a_server_that_never_answers_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://writer@127.0.0.1:{silent.getsockname()[1]}/site"
        began = time.monotonic()

        outcome = failure({"dsn": dsn}, *[document(f"post-{i}") for i in range(50)])

    assert isinstance(outcome, Unavailable)
    assert outcome.reason == "the server gave no answer in time"
    assert time.monotonic() - began < 2


def test_a_row_that_takes_too_long_keeps_only_its_own_document(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PATIENT", database.Limits(statement=0.5, lock=5))
    trigger(store, "IF NEW.slug = 'slow' THEN PERFORM pg_sleep(60); END IF")

    outcomes = store.deliver(document("a"), document("slow"), document("z"))

    assert (outcomes[0], outcomes[2]) == (DONE, DONE)
    assert isinstance(outcomes[1], Unavailable)
    assert outcomes[1].reason == "57014 QueryCanceled"


def test_when_the_time_is_over_what_is_left_is_unavailable(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CALL_SECONDS", 2.5)
    trigger(store, "PERFORM pg_sleep(1.5); IF NEW.slug = 'bad' THEN RAISE EXCEPTION 'no'; END IF")

    outcomes = store.deliver(document("bad"), document("a"), document("z"))

    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert str(outcomes[0]) == "the connection broke within a transaction: NoAnswerInTime"


def test_the_work_may_take_longer_than_the_answer_to_begin(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.5)
    trigger(store, "PERFORM pg_sleep(0.8)")

    assert store.deliver(HELLO) == [DONE]


def test_limits_hold_in_the_transaction_and_leave_the_session_alone(store: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    client = database.Client()

    with transaction(store, client) as work:
        work.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        within = work.fetchone()
    kept = client._connection
    assert kept is not None
    with kept.cursor() as session:
        session.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        after = session.fetchone()
    client.close()

    assert within == ("10s", "5s", "20s")
    assert after == ("0", "0", "0")


def test_a_statement_sees_what_was_committed_before_it_whatever_the_database_prefers(store: Database) -> None:
    store.run(
        SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(Identifier(store.name))
    )
    client = database.Client()

    with transaction(store, client) as work:
        work.execute("SELECT current_setting('transaction_isolation')")
        isolation = work.fetchall()

    client.close()
    assert isolation == [("read committed",)]


def test_other_settings_make_another_connection(store: Database, shared: Database) -> None:
    store.deliver(document("only-here", version=1))

    postgres.deliver(shared.settings, [document("only-there", version=1)])

    assert list(store.versions()) == ["post:only-here:en"]
    assert "post:only-there:en" in shared.versions()


def test_a_read_only_server_is_unavailable_until_it_is_the_primary_again(store: Database) -> None:
    read_only(store)

    assert "25006" in store.failure(HELLO).reason
    store.run(f"BEGIN READ WRITE; ALTER DATABASE {store.name} RESET default_transaction_read_only; COMMIT")

    assert store.deliver(HELLO) == [DONE]


def read_only(store: Database) -> None:
    store.run(f"ALTER DATABASE {store.name} SET default_transaction_read_only = on")
    postgres.client.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "not-the-pass"}, "password authentication failed"),
        ({"user": "nobody_here"}, "authentication failed"),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"sslmode": "verify-full"}, "does not support SSL"),
        ({"sslmode": "sometimes"}, "invalid sslmode"),
        ({"port": "many"}, "invalid integer value"),
        ({"host": "nowhere.invalid"}, "could not translate host name"),
    ],
)
def test_wrong_settings_are_named_without_the_password(store: Database, change: dict[str, str], words: str) -> None:
    parts = psycopg2.extensions.parse_dsn(store.settings["dsn"]) | change
    dsn = psycopg2.extensions.make_dsn(**parts)

    outcome = failure({"dsn": dsn}, document("a"), document("b"))

    assert isinstance(outcome, Misconfigured)
    assert words in outcome.reason
    assert parts["password"] not in outcome.reason


# TLS


def through(relay: TlsRelay, store: Database, more: str = "") -> dict[str, str]:
    """The settings of a person who reaches the database by TLS."""
    address = f"localhost:{relay.port}/{store.name}?hostaddr=127.0.0.1{more}"
    return {"dsn": f"postgresql://postgres:{store.server.password}@{address}"}


@pytest.fixture
def relay(server: Postgres) -> Iterator[TlsRelay]:
    with TlsRelay(server.port) as running:
        yield running


def test_tls_is_verified_by_the_setting_ca(
    store: Database, relay: TlsRelay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert postgres.deliver(through(relay, store) | {"ca": relay.ca}, [HELLO]) == [DONE]

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", ["", "&sslrootcert=system"])
def test_tls_is_verified_by_the_roots_of_the_system(
    store: Database, relay: TlsRelay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: str
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text(relay.ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))

    assert postgres.deliver(through(relay, store, more), [HELLO]) == [DONE]


def test_a_certificate_of_an_unknown_authority_is_misconfigured(store: Database, relay: TlsRelay) -> None:
    outcome = failure(through(relay, store))

    assert isinstance(outcome, Misconfigured)
    assert re.search("certificate verify failed.*the setting ca must hold the PEM", outcome.reason)


def test_a_certificate_of_another_authority_than_ca_is_misconfigured(store: Database, relay: TlsRelay) -> None:
    with TlsRelay(0) as other:
        outcome = failure(through(relay, store) | {"ca": other.ca})

    assert isinstance(outcome, Misconfigured)
    assert "certificate verify failed" in outcome.reason


def test_a_certificate_for_another_host_is_misconfigured(store: Database) -> None:
    with TlsRelay(store.server.port, hostname="db.example.com") as relay:
        outcome = failure(through(relay, store) | {"ca": relay.ca})

    assert isinstance(outcome, Misconfigured)
    assert 'does not match host name "localhost"' in outcome.reason


@pytest.mark.parametrize("ca", ["no certificate", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"])
def test_a_ca_that_is_no_certificate_is_misconfigured(store: Database, relay: TlsRelay, ca: str) -> None:
    outcome = failure(through(relay, store) | {"ca": ca})

    assert isinstance(outcome, Misconfigured)
    assert "the setting ca is no PEM" in outcome.reason


def test_a_dsn_may_say_that_nobody_is_verified(store: Database, relay: TlsRelay) -> None:
    assert postgres.deliver(through(relay, store, "&sslmode=require"), [HELLO]) == [DONE]


def test_a_connection_over_tls_that_broke_is_made_anew(store: Database, relay: TlsRelay) -> None:
    settings = through(relay, store) | {"ca": relay.ca}
    postgres.deliver(settings, [document(version=1)])
    relay.drop()

    assert postgres.deliver(settings, [document(version=2)]) == [DONE]


def test_large_content_passes_through_tls(store: Database, relay: TlsRelay) -> None:
    body = "Büroklammer " * 90_000

    postgres.deliver(through(relay, store) | {"ca": relay.ca}, [document(text=body)])

    assert store.run("SELECT text = %s FROM posts", body) == [(True,)]


# Setup and check


def test_setup_says_what_it_applied_and_then_that_nothing_is_left(empty: Database) -> None:
    assert postgres.setup(empty.settings) == "applied 0001_content"

    assert postgres.setup(empty.settings) == "nothing to do: 0001_content is there"
    assert empty.run("SELECT name FROM buttersync_migrations") == [("0001_content",)]


def test_setups_at_once_apply_each_migration_once(empty: Database) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
    # On a slow machine the last comes when the first has waited for longer than usual.
    patience = "postgres.PATIENT = database.Limits(60, 60)"
    program = f"import database, postgres; {patience}; print(postgres.setup({empty.settings}))"
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    with closing(psycopg2.connect(empty.settings["dsn"])) as gate, gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.SETUP_LOCK,))
        setups = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
        until(lambda: empty.run(waiting, postgres.SETUP_LOCK) == [(3,)])
        gate.rollback()
    said = sorted(setup.communicate(timeout=20)[0].strip() for setup in setups)

    assert said == ["applied 0001_content", *["nothing to do: 0001_content is there"] * 2]


def test_a_setup_that_waited_for_another_applies_nothing(empty: Database) -> None:
    other = database.Client()

    with transaction(empty, other) as work:
        work.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.SETUP_LOCK,))
        work.execute("CREATE TABLE buttersync_migrations (name text PRIMARY KEY)")
        work.execute("INSERT INTO buttersync_migrations VALUES ('0001_content')")
        waiting = in_thread(lambda: postgres.setup(empty.settings))
        assert not waiting.done()

    other.close()
    assert waiting.result(5) == "nothing to do: 0001_content is there"


def test_setup_leaves_a_table_of_another_application_alone(empty: Database) -> None:
    empty.run("CREATE TABLE posts (id int)")

    with pytest.raises(Misconfigured, match='relation "posts" already exists; another application'):
        postgres.setup(empty.settings)

    assert empty.run("SELECT to_regclass('pages'), to_regclass('buttersync_migrations')") == [(None, None)]


def test_delivery_before_setup_says_what_to_do(empty: Database) -> None:
    assert [str(outcome) for outcome in empty.deliver(HELLO)] == ["42P01 UndefinedTable; run setup"]
    with pytest.raises(Misconfigured, match="lacks 0001_content: run setup"):
        postgres.check(empty.settings)


def test_check_says_who_may_write_where(store: Database) -> None:
    assert f"postgres may write to {store.name}, which has 0001_content" in postgres.check(store.settings)


def test_check_says_that_a_server_is_read_only(store: Database) -> None:
    read_only(store)

    with pytest.raises(Misconfigured, match="read-only"):
        postgres.check(store.settings)


def test_check_names_every_right_that_is_missing(store: Database) -> None:
    store.run("CREATE ROLE reader LOGIN PASSWORD 'reads'")
    store.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; GRANT INSERT, UPDATE ON posts TO reader")

    with pytest.raises(Misconfigured) as raised:
        postgres.check({"dsn": store.dsn_as("reader", "reads")})

    assert "DELETE on posts" in raised.value.reason
    assert "INSERT on posts" not in raised.value.reason
    assert "UPDATE on buttersync_versions" in raised.value.reason


# What the documentation says

DOCUMENTATION = Path(__file__).parents[2] / "docs/postgres.md"
ROLE, WRITER, READER, QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)


@pytest.fixture
def administered(empty: Database) -> Iterator[Database]:
    """A database whose administrator is no superuser, as with RDS."""
    empty.run("CREATE ROLE administrator LOGIN CREATEROLE PASSWORD 'administers'")
    empty.run(SQL("ALTER DATABASE {} OWNER TO administrator").format(Identifier(empty.name)))
    yield Database(empty.server, empty.name, empty.dsn_as("administrator", "administers"))
    postgres.client.close()
    drop(empty)
    Database(empty.server, "postgres").run("DROP ROLE IF EXISTS buttersync_writer, website, buttersync, administrator")


def test_the_documented_roles_set_up_deliver_and_read(administered: Database) -> None:
    administered.run(ROLE)
    owner = {"dsn": administered.dsn_as("buttersync", "change-me")}

    assert postgres.setup(owner) == "applied 0001_content"
    administered.run(WRITER)
    administered.run(READER)
    writer = {"dsn": administered.dsn_as("buttersync_writer", "change-me-too")}

    assert "buttersync_writer may write" in postgres.check(writer)
    assert postgres.setup(writer) == "nothing to do: 0001_content is there"
    assert postgres.deliver(writer, [HELLO, document("about", kind="page", group="*")]) == [DONE, DONE]
    assert postgres.deliver(writer, [document("about", 2, "removed", kind="page", group="*")]) == [DONE]
    reader = Database(administered.server, administered.name, administered.dsn_as("website", "change-me-as-well"))
    assert reader.run("SELECT kind, slug FROM content") == [("post", "hello")]
    assert postgres.deliver(owner, [document(version=2)]) == [DONE]


def test_the_documented_writer_has_no_right_to_spare(administered: Database) -> None:
    administered.run(ROLE)
    postgres.setup({"dsn": administered.dsn_as("buttersync", "change-me")})
    administered.run(WRITER)

    granted = administered.run(
        "SELECT table_name::text, privilege_type::text FROM information_schema.table_privileges"
        " WHERE grantee = 'buttersync_writer' AND table_name <> 'buttersync_migrations'"
    )

    assert sorted(granted) == sorted((table, right) for table, rights in postgres.RIGHTS.items() for right in rights)


def test_the_documented_queries_run(store: Database) -> None:
    store.deliver(HELLO, document("sale", kind="page", group="landing-page", fields={"headline": "Sale"}))

    for query in QUERIES.strip().removesuffix(";").split(";\n"):
        store.run(query)


def test_the_documented_columns_are_those_of_the_tables(store: Database) -> None:
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    found = store.run(
        "SELECT DISTINCT column_name::text FROM information_schema.columns WHERE table_name = ANY (%s)",
        list(postgres.TABLES.values()),
    )

    assert documented == {name for (name,) in found}
