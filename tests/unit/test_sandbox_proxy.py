"""A proxy passes on what no fault strikes, and makes of the rest what an outside system in trouble would."""

import http.client
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.faults import Fault
from sandbox.proxy import Proxy, aws_service
from sandbox.server import Sandbox
from sandbox.wire import Request, Response, Route

PATIENCE = 5


class Echo:
    """A server that counts what it was told to do, and tells it."""

    name = "echo"
    paths = "/"
    controls: tuple[Route, ...] = ()

    def __init__(self) -> None:
        self.acted: list[Request] = []

    def answer(self, request: Request) -> Response:
        self.acted.append(request)
        return Response(201, request.body or b"a body that is long enough to be cut in two", {"X-Answer": "yes"})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[Sandbox]:
    with Sandbox() as server:
        server.vendors = (echo,)
        yield server


@pytest.fixture
def proxy(server: Sandbox) -> Iterator[Proxy]:
    with Proxy(server.url, lambda _: "echo") as proxy:
        yield proxy


@contextmanager
def connected(proxy: Proxy) -> Iterator[http.client.HTTPConnection]:
    """A client that keeps its connection."""
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=PATIENCE)
    try:
        yield connection
    finally:
        connection.close()


def post(proxy: Proxy, body: bytes = b"") -> requests.Response:
    with requests.Session() as session:
        return session.post(f"{proxy.url}/a/path?x=1&y=%C3%BC", data=body, timeout=PATIENCE)


# --- what no fault strikes ---


def test_request_and_answer_pass_unchanged(proxy: Proxy, echo: Echo) -> None:
    response = post(proxy, b"a body")

    assert (response.status_code, response.content, response.headers["X-Answer"]) == (201, b"a body", "yes")
    (request,) = echo.acted
    assert (request.method, request.path, request.query) == ("POST", "/a/path", (("x", "1"), ("y", "ü")))
    assert request.host == urlsplit(proxy.url).netloc


@settings(max_examples=30, deadline=None)
@given(bodies=st.lists(st.binary(min_size=1, max_size=300_000), min_size=1, max_size=3))
def test_bodies_of_any_bytes_pass_one_after_the_other_over_one_connection(bodies: list[bytes]) -> None:
    with Sandbox() as server, Proxy(server.url, lambda _: "echo") as proxy, connected(proxy) as connection:
        server.vendors = (Echo(),)

        answers = []
        for body in bodies:
            connection.request("POST", "/", body)
            answers.append(connection.getresponse().read())

    assert answers == bodies


def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on(proxy: Proxy, echo: Echo) -> None:
    """As boto3 does, which else would wait a second."""
    address = urlsplit(proxy.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as client:
        client.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        told = client.recv(1000)
        client.sendall(b"body")
        answered = client.recv(1000)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answered.startswith(b"HTTP/1.1 201 ")
    assert [request.body for request in echo.acted] == [b"body"]


def test_a_body_whose_length_nobody_says_is_refused(proxy: Proxy, echo: Echo) -> None:
    with requests.Session() as session:
        response = session.post(proxy.url, data=iter([b"a", b"b"]), timeout=PATIENCE)

    assert response.status_code == 411
    assert not echo.acted


def test_a_client_that_leaves_amid_its_request_disturbs_nobody(proxy: Proxy, echo: Echo) -> None:
    address = urlsplit(proxy.url)
    for sent in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"):
        with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as client:
            client.sendall(sent)

    assert post(proxy).status_code == 201
    assert len(echo.acted) == 1


def test_when_the_server_ends_a_connection_the_client_hears_of_it_at_once(proxy: Proxy, server: Sandbox) -> None:
    """A client looks for the end before it uses a kept connection; else its next request would go into the void."""
    with connected(proxy) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        kept = connection.sock

        server.stop()

        assert kept.recv(1) == b""


def test_a_server_that_is_down_ends_the_connection_and_answers_again_once_it_is_up() -> None:
    with Sandbox() as server:
        server.vendors = (Echo(),)
        port = urlsplit(server.url).port or 0
    with Proxy(f"http://127.0.0.1:{port}", lambda _: "echo") as proxy:
        with pytest.raises(requests.ConnectionError):
            post(proxy)

        with Sandbox(port) as again:
            again.vendors = (Echo(),)

            assert post(proxy).status_code == 201


# --- what a fault strikes ---


def test_a_status_is_answered_before_the_server_acts_and_the_connection_is_kept(proxy: Proxy, echo: Echo) -> None:
    proxy.faults.add(Fault(kind="status", status=503, body='{"oh": "no"}', headers={"X-Reason": "tired"}, times=1))

    with connected(proxy) as connection:
        connection.request("POST", "/", b"x")
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["X-Reason"]) == (503, b'{"oh": "no"}', "tired")
        assert not echo.acted

        connection.request("POST", "/", b"x")
        assert connection.getresponse().status == 201


def test_a_status_can_belie_what_the_server_has_done(proxy: Proxy, echo: Echo) -> None:
    proxy.faults.add(Fault(kind="status", status=500, after=True))

    assert post(proxy).status_code == 500
    assert len(echo.acted) == 1


