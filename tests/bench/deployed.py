"""The deployed stack: how many events a second get through it, and how often a burst of edits calls each vendor.

Beside the real template, the same emulator has its bare topology, `bare.yaml`: the same gateway, topic, queues, batches
and workers, with functions that only hand on. What the real one does more: it compares the secret and checks the shape,
reads ButterCMS, keeps a table of contents, archives each version, looks up and writes a row for each delivery, reads
the archive, and writes to three stores; and all that it calls runs on this machine too.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from sandbox import deployment
from sandbox.chaos.sending import Sender
from sandbox.processes import SandboxError
from sandbox.progress import step
from sandbox.stack import TARGETS, WEBHOOK_PATH, Stack
from sandbox.webhooks import Webhook
from tests.bench import processor
from tests.bench.pairs import Bench, Figure, Goal

EVENTS = 60
"""In each round, each of a post of its own: there is nothing to collapse."""
FEWER = 3
"""So many times fewer rounds than of others: a round takes seconds."""
SENDERS = 4
TRIES = 5
GOAL = Goal(0.8, at_least=True)
PATIENCE = 120
"""Seconds."""
POLL = 0.05

BARE = Path(__file__).parent / "bare.yaml"
BARE_NAME = "buttersync-bare"
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")

EDITS = 100
"""Of one item, in a burst."""

WORDS = "Plant the bulbs in autumn, water them well, and wait until the snow has gone. " * 40

Edit = Callable[[], Webhook]


@dataclass(frozen=True)
class Way:
    """A way through the emulator, by the addresses of its door and its queues, that of resolve first."""

    stack: Stack
    url: str
    queues: Sequence[str]
    functions: str
    """What the names of its functions begin with."""
    spent: list[Counter[str]] = field(default_factory=list)
    """Milliseconds of the processor in each round, by who took them."""

    @classmethod
    def ours(cls, stack: Stack) -> "Way":
        """Through the real template."""
        queues = [stack.outputs[f"{owner}QueueUrl"] for owner in ("resolve", *TARGETS)]
        return cls(stack, stack.webhook_url, queues, f"buttersync-{deployment.stage()}-")

    @classmethod
    def bare(cls, stack: Stack) -> "Way":
        """Through the bare topology, which is deployed for it."""
        formation = stack.client("cloudformation")
        runtime = {"ParameterKey": "Runtime", "ParameterValue": deployment.RUNTIME["Runtime"]}
        formation.create_stack(
            StackName=BARE_NAME, TemplateBody=BARE.read_text(), Parameters=[runtime], Capabilities=CAPABILITIES
        )
        formation.get_waiter("stack_create_complete").wait(StackName=BARE_NAME, WaiterConfig={"Delay": 1})
        [made] = formation.describe_stacks(StackName=BARE_NAME)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
        url = f"{stack.emulator.endpoint}/_aws/execute-api/{outputs['Api']}/bare/{WEBHOOK_PATH}"
        return cls(stack, url, [outputs[f"{owner}QueueUrl"] for owner in ("resolve", *TARGETS)], f"{BARE_NAME}-")

    def seconds(self, edits: Sequence[Edit]) -> float:
        """From the first edit until every queue is empty again; raises SandboxError if they do not become so."""
        sqs = self.stack.client("sqs")
        before, began = self._taken(), time.perf_counter()
        self._send(iter(edits))
        while self._is_busy(sqs):
            if time.perf_counter() - began > PATIENCE:
                raise SandboxError(f"the queues should be empty after {PATIENCE} s")
            time.sleep(POLL)
        seconds = time.perf_counter() - began
        self.spent.append(self._taken() - before)
        return seconds

    def split(self, what: str) -> Figure:
        """Where the processor's time went once all was warm, in ms for an event."""
        warm = self.spent[1:]
        shares = sum(warm, Counter[str]()).most_common()
        note = ", ".join(f"{name} {milliseconds / EVENTS / len(warm):.0f}" for name, milliseconds in shares)
        return Figure(f"  processor's ms an event, {what}", [spent.total() / EVENTS for spent in warm], note=note)

    def _taken(self) -> Counter[str]:
        """Milliseconds of the processor until now; what the functions of the other way took does not concern this."""
        taken = processor.taken().items()
        concerned = ((name, ms) for name, ms in taken if not name.startswith("buttersync-") or self.functions in name)
        return Counter({name.removeprefix(self.functions): milliseconds for name, milliseconds in concerned})

    def _send(self, edits: Iterator[Edit]) -> None:
        """Some at a time."""

        def send_some(_: int) -> None:
            sender = Sender(self.url, self.stack.webhook_secret)
            for edit in edits:
                _accepted(sender, edit())
            sender.close()

        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(send_some, range(SENDERS)))

    def _is_busy(self, sqs: Any) -> bool:
        """Whether a message is in a queue. In their order: what has left one has reached the next by then."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answers = (sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in self.queues)
        return any(int(answer[name]) for answer in answers for name in names)


def _accepted(sender: Sender, webhook: Webhook) -> None:
    """Sends it, once more if a function that has to start takes too long; raises SandboxError if it is turned away."""
    statuses = (sender.send(webhook) for _ in range(TRIES))
    if 200 not in statuses:  # which sends no more once one is
        raise SandboxError("a webhook was not accepted")


def of_throughput(bench: Bench, stack: Stack) -> Iterator[Figure]:
    """Events per second, ours through the bare topology's; and where the processor's time went."""
    ours, bare = Way.ours(stack), Way.bare(stack)
    names = (f"busy-{number}" for number in count())

    def seconds(way: Way) -> float:
        return way.seconds([_edit(stack, next(names), "One") for _ in range(EVENTS)])

    fewer = replace(bench, rounds=max(2, bench.rounds // FEWER))
    yield fewer.paired(f"{EVENTS} events through the stack", lambda: seconds(ours), lambda: seconds(bare), GOAL)
    yield ours.split("ours")
    yield bare.split("bare")


def of_burst(bench: Bench, stack: Stack) -> Iterator[Figure]:
    """How many calls each vendor gets for a burst of edits of one item."""
    calls: dict[str, list[float]] = {target: [] for target in TARGETS}
    readings: list[float] = []
    way, rounds = Way.ours(stack), max(2, bench.rounds // FEWER)
    with step(f"bursts of {EDITS} edits", lambda: (len(readings), rounds)):
        for number in range(rounds):
            began, read = int(time.time() * 1000), len(stack.sandbox.requests_to("butter"))
            way.seconds([_edit(stack, "burst", f"{number}.{edit}") for edit in range(EDITS)])
            readings.append(len(stack.sandbox.requests_to("butter")) - read)
            for target in TARGETS:
                calls[target].append(_deliveries(stack, target, began))
    for target, counted in calls.items():
        yield Figure(
            f"{EDITS} edits of a post: calls of {target}", counted, note=f"{EDITS} by a handler around the SDK"
        )
    yield Figure(f"{EDITS} edits of a post: readings of ButterCMS", readings)


def _edit(stack: Stack, slug: str, title: str) -> Edit:
    return lambda: stack.sandbox.site.publish_post(slug, title=title, body=f"<p>{title} {WORDS}</p>")


def _deliveries(stack: Stack, target: str, began: int) -> int:
    """How often a target logged that the item was delivered: once for each call, which has an item only once."""
    group = f"/aws/lambda/buttersync-{deployment.stage()}-{target}"
    pages = stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group, startTime=began)
    return sum('"outcome":"done"' in event["message"] for page in pages for event in page["events"])
