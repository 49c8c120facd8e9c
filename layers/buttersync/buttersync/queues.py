"""The queues: when a message comes back, when it is given up, and the way into the dead-letter queue.

Times that are moments are in milliseconds since 1970, durations in seconds.
"""

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from buttersync.clients import client
from buttersync.outcomes import REASON_CHARACTERS

LONGEST_STEP = 41_400
"""11.5 h: a message may be hidden for 12 h, counted from its receive, and the receive was a while ago.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""

SCHEDULE = (5, 15, 60, 300, 900, 3_600, 10_800, 21_600, LONGEST_STEP, LONGEST_STEP)
"""The waits between tries, in seconds: 33 h, and more than 24 h with the least jitter."""

LEAST_JITTER = 0.8
"""A wait is between this part of its step and the whole step."""

LONG_STEP = 1_125
"""The shortest step of misconfigured, at least 900 s with the least jitter: only a person can mend it."""

BEHIND_MS = 3_600_000
"""What goes back to its queue after this counts as ``Behind``: the age that SQS gives leaves out what was received
three times.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""

GIVE_UP_AGE = 10 * 86_400
"""A message this old is dead-lettered: after 14 days SQS would drop it without a word."""

LONGEST_DELAY = 900
"""The longest ``DelaySeconds`` of a new message."""

MOST_ATTRIBUTES = 10
"""SQS takes no more attributes on a message."""

_UNSENDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What SendMessage refuses in bodies and attributes; named one by one, since all but what it takes compiles for 6 ms.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""

_LOST = (BotoCoreError, ClientError)

logger = Logger()


def delay(
    attempts: int, retry_after: float = 0, misconfigured: bool = False, random: Callable[[], float] = random.random
) -> float:
    """Seconds to wait after that many failed attempts (1 after the first), never less than `retry_after`.

    The answer may be longer than a message can be hidden: who waits keeps the moment, and sleeps again if woken early.
    """
    step = SCHEDULE[min(max(attempts, 1), len(SCHEDULE)) - 1]
    if misconfigured:
        step = max(step, LONG_STEP)
    return max(step * (LEAST_JITTER + (1 - LEAST_JITTER) * random()), retry_after)


def exhausted(attempts: int, sent_at: int, now: int) -> bool:
    """Whether to give up: every step of the schedule has been waited for, or the message is 10 days old (in ms)."""
    return attempts > len(SCHEDULE) or now - sent_at >= GIVE_UP_AGE * 1000


def sendable(text: str) -> str:
    """The text as SQS takes it: what it would refuse has become the replacement character."""
    return _UNSENDABLE.sub("\ufffd", text)


@dataclass(frozen=True)
class Message:
    """One record of the event that SQS hands to a function."""

    id: str
    receipt: str
    body: str
    attributes: Mapping[str, str]
    receive_count: int
    sent_at: int
    """When it was sent to this queue (ms)."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The message in a record; attributes without a string value are left out."""
        system, own = record["attributes"], record.get("messageAttributes", {})
        return cls(
            id=record["messageId"],
            receipt=record["receiptHandle"],
            body=record["body"],
            attributes={name: value["stringValue"] for name, value in own.items() if value.get("stringValue")},
            receive_count=int(system["ApproximateReceiveCount"]),
            sent_at=int(system["SentTimestamp"]),
        )


@dataclass(frozen=True)
class Queue:
    """A source queue and its dead-letter queue, by their addresses."""

    url: str
    dead_letter_url: str

    def later(self, receipt: str, seconds: float) -> None:
        """Hide the message for that long, at most 11.5 h; if SQS fails, it comes back sooner, which harms nothing."""
        timeout = _whole(seconds, LONGEST_STEP)
        try:
            client("sqs").change_message_visibility(QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=timeout)
        except _LOST as error:
            logger.warning("the message comes back at the queue's own time", extra={"reason": str(error)})

    def delete(self, receipt: str) -> None:
        """Delete the message at once, before the function ends; if SQS fails, the function's answer may still do it."""
        try:
            client("sqs").delete_message(QueueUrl=self.url, ReceiptHandle=receipt)
        except _LOST as error:
            logger.warning("the message was not deleted", extra={"reason": str(error)})

    def send(self, body: str, attributes: Mapping[str, str], delay: float = 0) -> None:
        """Send to the source queue, to be received after `delay` seconds, at most 900; raises botocore's errors."""
        client("sqs").send_message(
            QueueUrl=self.url,
            MessageBody=sendable(body),
            MessageAttributes=typed(attributes),
            DelaySeconds=_whole(delay, LONGEST_DELAY),
        )

    def dead_letter(self, body: str, attributes: Mapping[str, str], reason: str, target: str, attempts: int) -> None:
        """Send to the dead-letter queue, where its 14 days begin anew; raises botocore's errors: the message stays.

        `reason`, `target`, `attempts` and `time` join the message's own attributes; those of an earlier end give way.
        """
        end = {
            "reason": reason[:REASON_CHARACTERS] or "no reason given",
            "target": target,
            "attempts": str(attempts),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        own = [(name, value) for name, value in attributes.items() if name not in end]
        kept = dict(own[: MOST_ATTRIBUTES - len(end)])
        client("sqs").send_message(
            QueueUrl=self.dead_letter_url, MessageBody=sendable(body) or "{}", MessageAttributes=typed(kept | end)
        )


def _whole(seconds: float, most: int) -> int:
    return math.ceil(min(max(seconds, 0), most))


def typed(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Message attributes as SNS and SQS take them, of characters that they take."""
    return {name: {"DataType": "String", "StringValue": sendable(value)} for name, value in attributes.items()}
