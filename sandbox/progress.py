"""Saying what takes its time, and how long it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 44
TICK_SECONDS = 0.2


@contextmanager
def step(what: str) -> Iterator[None]:
    """A line for a step: its name while it runs, with the seconds counting on a terminal, and its time at the end."""
    began = time.monotonic()
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, began, ended), daemon=True)
    print(f"{what:<{WIDTH}}", end="", flush=True)
    if sys.stdout.isatty():
        ticker.start()
    verdict = " failed"
    try:
        yield
        verdict = ""
    finally:
        ended.set()
        if ticker.is_alive():
            ticker.join()
            print(f"\r{what:<{WIDTH}}", end="")
        print(f"{_seconds(began)}{verdict}", flush=True)


def _tick(what: str, began: float, ended: threading.Event) -> None:
    while not ended.wait(TICK_SECONDS):
        print(f"\r{what:<{WIDTH}}{_seconds(began)}", end="", flush=True)


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:6.1f} s"
