"""A run: a stack of its own, the story and the trouble at the same time, and then the waiting until all is well."""

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from sandbox.chaos.clock import Clock
from sandbox.chaos.queues import OWNERS, Letter, Queues, Snapshot
from sandbox.chaos.report import Report
from sandbox.chaos.sending import Sending
from sandbox.chaos.story import Story, new_site
from sandbox.chaos.trouble import LATEST_SECONDS, Strikes, Trouble
from sandbox.chaos.verdict import differences, published
from sandbox.deployment import stage
from sandbox.processes import SandboxError
from sandbox.progress import step
from sandbox.proxy import Proxy, aws_service
from sandbox.search import GIVEN
from sandbox.stack import Stack

PARAMETERS = {"LookSeconds": "1"}
"""One new look at a doubtful reading instead of four: fewer chances for what was missed to be found after all."""

QUIETLY = {"LOG_LEVEL": "WARNING", "POWERTOOLS_LOG_LEVEL": "INFO"}
"""Of the emulator and, by the second name, of the functions."""

WORKERS = 8
"""Of each function, at the most: more than the template allows, so more at the same row, and less waiting for one."""

FULL = 400
"""No webhook is sent while so many messages are due."""

PACE_SECONDS = 1.0
POLL_SECONDS = 0.25
"""How often all queues are looked into, in the story and afterwards: a look costs the emulator what ten webhooks do."""

QUIET_SECONDS = 1.0
"""So long nothing must have happened before the clock is put forward."""

PATIENCE_SECONDS = 900
"""So long all may take to become well after the last fault, by the machine's clock."""

REDRIVES = 3


