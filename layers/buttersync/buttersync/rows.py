"""The delivery table: who has what. One row per target and ref, in the target's own partition.

A row's version never goes back: every write holds the condition that no newer version has been written.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import MappingProxyType
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

LEASE = ("lease", "leased_until")
"""Who may write the item to its store now, and until when (ms): in the row, beside what `Row` reads of it."""

NOT_NEWER = "(attribute_not_exists(#version) OR #version <= :version)"
FREE = "(attribute_not_exists(#lease) OR #lease = :lease OR #leased_until < :now)"
"""Also if it is our own: the SDK tries again when an answer is lost."""


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
        return self._updated(ref, _changed(before, after) | _now(), NOT_NEWER)

    def write_and_release(self, ref: str, before: Row, after: Row, lease: str) -> bool:
        """As `write`, and whatever comes of it, the lease ends."""
        row, condition = _changed(before, after) | _now(), f"{NOT_NEWER} AND #lease = :lease"
        if self._updated(ref, row, condition, {"lease": lease}, LEASE):
            return True
        # Overtaken by a newer version that waits for the lease, or it was the SDK's second try of what had succeeded.
        self.release(ref, lease)
        return self.write(ref, before, after)

    def take(self, ref: str, before: Row, after: Row, lease: str, now: int, until: int) -> bool:
        """Write the row with a lease until then (`now` and `until` in ms).

        False, and nothing is written, if another worker holds the lease of the item or the table has a newer version.
        """
        taken = {"lease": {"S": lease}, "leased_until": {"N": str(until)}}
        return self._updated(ref, _changed(before, after) | taken | _now(), f"{NOT_NEWER} AND {FREE}", {"now": now})

    def release(self, ref: str, lease: str) -> None:
        """End the lease; nothing happens if it is another's by now."""
        self._updated(ref, {}, "#lease = :lease", {"lease": lease}, LEASE)

    def has_delivered(self) -> bool:
        """Whether this target has ever delivered anything."""
        with _failing("read"):
            answer = client("dynamodb").get_item(
                TableName=self._table, Key=self._key(DELIVERED_KEY), ConsistentRead=True
            )
        return "Item" in answer

    def remember_delivery(self) -> None:
        """Keep that this target has delivered something."""
        self._updated(DELIVERED_KEY, _now())

    def _updated(
        self,
        key: str,
        values: dict[str, Any],
        condition: str = "",
        operands: Mapping[str, int | str] = MappingProxyType({}),
        removed: Sequence[str] = (),
    ) -> bool:
        """Set and remove attributes, each called by its own name; False if the condition does not hold."""
        sets = "SET " + ", ".join(f"#{name} = :{name}" for name in values) if values else ""
        removes = "REMOVE " + ", ".join(f"#{name}" for name in removed) if removed else ""
        named = re.findall(r"#(\w+)", f"{sets} {removes} {condition}")
        compared = {name: _typed(value) for name, value in operands.items()}
        update = {
            "TableName": self._table,
            "Key": self._key(key),
            "UpdateExpression": f"{sets} {removes}".strip(),
            "ExpressionAttributeNames": {f"#{name}": name for name in named},
            "ExpressionAttributeValues": {f":{name}": value for name, value in (values | compared).items()},
            **({"ConditionExpression": condition} if condition else {}),
        }
        try:
            with _failing("written"):
                client("dynamodb").update_item(**update)
        except ConditionFailed:
            return False
        return True

    def _key(self, key: str) -> dict[str, Any]:
        return {"target": {"S": self._target}, "key": {"S": key}}


class ConditionFailed(Exception):
    """The table is not as the update wants it."""


@contextmanager
def _failing(verb: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            raise ConditionFailed from error
        raise Unavailable(f"the delivery table could not be {verb}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"the delivery table could not be {verb}: {error}") from error


def _typed(value: int | str) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _value(typed: Mapping[str, str]) -> int | str:
    return int(typed["N"]) if "N" in typed else typed["S"]


def _changed(before: Row, after: Row) -> dict[str, Any]:
    old = asdict(before) if before.version == after.version else {}
    return {
        name: _typed(value)
        for name, value in asdict(after).items()
        if name == "version" or name not in old or value != old[name]
    }


def _now() -> dict[str, Any]:
    return {"at": {"S": datetime.now(UTC).isoformat(timespec="milliseconds")}}
