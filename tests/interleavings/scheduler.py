"""Every interleaving of real code: each order in which the calls of its workers may fall, and all that may happen.

Nothing that runs can be copied, so a worker is the answers that its calls have had: its code is run again from the
start, is given these answers, and stops before the first call that has none. What the worlds of a module hold beside
their workers, and how one becomes another, is the module's own. A world that was seen before is not gone on from: that
makes the search finite.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

World = TypeVar("World", bound=Hashable)
Task = TypeVar("Task")

Move = tuple[str, World]
"""What happens, in words, and the world after it."""


class Wrong(Exception):
    """Something happened that never may."""


class Call(NamedTuple):
    """What a worker does next."""

    name: str
    arguments: tuple[Any, ...]


class Raised(NamedTuple):
    """The answer of a call that fails."""

    error: Callable[[], Exception]


class Asked(BaseException):
    """The code stands before a call that has no answer yet."""

    def __init__(self, call: Call) -> None:
        super().__init__(call.name)
        self.call = call


class Answers:
    """What the code of a worker talks to: it answers the first calls, and stops the code at the next."""

    def __init__(self, answers: Iterable[Any]) -> None:
        self._left = iter(answers)

    def ask(self, name: str, *arguments: Any) -> Any:
        for answer in self._left:
            if isinstance(answer, Raised):
                raise answer.error()
            return answer
        raise Asked(Call(name, arguments))

    def port(self, prefix: str = "") -> Any:
        """An object whose methods are calls."""
        return _Port(self, prefix)


class _Port:
    def __init__(self, answers: Answers, prefix: str) -> None:
        self._answers = answers
        self._prefix = prefix

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self._answers.ask(self._prefix + name, *arguments)


class Worker(Generic[Task]):
    """The code at work on a task, standing before `call`, or at its end with a `result`.

    Workers with the same task and answers are one object: `told` makes them only once.
    """

    numbers = count()
    """In the order in which they are made; worlds sort their workers by it."""

    def __init__(
        self, code: Callable[[Task, Answers], Any], task: Task, name: str, answers: tuple[Any, ...] = ()
    ) -> None:
        self.task, self.name = task, name
        self.number = next(Worker.numbers)
        self.call: Call | None = None
        self.result: Any = None
        self._code, self._answers = code, answers
        self._told: dict[Hashable, Worker[Task]] = {}
        try:
            self.result = code(task, Answers(answers))
        except Asked as asked:
            self.call = asked.call
        self.text = f"{name}: {self.call.name if self.call else 'the end'}"
        """What it does next."""

    def told(self, answer: Hashable) -> "Worker[Task]":
        """The same worker when it has had this answer too."""
        if answer not in self._told:
            self._told[answer] = Worker(self._code, self.task, self.name, (*self._answers, answer))
        return self._told[answer]


class Space(Protocol[World]):
    """All worlds that come from the first one."""

    @property
    def start(self) -> World: ...

    def moves(self, world: World) -> Iterator[Move[World]]:
        """What may happen next; nothing, where all is over. Raises Wrong."""

    def wrong(self, end: World) -> str:
        """What is not as it should be when all is over, or nothing."""


@dataclass(frozen=True)
class Explored:
    """What a search has seen; if something was wrong, it ended there, and `script` is the shortest way to it."""

    worlds: int
    moves: int
    ends: int
    """Different worlds in which all is over."""
    runs: int
    """Ways from the start to an end."""
    seconds: float
    """of the processor"""
    wrong: str
    script: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([self.wrong, *self.script])


UNENDED = -1
"""In place of a number of runs: the search is under way from there."""


class _Search(Generic[World]):
    """Depth first, with the number of runs from each world on."""

    def __init__(self, space: Space[World]) -> None:
        self.space = space
        self.runs: dict[World, int] = {}
        self.moves = self.ends = 0

    def run(self) -> str:
        """What is wrong first, or nothing."""
        try:
            self._explore(self.space.start)
        except Wrong as wrong:
            return str(wrong)
        return ""

    def _explore(self, start: World) -> None:
        way = [(start, self._begun(start))]
        totals = [0]
        while way:
            world, moves = way[-1]
            for _, following in moves:
                self.moves += 1
                known = self.runs.get(following)
                if known is None:
                    way.append((following, self._begun(following)))
                    totals.append(0)
                    break
                if known == UNENDED:
                    raise Wrong("it goes round in circles")
                totals[-1] += known
            else:
                way.pop()
                self.runs[world] = total = totals.pop() or self._ended(world)
                if totals:
                    totals[-1] += total

    def _begun(self, world: World) -> Iterator[Move[World]]:
        self.runs[world] = UNENDED
        return self.space.moves(world)

    def _ended(self, world: World) -> int:
        self.ends += 1
        if wrong := self.space.wrong(world):
            raise Wrong(wrong)
        return 1


def explored(space: Space[World]) -> Explored:
    """Every world of the space, or those until something was wrong."""
    began = time.process_time()
    search = _Search(space)
    wrong = search.run()
    script = shortest(space) if wrong else ()
    seconds = time.process_time() - began
    return Explored(len(search.runs), search.moves, search.ends, search.runs[space.start], seconds, wrong, script)


def shortest(space: Space[World]) -> tuple[str, ...]:
    """One of the shortest ways to something wrong, move by move; empty if there is none."""
    before: dict[World, tuple[str, World | None]] = {space.start: ("", None)}
    todo = [space.start]
    for world in todo:
        moved = False
        try:
            for text, following in space.moves(world):
                moved = True
                if following not in before:
                    before[following] = text, world
                    todo.append(following)
        except Wrong as wrong:
            return (*_way(before, world), f"WRONG: {wrong}")
        if not moved and (amiss := space.wrong(world)):
            return (*_way(before, world), f"WRONG: {amiss}")
    return ()


def _way(before: dict[World, tuple[str, World | None]], end: World) -> list[str]:
    texts: list[str] = []
    text, world = before[end]
    while world is not None:
        texts.append(text)
        text, world = before[world]
    return texts[::-1]
