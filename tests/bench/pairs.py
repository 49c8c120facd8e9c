"""What is measured: figures with their goals; two ways of doing the same timed in turn, so that noise befalls both."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sandbox.progress import step

FIXED_WORK = 200_000
"""Additions: some 10 ms of one processor."""


@dataclass(frozen=True)
class Goal:
    """What the median of a figure should be at most, or at least."""

    number: float
    at_least: bool = False

    def is_met(self, number: float) -> bool:
        """Whether it is as good as it should be."""
        return number >= self.number if self.at_least else number <= self.number

    def __str__(self) -> str:
        """For the table."""
        return f"{'>=' if self.at_least else '<='} {self.number:g}"


@dataclass(frozen=True)
class Figure:
    """What was measured, round by round or piece by piece, and what it should be."""

    what: str
    values: Sequence[float]
    goal: Goal | None = None
    note: str = ""
    """What the values were made from, in words."""

    @property
    def median(self) -> float:
        """Which is what the goal is about."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Between these lies the middle half of the values."""
        return percentile(self.values, 25), percentile(self.values, 75)

    @property
    def verdict(self) -> str:
        """In a word; nothing where there is no goal."""
        return "" if self.goal is None else "met" if self.goal.is_met(self.median) else "missed"


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


@dataclass(frozen=True)
class Noise:
    """How even the machine is: the same piece of work, timed between the rounds."""

    seconds: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Do the work once more."""
        self.seconds.append(timed(lambda: sum(range(FIXED_WORK))))


@dataclass(frozen=True)
class Bench:
    """How many rounds there are, and the noise between them."""

    rounds: int
    noise: Noise = field(default_factory=Noise)

    def paired(self, what: str, ours: Callable[[], float], alone: Callable[[], float], goal: Goal) -> Figure:
        """Times both in turn, the one that goes first changing; a round before them does not count.

        Both return the seconds that they took. The ratio of each pair is what it costs, ours through alone; or, where
        the goal is to be at least so much, how fast it is: alone through ours.
        """
        times: dict[str, list[float]] = {"ours": [], "alone": []}
        with step(what, lambda: (len(times["alone"]), self.rounds)):
            for number in range(self.rounds + 1):
                self.noise.look()
                pair = [("ours", ours), ("alone", alone)]
                for name, act in pair if number % 2 else reversed(pair):
                    seconds = act()
                    if number:
                        times[name].append(seconds)
        pairs = zip(times["ours"], times["alone"], strict=True)
        ratios = [alone / ours if goal.at_least else ours / alone for ours, alone in pairs]
        note = " / ".join(f"{1000 * statistics.median(seconds):,.0f} ms" for seconds in times.values())
        return Figure(what, ratios, goal, note)


def timed(act: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds that it takes, without a collection of garbage in between."""
    gc.collect()
    gc.disable()
    try:
        began = clock()
        act()
        return clock() - began
    finally:
        gc.enable()
