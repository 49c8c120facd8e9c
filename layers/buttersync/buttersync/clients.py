"""boto3 clients whose calls end in time: connect and read time-outs, and no sleeping retries of the SDK's own."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from buttersync.outcomes import Unavailable

MOST_KEYS = 100
"""BatchGetItem takes no more keys.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""

READ_ROUNDS = 5
"""So often the keys that BatchGetItem left out under load are asked for again."""


@cache
def client(service: str, connect: float = 1, read: float = 3, attempts: int = 2) -> Any:
    """The client of an AWS service, made once per set of time-outs (seconds) and attempts in all."""
    config = Config(
        connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": attempts, "mode": "standard"}
    )
    return boto3.client(service, config=config)


def batch_get(table: str, keys: Sequence[Any], what: str) -> Iterator[Any]:
    """The items that there are under these keys, read consistently; `keys` holds none twice.

    Raises Unavailable, with `what` the table is called, if DynamoDB keeps leaving some out, and botocore's errors.
    """
    for start in range(0, len(keys), MOST_KEYS):
        wanted: Any = {table: {"Keys": keys[start : start + MOST_KEYS], "ConsistentRead": True}}
        for _ in range(READ_ROUNDS):
            answer = client("dynamodb").batch_get_item(RequestItems=wanted)
            yield from answer["Responses"].get(table, [])
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                break
        else:
            raise Unavailable(f"DynamoDB kept leaving out rows of the {what}")