def test_a_throttle_says_when_to_come_back(proxy: Proxy, echo: Echo) -> None:
    proxy.faults.add(Fault(kind="throttle", seconds=7))

    response = post(proxy)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert not echo.acted


@pytest.mark.parametrize("after", [False, True])
def test_a_drop_ends_the_connection_without_a_byte(proxy: Proxy, echo: Echo, *, after: bool) -> None:
    proxy.faults.add(Fault(kind="drop", after=after))

    with pytest.raises(requests.ConnectionError):
        post(proxy)

    assert len(echo.acted) == after


@pytest.mark.parametrize("after", [False, True])
def test_a_delay_is_before_the_server_acts_or_after(proxy: Proxy, echo: Echo, *, after: bool) -> None:
    proxy.faults.add(Fault(kind="delay", seconds=0.3, after=after))
    began = time.monotonic()

    with connected(proxy) as connection:
        connection.request("POST", "/", b"x")
        time.sleep(0.15)
        acted = len(echo.acted)
        answer = connection.getresponse()

    assert answer.status == 201
    assert time.monotonic() - began >= 0.3
    assert acted == after


def test_what_a_client_no_longer_waits_for_is_done_all_the_same(proxy: Proxy, echo: Echo) -> None:
    proxy.faults.add(Fault(kind="delay", seconds=0.3))

    with pytest.raises(requests.ReadTimeout), requests.Session() as session:
        session.post(proxy.url, timeout=0.1)

    end = time.monotonic() + PATIENCE
    while not echo.acted and time.monotonic() < end:
        time.sleep(0.01)
    assert len(echo.acted) == 1


def test_an_answer_is_replaced_by_a_page(proxy: Proxy) -> None:
    proxy.faults.add(Fault(kind="malformed", form="html"))

    response = post(proxy)

    assert (response.status_code, response.headers["Content-Type"]) == (201, "text/html; charset=utf-8")
    assert "went wrong" in response.text


def test_an_answer_is_truncated(proxy: Proxy) -> None:
    proxy.faults.add(Fault(kind="malformed", form="truncated"))

    assert post(proxy, b"12345678").content == b"1234"


def test_the_connection_is_cut_amid_an_answer(proxy: Proxy, echo: Echo) -> None:
    proxy.faults.add(Fault(kind="malformed", form="cut"))

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="4 bytes read, 4 more expected"):
        post(proxy, b"12345678")
    assert len(echo.acted) == 1


def test_an_answer_to_head_has_no_body_whatever_is_wrong(proxy: Proxy) -> None:
    proxy.faults.add(Fault(kind="status", status=500, times=1))

    with connected(proxy) as connection:
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (500, b"")
        connection.request("POST", "/", b"x")
        assert connection.getresponse().status == 201


def test_the_end_does_not_wait_for_what_hangs(proxy: Proxy) -> None:
    proxy.faults.add(Fault(kind="delay", seconds=60))

    with connected(proxy) as connection:
        connection.request("POST", "/", b"x")
        proxy.stop()

        with pytest.raises(OSError, match=r"closed connection|reset by peer"):
            connection.getresponse()


# --- AWS ---

CALLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "sns": ("publish", {"TopicArn": "arn:aws:sns:us-east-1:000000000000:x", "Message": "x"}),
    "sqs": ("send_message", {"QueueUrl": "http://127.0.0.1/000000000000/x", "MessageBody": "x"}),
    "dynamodb": ("get_item", {"TableName": "x", "Key": {"x": {"S": "x"}}}),
    "s3": ("put_object", {"Bucket": "x", "Key": "x", "Body": b"x" * 2_000_000}),
    "ssm": ("get_parameters", {"Names": ["x"]}),
}


@pytest.mark.parametrize("service", CALLS)
def test_the_service_of_a_signed_request_is_known(server: Sandbox, service: str) -> None:
    call, arguments = CALLS[service]
    with Proxy(server.url, aws_service) as proxy:
        proxy.faults.add(Fault(kind="drop", vendor=f"^{service}$"))
        client = boto3.client(service, endpoint_url=proxy.url, config=Config(retries={"total_max_attempts": 1}))

        with pytest.raises(ConnectionClosedError):
            getattr(client, call)(**arguments)
        client.close()


def test_what_nobody_has_signed_is_of_no_service() -> None:
    assert not aws_service(Request("GET", "/"))
    assert not aws_service(Request("GET", "/", headers={"authorization": "Token abc"}))


def test_the_faults_know_vendor_method_and_path(proxy: Proxy) -> None:
    proxy.faults.add(Fault(kind="drop", vendor="another"))
    proxy.faults.add(Fault(kind="drop", vendor="echo", method="^GET$"))
    proxy.faults.add(Fault(kind="status", vendor="echo", path="^/a/path$"))

    assert post(proxy).status_code == 500
    with pytest.raises(requests.ConnectionError), requests.Session() as session:
        session.get(f"{proxy.url}/b", timeout=PATIENCE)
