"""Everything that fails while the webhooks come: vendors, AWS, workers, servers."""

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, get_args

from sandbox.faults import Fault, Faults, Form
from sandbox.search import GIVEN
from sandbox.stack import Stack
from sandbox.wire import Request

VENDORS = ("butter", "algolia", "opensearch")

WAYS: Sequence[Mapping[str, Any]] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "after": True},
    {"kind": "throttle", "seconds": 1},
    {"kind": "delay", "seconds": 0.3},
    {"kind": "delay", "seconds": 0.3, "after": True},
    {"kind": "drop"},
    {"kind": "drop", "after": True},
    *({"kind": "malformed", "form": form} for form in get_args(Form)),
)
"""How a vendor fails, each as often as any other."""

LATEST_SECONDS = 15.0
"""How late an answer may be: longer than anybody waits for it. What is done that late is done after `Trouble.end`."""

RARELY: Sequence[Mapping[str, Any]] = (
    {"kind": "delay", "seconds": LATEST_SECONDS},
    {"kind": "delay", "seconds": LATEST_SECONDS, "after": True},
    # It wants the key no more, for a moment.
    {"kind": "status", "status": 403},
)
"""What holds things up for so long that it happens once where each of the others happens twenty times."""

RARITY = 20

TURN_SECONDS = 4.0
KILL_SECONDS = 10.0
HOSTS_SECONDS = 8.0
POSTGRES_SECONDS = 30.0
SEARCH_SECONDS = 40.0
"""How often each happens. A story of 2,000 webhooks takes a minute at the least, and everything is to happen in it."""

HOST_UP = 0.7
"""How likely one of Algolia's hosts is up after a switch."""


def vendor_faults(vendor: str, percent: float) -> list[Fault]:
    """The faults of a vendor, which together strike so many percent of its calls."""
    each = percent / (len(WAYS) + len(RARELY) / RARITY)
    often = [Fault(vendor=f"^{vendor}$", percent=each, **way) for way in WAYS]
    return often + [Fault(vendor=f"^{vendor}$", percent=each / RARITY, **way) for way in RARELY]


# ------------------------------------------------------------------------------------------------ AWS, in turn

JSON_ERROR = '{"__type": "%s", "message": "out of order"}'
XML_ERROR = "<Error><Code>%s</Code><Message>out of order</Message></Error>"
XML = {"Content-Type": "text/xml"}

AWS_ERRORS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "sns": (
        {"status": 500, "body": f"<ErrorResponse>{XML_ERROR % 'InternalError'}</ErrorResponse>", "headers": XML},
        {"status": 429, "body": f"<ErrorResponse>{XML_ERROR % 'Throttled'}</ErrorResponse>", "headers": XML},
    ),
    "sqs": (
        {"status": 503, "body": JSON_ERROR % "com.amazonaws.sqs#ServiceUnavailable"},
        {"status": 403, "body": JSON_ERROR % "com.amazonaws.sqs#RequestThrottled"},
    ),
    "dynamodb": (
        {"status": 500, "body": JSON_ERROR % "com.amazonaws.dynamodb.v20120810#InternalServerError"},
        {"status": 400, "body": JSON_ERROR % "com.amazon.coral.availability#ThrottlingException"},
    ),
    "s3": (
        {"status": 500, "body": XML_ERROR % "InternalError", "headers": XML},
        {"status": 503, "body": XML_ERROR % "SlowDown", "headers": XML},
    ),
}
"""How each service says that it cannot, with the status that it says it with."""

LOST: Sequence[Mapping[str, Any]] = (
    {"kind": "drop"},
    {"kind": "drop", "after": True},
    {"kind": "malformed", "form": "cut"},
)
HANGS: Sequence[Mapping[str, Any]] = ({"kind": "delay", "seconds": 5}, {"kind": "delay", "seconds": 5, "after": True})
"""Longer than the functions wait for AWS, 3 s at the most."""

SLOW: Sequence[Mapping[str, Any]] = ({"kind": "delay", "seconds": 0.3},)

ERROR_PERCENT, HANG_PERCENT, SLOW_PERCENT, OUTAGE_PERCENT = 3, 8, 40, 50


def aws_turns() -> list[list[Fault]]:
    """What is wrong with AWS, one after the other; the last is nothing.

    A document takes some 15 calls to AWS, and a call that fails is tried again by the SDK after half a second: with
    more than a few percent hardly anything would come to an end in such a turn.
    """
    return [
        *(_failing(service, ERROR_PERCENT) for service in AWS_ERRORS),
        *(_aws_faults(service, HANGS, HANG_PERCENT) for service in AWS_ERRORS),
        _aws_faults("s3", SLOW, SLOW_PERCENT),
        # Then a webhook may find no way in, which is rare enough otherwise.
        _failing("sns", OUTAGE_PERCENT) + _failing("sqs", OUTAGE_PERCENT),
        [],
    ]


