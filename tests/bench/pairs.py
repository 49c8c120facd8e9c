"""Two ways of doing the same, timed in turn, so that what else the machine does befalls both."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, in pairs, and what it should be."""

    what: str
    ours: Sequence[float]
    """Seconds of each round."""
    alone: Sequence[float]
    """Seconds of what ours is held against, in the same rounds."""
    goal: float
    """The most that the median of the ratios may be: ours through alone."""

    @property
    def ratios(self) -> list[float]:
        """Of each pair."""
        return [ours / alone for ours, alone in zip(self.ours, self.alone, strict=True)]

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool:
        """Whether it is as good as it should be."""
        return self.ratio <= self.goal


def paired(what: str, ours: Callable[[], float], alone: Callable[[], float], goal: float, rounds: int) -> Figure:
    """Times both in turn, so many rounds, the one that goes first changing; a round before them does not count.

    Both return the seconds that they took.
    """
    times: dict[str, list[float]] = {"ours": [], "alone": []}
    for number in range(rounds + 1):
        pair = [("ours", ours), ("alone", alone)]
        for name, act in pair if number % 2 else reversed(pair):
            seconds = act()
            if number:
                times[name].append(seconds)
    return Figure(what, times["ours"], times["alone"], goal)


def timed(act: Callable[[], object]) -> float:
    """The seconds that it takes, without a collection of garbage in between."""
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        act()
        return time.perf_counter() - began
    finally:
        gc.enable()
