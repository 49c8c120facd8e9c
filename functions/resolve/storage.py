"""What resolve writes to: the content table, the archive, the topic. Thin, so that the protocol reads without AWS.

All of them raise botocore's errors, besides Conflict.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from buttersync import archive
from buttersync.clients import batch_get, client
from buttersync.model import Document
from buttersync.queues import sendable, typed
from decisions import Pointer, Row

SITE_KEY = "site"
"""The item that holds `live_since`. It is no ref: those have a colon."""

Item = TypeVar("Item", bound=msgspec.Struct)


class Conflict(Exception):
    """Somebody else wrote first; start again."""


class ContentTable:
    """A row per ref, a pointer per numeric id, and what the backfill has done."""

    def __init__(self, name: str) -> None:
        self._name = name

    def row(self, ref: str) -> Row:
        """The row of `ref`, read consistently; with its defaults if there is none yet."""
        return self._get(Row, ref)

    def rows(self, refs: Iterable[str]) -> dict[str, Row]:
        """The rows of many refs, read consistently; raises Unavailable if DynamoDB keeps leaving some out."""
        found = {ref: Row(ref=ref) for ref in refs}
        for item in batch_get(self._name, [{"ref": {"S": ref}} for ref in found], "content table"):
            row = _struct(Row, item)
            found[row.ref] = row
        return found

    def record(self, row: Row) -> None:
        """Write a reading, on the condition that no other has been written since; raises Conflict."""
        self._put(row, "readings", row.readings - 1)

    def clear_pending(self, row: Row) -> None:
        """The row's version is published; if there is a newer one by now, nothing is cleared."""
        try:
            client("dynamodb").update_item(
                TableName=self._name,
                Key={"ref": {"S": row.ref}},
                UpdateExpression="REMOVE pending",
                ConditionExpression="version = :version",
                ExpressionAttributeValues={":version": {"N": str(row.version)}},
            )
        except ClientError as error:
            _unless_conflict(error)

    def pointer(self, key: str) -> Pointer:
        """The pointer, read consistently; with its defaults if there is none yet."""
        return self._get(Pointer, key)

    def move(self, pointer: Pointer) -> None:
        """Write the pointer, on the condition that nobody has since; raises Conflict."""
        self._put(pointer, "writes", pointer.writes - 1)

    def live_since(self) -> int | None:
        """When the first backfill began (ms), if it has."""
        item = client("dynamodb").get_item(TableName=self._name, Key={"ref": {"S": SITE_KEY}}, ConsistentRead=True)
        live_since = item.get("Item", {}).get("live_since")
        return int(live_since["N"]) if live_since else None

    def begin(self, now: int) -> None:
        """A backfill begins (ms): the first one sets `live_since`."""
        client("dynamodb").update_item(
            TableName=self._name,
            Key={"ref": {"S": SITE_KEY}},
            UpdateExpression="SET live_since = if_not_exists(live_since, :now)",
            ExpressionAttributeValues={":now": {"N": str(now)}},
        )

    def add(self, key: str, counts: Mapping[str, int], page: int) -> None:
        """Add to the counters of a walk, once for each of its pages."""
        names = {f"#{name}": name for name in counts}
        values = {f":{name}": {"N": str(number)} for name, number in counts.items()}
        try:
            client("dynamodb").update_item(
                TableName=self._name,
                Key={"ref": {"S": key}},
                UpdateExpression="SET page = :page ADD " + ", ".join(f"#{name} :{name}" for name in counts),
                ConditionExpression="attribute_not_exists(page) OR page < :page",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={**values, ":page": {"N": str(page)}},
            )
        except ClientError as error:
            _unless_conflict(error)

    def counters(self, keys: Iterable[str]) -> list[dict[str, int]]:
        """The counters of walks; empty for one that has not begun."""
        answers = [
            client("dynamodb").get_item(TableName=self._name, Key={"ref": {"S": key}}, ConsistentRead=True)
            for key in keys
        ]
        return [
            {name: int(value["N"]) for name, value in answer.get("Item", {}).items() if "N" in value}
            for answer in answers
        ]

    def _get(self, kind: type[Item], ref: str) -> Item:
        answer = client("dynamodb").get_item(TableName=self._name, Key={"ref": {"S": ref}}, ConsistentRead=True)
        return _struct(kind, answer.get("Item", {"ref": {"S": ref}}))

    def _put(self, item: msgspec.Struct, counter: str, before: int) -> None:
        condition = f"{counter} = :before" if before else f"attribute_not_exists({counter})"
        values = {"ExpressionAttributeValues": {":before": {"N": str(before)}}} if before else {}
        serialize = TypeSerializer().serialize
        try:
            client("dynamodb").put_item(
                TableName=self._name,
                Item={name: serialize(value) for name, value in msgspec.to_builtins(item).items()},
                ConditionExpression=condition,
                **values,
            )
        except ClientError as error:
            _unless_conflict(error)
            raise Conflict from error


class Archive:
    """The bucket that keeps every version of every document; nothing in it is ever overwritten."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def put(self, document: Document) -> None:
        """Keep the document under its archive key; one that is there already is the same."""
        try:
            client("s3").put_object(
                Bucket=self._bucket,
                Key=document.archive_key,
                Body=document.to_json().encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise

    def get(self, key: str) -> Document:
        """The whole document; raises Gone."""
        return archive.read(self._bucket, key)


class Topic:
    """The topic that every target hears."""

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def publish(self, document: Document, target: str = "all") -> None:
        """Publish the small message of the document, to all targets or to one."""
        client("sns").publish(
            TopicArn=self._arn,
            Message=sendable(document.to_message()),
            MessageAttributes=typed(document.attributes(target)),
        )


def _struct(kind: type[Item], item: Mapping[str, Any]) -> Item:
    deserialize = TypeDeserializer().deserialize
    values = {name: deserialize(value) for name, value in item.items()}
    whole = {name: int(value) if isinstance(value, Decimal) else value for name, value in values.items()}
    return msgspec.convert(whole, kind)


def _unless_conflict(error: ClientError) -> None:
    if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
        raise error
