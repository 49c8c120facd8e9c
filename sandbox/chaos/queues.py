"""The queues as the emulator knows them: all messages, hidden ones too, and the dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from sandbox.stack import TARGETS, Stack

OWNERS = ("resolve", *TARGETS)
AT_A_TIME = 10


@dataclass(frozen=True)
class Waiting:
    """A message in a queue: waiting to be received, hidden, or being handled."""

    owner: str
    id: str
    receive_count: int
    visible_at: int
    """Seconds since 1970, by the clock of the emulator."""
    is_visible: bool


@dataclass(frozen=True)
class Letter:
    """A dead letter."""

    owner: str
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """All queues at one moment."""

    waiting: frozenset[Waiting]
    letters: Sequence[Letter]

    @property
    def due(self) -> int:
        """How many messages could be handled now."""
        return sum(message.is_visible for message in self.waiting)

    @property
    def next_at(self) -> int:
        """When the next message that waits can be received, by the emulator's clock (seconds since 1970)."""
        return min(message.visible_at for message in self.waiting)

    @property
    def receive_count(self) -> int:
        """The highest of all."""
        return max((message.receive_count for message in self.waiting), default=0)


class Queues:
    """The queues of resolve and of the targets, and their dead-letter queues."""

    def __init__(self, stack: Stack) -> None:
        self._sqs = stack.client("sqs")
        self._urls = {owner: stack.outputs[f"{owner}QueueUrl"] for owner in OWNERS}
        self._letters = {owner: stack.outputs[f"{owner}DeadLetterQueueUrl"] for owner in OWNERS}
        self._messages = f"{stack.emulator.endpoint}/_ministack/sqs/messages"

    def snapshot(self) -> Snapshot:
        """What is in them now."""
        answer = requests.get(self._messages, timeout=30)
        answer.raise_for_status()
        regions = answer.json()["messages"].values()
        queues = {_name(url): held for region in regions for urls in region.values() for url, held in urls.items()}
        waiting = [
            Waiting(owner, one["MessageId"], one["ReceiveCount"], one["VisibleAt"], one["IsVisible"])
            for owner, url in self._urls.items()
            for one in queues[_name(url)]
        ]
        letters = [Letter(owner, _reason(one)) for owner, url in self._letters.items() for one in queues[_name(url)]]
        return Snapshot(frozenset(waiting), letters)

    def redrive(self) -> None:
        """Sends all dead letters back to where they came from, as an operator does; see docs/operations.md."""
        for owner, url in self._letters.items():
            while found := self._received(url):
                for letter in found:
                    self._sqs.send_message(
                        QueueUrl=self._urls[owner],
                        MessageBody=letter["Body"],
                        MessageAttributes=letter.get("MessageAttributes", {}),
                    )
                    self._sqs.delete_message(QueueUrl=url, ReceiptHandle=letter["ReceiptHandle"])

    def _received(self, url: str) -> list[Any]:
        answer = self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=AT_A_TIME, MessageAttributeNames=["All"], WaitTimeSeconds=0
        )
        found: list[Any] = answer.get("Messages", [])
        return found


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _reason(letter: dict[str, Any]) -> str:
    """Why a function gave it up; one that SQS has moved by itself says nothing."""
    said: dict[str, str] = letter["MessageAttributes"].get("reason", {})
    return said.get("StringValue", "received too often")
