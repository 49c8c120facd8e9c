# ruff: noqa: N803 - the parameters of boto3
"""AWS in memory, at the seam of boto3's clients, on a clock that a test turns: SQS, DynamoDB, S3, SSM.

Strict where AWS is: what it would refuse raises here too. Every service can be told to be down.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError, EndpointConnectionError

from buttersync.clients import client

UNSENDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DAY = 86_400
QUEUE = "https://sqs.test/queue"
DEAD_LETTERS = "https://sqs.test/dead-letters"


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as told"}}, operation)


def unreachable() -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url="https://aws.test")


@dataclass
class Clock:
    """Seconds since 1970."""

    now: float = 1_764_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stored:
    """A message in a queue."""

    id: str
    body: str
    attributes: dict[str, str]
    sent_at: float
    visible_at: float
    receipt: str = ""
    received_at: float = 0
    receives: int = 0

    def record(self) -> dict[str, Any]:
        """As SQS hands it to a function."""
        return {
            "messageId": self.id,
            "receiptHandle": self.receipt,
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "SentTimestamp": str(int(self.sent_at * 1000)),
                "ApproximateFirstReceiveTimestamp": str(int(self.received_at * 1000)),
            },
            "messageAttributes": {
                name: {"stringValue": value, "dataType": "String"} for name, value in self.attributes.items()
            },
            "eventSource": "aws:sqs",
        }


@dataclass
class Sqs:
    """Queues with visibility, receive counts and a retention of 14 days."""

    clock: Clock
    queues: dict[str, list[Stored]] = field(default_factory=lambda: {QUEUE: [], DEAD_LETTERS: []})
    down: set[str] = field(default_factory=set)
    visibility: float = 420
    numbers: Iterator[int] = field(default_factory=count)

    def receive(self, most: int = 10) -> list[Stored]:
        """What the event source mapping takes for one batch."""
        now = self.clock.now
        queue = self.queues[QUEUE] = [one for one in self.queues[QUEUE] if now - one.sent_at < 14 * DAY]
        batch = [one for one in queue if one.visible_at <= now][:most]
        for one in batch:
            one.receives += 1
            one.receipt = f"{one.id}/{one.receives}"
            one.received_at = now
            one.visible_at = now + self.visibility
        return batch

    def delete(self, ids: set[str]) -> None:
        self.queues[QUEUE] = [one for one in self.queues[QUEUE] if one.id not in ids]

    def send_message(
        self, QueueUrl: str, MessageBody: str, MessageAttributes: Mapping[str, Any], DelaySeconds: int = 0
    ) -> None:
        self._answer("send_message")
        texts = {name: value["StringValue"] for name, value in MessageAttributes.items()}
        types = {value["DataType"] for value in MessageAttributes.values()}
        valid = (
            MessageBody
            and len(texts) <= 10
            and all(texts.values())
            and types <= {"String"}
            and not any(UNSENDABLE.search(text) for text in (MessageBody, *texts.values()))
            and DelaySeconds in range(901)
        )
        if not valid:
            raise refusal("InvalidParameterValue", "SendMessage")
        now = self.clock.now
        self.queues[QueueUrl].append(Stored(f"m{next(self.numbers)}", MessageBody, texts, now, now + DelaySeconds))

    def change_message_visibility(self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        self._answer("change_message_visibility")
        [message] = [one for one in self.queues[QueueUrl] if one.receipt == ReceiptHandle]
        longest = 43_200 - (self.clock.now - message.received_at)
        if VisibilityTimeout not in range(int(longest) + 1):
            raise refusal("InvalidParameterValue", "ChangeMessageVisibility")
        message.visible_at = self.clock.now + VisibilityTimeout

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:
        self._answer("delete_message")
        self.queues[QueueUrl] = [one for one in self.queues[QueueUrl] if one.receipt != ReceiptHandle]

    def _answer(self, operation: str) -> None:
        if operation in self.down:
            raise unreachable()


@dataclass
class Dynamo:
    """Tables by name, items by the text of their key; expressions of the form that the project writes."""

    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {"deliveries": {}, "contents": {}})
    down: set[str] = field(default_factory=set)
    """Operations that fail; or an operation and the key that it fails for."""
    out_of_reach: bool = False
    left_out: int = 0
    """So many times BatchGetItem leaves out all but the first key."""

    def get_item(self, TableName: str, Key: Mapping[str, Any], ConsistentRead: bool) -> dict[str, Any]:
        self._answer("get_item")
        assert ConsistentRead
        item = self.tables[TableName].get(self._key(Key))
        return {"Item": item} if item else {}

    def batch_get_item(self, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        self._answer("batch_get_item")
        [(table, wanted)] = RequestItems.items()
        keys = wanted["Keys"]
        names = [self._key(key) for key in keys]
        assert wanted["ConsistentRead"]
        if not 1 <= len(names) <= 100 or len(set(names)) < len(names):
            raise refusal("ValidationException", "BatchGetItem")
        read = 1 if self.left_out else len(names)
        self.left_out -= 1 if self.left_out else 0
        items = [self.tables[table][name] for name in names[:read] if name in self.tables[table]]
        rest = {table: {**wanted, "Keys": keys[read:]}} if keys[read:] else {}
        return {"Responses": {table: items}, "UnprocessedKeys": rest}

    def update_item(
        self,
        TableName: str,
        Key: Mapping[str, Any],
        UpdateExpression: str,
        ExpressionAttributeNames: Mapping[str, str],
        ExpressionAttributeValues: Mapping[str, Any],
        ConditionExpression: str = "",
    ) -> None:
        self._answer("update_item", *Key.values())
        item = self.tables[TableName].get(self._key(Key), {})
        sets, removed = _parsed(UpdateExpression)
        used = f"{UpdateExpression} {ConditionExpression}"
        if set(re.findall(r"#\w+", used)) != set(ExpressionAttributeNames) or (
            set(re.findall(r":\w+", used)) != set(ExpressionAttributeValues)
        ):
            raise refusal("ValidationException", "UpdateItem")
        for value in ExpressionAttributeValues.values():
            str(value).encode()  # a lone surrogate cannot be sent
            assert abs(int(value.get("N", "0"))) < 10**38
        named = {name: item.get(attribute) for name, attribute in ExpressionAttributeNames.items()}
        if ConditionExpression and not _holds(ConditionExpression, named, ExpressionAttributeValues):
            raise refusal("ConditionalCheckFailedException", "UpdateItem")
        changed = {ExpressionAttributeNames[name]: ExpressionAttributeValues[value] for name, value in sets}
        gone = {ExpressionAttributeNames[name] for name in removed}
        kept = {name: value for name, value in {**item, **Key, **changed}.items() if name not in gone}
        self.tables[TableName][self._key(Key)] = kept

    def _key(self, key: Mapping[str, Any]) -> str:
        parts = [value["S"] for value in key.values()]
        if not all(0 < len(part.encode()) <= 1024 for part in parts):
            raise refusal("ValidationException", "a key")
        return "|".join(parts)

    def _answer(self, operation: str, *keys: Mapping[str, str]) -> None:
        if self.out_of_reach:
            raise unreachable()
        if self.down & {operation, *(f"{operation} {key['S']}" for key in keys)}:
            raise refusal("InternalServerError", operation)


def _parsed(update: str) -> tuple[list[tuple[str, str]], list[str]]:
    """What ``SET #a = :a, … REMOVE #b, …`` sets and removes."""
    whole = re.fullmatch(r"(?:SET (#\w+ = :\w+(?:, #\w+ = :\w+)*))? ?(?:REMOVE (#\w+(?:, #\w+)*))?", update)
    if not whole or not update:
        raise refusal("ValidationException", "UpdateItem")
    return re.findall(r"(#\w+) = (:\w+)", whole[1] or ""), re.findall(r"#\w+", whole[2] or "")


