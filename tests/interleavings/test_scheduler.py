"""The scheduler itself, on two workers that each add one to a number."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.interleavings.scheduler import Answers, Move, Worker, explored


class Sum(NamedTuple):
    number: int
    workers: tuple[Worker[str], ...]


def add_one(_: str, answers: Answers) -> Any:
    number = answers.ask("read")
    answers.ask("write", number + 1)


class Adding:
    """`wanted` is what the sum should be."""

    def __init__(self, *wanted: int) -> None:
        self.start = Sum(0, (Worker(add_one, "", "Ann"), Worker(add_one, "", "Bob")))
        self._wanted = wanted

    def moves(self, world: Sum) -> Iterator[Move[Sum]]:
        for place, worker in enumerate(world.workers):
            if worker.call:
                number = world.number if worker.call.name == "read" else worker.call.arguments[0]
                answer = world.number if worker.call.name == "read" else None
                workers = (*world.workers[:place], worker.told(answer), *world.workers[place + 1 :])
                yield worker.text, Sum(number, workers)

    def wrong(self, end: Sum) -> str:
        return "" if end.number in self._wanted else f"the sum is {end.number}"


def test_every_order_of_the_calls_is_seen_once() -> None:
    seen = explored(Adding(1, 2))

    assert not seen.wrong
    assert seen.runs == 6  # two calls each: 4! / (2! 2!)
    assert seen.ends == 3  # Ann first, Bob first, or both have read 0
    assert seen.script == ()


def test_what_goes_wrong_in_some_order_is_found_with_the_way_to_it() -> None:
    seen = explored(Adding(2))

    assert seen.wrong == "the sum is 1"
    assert sorted(seen.script[:4]) == ["Ann: read", "Ann: write", "Bob: read", "Bob: write"]
    assert {text.split()[-1] for text in seen.script[:2]} == {"read"}
    assert seen.script[4:] == ("WRONG: the sum is 1",)


class Circle:
    """Goes nowhere."""

    start = 0

    def moves(self, world: int) -> Iterator[Move[int]]:
        yield "on", (world + 1) % 3

    def wrong(self, end: int) -> str:
        return f"ended at {end}"


def test_what_never_ends_is_found_out() -> None:
    assert explored(Circle()).wrong == "it goes round in circles"
