"""Workers of Lambda functions that go on only when they are told to, on code with globals of its own."""

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from types import MappingProxyType, ModuleType

from buttersync.delivery import Adapter

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"

_numbers = count()


def started(function: str, changes: Mapping[str, str] = MappingProxyType({})) -> ModuleType:
    """The function's module as a cold start makes it; `changes` has what stands in the place of which lines."""
    path = FUNCTIONS / function / f"{function}.py"
    text = path.read_text()
    for line, other in changes.items():
        assert text.count(line) == 1, line
        text = text.replace(line, other)
    module = module_from_spec(ModuleSpec(f"{function}_{next(_numbers)}", loader=None, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - our own code
    return module


def adapter_of(module: ModuleType) -> Adapter:
    """What the handler of a target was made of."""
    loop = inspect.getclosurevars(module.handler).nonlocals["loop"]
    adapter: Adapter = inspect.getclosurevars(loop.__wrapped__).nonlocals["adapter"]
    return adapter


class Died(BaseException):
    """The worker is no more: nothing that it still had to do is done."""


class Worker:
    """A thread that does its next call only when it is told to, and perhaps not well."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self.next_call = "begin"
        self.faults: tuple[str, ...] = ()
        """What may befall the next call."""
        self.ended = False
        self.outcome: object = None
        self._work = work
        self._fault = ""
        self._go, self._stands = Lock(), Lock()
        self._go.acquire()
        self._stands.acquire()
        Thread(target=self._run, daemon=True).start()

    def step(self, fault: str = "") -> None:
        """Let it go on; afterwards it stands before its next call, or has ended."""
        self._fault = fault
        self._go.release()
        self._stands.acquire()

    def stand(self, call: str, faults: tuple[str, ...] = ()) -> str:
        """In the worker's own thread: wait for the next step; what is to befall the call then."""
        self.next_call, self.faults = call, faults
        self._stands.release()
        return self._wait()

    def _run(self) -> None:
        try:
            self._wait()
            self.outcome = self._work()
            self.stand("answer")
        except (Exception, Died) as error:  # noqa: BLE001 - whoever watches decides what becomes of it
            self.outcome = error
        self.ended = True
        self._stands.release()

    def _wait(self) -> str:
        self._go.acquire()
        if self._fault == "dies":
            raise Died
        return self._fault
