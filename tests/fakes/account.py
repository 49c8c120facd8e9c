# ruff: noqa: N803 - the parameters of boto3
"""All of AWS that buttersync has, in memory, on one clock: a queue for each function, the topic, tables, the archive.

`tests.fakes.cloud` has what one target needs; here is the rest, as strict.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.cloud import DEAD_LETTERS, QUEUE, S3, Clock, Dynamo, Sqs, Ssm, Stored, _holds, refusal, unreachable

SQS = "https://sqs.test/"
MOST_BYTES = 256 * 1024
"""Of a message with its attributes.
https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html"""


@dataclass(frozen=True)
class Function:
    """A function behind a queue, as template.yaml has it: seconds, and messages in a batch."""

    timeout: int
    visibility: int
    batch: int


RESOLVE = "resolve"
FUNCTIONS: Mapping[str, Function] = {
    RESOLVE: Function(timeout=120, visibility=720, batch=10),
    "algolia": Function(timeout=60, visibility=360, batch=10),
    "opensearch": Function(timeout=60, visibility=360, batch=10),
    "postgres": Function(timeout=60, visibility=420, batch=50),
}
TARGETS = tuple(name for name in FUNCTIONS if name != RESOLVE)


def environment_of(function: str) -> dict[str, str]:
    """Where a function finds its queues."""
    return {"QUEUE_URL": f"{SQS}{function}/queue", "DEAD_LETTER_QUEUE_URL": f"{SQS}{function}/dead-letters"}


class Queues:
    """SQS: for each function a queue and its dead-letter queue, by their addresses."""

    def __init__(self, clock: Clock) -> None:
        self.of = {name: Sqs(clock, visibility=function.visibility) for name, function in FUNCTIONS.items()}

    def send_message(self, QueueUrl: str, **message: Any) -> None:
        sqs, url = self._found(QueueUrl)
        sqs.send_message(QueueUrl=url, **message)

    def change_message_visibility(self, QueueUrl: str, **message: Any) -> None:
        sqs, url = self._found(QueueUrl)
        sqs.change_message_visibility(QueueUrl=url, **message)

    def delete_message(self, QueueUrl: str, **message: Any) -> None:
        sqs, url = self._found(QueueUrl)
        sqs.delete_message(QueueUrl=url, **message)

    def waiting(self, function: str) -> list[Stored]:
        """What lies in the function's queue, visible or not."""
        return self.of[function].queues[QUEUE]

    def letters(self, function: str) -> list[Stored]:
        """What lies in its dead-letter queue."""
        return self.of[function].queues[DEAD_LETTERS]

    def redrive(self, function: str) -> None:
        """What an operator does: every dead letter back into the queue, as a new message."""
        sqs = self.of[function]
        letters, sqs.queues[DEAD_LETTERS] = sqs.queues[DEAD_LETTERS], []
        for letter in letters:
            sqs.send_message(QUEUE, letter.body, _typed(letter.attributes))

    def _found(self, url: str) -> tuple[Sqs, str]:
        function, end = url.removeprefix(SQS).split("/")
        return self.of[function], SQS + end


def _typed(attributes: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()}


@dataclass
class Topic:
    """SNS: changes go to resolve, documents to targets, raw, as the subscriptions in template.yaml filter them."""

    queues: Queues
    published: list[str] = field(default_factory=list)
    """Every body, in order."""
    down: bool = False

    def publish(self, TopicArn: str, Message: str, MessageAttributes: Mapping[str, Any]) -> None:
        assert TopicArn == "topic"
        if self.down:
            raise unreachable()
        texts = {name: value["StringValue"] for name, value in MessageAttributes.items()}
        if sum(len(text.encode()) for text in (Message, *texts, *texts.values())) > MOST_BYTES:
            raise refusal("InvalidParameter", "Publish")
        self.published.append(Message)
        for function in self._subscribed(texts):
            url = environment_of(function)["QUEUE_URL"]
            self.queues.send_message(url, MessageBody=Message, MessageAttributes=MessageAttributes)

    def _subscribed(self, attributes: Mapping[str, str]) -> list[str]:
        if attributes["stage"] == "change":
            return [RESOLVE]
        return [target for target in TARGETS if attributes["target"] in ("all", target)]


