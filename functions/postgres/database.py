"""The connection to PostgreSQL: what is asked of it, how long it may take, what its errors mean."""

import math
import re
import select
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import certifi
import psycopg2
from psycopg2.extensions import (
    ISOLATION_LEVEL_READ_COMMITTED,
    POLL_OK,
    POLL_READ,
    connection,
    cursor,
    make_dsn,
    parse_dsn,
    set_wait_callback,
)

from buttersync.outcomes import Failure, Misconfigured, Refused, Unavailable

Settings = Mapping[str, str]

ANSWER_SECONDS = 5
"""So long a server may take to let us in or to begin a transaction; a kept connection is then replaced."""
IDLE_SECONDS = 20
"""So long a transaction may be left alone by a worker that died: it may not hold its locks for long."""


@dataclass(frozen=True)
class Limits:
    """How long the server may be at one statement of a transaction, and wait for one lock, in seconds."""

    statement: float
    lock: float


# ---------------------------------------------------------------------------------------------------- settings

DEFAULTS = {
    "sslmode": "verify-full",
    "application_name": "buttersync",
    # Content is Unicode, whatever the database's own encoding is.
    "client_encoding": "utf8",
    # Find out within 5 s that nobody listens any more (https://www.postgresql.org/docs/current/libpq-connect.html).
    "tcp_user_timeout": "5000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


def connection_options(dsn: str) -> dict[str, str]:
    """What libpq reads in `dsn`, URI or keywords, over our defaults. Raises Misconfigured, which does not quote it."""
    try:
        given = parse_dsn(dsn)
    except psycopg2.ProgrammingError as error:
        raise Misconfigured(f"the setting dsn: {_unquoted(str(error))}") from None
    except UnicodeDecodeError:
        raise Misconfigured("the setting dsn: what is percent-encoded in it is not UTF-8") from None
    if any("@" in given.get(part, "") for part in ("host", "dbname")):
        raise Misconfigured("the setting dsn: percent-encode @ : / ? # and % in the user's name and password")
    return DEFAULTS | given


def _unquoted(words: str) -> str:
    """What libpq quotes of a dsn that it cannot read may be the password."""
    return re.sub(r'".*"', '"…"', words.strip(), flags=re.DOTALL)


@contextmanager
def _with_roots(options: dict[str, str], authority: str | None) -> Iterator[dict[str, str]]:
    """`options` with the file of root certificates, which libpq reads while it connects.

    A file also where the dsn says ``system``: the libpq of psycopg2-binary looks for the system's roots where they were
    on the machine that built it.
    """
    if authority:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(authority)
            file.flush()
            yield options | {"sslrootcert": file.name}
    elif options["sslmode"].startswith("verify-") and options.get("sslrootcert", "system") == "system":
        yield options | {"sslrootcert": ssl.get_default_verify_paths().cafile or certifi.where()}
    else:
        yield options


# ------------------------------------------------------------------------------------------------------ client


class NoAnswerInTime(psycopg2.OperationalError):
    """The deadline has come, and the connection is of no more use."""


class Connection(connection):
    """A connection on which nothing waits beyond `deadline` (seconds of the monotonic clock)."""

    def __init__(self, dsn: str, **options: Any) -> None:
        self.deadline = time.monotonic() + ANSWER_SECONDS
        super().__init__(dsn, **options)


def _wait(waiting: Any) -> None:
    """psycopg2 calls this wherever it would block: libpq has no time-out of its own for a server that says nothing."""
    deadline = getattr(waiting, "deadline", math.inf)
    while (state := waiting.poll()) != POLL_OK:
        left = deadline - time.monotonic()
        reads, writes = ([waiting], []) if state == POLL_READ else ([], [waiting])
        if left <= 0 or not any(select.select(reads, writes, [], None if left == math.inf else left)):
            raise NoAnswerInTime("the server gave no answer in time")


set_wait_callback(_wait)


class Client:
    """The one connection of this process: made when it is needed, made anew when the server went away."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._settings: Settings = {}

    @contextmanager
    def transaction(self, settings: Settings, deadline: float, limits: Limits) -> Iterator[cursor]:
        """A cursor whose work is committed at the end of the block, or rolled back.

        `deadline` is in seconds of the monotonic clock. Raises psycopg2.Error, which has an SQLSTATE, if the server
        turns the work down; a Failure if no work could begin or the connection broke: the next would fare no better.
        """
        begun = self._begun(settings, deadline, limits)
        outlives = False
        try:
            with begun.cursor() as work:
                yield work
            begun.commit()
            outlives = True
        except psycopg2.Error as error:
            outlives = bool(error.pgcode) and not begun.closed
            if outlives:
                raise
            raise Unavailable(f"the connection broke within a transaction: {type(error).__name__}") from None
        finally:
            if outlives:
                # If this fails, the next transaction finds the connection closed.
                with suppress(psycopg2.Error):
                    begun.rollback()
            else:
                self.close()

    def close(self) -> None:
        """Forget the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _begun(self, settings: Settings, deadline: float, limits: Limits) -> Connection:
        if self._settings != settings:
            self.close()
        if self._connection:
            # If the server closed it while nobody looked, the first statement is the first to know.
            with suppress(psycopg2.Error):
                return _begin(self._connection, deadline, limits)
            self.close()
        try:
            self._connection, self._settings = _connect(settings), settings
            return _begin(self._connection, deadline, limits)
        except psycopg2.Error as error:
            self.close()
            raise failure_of(error) from None


def _connect(settings: Settings) -> Connection:
    with _with_roots(connection_options(settings["dsn"]), settings.get("ca")) as options:
        made = psycopg2.connect(make_dsn(**options), connection_factory=Connection)
    made.isolation_level = ISOLATION_LEVEL_READ_COMMITTED
    return made


def _begin(idle: Connection, deadline: float, limits: Limits) -> Connection:
    idle.deadline = min(deadline, time.monotonic() + ANSWER_SECONDS)
    with idle.cursor() as work:
        # SET LOCAL, not the option `options`, which RDS Proxy turns down.
        work.execute(
            "SET LOCAL statement_timeout = %s; SET LOCAL lock_timeout = %s;"
            " SET LOCAL idle_in_transaction_session_timeout = %s",
            [round(seconds * 1000) for seconds in (limits.statement, limits.lock, IDLE_SECONDS)],
        )
    idle.deadline = deadline
    return idle


# ------------------------------------------------------------------------------------------ reading of errors

# Classes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
REFUSED = {"22", "23", "44", "54", "P0"}
"""Data, constraints, check options, limits, and what a trigger of the user's raises: a matter of the one document."""
MISCONFIGURED = {"0A", "28", "3D", "3F", "42"}
"""Not supported, not let in, no such database or schema, no such table or no right to it."""

LOCKED_OUT = (
    "authentication failed",
    "certificate",
    "does not exist",
    "does not support ssl",
    "invalid ",
    "name or service not known",
    "no address associated",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "not supported",
    "permission denied",
    "sslmode",
)
"""Before the connection stands, there is no SQLSTATE (psycopg2 keeps none), only words."""

HINTS = {
    "certificate verify failed": "the setting ca must hold the PEM of the authority that signed it",
    "could not read root certificate": "the setting ca is no PEM",
    "does not support ssl": "only a dsn with sslmode=disable goes without TLS",
    "42P01": "run setup",
    "42703": "run setup",
    "42P07": "another application owns it; give this one a schema of its own",
}
"""What to do about it, by SQLSTATE or by words."""


def failure_of(error: psycopg2.Error) -> Failure:
    """What an error means where no document is involved, in the server's own words, which never hold the password."""
    words = error.diag.message_primary if error.pgcode else str(error)
    return _failure(error, " ".join(filter(None, [error.pgcode, *str(words).split()])))


def failure_of_writing(error: psycopg2.Error) -> Failure:
    """What an error means for the document: ``23502 NotNullViolation (posts, title)``.

    The names that the server gives, and none of its sentences: they may quote the row, and a trigger may say anything.
    """
    about = error.diag
    names = [about.table_name, about.column_name, about.constraint_name, about.datatype_name]
    said = f"{error.pgcode} {type(error).__name__} ({', '.join(filter(None, names))})"
    return _failure(error, said.removesuffix(" ()"))


def _failure(error: psycopg2.Error, said: str) -> Failure:
    family = (error.pgcode or "")[:2]
    reason = "; ".join([said, *(hint for sign, hint in HINTS.items() if sign.lower() in said.lower())])
    if family in REFUSED:
        return Refused(reason)
    locked_out = not family and any(words in said.lower() for words in LOCKED_OUT)
    return Misconfigured(reason) if family in MISCONFIGURED or locked_out else Unavailable(reason)
