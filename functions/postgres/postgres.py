"""PostgreSQL: published content as rows of `pages`, `posts` and `collection_items`, for anyone who reads SQL.

Order and repetition of the documents do not matter: the transaction that writes a row also puts the document's version
into `buttersync_versions`, and a document older than the version there changes nothing. Removed content leaves its
table; its version stays.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psycopg2
from psycopg2.extensions import cursor
from psycopg2.extras import execute_values

from buttersync import delivery
from buttersync.model import Document
from buttersync.outcomes import DONE, Failure, Misconfigured, Outcome, Refused
from buttersync.text import storable
from database import ANSWER_SECONDS, Client, Limits, Settings, failure_of, failure_of_writing

CALL_SECONDS = 20
"""A call waits no longer for the server, but for one last try to connect."""

PATIENT = Limits(statement=10, lock=5)
HURRIED = Limits(statement=1, lock=0.05)
"""For the search of who was too slow: of 50 documents, all locked take 99 tries and 5 s, a slow one takes 6 tries."""

TOO_SLOW = ("55P03", "57014")
"""A lock was not to be had in time, a statement was cancelled."""

client = Client()

# ------------------------------------------------------------------------------------- from documents to rows

TABLES = {"page": "pages", "post": "posts", "item": "collection_items"}

Row = dict[str, object]


def row(document: Document) -> Row:
    """The columns of a document's row, ready for psycopg2."""
    return {
        "ref": document.identity.ref,
        "version": document.version,
        **_key(document),
        "locale": storable(document.identity.locale),
        "name": storable(document.name),
        "title": storable(document.title),
        "url": storable(document.url) or None,
        "author": storable(document.author) or None,
        "categories": [storable(category) for category in document.categories],
        "tags": [storable(tag) for tag in document.tags],
        "summary": storable(document.summary),
        "image": storable(document.image) or None,
        "text": storable(document.text),
        "fields": _json(document.fields),
        "published_at": document.published_at,
        "updated_at": document.updated_at,
    }


def _key(document: Document) -> Row:
    group, name = storable(document.identity.group), storable(document.identity.name)
    if document.identity.kind == "page":
        return {"page_type": group, "slug": name}
    if document.identity.kind == "post":
        return {"slug": name}
    slug = document.fields.get("slug")
    return {"collection": group, "item_id": name, "slug": storable(slug) if isinstance(slug, str) else None}


def _json(value: object) -> str:
    """Cleans only what needs it: most content has no NUL."""
    with suppress(UnicodeEncodeError):
        encoded = msgspec.json.encode(value).decode()
        if r"\u0000" not in encoded:
            return encoded
    return msgspec.json.encode(_storable_json(value)).decode()


