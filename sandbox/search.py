"""A real OpenSearch or Elasticsearch on a free port of 127.0.0.1: jars from Maven Central, a Java, nothing else.

It ends with the process that started it, however that ends, as `sandbox.postgres` does. Where ``OPENSEARCH_ENDPOINT``
names an OpenSearch that runs already, that one is taken instead.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import requests

from sandbox.jars import Engine, cache, locked
from sandbox.processes import KILL_GROUP, LINES_SHOWN, SandboxError, free_port, guarded
from sandbox.progress import step
from sandbox.tools import ROOT

NAMES: Mapping[Engine, str] = {"opensearch": "OpenSearch", "elasticsearch": "Elasticsearch"}
GIVEN = "OPENSEARCH_ENDPOINT"
START_SECONDS = 60.0
ANSWER_SECONDS = 2.0

FETCH_SECONDS = 1200.0
"""Time enough for 48 MB on a slow line. One that is down is noticed by what fetches, at once or after 10 s."""

KILL = f'{KILL_GROUP}; [ -z "$1" ] || {{ sleep 0.5; rm -rf "$1"; }}'
"""Ends the server, and removes the directory if it is named."""

JAVA_VARIABLES = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"}
"""What they say to any Java is not meant for this one."""


class SearchServer:
    """A node of its own, without a password and with its own data directory.

    Starts as a context manager or by `start`; where something else can be done meanwhile, `begin` comes first. `stop`
    is an outage, as if the power had gone, after which `start` or `restart` brings the same data back on the same
    port. A new directory is made where none is given; it is removed by `close`.
    """

    def __init__(self, engine: Engine = "opensearch", directory: Path | None = None) -> None:
        self.engine = engine
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"{engine}-"))
        self.log = self.directory / "log"
        self._given = os.environ.get(GIVEN, "").rstrip("/") if engine == "opensearch" else ""
        self.endpoint = self._given or f"http://127.0.0.1:{free_port()}"
        self._own = directory is None
        self._server: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives; of one that was given it is taken for granted."""
        return bool(self._given) or (self._server is not None and self._server.poll() is None)

    def begin(self) -> None:
        """Starts the server, jars and all, and returns at once; what becomes of it is told by `start`."""
        if self._server is None and not self._given:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._launch()

    def start(self) -> Self:
        """Starts the server unless that has begun, and returns when it answers. Raises SandboxError.

        Prints a line only while jars are fetched, with a bar on a terminal: it is not for the inside of a `step`.
        """
        if self._given:
            self._look_at_given()
            return self
        self.begin()
        if not self._has_jars():
            with step(f"Fetching {NAMES[self.engine]} from Maven Central", self._jars):
                self._await(self._has_jars, FETCH_SECONDS)
        self._await(self._is_ready, START_SECONDS)
        return self

    def stop(self) -> None:
        """Ends all connections and the server; the data stays. Raises SandboxError if the server was given."""
        if self._given:
            raise SandboxError(f"the OpenSearch that {GIVEN} names was not started here, and is not stopped from here")
        if self._server is None or self._guardian is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        self._guardian.kill()
        self._guardian.communicate()
        self._server = self._guardian = None

    def restart(self) -> None:
        """An outage as short as it can be."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops the server, and removes the directory if it made it; a server that was given is left alone."""
        if not self._given:
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

    def _launch(self) -> None:
        port = str(urlsplit(self.endpoint).port)
        command = (sys.executable, "-P", "-m", "sandbox.engine", self.engine, port, str(self.directory.resolve()))
        environment = {name: value for name, value in os.environ.items() if name not in JAVA_VARIABLES}
        ending = (KILL, str(self.directory.resolve()) if self._own else "")
        with self.log.open("ab") as log:
            self._server, self._guardian = guarded(
                command, log, ending, cwd=self.directory, env={**environment, "PYTHONPATH": str(ROOT)}
            )

    def _jars(self) -> tuple[int, int]:
        """How many of its jars are there, and how many it has."""
        jars = locked(self.engine)
        return cache().present(jars), len(jars)

    def _has_jars(self) -> bool:
        present, needed = self._jars()
        return present == needed

    def _await(self, is_so: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            if not self.is_running or time.monotonic() > end:
                self.stop()
                raise self._error()
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        """Whether all that it has on its disk can be read and written again."""
        health = f"{self.endpoint}/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            with urllib.request.urlopen(health, timeout=ANSWER_SECONDS):
                return True
        except (OSError, HTTPException):
            return False

    def _look_at_given(self) -> None:
        """Raises SandboxError without the address, which may hold a password."""
        try:
            requests.get(self._given, timeout=ANSWER_SECONDS).raise_for_status()
        except requests.RequestException as error:
            why = error.response.reason if error.response is not None else type(error).__name__
            raise SandboxError(
                f"No OpenSearch answers at {GIVEN} ({why}): start it, or unset the variable to have one started here."
            ) from None

    def _error(self) -> SandboxError:
        last_lines = self.log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
        lines = [f"{NAMES[self.engine]} did not start. The end of {self.log}:", *last_lines]
        advice = (
            f"\nOne that runs elsewhere will do: set {GIVEN} to its address." if self.engine == "opensearch" else ""
        )
        return SandboxError("\n  ".join(lines) + advice)
