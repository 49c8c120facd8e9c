"""Starting programs so that they can be stopped with all their children, whatever ends us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

PATIENCE_SECONDS = 3
LINES_SHOWN = 15

INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a program that Ctrl-C has ended."""

TELLING = 'echo $$; exec "$@" >&2'
"""Tells the guardian the number of its process, then becomes the program, whose output goes to the log."""

GUARDIAN = "read -r pid || exit; cat >/dev/null; "
"""Waits until its input ends, which it does with us; then comes what ends the process `$pid`."""

KILL_GROUP = 'kill -s KILL -- "-$pid"'


class SandboxError(Exception):
    """What went wrong, in a sentence for the person at the terminal, with the log to read."""


class Program:
    """A running program, in a session of its own: Ctrl-C reaches us alone, and its children can be stopped with it."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("wb") as output:
            self._process, self._guardian = guarded(command, output, (KILL_GROUP,), env=env)

    def finish(self, seconds: float) -> None:
        """Waits for the end; raises SandboxError with the log's last lines unless it is good and in time."""
        try:
            good = self._process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            raise self._error(f"had not ended after {seconds} s") from None
        if not good:
            raise self._error("failed")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits for `ready`; raises SandboxError if the program ends before, or the time does."""
        end = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise self._error("did not start")
            time.sleep(0.05)

    def stop(self) -> None:
        """Asks it to end, waits 3 s, then kills what is left of it and its children."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._guardian.kill()
        self._guardian.communicate()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _error(self, what: str) -> SandboxError:
        last_lines = self.log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
        return SandboxError("\n  ".join([f"{self.name} {what}. The end of {self.log}:", *last_lines]))


def guarded(
    command: Sequence[str], output: IO[bytes], ending: Sequence[str], **options: Any
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Starts a program, in a session of its own, and before it its guardian, which runs `ending` when we end.

    `ending` is a shell script, which knows the program as `$pid`, and its arguments; `options` are for `Popen`. Since
    the program itself tells the guardian who it is, an interrupt at any moment leaves nothing that would outlive us.
    """
    script, *arguments = ending
    watch = ("/bin/sh", "-c", GUARDIAN + script, "sh", *arguments)
    guardian = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
    told = ("/bin/sh", "-c", TELLING, "sh", *command)
    try:
        started = subprocess.Popen(
            told, stdin=subprocess.DEVNULL, stdout=guardian.stdin, stderr=output, start_new_session=True, **options
        )
    except BaseException:
        guardian.communicate()
        raise
    return started, guardian


@contextmanager
def program(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[Program]:
    """A program that is stopped at the end of the block, if it still runs then."""
    running = Program(command, log, env)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def orderly_end() -> Iterator[None]:
    """SIGTERM unwinds the blocks as Ctrl-C does. For the main thread."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No second Ctrl-C or SIGTERM leaves behind what the first is just stopping. For the main thread."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def commanded(module: str, commands: Mapping[str, Callable[[], None]]) -> str | int:
    """Does the command that the one argument names, in an orderly way; the exit status, or what went wrong."""
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        return f"usage: python -m {module} {'|'.join(commands)}"
    try:
        with orderly_end():
            commands[sys.argv[1]]()
    except SandboxError as error:
        return f"\n{error}"
    except KeyboardInterrupt:
        return stopped()
    return 0


def stopped() -> int:
    """Says so, after Ctrl-C; returns the exit status."""
    print("\nStopped.")
    return INTERRUPTED


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