_BARE = re.compile(r"(?<![#:\w])(?!SET|REMOVE|ADD|AND|OR|attribute_not_exists|if_not_exists)[a-z]\w*")
_KEPT = re.compile(r"if_not_exists\((#\w+), (:\w+)\)")
_ADDED = re.compile(r" ADD (#\w+ :\w+(?:, #\w+ :\w+)*)")


class Tables(Dynamo):
    """DynamoDB with what resolve asks for too: whole items, counters, attributes by their bare names."""

    def put_item(
        self,
        TableName: str,
        Item: Mapping[str, Any],
        ConditionExpression: str,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ) -> None:
        """Put the item in the place of what is there."""
        self._answer("put_item")
        before = self.tables[TableName].get(self._key({"ref": Item["ref"]}), {})
        named = {f"#{name}": before.get(name) for name in _BARE.findall(ConditionExpression)}
        if not _holds(_BARE.sub(r"#\g<0>", ConditionExpression), named, ExpressionAttributeValues or {}):
            raise refusal("ConditionalCheckFailedException", "PutItem")
        self.tables[TableName][self._key({"ref": Item["ref"]})] = dict(Item)

    def update_item(
        self,
        TableName: str,
        Key: Mapping[str, Any],
        UpdateExpression: str,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
        ConditionExpression: str = "",
    ) -> None:
        """Say it as the rest of the project does, and do it."""
        bare = _BARE.findall(f"{UpdateExpression} {ConditionExpression}")
        names = {**(ExpressionAttributeNames or {}), **{f"#{name}": name for name in bare}}
        values = dict(ExpressionAttributeValues or {})
        before = self.tables[TableName].get(self._key(Key), {})
        update = _BARE.sub(r"#\g<0>", UpdateExpression)
        for name, value in _KEPT.findall(update):
            values[value] = before.get(names[name], values[value])
        for name, value in re.findall(r"(#\w+) (:\w+)", "".join(_ADDED.findall(update))):
            values[value] = {"N": str(int(before.get(names[name], {"N": "0"})["N"]) + int(values[value]["N"]))}
        update = _ADDED.sub(lambda added: ", " + re.sub(r"(#\w+) (:\w+)", r"\1 = \2", added[1]), update)
        condition = _BARE.sub(r"#\g<0>", ConditionExpression)
        super().update_item(TableName, Key, _KEPT.sub(r"\2", update), names, values, condition)


class Bucket(S3):
    """S3, written to as well."""

    def put_object(self, Bucket: str, Key: str, Body: bytes, ContentType: str, IfNoneMatch: str) -> None:
        """Keep the object, if there is none of that key."""
        assert (Bucket, ContentType, IfNoneMatch) == ("archive", "application/json", "*")
        if len(Key.encode()) > 1024:
            raise refusal("KeyTooLongError", "PutObject")
        if Key in self.objects:
            raise refusal("PreconditionFailed", "PutObject")
        self.objects[Key] = Body


class Parameters(Ssm):
    """SSM, asked for single parameters too."""

    def get_parameters(self, Names: Sequence[str], WithDecryption: bool) -> dict[str, Any]:
        """Those of them that there are."""
        assert WithDecryption
        held = [{"Name": name, "Value": self.parameters[name]} for name in Names if name in self.parameters]
        return {"Parameters": held}


class Account:
    """All of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sqs = Queues(self.clock)
        self.sns = Topic(self.sqs)
        self.dynamodb = Tables()
        self.s3 = Bucket()
        self.ssm = Parameters()