def _storable_json(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable_json(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable_json(item) for key, item in value.items()}
    return value


def write(work: cursor, documents: Sequence[Document]) -> None:
    """Bring the tables to the newer of what they hold and `documents`, of which no two have the same ref."""
    # In one order everywhere, so that two workers never wait for each other's rows.
    ordered = sorted(((document.identity.ref, document) for document in documents), key=lambda pair: pair[0])
    current = _raise_versions(work, ordered)
    for kind, table in TABLES.items():
        mine = [(ref, document) for ref, document in ordered if ref in current and document.identity.kind == kind]
        _upsert(work, table, [row(document) for _, document in mine if document.change != "removed"])
        _delete(work, table, [ref for ref, document in mine if document.change == "removed"])


def _raise_versions(work: cursor, ordered: Sequence[tuple[str, Document]]) -> set[str]:
    """The refs whose version is not below the recorded one, which it becomes; their rows stay locked until the commit.

    A statement of its own: only the statements after it see what the worker wrote that we may have waited for.
    """
    work.execute(
        """
        INSERT INTO buttersync_versions AS known (ref, version, removed_at)
        SELECT ref, version, CASE WHEN removed THEN now() END
        FROM unnest(%s::text[], %s::bigint[], %s::boolean[]) AS incoming (ref, version, removed)
        ON CONFLICT (ref) DO UPDATE SET version = excluded.version, removed_at = excluded.removed_at
        WHERE known.version <= excluded.version
        RETURNING ref
        """,
        (
            [ref for ref, _ in ordered],
            [document.version for _, document in ordered],
            [document.change == "removed" for _, document in ordered],
        ),
    )
    return {ref for (ref,) in work}


def _upsert(work: cursor, table: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = ", ".join(rows[0])
    newest = ", ".join(f"{name} = excluded.{name}" for name in rows[0])
    execute_values(
        work,
        # The names are those above.
        f"INSERT INTO {table} ({names}) VALUES %s ON CONFLICT (ref) DO UPDATE SET {newest}, synced_at = now()",  # noqa: S608
        [tuple(columns.values()) for columns in rows],
    )


def _delete(work: cursor, table: str, refs: Sequence[str]) -> None:
    if refs:
        work.execute(f"DELETE FROM {table} WHERE ref = ANY(%s)", (refs,))  # noqa: S608  as above


# ----------------------------------------------------------------------------------------------------- target


def deliver(settings: Settings, documents: Sequence[Document]) -> list[Outcome]:
    """One transaction for all documents; if the server turns it down, halves of them, down to those at fault."""
    outcomes = _outcomes(settings, documents)
    if not all(outcome is DONE or isinstance(outcome, Refused) for outcome in outcomes):
        # It may be the connection's fault, for example if it is to a primary that was.
        client.close()
    return outcomes


def _outcomes(settings: Settings, documents: Sequence[Document]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    parts, limits, deadline = [documents], PATIENT, _deadline()
    while parts:
        part = parts.pop()
        try:
            with client.transaction(settings, deadline, limits) as work:
                write(work, part)
            outcomes += [DONE] * len(part)
        except Failure as failure:
            # It holds for all that are left: no work could begin, the connection broke, or the time is over.
            return outcomes + [failure] * (len(documents) - len(outcomes))
        except psycopg2.Error as error:
            limits = HURRIED if error.pgcode in TOO_SLOW else limits
            if len(part) > 1:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:
                outcomes.append(failure_of_writing(error))
    return outcomes


def _deadline() -> float:
    return time.monotonic() + CALL_SECONDS


@contextmanager
def _asked(settings: Settings) -> Iterator[cursor]:
    """A transaction for a person who asks; raises a Failure."""
    try:
        with client.transaction(settings, _deadline(), PATIENT) as work:
            yield work
    except psycopg2.Error as error:
        raise failure_of(error) from None


MIGRATIONS = sorted((Path(__file__).parent / "migrations").glob("*.sql"))
SETUP_LOCK = 0x62757474
"""The advisory lock of migrations, ``butt`` in ASCII: two setups at once wait for each other."""


def setup(settings: Settings) -> str:
    """Apply the migrations that the database lacks, in order, each in a transaction; raises a Failure."""
    with _asked(settings) as work:
        lacking = _lacking(work)
    applied = [file.stem for file in lacking if _apply(settings, file)]
    return f"applied {', '.join(applied)}" if applied else f"nothing to do: {MIGRATIONS[-1].stem} is there"


def _lacking(work: cursor) -> list[Path]:
    work.execute("SELECT to_regclass('buttersync_migrations') IS NOT NULL")
    [(set_up,)] = work.fetchall()
    if not set_up:
        return MIGRATIONS
    work.execute("SELECT name FROM buttersync_migrations")
    known = {name for (name,) in work}
    return [file for file in MIGRATIONS if file.stem not in known]


def _apply(settings: Settings, file: Path) -> bool:
    """False if another setup has applied it meanwhile."""
    with _asked(settings) as work:
        work.execute("SELECT pg_advisory_xact_lock(%s)", (SETUP_LOCK,))
        work.execute(
            "CREATE TABLE IF NOT EXISTS buttersync_migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        work.execute("INSERT INTO buttersync_migrations (name) VALUES (%s) ON CONFLICT DO NOTHING", (file.stem,))
        ours = work.rowcount == 1
        if ours:
            work.execute(file.read_text())
        return ours


RIGHTS = {
    "buttersync_versions": ("SELECT", "INSERT", "UPDATE"),
    **dict.fromkeys(TABLES.values(), ("SELECT", "INSERT", "UPDATE", "DELETE")),
}
"""What delivery needs."""


def check(settings: Settings) -> str:
    """Whether documents could be delivered now, without writing anything; raises a Failure."""
    with _asked(settings) as work:
        work.execute(
            "SELECT current_setting('server_version'), current_database(), current_user,"
            " current_setting('transaction_read_only') = 'on'"
        )
        [(version, database, user, read_only)] = work.fetchall()
        if read_only:
            raise Misconfigured(f"{database} is read-only here: the dsn must name the primary server")
        if lacking := _lacking(work):
            raise Misconfigured(f"{database} lacks {', '.join(file.stem for file in lacking)}: run setup")
        if missing := _missing_rights(work):
            raise Misconfigured(f"{user} lacks {', '.join(missing)}")
    return f"PostgreSQL {version}: {user} may write to {database}, which has {MIGRATIONS[-1].stem}"


def _missing_rights(work: cursor) -> list[str]:
    needed = [(table, right) for table, rights in RIGHTS.items() for right in rights]
    work.execute(
        "SELECT privilege || ' on ' || name FROM unnest(%s::text[], %s::text[]) AS needed (name, privilege)"
        " WHERE NOT has_table_privilege(name, privilege)",
        ([table for table, _ in needed], [right for _, right in needed]),
    )
    return [missing for (missing,) in work]


handler = delivery.handler(
    "postgres",
    required=("dsn",),
    deliver=deliver,
    check=check,
    setup=setup,
    reset=client.close,
    worst_case=CALL_SECONDS + ANSWER_SECONDS,
)