def _failing(service: str, percent: float) -> list[Fault]:
    errors = [{"kind": "status", **error} for error in AWS_ERRORS[service]]
    return _aws_faults(service, [*errors, *LOST], percent)


def _aws_faults(service: str, ways: Sequence[Mapping[str, Any]], percent: float) -> list[Fault]:
    return [Fault(vendor=f"^{service}$", percent=percent / len(ways), **way) for way in ways]


# --------------------------------------------------------------------------------------------- what is counted


class Strikes(Faults):
    """Faults that are counted as they strike."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.struck: Counter[str] = Counter()
        self._counting = threading.Lock()

    def striking(self, vendor: str, request: Request) -> list[Fault]:
        struck = super().striking(vendor, request)
        if struck:
            with self._counting:
                self.struck.update(f"{vendor}: {_named(fault)}" for fault in struck)
        return struck


def _named(fault: Fault) -> str:
    what = {"status": f"status {fault.status}", "delay": f"{fault.seconds:g} s late", "malformed": fault.form}
    return what.get(fault.kind, fault.kind) + (" after acting" if fault.after else "")


# ----------------------------------------------------------------------------------------------- what happens

WORKER = re.compile(r"/ministack-lambda-buttersync-[a-z]+-([a-z]+)-[^/]+/_worker.py")
"""In the command line of a worker, its function."""


def workers(stack: Stack) -> dict[str, list[int]]:
    """The numbers of the processes that the functions of this stack run in, by function."""
    found: dict[str, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile.
        with suppress(OSError):
            command = (process / "cmdline").read_text()
            named = WORKER.search(command)
            if named and str(stack.home / "aws") in command:
                found.setdefault(named[1], []).append(int(process.name))
    return found


class Trouble:
    """Makes everything fail from `begin` until `end`, after which all servers run."""

    def __init__(self, stack: Stack, faults: Faults, percent: float, seed: int) -> None:
        self.happened: Counter[str] = Counter()
        """What was killed, restarted and taken down."""
        self._stack = stack
        self._faults = faults
        self._percent = percent
        self._random = Random(seed)  # noqa: S311 - it draws trouble, not secrets
        self._turns = cycle(aws_turns())
        self._turn: list[int] = []
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """From here on everything fails."""
        for vendor in VENDORS:
            for fault in vendor_faults(vendor, self._percent):
                self._faults.add(fault)
        self._thread.start()

    def end(self) -> None:
        """Nothing fails any more; raises what a server could not be restarted for."""
        self._ended.set()
        self._thread.join()
        self._faults.clear()
        for host in self._stack.sandbox.algolia_hosts:
            host.up()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        acts = [
            (TURN_SECONDS, self._take_turn),
            (KILL_SECONDS, self._kill),
            (HOSTS_SECONDS, self._switch_hosts),
            (POSTGRES_SECONDS, self._restart_postgres),
        ]
        if GIVEN not in os.environ:
            acts.append((SEARCH_SECONDS, self._restart_search))
        due = dict.fromkeys(range(len(acts)), time.monotonic())
        try:
            while not self._ended.wait(0.2):
                for number, (seconds, act) in enumerate(acts):
                    if time.monotonic() >= due[number] + seconds:
                        act()
                        due[number] = time.monotonic()
        except BaseException as failure:  # noqa: BLE001 - raised by `end`
            self._failure = failure

    def _take_turn(self) -> None:
        for number in self._turn:
            self._faults.remove(number)
        self._turn = [self._faults.add(fault) for fault in next(self._turns)]

    def _kill(self) -> None:
        """Kills a worker, whatever it is doing: of each function as often."""
        function, numbers = self._random.choice(sorted(workers(self._stack).items()) or [("", [])])
        if numbers:
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(numbers), signal.SIGKILL)
                self.happened[f"a worker of {function} killed"] += 1

    def _switch_hosts(self) -> None:
        for host in self._stack.sandbox.algolia_hosts:
            if self._random.random() < HOST_UP:
                host.up()
            elif host.is_up:
                host.down()
                self.happened["a host of Algolia's taken down"] += 1

    def _restart_postgres(self) -> None:
        self._stack.postgres.restart()
        self.happened["PostgreSQL restarted"] += 1

    def _restart_search(self) -> None:
        self._stack.search.restart()
        self.happened["OpenSearch restarted"] += 1
