"""Asking the search server: in which time, and what its errors mean. OpenSearch and Elasticsearch are asked alike."""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from typing import Any, NoReturn

import boto3
import msgspec
from opensearchpy import OpenSearch, SerializationError, Urllib3AWSV4SignerAuth, Urllib3HttpConnection
from opensearchpy.exceptions import ConnectionError as NoAnswer
from urllib3 import Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError, SSLError

from buttersync.model import UNREADABLE
from buttersync.outcomes import Failure, Misconfigured, Refused, Unavailable
from cluster import Cluster

CONNECT_SECONDS = 3
"""So long it may take to connect, to agree on keys, and to take a request.

Not bounded by anything here: the look-up of a name, which the resolver of the system ends, and how many addresses it
finds, of which each that stays silent takes so long.
"""

# ------------------------------------------------------------------------------------------------------ client


class Answered(Exception):
    """The server turned a request down: a status beyond 2xx, and in its own words why."""

    def __init__(self, status: int, body: str) -> None:
        self.status = status
        self.type, self.words = _complaint(body)
        super().__init__(f"{status} {self.type}".strip())


def _complaint(body: str) -> tuple[str, str]:
    """The type and the words of an error, as OpenSearch, Elasticsearch, or AWS before them, says it."""
    try:
        answer = msgspec.json.decode(body)
    except UNREADABLE:
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error = answer.get("error")
    if isinstance(error, dict):
        return str(error.get("type") or ""), str(error.get("reason") or "")
    return "", str(error or answer.get("Message") or answer.get("message") or "")


class Whole(HTTPConnection):
    """A connection whose time-out is for the whole of an answer.

    By itself it is for what passes between two bytes: a server that drips could take hours.
    """

    timeout: float

    def getresponse(self) -> Any:
        """The answer, its body read already; raises TimeoutError."""
        # The answer keeps the socket when the connection has let it go.
        cutting = Cutting(self.sock, self.timeout)
        cutting.start()
        try:
            return super().getresponse()
        finally:
            cutting.cancel()
            cutting.join()
            if cutting.is_done:
                # Whatever the rest looked like: an answer may seem to end where it was cut.
                raise TimeoutError


class WholeByTls(Whole, HTTPSConnection):
    """The same by TLS."""


class Cutting(Timer):
    """Ends both directions of a connection in so many seconds, whoever waits for it."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        super().__init__(seconds, self._cut)
        self.is_done = False
        self._connection = connection

    def _cut(self) -> None:
        self.is_done = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


class Connection(Urllib3HttpConnection):
    """The SDK's connection, silent, and bounded in time.

    It would log each address, at level DEBUG each document, under the name ``opensearch``, which is that of this
    function's own logger; and whatever a server puts into the header ``Warning`` would become a warning of Python.
    """

    def _create_urllib3_pool(self) -> None:
        super()._create_urllib3_pool()
        self.pool.ConnectionCls = WholeByTls if self.use_ssl else Whole

    def log_request_success(self, *_: object, **__: object) -> None:
        """Nothing: the delivery says what came of each document."""

    def log_request_fail(self, *_: object, **__: object) -> None:
        """Nothing: the outcome has the reason."""

    def _raise_warnings(self, warning_headers: object) -> None:
        """Nothing."""

    def _raise_error(self, status_code: int, raw_data: str | bytes, content_type: str | None = None) -> NoReturn:
        del content_type  # Proxies do not mind it.
        raise Answered(status_code, raw_data if isinstance(raw_data, str) else raw_data.decode(errors="replace"))


Limits = Mapping[str, object]
"""The parameters by which the SDK is told how long a request may take."""

Call = Callable[[OpenSearch, Limits], Any]


class Client:
    """The one client of this process: made when it is needed, made anew for other settings."""

    def __init__(self) -> None:
        self._sdk: OpenSearch | None = None
        self._cluster: Cluster | None = None

    def ask(self, cluster: Cluster, call: Call, deadline: float, *, once: bool = False) -> Any:
        """What the server answers until the `deadline`, in seconds of the monotonic clock.

        Raises Answered if the server turns the request down, a Failure if it gives no answer that could be read. What
        breaks on a kept connection is asked once more on a new one: the server may have ended it long ago, while this
        process was asleep. What must be asked `once` is not: of two tries the first may be the last to be acted on.
        """
        kept = self._sdk is not None and self._cluster == cluster
        try:
            return _answer(self._connected(cluster), call, deadline)
        except Lost:
            self.close()
            if once or not kept:
                raise
        return _answer(self._connected(cluster), call, deadline)

    def close(self) -> None:
        """Forget the client and its connection."""
        if self._sdk:
            self._sdk.close()
        self._sdk = None

    def _connected(self, cluster: Cluster) -> OpenSearch:
        if self._cluster != cluster:
            self.close()
        if not self._sdk:
            self._sdk, self._cluster = _connect(cluster), cluster
        return self._sdk


def _connect(cluster: Cluster) -> OpenSearch:
    return OpenSearch(
        hosts=[{"host": cluster.host, "port": cluster.port, "use_ssl": cluster.tls}],
        connection_class=Connection,
        headers=dict(cluster.headers),
        http_auth=_signer(*cluster.signing) if cluster.signing else None,
        # The schedule of the queue is the one that tries again.
        max_retries=0,
        retry_on_timeout=False,
    )


def _signer(service: str, region: str) -> Urllib3AWSV4SignerAuth:
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise Misconfigured("the setting auth: there are no AWS credentials to sign with")
    return Urllib3AWSV4SignerAuth(credentials, region, service)


def _answer(sdk: OpenSearch, call: Call, deadline: float) -> Any:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Unavailable("no time was left to ask the server")
    try:
        return call(sdk, {"request_timeout": Timeout(connect=min(CONNECT_SECONDS, left), total=left)})
    except NoAnswer as error:
        raise failure_without_answer(error.info) from None
    except (SerializationError, RecursionError):
        raise nonsense() from None


@dataclass(frozen=True)
class Conversation:
    """A server that is asked for things until the `deadline`, in seconds of the monotonic clock."""

    client: Client
    cluster: Cluster
    deadline: float

    def ask(self, call: Call) -> Any:
        """As `Client.ask`."""
        return self.client.ask(self.cluster, call, self.deadline)

    def write(self, call: Call) -> Any:
        """The same for what changes documents, which is asked once where no versions keep an old one out."""
        return self.client.ask(self.cluster, call, self.deadline, once=self.cluster.serverless)


# ------------------------------------------------------------------------------------------ reading of errors


class Lost(Unavailable):
    """The connection ended before the answer did."""


HINTS = {
    401: "do the credentials hold?",
    403: "docs/opensearch.md names the rights",
    404: "is the endpoint right?",
    405: "is the endpoint right?",
}
"""What to do about it."""


def nonsense() -> Unavailable:
    """An answer that no search server gives, a proxy's for example: nobody knows what became of the request."""
    return Unavailable("the server's answer is none of a search server", unsure=True)


