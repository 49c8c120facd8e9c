"""What opensearch sends, byte by byte, and what it makes of answers that no real server can be made to give."""

import gzip
import hashlib
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NameResolutionError, SSLError

import conversation
import opensearch
from buttersync.model import Document, Effect, Identity, Kind
from buttersync.outcomes import DONE, Failure, Misconfigured, Outcome, Refused, Unavailable
from cluster import cluster_of
from mapping import MAPPINGS

SILENCE = "silence"
HANG_UP = "hang up"


def answer(status: int = 200, body: object = None, kind: str = "application/json", **headers: str) -> bytes:
    """An answer's bytes; a body that is no bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\n{more}content-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def error(kind: str, reason: str, status: int) -> bytes:
    return answer(status, {"error": {"root_cause": [], "type": kind, "reason": reason}, "status": status})


class Asked:
    """A request, as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *headers = head.decode().split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.headers = {name.lower(): value for name, value in (header.split(": ", 1) for header in headers)}
        self.body = body

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.decode().splitlines()]


def in_order(asked: Asked) -> bytes:
    """The answer of a server to which all is well, and which is strict about how it is asked."""
    if asked.method == "GET":
        return answer(body={"an-index": {"mappings": {"properties": {}}}})
    assert asked.target.startswith("/_bulk")
    assert asked.headers["content-type"] == "application/json"
    assert asked.body.endswith(b"\n")
    items = []
    lines = iter(asked.lines)
    for line in lines:
        ((operation, where),) = line.items()
        assert operation in ("index", "delete")
        if operation == "index":
            assert isinstance(next(lines), dict)
        conflict = {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": ""}}
        items.append({operation: {**where, **(conflict if "if_seq_no" in where else {"status": 200, "result": "ok"})}})
    return answer(body={"took": 1, "errors": False, "items": items})


class Fake:
    """A search server that gives these answers in turn, and after them what is in order.

    An answer in parts is given drop by drop.
    """

    def __init__(self, *answers: bytes | str | Iterator[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._answers = list(answers)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    def settings(self, **more: str) -> dict[str, str]:
        return {"endpoint": f"http://127.0.0.1:{self.port}", "auth": "none"} | more

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        opensearch.client.close()
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            served = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with served, served.makefile("rwb") as stream:
                while self._reply(stream):
                    pass

    def _reply(self, stream: Any) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return False
            head += line
        length = int((re.search(rb"(?i)content-length: (\d+)", head) or [b"", b"0"])[1])
        asked = Asked(head[:-4], stream.read(length))
        self.asked.append(asked)
        said = self._answers.pop(0) if self._answers else in_order(asked)
        if isinstance(said, bytes):
            stream.write(said)
            stream.flush()
        elif said == SILENCE:
            time.sleep(10)
        elif not isinstance(said, str):
            for drop in said:
                stream.write(drop)
                stream.flush()
                time.sleep(0.05)
        return isinstance(said, bytes) and b"connection: close" not in said


def document(
    name: str = "hello", version: int = 7, change: Effect = "updated", kind: Kind = "post", **more: Any
) -> Document:
    identity = Identity(kind, "" if kind == "post" else "group", name, "en")
    return Document(
        identity=identity, version=version, change=change, announce_key="a", archive_key="b", text="a secret", **more
    )


def delivered(settings: Mapping[str, str], *documents: Document) -> Sequence[Outcome]:
    """The outcomes; what is raised is the outcome of all."""
    documents = documents or (document(),)
    try:
        return opensearch.deliver(settings, documents)
    except Failure as failure:
        return [failure] * len(documents)


def failure(settings: Mapping[str, str], *documents: Document) -> Failure:
    """What all of the documents came to."""
    first, *others = delivered(settings, *documents)
    assert isinstance(first, Failure)
    assert all(other is first for other in others)
    assert "secret" not in first.reason
    return first


# What is sent


def test_one_request_writes_all_documents_to_aliases_only() -> None:
    with Fake() as fake:
        outcomes = delivered(fake.settings(), document(), document("41", change="removed", kind="item"))

    [asked] = fake.asked
    assert outcomes == [DONE, DONE]
    assert (asked.method, asked.target) == ("POST", "/_bulk?timeout=10s&require_alias=true")
    assert asked.headers["host"] == f"127.0.0.1:{fake.port}"
    assert "authorization" not in asked.headers
    assert "accept" not in asked.headers
    version = {"version": 7, "version_type": "external_gte"}
    assert [line for line in asked.lines if "ref" not in line] == [
        {"index": {"_index": "posts", "_id": "post:hello:en", **version}},
        {"index": {"_index": "items", "_id": "buttersync", "if_seq_no": 0, "if_primary_term": 1}},
        {},
        {"delete": {"_index": "items", "_id": "item:group:41:en", **version}},
    ]
    assert asked.lines[1]["content"] == "a secret"


def test_credentials_are_sent_with_each_request() -> None:
    with Fake() as fake:
        delivered(fake.settings(auth="basic", username="büro", password="a:b"))
        delivered(fake.settings(auth="api_key", api_key="aWQ6a2V5"))

    assert [asked.headers["authorization"] for asked in fake.asked] == ["Basic YsO8cm86YTpi", "ApiKey aWQ6a2V5"]


@pytest.mark.parametrize(
    ("engine", "service", "target"),
    [("opensearch", "es", "/_bulk?timeout=10s&require_alias=true"), ("serverless", "aoss", "/_bulk?timeout=10s")],
)
def test_a_request_is_signed_for_the_service_the_region_and_the_body(
    engine: str, service: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    with Fake() as fake:
        assert delivered(fake.settings(auth="iam", engine=engine)) == [DONE]

    asked = fake.asked[-1]
    assert asked.target == target
    assert asked.headers["x-amz-security-token"] == "token"
    assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
    assert re.search(rf"Credential=test/\d{{8}}/eu-west-1/{service}/aws4_request", asked.headers["authorization"])
    assert asked.headers["authorization"].split("Signature=")[1] == signature(fake, asked, service)


def signature(fake: Fake, asked: Asked, service: str) -> str:
    """As AWS would compute it from what arrived."""
    signer = SigV4Auth(Credentials("test", "test", "token"), service, "eu-west-1")
    request = AWSRequest(asked.method, f"http://127.0.0.1:{fake.port}{asked.target}", data=asked.body)
    signed = (re.search("SignedHeaders=([^,]+)", asked.headers["authorization"]) or ["", ""])[1].split(";")
    for name in signed:
        request.headers[name] = asked.headers[name]
    request.context["timestamp"] = asked.headers["x-amz-date"]
    found: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return found


def test_a_domain_is_signed_for_by_its_host_name_alone() -> None:
    cluster = cluster_of({"endpoint": "https://search-site.eu-west-1.es.amazonaws.com"})
    connection = conversation._connect(cluster).transport.get_connection()

    headers = connection.http_auth("POST", "https://search-site.eu-west-1.es.amazonaws.com:443/_bulk", b"{}\n")

    assert "/eu-west-1/es/aws4_request" in headers["Authorization"]
    assert "SignedHeaders=host;" in headers["Authorization"]


def test_without_credentials_of_aws_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with Fake() as fake:
        outcome = failure(fake.settings(auth="iam"))

    assert isinstance(outcome, Misconfigured)
    assert "no AWS credentials" in outcome.reason
    assert fake.asked == []


def test_serverless_is_asked_whether_the_aliases_are_there_and_told_no_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with Fake() as fake:
        settings = fake.settings(auth="iam", engine="serverless")
        assert (
            delivered(settings, document(), document("x"), document("41", change="removed", kind="item")) == [DONE] * 3
        )

    assert [asked.target for asked in fake.asked] == ["/items/_mapping", "/posts/_mapping", "/_bulk?timeout=10s"]
    assert [line for line in fake.asked[-1].lines if "ref" not in line] == [
        {"index": {"_index": "posts", "_id": "post:hello:en"}},
        {"index": {"_index": "posts", "_id": "post:x:en"}},
        {"delete": {"_index": "items", "_id": "item:group:41:en"}},
    ]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (error("index_not_found_exception", "no such index [posts]", 404), "there is no alias posts: run setup"),
        (answer(body={"posts": {"mappings": {}}}), "posts is an index, and no alias: "),
        (
            error("security_exception", "not you", 403),
            "403 security_exception: not you; docs/opensearch.md names the rights",
        ),
    ],
)
def test_serverless_is_not_written_to_without_the_aliases(
    mapping: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with Fake(mapping) as fake:
        outcome = failure(fake.settings(auth="iam", engine="serverless"))

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason.startswith(said)
    assert len(fake.asked) == 1


def test_setup_makes_the_indices_of_serverless_without_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    missing = error("index_not_found_exception", "no such index", 404)
    names = ("pages", "posts", "items")
    made = [[answer(body={}), answer(body={f"{name}-v1": {"mappings": MAPPINGS}})] for name in names]
    with Fake(missing, missing, missing, *chain(*made), answer(body={})) as fake:
        said = opensearch.setup(fake.settings(auth="iam", engine="serverless"))

    assert said == "made pages-v1 behind pages, posts-v1 behind posts, items-v1 behind items"
    assert [(asked.method, asked.target) for asked in fake.asked if asked.method != "GET"] == [
        *[("PUT", f"/{name}-v1") for name in names],
        ("POST", "/_aliases"),
    ]
    assert json.loads(fake.asked[3].body) == {"mappings": MAPPINGS}
    assert json.loads(fake.asked[-1].body) == {
        "actions": [{"add": {"index": f"{name}-v1", "alias": name}} for name in names]
    }


MAPPED_WHOLE = answer(body={"an-index-v1": {"mappings": MAPPINGS}})


def gone(status: int = 404, **more: object) -> list[Any]:
    return [{"delete": {"_id": "buttersync", "status": status, **more}}]


def test_check_asks_serverless_for_what_it_knows_and_deletes_what_cannot_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with Fake(answer(404, b""), *[MAPPED_WHOLE] * 3, answered(gone(result="not_found") * 3)) as fake:
        said = opensearch.check(fake.settings(auth="iam", engine="serverless"))

    assert said == "the server takes documents for pages (an-index-v1), posts (an-index-v1), items (an-index-v1)"
    looks = ["/", "/pages/_mapping", "/posts/_mapping", "/items/_mapping"]
    assert [asked.target for asked in fake.asked] == [*looks, "/_bulk?timeout=10s"]
    assert fake.asked[-1].lines == [
        {"delete": {"_index": name, "_id": "buttersync"}} for name in ("pages", "posts", "items")
    ]


def test_check_says_that_serverless_may_be_looked_at_and_not_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    denied = gone(403, error={"type": "security_exception", "reason": "Forbidden"})
    with Fake(answer(404, b""), *[MAPPED_WHOLE] * 3, answered(denied * 3)) as fake:
        outcome = command(opensearch.check, fake.settings(auth="iam", engine="serverless"))

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason == "403 security_exception"


# Requests that are turned down


AWS_MESSAGE = (
    "The request signature we calculated does not match.\n\nThe Canonical String was 'x-amz-security-token:abc'"
)

NOT_OF_SEARCH = "400, and not in the words of a search server; is the endpoint right?"

TURNED_DOWN = [
    (
        error("security_exception", "unable to authenticate", 401),
        Misconfigured,
        "401 security_exception: unable to auth",
    ),
    (answer(401, b"Unauthorized", "text/plain"), Misconfigured, "401; do the credentials hold?"),
    (
        error("security_exception", "no permissions for [indices:data/write/bulk] and User [name=site]", 403),
        Misconfigured,
        "403 security_exception: no permissions for [indices:data/write/bulk] and User [name=site]; docs/opensearch.md",
    ),
    (
        answer(403, {"Message": "User: arn:aws:sts::1:role/x is not authorized to perform: es:ESHttpPost"}),
        Misconfigured,
        "403: User: arn:aws:sts::1:role/x is not authorized to perform: es:ESHttpPost; docs/opensearch.md",
    ),
    (
        answer(403, {"message": AWS_MESSAGE}),
        Misconfigured,
        "403: The request signature we calculated does not match.; docs",
    ),
    (answer(404, b"<html>secret</html>", "text/html"), Misconfigured, "404; is the endpoint right?"),
    (
        answer(405, {"error": "Incorrect HTTP method", "status": 405}),
        Misconfigured,
        "405: Incorrect HTTP method; is the",
    ),
    (answer(406, {"error": "Content-Type header is not supported"}), Misconfigured, "406: Content-Type header is not"),
    (answer(301, b"", location="http://127.0.0.1:9/"), Misconfigured, "301"),
    (
        error("illegal_argument_exception", "explicit index in bulk is not allowed", 400),
        Misconfigured,
        "400 illegal_argument_exception: explicit index in bulk is not allowed",
    ),
    (answer(400, b"", "text/plain"), Misconfigured, NOT_OF_SEARCH),
    (answer(400, b"<html><title>400 The plain HTTP request was sent", "text/html"), Misconfigured, NOT_OF_SEARCH),
    (answer(400, {"message": "a secret"}), Misconfigured, NOT_OF_SEARCH),
    (answer(400, {"error": {"type": None, "reason": "a secret"}}), Misconfigured, NOT_OF_SEARCH),
    (error("json_parse_exception", "Unrecognized token 'secret'", 400), Refused, "400 json_parse_exception"),
    (error("x_content_parse_exception", '[1:8] "a secret"', 400), Refused, "400 x_content_parse_exception"),
    (answer(413, {"Message": "Request size exceeded 10485760 bytes"}), Refused, "413: the server does not take "),
    (answer(413, b"<html>", "text/html"), Refused, "413: the server does not take "),
    (answer(408, b""), Unavailable, "408"),
    (
        error("circuit_breaking_exception", "[parent] Data too large: secret", 429),
        Unavailable,
        "429 circuit_breaking_exc",
    ),
    (answer(429, b"Too Many Requests /_bulk", "text/plain"), Unavailable, "429"),
    (error("illegal_state_exception", "a secret", 500), Unavailable, "500 illegal_state_exception"),
    (answer(502, b"<html>Bad Gateway, secret", "text/html"), Unavailable, "502"),
    (error("cluster_block_exception", "blocked by: [no master]", 503), Unavailable, "503 cluster_block_exception"),
    (answer(504, {"message": None}), Unavailable, "504"),
    (answer(500, b"[]"), Unavailable, "500"),
    (answer(500, b"[" * 100_000), Unavailable, "500"),
    (answer(500, b'{"error": {"type": 5, "reason": ["secret"]}}'), Unavailable, "500 5"),
]


@pytest.mark.parametrize(("said", "kind", "reason"), TURNED_DOWN)
def test_a_request_that_is_turned_down_has_its_outcome(said: bytes, kind: type[Failure], reason: str) -> None:
    with Fake(said) as fake:
        outcome = failure(fake.settings(), document("a"), document("b"))

    assert type(outcome) is kind
    assert outcome.reason.startswith(reason)
    assert "security-token" not in outcome.reason
    assert len(fake.asked) == 1, "it was asked again, or somewhere else"


@pytest.mark.parametrize(("status", "unsure"), [(429, False), (408, False), (500, True), (502, True), (504, True)])
def test_what_a_failing_server_may_have_done_all_the_same_is_unsure(status: int, unsure: bool) -> None:
    with Fake(answer(status, b"")) as fake:
        outcome = failure(fake.settings())

    assert isinstance(outcome, Unavailable)
    assert outcome.unsure is unsure


def test_a_document_that_is_too_large_is_refused_with_its_size() -> None:
    with Fake(answer(413, b"")) as fake:
        outcome = failure(fake.settings())

    assert outcome.reason == f"413: the server does not take {len(fake.asked[0].body)} bytes"


# Answers that tell nothing


def answered(items: object) -> bytes:
    return answer(body={"took": 1, "errors": False, "items": items})


WELL = {"index": {"_index": "posts-v1", "_id": "post:hello:en", "status": 200, "result": "updated"}}

NONSENSE = {
    "a proxy's page": answer(200, b"<html>Please log in</html>", "text/html"),
    "a proxy's page that claims to be JSON": answer(200, b"<html>Please log in</html>"),
    "text": answer(200, b"ok", "text/plain"),
    "nothing": answer(200, b""),
    "half a head": b"HTTP/1.1 200 OK\r\nconnection: close",
    "a list": answer(body=[]),
    "a string": answer(body="ok"),
    "no items": answer(body={"took": 1}),
    "an item too few": answered([]),
    "an item too many": answered([WELL, WELL]),
    "an unknown operation": answered([{"create": WELL["index"]}]),
    "an item without a status": answered([{"index": {"_id": "post:hello:en"}}]),
    "JSON that ends early": answer(200, b'{"took": 1, "items": [{"index": {"status": 200'),
    "JSON that is too deep": answer(200, b'{"items":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_an_answer_of_another_shape_is_unavailable_and_unsure(said: bytes) -> None:
    with Fake(said) as fake:
        outcome = failure(fake.settings())

    assert isinstance(outcome, Unavailable)
    assert outcome.unsure
    assert outcome.reason == "the server's answer is none of a search server"


def test_an_answer_that_is_compressed_is_read() -> None:
    body = gzip.compress(json.dumps({"items": [WELL]}).encode())
    with Fake(answer(200, body, content_encoding="gzip")) as fake:
        assert delivered(fake.settings()) == [DONE]


BROKEN = {
    "no answer": HANG_UP,
    "half an answer": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
    "no HTTP": b"\x15\x03\x01 connection: close\r\n\r\n",
    "no UTF-8": answer(200, b'{"items": "\xff"}', connection="close"),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
def test_a_connection_that_ends_before_the_answer_is_unavailable_and_unsure(said: bytes | str) -> None:
    with Fake(said) as fake:
        outcome = failure(fake.settings())

    assert isinstance(outcome, Unavailable)
    assert outcome.unsure
    assert outcome.reason.startswith("the connection ended before the answer: ")
    assert len(fake.asked) == 1


def test_what_breaks_on_a_kept_connection_is_asked_once_more() -> None:
    # The server had closed it while the worker was frozen, and its word of that was lost.
    with Fake(answered([WELL]), HANG_UP) as fake:
        assert delivered(fake.settings()) == [DONE]
        assert delivered(fake.settings()) == [DONE]

    assert fake.connections == 2
    assert [asked.body for asked in fake.asked] == [fake.asked[0].body] * 3


def test_what_breaks_twice_is_unavailable() -> None:
    with Fake(answered([WELL]), HANG_UP, HANG_UP) as fake:
        assert delivered(fake.settings()) == [DONE]
        outcome = failure(fake.settings())

    assert isinstance(outcome, Unavailable)
    assert len(fake.asked) == 3


def test_a_write_without_a_version_is_not_repeated_once_the_connection_has_been_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The server had it, and acts on it in a minute. Were the second try believed, a removal could be overtaken by then.
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    mapped = answer(body={"posts-v1": {"mappings": {}}})
    with Fake(mapped, HANG_UP) as fake:
        outcome = failure(fake.settings(auth="iam", engine="serverless"))

    assert outcome.unsure
    assert [asked.target for asked in fake.asked] == ["/posts/_mapping", "/_bulk?timeout=10s"]


def test_the_look_before_a_write_without_a_version_finds_out_whether_the_connection_still_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    mapped = answer(body={"posts-v1": {"mappings": {}}})
    with Fake(mapped, answered([WELL]), HANG_UP) as fake:
        settings = fake.settings(auth="iam", engine="serverless")
        assert delivered(settings) == [DONE]
        assert delivered(settings) == [DONE]

    assert [asked.method for asked in fake.asked] == ["GET", "POST", "GET", "GET", "POST"]


def test_a_refused_connection_is_unavailable_and_nothing_was_sent() -> None:
    with Fake() as fake:
        pass

    outcome = failure(fake.settings())

    assert isinstance(outcome, Unavailable)
    assert not outcome.unsure
    assert outcome.reason == "no connection to the server: NewConnectionError"


def test_a_silent_server_is_unavailable_in_time_and_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "CALL_SECONDS", 0.3)
    with Fake(SILENCE) as fake:
        began = time.monotonic()
        outcome = failure(fake.settings())

    assert isinstance(outcome, Unavailable)
    assert outcome.unsure
    assert outcome.reason == "the server gave no answer in time: ReadTimeoutError"
    assert time.monotonic() - began < 5
    assert len(fake.asked) == 1


DRIPPING = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nx-more: ", b"1"),
    "the first line": (b"HTTP/1.1 200 ", b"O"),
    "a body": (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n", b"1"),
    "a body that ends with the connection": (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"1"),
    "chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n1\r\n"),
    "what precedes an answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("begin", "drop"), DRIPPING.values(), ids=DRIPPING)
@pytest.mark.usefixtures("trusted")
def test_a_server_that_drips_is_unavailable_in_time_and_unsure(
    begin: bytes, drop: bytes, tls: bool, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch, "CALL_SECONDS", 0.5)
    with Fake(chain([begin], repeat(drop)), tls=context(authority) if tls else None) as fake:
        began = time.monotonic()
        outcome = failure(by_tls(fake) if tls else fake.settings())
        took = time.monotonic() - began

    assert type(outcome) is Unavailable
    assert outcome.unsure
    assert outcome.reason == "the server gave no answer in time: ReadTimeoutError"
    assert took < 3
    assert len(fake.asked) == 1


def test_a_server_that_drips_on_a_kept_connection_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Fake(answered([WELL]), chain([DRIPPING["a body"][0]], repeat(b"1"))) as fake:
        assert delivered(fake.settings()) == [DONE]
        monkeypatch.setattr(opensearch, "CALL_SECONDS", 0.5)
        outcome = failure(fake.settings())

    assert outcome.reason == "the server gave no answer in time: ReadTimeoutError"
    assert len(fake.asked) == 2


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.usefixtures("trusted")
def test_a_server_that_takes_a_request_drop_by_drop_is_unavailable_in_time(
    tls: bool, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "CONNECT_SECONDS", 0.5)
    with sipping(context(authority) if tls else None) as port:
        settings = {"endpoint": f"{'https' if tls else 'http'}://localhost:{port}", "auth": "none"}
        began = time.monotonic()
        outcome = failure(settings, document(summary="s" * 20_000_000))
        took = time.monotonic() - began

    assert isinstance(outcome, Unavailable)
    assert outcome.unsure
    assert took < 5


@contextmanager
def sipping(tls: ssl.SSLContext | None) -> Iterator[int]:
    """The port of a server that takes some kilobytes of a request in each tenth of a second."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def sip() -> None:
            connection, _ = listener.accept()
            with suppress(OSError), tls.wrap_socket(connection, server_side=True) if tls else connection as served:
                while served.recv(16_384):
                    over.wait(0.1)

        sips = threading.Thread(target=sip, daemon=True)
        sips.start()
        yield listener.getsockname()[1]
        over.set()
        sips.join()


def test_a_server_that_takes_no_connection_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, full(listener):
        began = time.monotonic()
        outcome = failure({"endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}", "auth": "none"})

    assert isinstance(outcome, Unavailable)
    assert not outcome.unsure
    assert outcome.reason == "no connection to the server: ConnectTimeoutError"
    assert time.monotonic() - began < 5


@contextmanager
def full(listener: socket.socket) -> Iterator[None]:
    """Nobody takes connections, and there is no more room to wait."""
    waiting = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)  # noqa: FBT003 - its only argument
        with suppress(BlockingIOError):
            one.connect(listener.getsockname())
        waiting.append(one)
    yield
    for one in waiting:
        one.close()


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN])
def test_a_host_that_nobody_knows_is_unavailable_and_nothing_was_sent(code: int) -> None:
    unknown = NameResolutionError("nowhere", HTTPConnection("nowhere"), socket.gaierror(code, "words"))

    outcome = conversation.failure_without_answer(unknown)

    assert type(outcome) is Unavailable
    assert not outcome.unsure
    assert outcome.reason == "no connection to the server: NameResolutionError"


# More than one request


def test_large_batches_are_cut_and_what_is_left_shares_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "BODY_BYTES", 1000)
    with Fake(answered([WELL]), answer(503, b"")) as fake:
        outcomes = delivered(fake.settings(), *[document(name, summary="s" * 900) for name in "abc"])

    assert outcomes[0] is DONE
    assert isinstance(outcomes[1], Unavailable)
    assert outcomes[2] is outcomes[1]
    assert len(fake.asked) == 2


@pytest.mark.parametrize(("status", "unsure"), [(200, False), (503, True)])
def test_what_is_refused_tells_of_the_doubts_about_the_requests_before_it(
    status: int, unsure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch, "BODY_BYTES", 1)
    with Fake(answered([{"index": {"status": status}}]), answer(413, b"")) as fake, pytest.raises(Refused) as raised:
        opensearch.deliver(fake.settings(), [document("a"), document("b")])

    assert raised.value.unsure is unsure


def test_when_the_time_is_over_what_is_left_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "BODY_BYTES", 1)
    with Fake() as fake:
        delivered(fake.settings())
        monkeypatch.setattr(opensearch, "CALL_SECONDS", 0)
        outcome = failure(fake.settings(), document("a"), document("b"))

    assert isinstance(outcome, Unavailable)
    assert outcome.reason == "no time was left to ask the server"
    assert not outcome.unsure
    assert len(fake.asked) == 1


# The client


def test_one_connection_serves_every_call_until_it_is_reset() -> None:
    with Fake() as fake:
        delivered(fake.settings())
        delivered(fake.settings())
        opensearch.client.close()
        delivered(fake.settings())

        assert fake.connections == 2


def test_other_settings_make_another_client() -> None:
    with Fake() as fake:
        delivered(fake.settings())
        delivered(fake.settings(auth="basic", username="a", password="b"))

    assert fake.connections == 2
    assert "authorization" in fake.asked[1].headers


def test_after_a_failure_the_next_call_has_a_new_connection() -> None:
    with Fake(answer(503, b"")) as fake:
        delivered(fake.settings())
        assert delivered(fake.settings()) == [DONE]

    assert fake.connections == 2


def test_a_warning_of_the_server_is_none_of_ours() -> None:
    said = answer(body={"items": [WELL]}, warning='299 OpenSearch-2.19 "the secret option is deprecated"')
    with Fake(said) as fake:
        assert delivered(fake.settings()) == [DONE]


def test_the_client_says_nothing_into_the_log_of_the_function(caplog: pytest.LogCaptureFixture) -> None:
    # Its logger has the name of this function's own, and at level DEBUG it would write whole documents.
    with Fake(answered([WELL]), answer(503, b"a secret"), SILENCE) as fake, caplog.at_level(logging.DEBUG):
        for _ in range(2):
            delivered(fake.settings())

    assert [record for record in caplog.records if record.name == "opensearch"] == []


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))


def context(authority: trustme.CA, host: str = "localhost") -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(made)
    return made


def by_tls(fake: Fake) -> dict[str, str]:
    return fake.settings(endpoint=f"https://localhost:{fake.port}", auth="basic", username="a", password="b")


@pytest.mark.usefixtures("trusted")
def test_a_server_with_a_certificate_of_the_systems_roots_is_trusted(authority: trustme.CA) -> None:
    with Fake(tls=context(authority)) as fake:
        assert delivered(by_tls(fake)) == [DONE]


def test_a_certificate_of_an_unknown_authority_is_misconfigured(authority: trustme.CA) -> None:
    with Fake(tls=context(authority)) as fake:
        outcome = failure(by_tls(fake))

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason.startswith("the setting endpoint: no TLS with the server: unable to get local issuer")
    assert fake.asked == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host_is_misconfigured(authority: trustme.CA) -> None:
    with Fake(tls=context(authority, "db.example.com")) as fake:
        outcome = failure(by_tls(fake))

    assert isinstance(outcome, Misconfigured)
    assert "localhost" in outcome.reason


@contextmanager
def saying(said: bytes) -> Iterator[dict[str, str]]:
    """The settings of a server that says this to whoever connects, and leaves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def say() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(said)

        threading.Thread(target=say, daemon=True).start()
        yield {"endpoint": f"https://localhost:{listener.getsockname()[1]}", "auth": "none"}


def test_a_server_without_tls_is_misconfigured() -> None:
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as settings:
        outcome = failure(settings)

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason == "the setting endpoint: no TLS with the server: WRONG_VERSION_NUMBER"


def test_a_server_that_ends_the_handshake_is_unavailable() -> None:
    with saying(b"") as settings:
        assert isinstance(failure(settings), Unavailable)


def test_a_connection_that_ends_within_tls_is_unavailable() -> None:
    for ended in (ssl.SSLEOFError(), ssl.SSLZeroReturnError()):
        outcome = conversation.failure_without_answer(SSLError(ended))

        assert isinstance(outcome, conversation.Lost)
        assert outcome.unsure


# Commands


def command(act: Any, settings: Mapping[str, str]) -> Failure:
    with pytest.raises(Failure) as raised:
        act(settings)
    return raised.value


def test_setup_ends_before_the_function_is_ended() -> None:
    template = (Path(__file__).parents[2] / "template.yaml").read_text()
    [timeout] = re.findall(r"^    opensearch:\n(?:      .*\n)*?      Timeout: (\d+)", template, re.MULTILINE)

    ssm = 0.5 + 1  # to connect, and to answer, once
    assert ssm + opensearch.SETUP_SECONDS + opensearch.LATEST_SECONDS <= int(timeout) - 10


def test_check_says_whose_credentials_do_not_hold() -> None:
    with Fake(error("security_exception", "unable to authenticate user [site]", 401)) as fake:
        outcome = command(opensearch.check, fake.settings(auth="basic", username="site", password="hunter2"))

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason == "401 security_exception: unable to authenticate user [site]; do the credentials hold?"


def test_what_a_person_asks_is_never_refused_as_a_document_is() -> None:
    with Fake(error("illegal_argument_exception", "no such thing", 400)) as fake:
        outcome = command(opensearch.setup, fake.settings())

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason == "400 illegal_argument_exception: no such thing"


MAPPED = answer(body={"pages-v1": {"mappings": {"properties": {}}}})


@pytest.mark.parametrize(
    "answers",
    [
        [answer(body={"pages-v1": []})],
        [answer(body=[])],
        [MAPPED, MAPPED, MAPPED, answer(body={"pages-v1": {}})],
    ],
)
def test_looks_that_are_answered_with_nonsense_are_unavailable(answers: list[bytes]) -> None:
    with Fake(answer(body={"version": {"number": "8.19.0"}}), *answers) as fake:
        outcome = command(opensearch.check, fake.settings())

    assert isinstance(outcome, Unavailable)
    assert "none of a search server" in outcome.reason


@pytest.mark.parametrize("said", [answer(body=[]), answer(body={"version": 8}), answer(200, b"<html>", "text/html")])
def test_a_server_that_is_none_of_search_is_named_by_check(said: bytes) -> None:
    with Fake(said) as fake:
        outcome = command(opensearch.check, fake.settings())

    assert outcome.reason == "the server's answer is none of a search server"


def test_a_template_that_may_not_be_looked_at_is_named() -> None:
    with Fake(MAPPED, MAPPED, MAPPED, error("security_exception", "not you", 403)) as fake:
        outcome = command(opensearch.setup, fake.settings())

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason.startswith("403 security_exception: not you")


def test_an_index_that_may_not_be_made_is_named() -> None:
    missing = error("index_not_found_exception", "no such index", 404)
    denied = error("security_exception", "not you", 403)
    with Fake(missing, missing, missing, answer(body={}), denied) as fake:
        outcome = command(opensearch.setup, fake.settings())

    assert isinstance(outcome, Misconfigured)
    assert (fake.asked[-1].method, fake.asked[-1].target) == ("PUT", "/pages-v1")
