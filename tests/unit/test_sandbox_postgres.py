"""A real PostgreSQL starts, goes away, comes back with its data, and never outlives who started it."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from sandbox.postgres import Postgres, PostgresError, copy_for_everybody
from tests.leftovers import watched

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys, time
from pathlib import Path
from sandbox.postgres import Postgres
with Postgres(Path(sys.argv[1])) as postgres:
    print(postgres.dsn, flush=True)
    time.sleep(60)
"""
INTERRUPTED = """
import itertools, signal, subprocess, sys
from pathlib import Path
from sandbox.postgres import Postgres
lines = itertools.count(1)
def trace(frame, event, _argument):
    within = event == "line" and frame.f_code.co_filename == subprocess.__file__
    if within and next(lines) == int(sys.argv[2]):
        signal.raise_signal(signal.SIGINT)
    return trace
postgres = Postgres()
print(postgres.directory, flush=True)
postgres.start().stop()
postgres.log = Path(sys.argv[1])
sys.settrace(trace)
with postgres:
    pass
"""
"""Interrupts the second start at one of the lines of `subprocess` that Python runs for it."""


@pytest.fixture(scope="module")
def running() -> Iterator[Postgres]:
    with Postgres() as postgres:
        yield postgres


@pytest.fixture
def postgres(running: Postgres) -> Postgres:
    return running.start()


def answer(dsn: str, query: str) -> object:
    connection = psycopg2.connect(dsn, connect_timeout=5)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
            (value,) = cursor.fetchone() or (None,)
            return value
    finally:
        connection.close()


def test_it_is_a_real_server_with_utf_8_and_no_tls(postgres: Postgres) -> None:
    assert str(answer(postgres.dsn, "SELECT version()")).startswith("PostgreSQL 1")
    assert answer(postgres.dsn, "SELECT upper('äöü')") == "ÄÖÜ"
    assert answer(postgres.dsn, "SHOW ssl") == "off"


def test_a_wrong_password_is_refused(postgres: Postgres) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        answer(postgres.dsn.replace(postgres.password, "guess"), "SELECT 1")


def test_an_outage_ends_connections_and_keeps_data_and_port(postgres: Postgres) -> None:
    dsn, port = postgres.dsn, postgres.port
    answer(dsn, "CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS number; SELECT 1")
    connection = psycopg2.connect(dsn)

    postgres.stop()
    with pytest.raises(psycopg2.OperationalError):
        connection.cursor().execute("SELECT 1")
    connection.close()
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        answer(dsn, "SELECT 1")
    postgres.start()

    assert (postgres.dsn, postgres.port) == (dsn, port)
    assert answer(dsn, "SELECT number FROM kept") == 42


def test_a_restart_is_another_server(postgres: Postgres) -> None:
    before = answer(postgres.dsn, "SELECT pg_postmaster_start_time()")

    postgres.restart()

    assert answer(postgres.dsn, "SELECT pg_postmaster_start_time()") != before


def test_starting_twice_and_stopping_twice_are_once(postgres: Postgres) -> None:
    before = answer(postgres.dsn, "SELECT pg_postmaster_start_time()")

    postgres.start()
    assert answer(postgres.dsn, "SELECT pg_postmaster_start_time()") == before
    postgres.stop()
    postgres.stop()
    assert not postgres.is_running


def test_a_port_that_is_taken_is_told_with_the_server_s_log(postgres: Postgres, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    second = Postgres(tmp_path / "second")
    second.port = postgres.port

    with pytest.raises(PostgresError, match="Address already in use"):
        second.start()

    assert not second.is_running


def test_a_directory_of_its_own_is_gone_after_the_block() -> None:
    with Postgres() as postgres:
        directory = postgres.directory
        assert directory.exists()

    assert not directory.exists()


def test_it_starts_for_root_too_below_a_directory_that_only_root_can_enter(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)

    with Postgres(locked / "postgres") as postgres:
        assert answer(postgres.dsn, "SELECT 1") == 1


def test_programs_that_only_their_owner_may_read_are_copied_for_everybody(tmp_path: Path) -> None:
    program, library = tmp_path / "wheel/bin/postgres", tmp_path / "wheel.libs/libc.so"
    for path, mode in ((program, 0o700), (library, 0o600)):
        path.parent.mkdir(parents=True, mode=0o700)
        path.touch(mode)
    target = tmp_path / "programs"

    copy_for_everybody([tmp_path / "wheel", tmp_path / "wheel.libs", tmp_path / "nothing"], target)

    modes = {str(path.relative_to(target)): stat.S_IMODE(path.stat().st_mode) & 0o555 for path in target.rglob("*")}
    assert modes == {"wheel": 0o555, "wheel/bin": 0o555, "wheel/bin/postgres": 0o555} | {
        "wheel.libs": 0o555,
        "wheel.libs/libc.so": 0o444,
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_who_started_it_however_that_ends(number: signal.Signals, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", OWNER, str(tmp_path / "data")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        dsn = owner.stdout.readline().strip()
        assert answer(dsn, "SELECT 1") == 1
        owner.send_signal(number)
        owner.wait(20)

    assert _is_gone(dsn)


def _is_gone(dsn: str) -> bool:
    """Whether nobody answers there any more, for which 5 s may pass."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            answer(dsn, "SELECT 1")
        except psycopg2.OperationalError as error:
            if "refused" in str(error):
                return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("line", range(15, 330, 35))
def test_a_start_that_is_interrupted_leaves_nothing_behind(line: int, tmp_path: Path) -> None:
    with watched(tmp_path / "log") as all_ended:
        command = (sys.executable, "-c", INTERRUPTED, str(tmp_path / "log"), str(line))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        assert done.stderr.endswith("KeyboardInterrupt\n")
        assert all_ended()
    assert not Path(done.stdout.strip()).exists()