class Chaos:
    """A deployed stack that is made to fail. Its functions reach AWS and OpenSearch through proxies."""

    def __init__(self, stack: Stack, clock: Clock, strikes: Strikes) -> None:
        self.stack = stack
        self._clock = clock
        self._strikes = strikes
        self._queues = Queues(stack)
        self._highest_receive_count = 0

    @classmethod
    @contextmanager
    def start(cls, home: Path, seed: int) -> "Iterator[Self]":
        """Starts the stack, its files under `home`; all of it ends with the block. For the main thread.

        Where an OpenSearch was given, it is left in peace. Raises SandboxError.
        """
        strikes = Strikes(seed)
        with TemporaryDirectory() as folder:
            clock = Clock(Path(folder) / "clock")
            with Stack.start(home, new_site(), PARAMETERS, {**clock.variables, **QUIETLY}) as stack, ExitStack() as own:
                stack.sandbox.faults = strikes
                aws = own.enter_context(Proxy(stack.emulator.endpoint, aws_service, strikes))
                search = None
                if GIVEN not in os.environ:
                    search = own.enter_context(Proxy(stack.search.endpoint, lambda _: "opensearch", strikes))
                    stack.put_setting("opensearch", "endpoint", search.url)
                _point_functions(stack, aws.url)
                _let_workers_race(stack)
                _begin(stack)
                yield cls(stack, clock, strikes)

    def play(self, webhooks: int, seed: int, percent: float) -> Report:
        """Plays the story and the trouble, waits until all is well, and looks. Raises SandboxError."""
        began = time.monotonic()
        sending, trouble = self._told(webhooks, seed, percent)
        ended = time.monotonic()
        with step("Waiting until all is well"):
            # What is on its way that late must have been done before the clock makes a lease run out.
            time.sleep(LATEST_SECONDS)
            dead_letters, left = self._settle()
        settled = time.monotonic()
        with step("Comparing the stores with the site"):
            source = published(self.stack.sandbox)
            differing = differences(self.stack.stores, source)
        return Report(
            webhooks=webhooks,
            seed=seed,
            accepted=dict(sending.accepted),
            turned_away=dict(sending.turned_away),
            published=len(source),
            differences=differing,
            unsettled=left,
            dead_letters=dict(dead_letters),
            story_seconds=ended - began,
            converged_seconds=settled - ended,
            put_forward_seconds=self._clock.forward,
            highest_receive_count=self._highest_receive_count,
            struck=dict(self._strikes.struck),
            happened=dict(trouble.happened),
        )

    def _told(self, webhooks: int, seed: int, percent: float) -> tuple[Sending, Trouble]:
        """Sends the webhooks while everything fails; afterwards nothing does."""
        story = Story(self.stack.sandbox.site, webhooks, seed)
        sending = Sending(story, self.stack.webhook_url, self.stack.webhook_secret)
        trouble = Trouble(self.stack, self._strikes, percent, seed)

        def how_far() -> tuple[int, int]:
            return sum(sending.accepted.values()), webhooks

        with step(f"Sending {webhooks} webhooks amid trouble", how_far):
            try:
                trouble.begin()
                sending.begin()
                self._keep_pace(sending)
            finally:
                sending.abandon()
                trouble.end()
        return sending, trouble

    def _keep_pace(self, sending: Sending) -> None:
        """Until all is sent, and what is due has been tried; or until it has been tried in vain for too long."""
        over_at = math.inf
        while ((due := self._look().due) and time.monotonic() < over_at + PATIENCE_SECONDS) or not sending.is_over:
            if sending.is_over:
                over_at = min(over_at, time.monotonic())
            if due > FULL:
                sending.may_go_on.clear()
            else:
                sending.may_go_on.set()
            self.stack.sandbox.butter.cdn.thaw()  # or else it would keep every answer of the run
            time.sleep(PACE_SECONDS)

    def _look(self) -> Snapshot:
        snapshot = self._queues.snapshot()
        self._highest_receive_count = max(self._highest_receive_count, snapshot.receive_count)
        return snapshot

    def _settle(self) -> tuple[Counter[str], int]:
        """Waits until the queues are empty and the dead letters, sent back, are gone too.

        Why there were dead letters, and how many messages and letters are left when patience ends.
        """
        reasons: Counter[str] = Counter()
        for _ in range(REDRIVES):
            letters = self._emptied()
            if not letters:
                break
            reasons.update(f"{letter.owner}: {letter.reason}" for letter in letters)
            self._queues.redrive()
        last = self._look()
        return reasons, len(last.waiting) + len(last.letters)

    def _emptied(self) -> Sequence[Letter]:
        """Waits until nothing is in the queues but dead letters, and puts the clock forward whenever all else waits."""
        end = time.monotonic() + PATIENCE_SECONDS
        before, quiet_since = self._look(), time.monotonic()
        while (now := self._look()).waiting and time.monotonic() < end:
            if now.waiting != before.waiting:
                before, quiet_since = now, time.monotonic()
            elif time.monotonic() > quiet_since + QUIET_SECONDS and not now.due:
                quiet_since = time.monotonic()
                self._clock.put_forward(max(1, math.ceil(now.next_at - self._clock.now())))
            time.sleep(POLL_SECONDS)
        return now.letters


def _point_functions(stack: Stack, url: str) -> None:
    """Makes the functions, and them alone, take `url` for AWS; their workers begin anew."""
    functions = stack.client("lambda")
    for owner in ("ingest", *OWNERS):
        name = f"buttersync-{stage()}-{owner}"
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "AWS_ENDPOINT_URL": url}}
        )


def _let_workers_race(stack: Stack) -> None:
    functions = stack.client("lambda")
    for owner in OWNERS:
        mappings = functions.list_event_source_mappings(FunctionName=f"buttersync-{stage()}-{owner}")
        for mapping in mappings["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": WORKERS})


def _begin(stack: Stack) -> None:
    """The first backfill, of a site that has nothing yet: from now on what is new is announced as such."""
    answer = stack.invoke("resolve", {"command": "backfill"})
    if not answer["ok"]:
        raise SandboxError(f"the backfill did not begin: {answer['message']}")
