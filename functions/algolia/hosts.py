"""Algolia's hosts, below its client: how long they are asked, which come first, and what their answers mean."""

import logging
import re
import ssl
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from buttersync.model import UNREADABLE
from buttersync.outcomes import Failure, Misconfigured, Refused, Unavailable
from timed import Adapter

CALL_SECONDS = 30
"""No host is asked any more after this, or listened to, however many hosts and indices there are."""
CONNECT_SECONDS = 2
ANSWER_SECONDS = 10
"""For a request and all of its answer. Algolia accepts a batch before it has indexed it."""
KEPT_SECONDS = 30
"""A connection that was left alone for longer may have been closed meanwhile: a worker that sleeps does not notice."""

# Its warning of headers that are none quotes the path, and when a key reads itself that is the key.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class Wire(requests.Session):
    """The session below Algolia's client, which decides what the client gets to see of the network.

    By itself the client gives up when a connection is refused, leaves a host that failed alone for 300 s even if it was
    the last, sleeps as long as Retry-After says, and keeps statuses and headers to itself. Here every host without a
    sound answer has timed out, so that it tries the next, and an answer of 4xx is a Failure, which it lets pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # no credentials from a .netrc
        self.mount("https://", Adapter())
        self.mount("http://", Adapter())
        self.failures: list[Failure] = []
        """What came of the hosts that the present call has tried in vain."""
        self._failed: dict[str, Failure] = {}
        self._failed_at: dict[str, float] = {}
        self._deadline = 0.0
        self._used_at = 0.0

    def begin(self) -> None:
        """From here on there are CALL_SECONDS, and a host that fails in them is not asked again."""
        if time.time() - self._used_at > KEPT_SECONDS:
            self.close()
        self._failed.clear()
        self._deadline = time.monotonic() + CALL_SECONDS

    def failed_at(self, host: str) -> float:
        """When the host failed last (monotonic clock); 0: never."""
        return self._failed_at.get(host.lower(), 0)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """The answer, if it is 2xx; raises a Failure for 4xx, and requests.Timeout to have the next host tried."""
        host = urlsplit(request.url or "").netloc.lower()
        failure = self._failed.get(host)
        if failure is None:
            answer = self._answer(host, request, options)
            if isinstance(answer, requests.Response):
                return answer
            failure = answer
            self._failed[host], self._failed_at[host] = unsent(failure), time.monotonic()
        self.failures.append(failure)
        raise requests.Timeout

    def _answer(self, host: str, request: requests.PreparedRequest, options: Any) -> requests.Response | Failure:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise combined([*self.failures, Unavailable(f"{host}: no time was left to ask it")])
        limits = {"timeout": (min(CONNECT_SECONDS, left), min(ANSWER_SECONDS, left))}
        try:
            # Not by way of the session, which fails to understand some redirections that it is not to follow.
            response = self.get_adapter(request.url or "").send(request, **(options | limits))
        except requests.RequestException as error:
            return failure_of_silence(host, error)
        self._used_at = time.time()
        response.encoding = "utf-8"  # or else requests guesses, from every letter
        if response.status_code // 100 == 2:
            return response
        failure = failure_of_answer(host, response)
        if response.status_code // 100 == 4:
            raise final(self.failures, failure)
        return failure


# ----------------------------------------------------------------------------------------- reading of answers

LONGEST_RETRY_AFTER = 366 * 86_400

RIGHTLESS = "Not enough rights"
"""A batch with an action that the key is not for is a 400 to Algolia, like one that is malformed."""
NOT_ALLOWED = "Method not allowed"

HINTS = {
    RIGHTLESS: "the key lacks a right",
    NOT_ALLOWED: "the key lacks a right",
    "Index not allowed": "the key is for other indices only",
    "too big": "the setting record_bytes is above the plan's record size",
}
"""What to do about it, by Algolia's words."""


_QUOTED = re.compile(r'"[^"]*"?|`[^`]*`?')


class Absent(Misconfigured):
    """404: there is no such index, or nothing of Algolia's at the address."""


