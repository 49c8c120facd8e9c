"""Settings and secrets from SSM Parameter Store, ``/buttersync/<stage>/<owner>/<name>``.

Read once a cold start and again after five minutes. While SSM fails, a copy that has expired serves on. That there is
nothing is not remembered: whoever stores the first setting is heard at once.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from buttersync.clients import client
from buttersync.outcomes import Unavailable

FRESH_SECONDS = 300
RETRY_SECONDS = 15
"""So long an expired copy serves before SSM is asked again after a failure: a caller of ingest waits 5 s in all."""

SSM_FAILED = (BotoCoreError, ClientError, ResponseParserError, KeyError)
"""The last two: an answer that is none of SSM's, from a proxy for example."""


class Settings:
    """The settings of one owner, for example ``postgres``.

    `names` limits the reading to these (at most 10), for a function whose role may not read the others.
    """

    def __init__(self, owner: str, names: tuple[str, ...] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.path = f"/buttersync/{os.environ['STAGE']}/{owner}/"
        self._names = names
        self._clock = clock
        self._copy: Mapping[str, str] | None = None
        self._read_again = 0.0

    def read(self) -> Mapping[str, str]:
        """Name to value of every parameter that there is; raises Unavailable when SSM fails and no copy is at hand."""
        if self._copy is None or self._clock() >= self._read_again:
            try:
                self._copy = dict(self._from_ssm()) or None
                self._read_again = self._clock() + FRESH_SECONDS
            except SSM_FAILED as error:
                if self._copy is None:
                    raise Unavailable(f"SSM did not give the parameters under {self.path}: {error}") from error
                self._read_again = self._clock() + RETRY_SECONDS
        return self._copy or {}

    def drop(self) -> None:
        """Ask SSM at the next reading: the vendor has turned down what we have. The copy stays for when SSM fails."""
        self._read_again = 0.0

    def _from_ssm(self) -> Iterator[tuple[str, str]]:
        # One second for an answer and no second try: whoever calls ingest leaves after 5 s.
        ssm = client("ssm", connect=0.5, read=1, attempts=1)
        for parameter in self._named(ssm) if self._names else self._all(ssm):
            yield parameter["Name"].removeprefix(self.path), parameter["Value"]

    def _named(self, ssm: Any) -> Iterator[Any]:
        paths = [self.path + name for name in self._names]
        yield from ssm.get_parameters(Names=paths, WithDecryption=True)["Parameters"]

    def _all(self, ssm: Any) -> Iterator[Any]:
        for page in ssm.get_paginator("get_parameters_by_path").paginate(Path=self.path, WithDecryption=True):
            yield from page["Parameters"]
