"""The delivery table: who has what. One row per target and ref, in the target's own partition.

A row's version never goes back: every write holds the condition that no newer version has been written.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from buttersync.clients import batch_get, client
from buttersync.outcomes import Unavailable

DELIVERED_KEY = "delivered"
"""The sort key of the item that says that this target has delivered; no ref is like it, for they all hold a colon."""


@dataclass(frozen=True)
class Row:
    """What became of one item at one target, as far as its newest version got."""

    version: int = 0
    status: str = "new"
    attempts: int = 0
    """Tries of this version that failed."""
    not_before: int = 0
    """No try before this time (ms)."""
    reason: str = ""
    """Why the last try failed."""
    ends: int = 0
    """How often a message of this version came to any end that was recorded and yet went back to the queue."""
    marks: int = 0
    """How often a worker began with this version alone and was not heard of again."""

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """The row in an item as DynamoDB gives it; what other parts keep there is left alone."""
        own: dict[str, Any] = {name: _value(item[name]) for name in asdict(ABSENT) if name in item}
        return cls(**own)


ABSENT = Row()
"""What stands for a row that there is not: any version is above it."""


class DeliveryTable:
    """One target's partition of the delivery table. Every method raises Unavailable when DynamoDB fails."""

    def __init__(self, target: str) -> None:
        self._table = os.environ["DELIVERY_TABLE"]
        self._target = target

    def read(self, refs: Sequence[str]) -> dict[str, Row]:
        """The rows that there are, read consistently; `refs` holds none twice."""
        with _failing("read"):
            items = list(batch_get(self._table, [self._key(ref) for ref in refs], "delivery table"))
        return {item["key"]["S"]: Row.from_item(item) for item in items}

    def write(self, ref: str, before: Row, after: Row) -> bool:
        """Write the row; False, and nothing is written, if the table has a newer version.

        Of a version that is there already only what differs is written, so that two workers with messages of one
        version do not undo each other's writes.
        """
        old = asdict(before) if before.version == after.version else {}
        changed = {
            name: _typed(value)
            for name, value in asdict(after).items()
            if name == "version" or name not in old or value != old[name]
        }
        try:
            self._update(ref, changed | {"at": _now()}, "attribute_not_exists(#version) OR #version <= :version")
        except Overtaken:
            return False
        return True

    def has_delivered(self) -> bool:
        """Whether this target has ever delivered anything."""
        with _failing("read"):
            answer = client("dynamodb").get_item(
                TableName=self._table, Key=self._key(DELIVERED_KEY), ConsistentRead=True
            )
        return "Item" in answer

    def remember_delivery(self) -> None:
        """Keep that this target has delivered something."""
        self._update(DELIVERED_KEY, {"at": _now()})

    def _update(self, key: str, values: Mapping[str, Any], condition: str = "") -> None:
        with _failing("written"):
            client("dynamodb").update_item(
                TableName=self._table,
                Key=self._key(key),
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
                ExpressionAttributeNames={f"#{name}": name for name in values},
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
                **({"ConditionExpression": condition} if condition else {}),
            )

    def _key(self, key: str) -> dict[str, Any]:
        return {"target": {"S": self._target}, "key": {"S": key}}


class Overtaken(Exception):
    """The table has a newer version."""


@contextmanager
def _failing(verb: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            raise Overtaken from error
        raise Unavailable(f"the delivery table could not be {verb}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"the delivery table could not be {verb}: {error}") from error


def _typed(value: int | str) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _value(typed: Mapping[str, str]) -> int | str:
    return int(typed["N"]) if "N" in typed else typed["S"]


def _now() -> dict[str, str]:
    return {"S": datetime.now(UTC).isoformat(timespec="milliseconds")}
