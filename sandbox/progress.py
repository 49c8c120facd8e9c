"""Saying what takes its time, how far it has come, and how long it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WIDTH = 44
BAR_WIDTH = 16
TICK_SECONDS = 0.2
CLEAR_LINE = "\r\033[K"

HowFar = Callable[[], tuple[int, int]]
"""How many are done, and of how many."""


@contextmanager
def step(what: str, how_far: HowFar | None = None) -> Iterator[None]:
    """A line for a step: its name while it runs, with the seconds counting on a terminal, and its time at the end.

    On a terminal a bar shows how far it is, if that can be told.
    """
    began = time.monotonic()
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, began, ended, how_far), daemon=True)
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
            print(f"{CLEAR_LINE}{what:<{WIDTH}}", end="")
        print(f"{_seconds(began)}{verdict}", flush=True)


def _tick(what: str, began: float, ended: threading.Event, how_far: HowFar | None) -> None:
    while not ended.wait(TICK_SECONDS):
        bar = _bar(*how_far()) if how_far else ""
        print(f"\r{what:<{WIDTH}}{_seconds(began)}{bar}", end="", flush=True)


def _bar(done: int, of: int) -> str:
    filled = BAR_WIDTH * done // of
    return f"  [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{of}"


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:6.1f} s"
