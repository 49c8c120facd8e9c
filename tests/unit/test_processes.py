"""The programs of the sandbox end with us, their children too, whatever ends us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.processes import SandboxError, orderly_end, program
from tests.leftovers import watched

ROOT = Path(__file__).resolve().parents[2]
SHELL = "/bin/sh"
BEATS = "while :; do echo beat; sleep 0.02; done"
"""A loop that lets its log grow for as long as it lives."""
INTERRUPTED_AT_EVERY_LINE = """
import itertools, os, signal, sys
from pathlib import Path
from sandbox.processes import Program

def interrupt_at(wanted):
    lines = itertools.count(1)
    def trace(frame, event, _argument):
        if event == "line" and next(lines) == wanted:
            signal.raise_signal(signal.SIGINT)
        return trace
    return trace

def start(line):
    sys.settrace(interrupt_at(line))
    try:
        Program(("/bin/sleep", "30"), Path(sys.argv[1]), os.environ)
    except KeyboardInterrupt:
        return False
    return True

first = next(line for line in itertools.count(1) if start(line))
sys.settrace(None)
print(first)
"""
"""Starts a program again and again, interrupted at a later line each time, until one starts before its interrupt."""
WITH_CHILD = (SHELL, "-c", f"{BEATS} & wait")
STUBBORN = (SHELL, "-c", f"trap '' TERM; {BEATS}")


def beats(log: Path) -> bool:
    """Whether the log grows within a second."""
    size = log.stat().st_size if log.exists() else 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if log.exists() and log.stat().st_size > size:
            return True
        time.sleep(0.01)
    return False


def test_a_program_is_stopped_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"

    with program(WITH_CHILD, log, os.environ):
        assert beats(log)

    assert not beats(log)


def test_a_program_that_will_not_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"

    with program(STUBBORN, log, os.environ):
        assert beats(log)

    assert not beats(log)


def test_a_program_and_its_children_end_when_we_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"""
import os, time
from pathlib import Path
from sandbox.processes import program
with program({WITH_CHILD!r}, Path({str(log)!r}), os.environ):
    time.sleep(60)
"""
    with subprocess.Popen((sys.executable, "-c", code), env={**os.environ, "PYTHONPATH": str(ROOT)}) as ours:
        while not beats(log):
            assert ours.poll() is None

        ours.kill()

    assert not beats(log)


def test_a_start_that_is_interrupted_at_any_line_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with watched(log) as all_ended:
        command = (sys.executable, "-c", INTERRUPTED_AT_EVERY_LINE, str(log))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=60, check=True)

        assert int(done.stdout) > 100
        assert all_ended()


def test_a_failed_program_shows_the_end_of_its_log(tmp_path: Path) -> None:
    failing = (SHELL, "-c", "echo no such table; exit 3")

    with (
        program(failing, tmp_path / "log", os.environ) as running,
        pytest.raises(SandboxError, match=r"sh failed. The end of .*log:\n  no such table"),
    ):
        running.finish(10)


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    with (
        program(WITH_CHILD, tmp_path / "log", os.environ) as running,
        pytest.raises(SandboxError, match=r"had not ended after 0.1 s"),
    ):
        running.finish(0.1)


def test_a_program_that_ends_before_it_is_ready_did_not_start(tmp_path: Path) -> None:
    with (
        program((SHELL, "-c", "echo port taken"), tmp_path / "log", os.environ) as running,
        pytest.raises(SandboxError, match=r"did not start(.|\n)*port taken"),
    ):
        running.wait_until(lambda: False, 10)


def test_sigterm_unwinds_like_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), orderly_end():  # noqa: PT012  the signal comes at any line
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