def failure_without_answer(error: object) -> Failure:
    """What it means that a request was not answered; `error` is what the SDK gives as the cause."""
    name = type(error).__name__
    if isinstance(error, SSLError):
        return _failure_of_tls(error)
    # A name that nobody knows is of the latter kind, and may be known again when the resolver is well.
    if isinstance(error, (ConnectTimeoutError, NewConnectionError)):
        return Unavailable(f"no connection to the server: {name}")
    if isinstance(error, ReadTimeoutError):
        return Unavailable(f"the server gave no answer in time: {name}", unsure=True)
    return Lost(f"the connection ended before the answer: {name}", unsure=True)


def _failure_of_tls(error: SSLError) -> Failure:
    cause = error.args[0]
    if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return Lost(f"the connection ended before the answer: {type(cause).__name__}", unsure=True)
    words = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__
    return Misconfigured(f"the setting endpoint: no TLS with the server: {words}")


def failure_of(answered: Answered) -> Failure:
    """What it means, where no document is involved, in the server's own words."""
    reason = _reason(answered, words=True)
    failure = failure_by_status(answered.status, reason)
    return Misconfigured(reason) if isinstance(failure, Refused) else failure


REQUEST_FAULTS = ("illegal_argument_exception", "media_type_header_exception")
"""Of a whole request, they are about its form, a parameter that the server does not know for example."""


def failure_of_writing(answered: Answered, size: int) -> Failure:
    """What it means for the documents, `size` bytes, that were sent; what may quote one of them is left out."""
    failure = failure_by_status(answered.status, _reason(answered, words=False))
    if isinstance(failure, Misconfigured) or (answered.status == 400 and answered.type in REQUEST_FAULTS):
        return failure_of(answered)
    if answered.status == 400 and not answered.type:
        # Of a proxy, for example, which expects TLS: it knows nothing of documents.
        return Misconfigured("400, and not in the words of a search server; is the endpoint right?")
    # Whoever says 413, proxies too, means the size; alone, each of the documents may be small enough.
    return Refused(f"413: the server does not take {size} bytes") if answered.status == 413 else failure


def failure_by_status(status: int, reason: str) -> Failure:
    """The outcome that a status stands for, of a whole request or of a document in it."""
    if status in (400, 413):
        return Refused(reason)
    if status in (408, 409, 429):
        return Unavailable(reason)
    return Unavailable(reason, unsure=True) if status >= 500 else Misconfigured(reason)


def _reason(answered: Answered, *, words: bool) -> str:
    # The first line: AWS goes on with the whole of what it was sent.
    said = answered.words.partition("\n")[0][:200] if words else ""
    return "; ".join(filter(None, [": ".join(filter(None, [str(answered), said])), HINTS.get(answered.status)]))