class NotAllowed(Misconfigured):
    """403 in Algolia's words: there is such a key, and this it may not do."""


class _Said(msgspec.Struct, frozen=True):
    message: str


def failure_of_answer(host: str, response: requests.Response) -> Failure:
    """What an answer means that is not 2xx, in Algolia's own words.

    https://www.algolia.com/doc/rest-api/search has the statuses, and 402 for what the plan does not include. A
    redirection is never followed: the key would go with it.
    """
    status, message = response.status_code, _message(response)
    said = _words(response, message or response.reason or "")
    # A 400 without a message is of somebody before Algolia, who knows nothing of documents.
    if status == 413 or (status == 400 and message and RIGHTLESS not in message):
        return Refused(said)
    if status in (408, 429):
        return Unavailable(said, _seconds(response.headers.get("Retry-After", "")))
    if status >= 500:
        return Unavailable(f"{host}: {said}", _seconds(response.headers.get("Retry-After", "")), unsure=True)
    if status == 403 and NOT_ALLOWED in (message or ""):
        return NotAllowed(said)
    return Absent(said) if status == 404 else Misconfigured(said if status >= 400 else f"{host}: {said}")


def failure_of_silence(host: str, error: requests.RequestException) -> Failure:
    """What it means that a host gave no answer. The error's own words are not repeated: they may hold the path."""
    name = type(error).__name__
    if isinstance(error, requests.exceptions.SSLError) and (fault := _fault_of_tls(error)):
        return Misconfigured(f"{host}: TLS: {fault}")
    # urllib3 gives a reason where there was no connection, and raises the bare error where there had been one.
    if error.args and hasattr(error.args[0], "reason"):
        return Unavailable(f"{host}: no connection: {name}")
    return Unavailable(f"{host}: no answer: {name}", unsure=True)


def combined(failures: Sequence[Failure]) -> Failure:
    """The failure of a call that asked several hosts: one that may yet answer is enough to try again."""
    open_ones = [failure for failure in failures if isinstance(failure, Unavailable)]
    if not open_ones:
        return failures[-1]
    reason = "; ".join(dict.fromkeys(failure.reason for failure in failures))
    latest = max(failure.retry_after for failure in open_ones)
    return Unavailable(reason, latest, unsure=any(failure.unsure for failure in failures))


def final(earlier: Sequence[Failure], failure: Failure) -> Failure:
    """The failure of a call that a host has turned down: what an earlier one was sent, that may still act on."""
    if isinstance(failure, Unavailable):
        return combined([*earlier, failure])
    failure.unsure = any(one.unsure for one in earlier)
    return failure


def unsent(failure: Failure) -> Failure:
    """The same, for what was not sent because of it."""
    return Unavailable(failure.reason, failure.retry_after) if isinstance(failure, Unavailable) else failure


def _message(response: requests.Response) -> str | None:
    try:
        return msgspec.json.decode(response.content, type=_Said).message
    except UNREADABLE:
        return None


def _words(response: requests.Response, said: str) -> str:
    """``403 Invalid Application-ID or API key``: one line, without what is quoted in it, for that may be content."""
    key = response.request.headers["x-algolia-api-key"]
    line, *_ = _QUOTED.sub("…", said.replace(key, "…").strip()).splitlines() or [""]
    hints = (hint for sign, hint in HINTS.items() if sign in line)
    return "; ".join([f"{response.status_code} {line}".rstrip(), *hints])


def _seconds(retry_after: str) -> float:
    """Seconds or a date: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after."""
    try:
        seconds = float(retry_after) if retry_after.strip().isdecimal() else _seconds_until(retry_after)
    except (ValueError, OverflowError):
        return 0
    return min(max(seconds, 0), LONGEST_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def _fault_of_tls(error: BaseException | None) -> str:
    """What was wrong with the other side's TLS; empty if the connection was only lost."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return getattr(error, "verify_message", "") or error.reason
        error = error.__cause__ or error.__context__
    return ""
