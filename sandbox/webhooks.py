"""A webhook as ButterCMS sends it: once, with 5 s to be answered, following no redirect.

https://buttercms.com/docs/build-your-app/webhooks-events/retry-logic-error-handling
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

DEADLINE = 5.0
"""Seconds until ButterCMS gives up."""

SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105 - a header's name


@dataclass(frozen=True)
class Webhook:
    """An event and its data; `body` completes it for one receiver."""

    event: str
    data: Mapping[str, Any]

    @property
    def number(self) -> int:
        """The numeric id of what the event is about, which each family of events calls otherwise."""
        names = ("_id", "buttercms_id", "media_id", "itemid")
        named = next(str(self.data[name]) for name in names if name in self.data)
        return int(re.findall(r"\d+", named)[-1])

    def body(self, target: str) -> dict[str, Any]:
        """The JSON object that arrives at the URL `target`."""
        return {"data": dict(self.data), "webhook": {"event": self.event, "target": target}}


@dataclass(frozen=True)
class Delivery:
    """What became of a webhook. `status` is None when no answer came in time; then `error` says why."""

    status: int | None
    body: str
    milliseconds: float
    error: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether ButterCMS would call it delivered: any 2xx in time."""
        return self.status is not None and 200 <= self.status < 300


def send(webhook: Webhook, url: str, secret: str | None = None, headers: Mapping[str, str] | None = None) -> Delivery:
    """Posts `webhook` to `url`, once; `headers` are the further ones that a user can configure in ButterCMS."""
    sent = {**({SECRET_HEADER: secret} if secret is not None else {}), **(headers or {})}
    started = time.perf_counter()
    try:
        status, text = _post(url, webhook.body(url), sent)
    except requests.RequestException as error:
        return Delivery(None, "", _milliseconds(started), type(error).__name__)
    milliseconds = _milliseconds(started)
    if milliseconds > DEADLINE * 1000:
        return Delivery(None, "", milliseconds, "Timeout")
    return Delivery(status, text, milliseconds)


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, str]:
    with requests.Session() as session:
        # No proxy of the environment's between here and 127.0.0.1.
        session.trust_env = False
        answer = session.post(url, json=body, headers=headers, timeout=DEADLINE, allow_redirects=False)
        return answer.status_code, answer.text


def _milliseconds(started: float) -> float:
    return (time.perf_counter() - started) * 1000
