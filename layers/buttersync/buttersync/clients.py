"""boto3 clients whose calls end in time: connect and read time-outs, and no sleeping retries of the SDK's own."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config


@cache
def client(service: str, connect: float = 1, read: float = 3, attempts: int = 2) -> Any:
    """The client of an AWS service, made once per set of time-outs (seconds) and attempts in all."""
    config = Config(
        connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": attempts, "mode": "standard"}
    )
    return boto3.client(service, config=config)