def _holds(condition: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """A condition of ANDs of parenthesised ORs; a comparison with what is not there is false, as DynamoDB has it."""
    parts = (part.strip("()") if part.count(" OR ") else part for part in condition.split(" AND "))
    return all(any(_compares(one, item, values) for one in part.split(" OR ")) for part in parts)


def _compares(one: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    if absent := re.fullmatch(r"attribute_not_exists\((#\w+)\)?", one):
        return item[absent[1]] is None
    name, operator, value = one.split()
    ours, theirs = _plain(item[name]), _plain(values[value])
    if ours is None or type(ours) is not type(theirs):
        return False
    return bool({"=": ours == theirs, "<": ours < theirs, "<=": ours <= theirs}[operator])


def _plain(typed: Mapping[str, str] | None) -> Any:
    return None if typed is None else int(typed["N"]) if "N" in typed else typed["S"]


@dataclass
class S3:
    """Objects by key; `errors` by key, the code of S3 or an exception."""

    objects: dict[str, bytes] = field(default_factory=dict)
    errors: dict[str, str | Exception] = field(default_factory=dict)
    missing: str = "AccessDenied"
    """What S3 says of a key that there is not: this, without the right to list the bucket."""
    read: list[str] = field(default_factory=list)
    """The keys that were asked for."""

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        assert Bucket == "archive"
        self.read.append(Key)
        error = self.errors.get(Key)
        if isinstance(error, Exception):
            raise error
        if error or Key not in self.objects:
            raise refusal(error or self.missing, "GetObject")
        return {"Body": BytesIO(self.objects[Key])}


@dataclass
class Ssm:
    """Parameters by their whole name."""

    parameters: dict[str, str] = field(default_factory=dict)
    down: bool = False

    def get_paginator(self, operation: str) -> "Ssm":
        assert operation == "get_parameters_by_path"
        return self

    def paginate(self, Path: str, WithDecryption: bool) -> Sequence[Mapping[str, Any]]:
        assert WithDecryption
        if self.down:
            raise unreachable()
        found = [{"Name": name, "Value": value} for name, value in self.parameters.items() if name.startswith(Path)]
        return [{"Parameters": found[:1]}, {"Parameters": found[1:]}]


@dataclass
class Cloud:
    """All of it, on one clock."""

    clock: Clock = field(default_factory=Clock)
    dynamodb: Dynamo = field(default_factory=Dynamo)
    s3: S3 = field(default_factory=S3)
    ssm: Ssm = field(default_factory=Ssm)

    def __post_init__(self) -> None:
        self.sqs = Sqs(self.clock)

    @contextmanager
    def installed(self) -> Iterator["Cloud"]:
        """Every client that is made within the block is one of these."""
        with patch("boto3.client", lambda service, **_: getattr(self, service)):
            client.cache_clear()
            yield self
        client.cache_clear()
