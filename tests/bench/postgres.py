"""How many documents a second the adapter of PostgreSQL writes, against `execute_values` alone with the same rows.

Both write batches as Lambda hands them on, each in a transaction, into tables of the same columns and keys of one real
server. What stands alone gets rows that are made already, and psycopg2 as it comes; the adapter makes its rows, waits
with a deadline, and keeps the versions of all refs in a table of their own. After the first round all are updates.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count

import msgspec
import psycopg2
from psycopg2.extensions import connection, set_wait_callback
from psycopg2.extras import execute_values

import database
import postgres
from buttersync.model import Document
from sandbox.postgres import Postgres
from tests.bench.pairs import Bench, Figure, Goal, timed
from tests.bench.search import DOCUMENTS, calls, documents, require_done

GOAL = Goal(0.8, at_least=True)
BATCH = 50
"""`Batch` of postgres in the template."""

Made = Callable[[int], list[Document]]


def figures(bench: Bench) -> Iterator[Figure]:
    """One with articles, one with documents so short that the versions weigh as much as the rows."""
    with Postgres() as server:
        settings = {"dsn": server.dsn}
        postgres.setup(settings)
        plain = psycopg2.connect(server.dsn)
        with plain, plain.cursor() as work:
            work.execute("CREATE TABLE alone (LIKE posts INCLUDING ALL)")
        versions = count(1)
        for what, made in {"articles": documents, "short documents": _short_documents}.items():

            def ours(made: Made = made) -> float:
                few = list(calls(made(next(versions)), BATCH))
                return timed(lambda: require_done(postgres.deliver(settings, part) for part in few))

            def alone(made: Made = made) -> float:
                few = list(calls([postgres.row(document) for document in made(next(versions))], BATCH))
                set_wait_callback(None)
                try:
                    return timed(partial(_upsert_all, plain, few))
                finally:
                    set_wait_callback(database._wait)

            yield bench.paired(f"PostgreSQL: {DOCUMENTS:,} {what}", ours, alone, GOAL)
        plain.close()
        postgres.client.close()


def _short_documents(version: int) -> list[Document]:
    short = {"summary": "", "text": "", "fields": {"body": ""}}
    return [msgspec.structs.replace(document, **short) for document in documents(version)]


def _upsert_all(plain: connection, batches: Iterable[Sequence[postgres.Row]]) -> None:
    for rows in batches:
        _upsert(plain, rows)


def _upsert(plain: connection, rows: Sequence[postgres.Row]) -> None:
    names = ", ".join(rows[0])
    newest = ", ".join(f"{name} = excluded.{name}" for name in rows[0])
    statement = f"INSERT INTO alone ({names}) VALUES %s ON CONFLICT (ref) DO UPDATE SET {newest}, synced_at = now()"  # noqa: S608
    with plain, plain.cursor() as work:
        execute_values(work, statement, [tuple(row.values()) for row in rows])
