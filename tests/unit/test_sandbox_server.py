"""The sandbox as a server: what it records, how it is told what to do over HTTP, and webhooks on their way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from sandbox.examples import example_site
from sandbox.faults import Fault
from sandbox.server import Memory, Recorded, Sandbox
from sandbox.webhooks import Webhook, send
from sandbox.wire import Request, Response, Route, json_response

ROOT = Path(__file__).resolve().parents[2]
HOOK = Webhook("post.published", {"id": "hello", "_id": 7})


class Receiver:
    """A vendor to whom webhooks are sent, for want of a better one."""

    name = "receiver"
    paths = "/hook"
    controls: tuple[Route, ...] = ()
    status = 200

    def answer(self, _: Request) -> Response:
        return Response(self.status, b'{"accepted": true}', {"Location": "/elsewhere"})


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def sandbox(receiver: Receiver) -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.vendors = (*sandbox.vendors, receiver)
        yield sandbox


def call(sandbox: Sandbox, method: str, path: str, json: Any = None) -> requests.Response:
    with requests.Session() as session:
        return session.request(method, f"{sandbox.url}{path}", json=json, timeout=5)


def read(sandbox: Sandbox, path: str, query: str = "") -> requests.Response:
    headers = {"Authorization": f"Token {sandbox.butter.token}"}
    with requests.Session() as session:
        return session.get(f"{sandbox.butter_endpoint}{path}{query}", headers=headers, timeout=5)


# --- over HTTP ---


def test_butter_answers_over_http(sandbox: Sandbox) -> None:
    sandbox.site.publish_page("*", "über-uns", {"headline": "Über uns"})

    response = read(sandbox, "/pages/*/%C3%BCber-uns/")

    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["data"]["slug"] == "über-uns"


def test_one_connection_serves_many_requests(sandbox: Sandbox) -> None:
    connection = HTTPConnection("127.0.0.1", urlsplit(sandbox.url).port or 0, timeout=5)
    connection.connect()
    socket = connection.sock

    for path in ("/v2/posts/", "/nowhere", "/_sandbox/"):
        connection.request("GET", path)
        connection.getresponse().read()

    assert connection.sock is socket
    connection.close()


def test_a_body_without_a_length_is_refused(sandbox: Sandbox) -> None:
    with requests.Session() as session:
        response = session.post(f"{sandbox.url}/hook", data=iter([b"a", b"b"]), timeout=5)

    assert response.status_code == 411
    assert sandbox.requests == []


def test_nobody_answers_below_no_vendor_s_path(sandbox: Sandbox) -> None:
    assert call(sandbox, "GET", "/favicon.ico").status_code == 404


def test_a_port_that_is_taken_is_not_shared() -> None:
    with Sandbox() as sandbox, pytest.raises(OSError, match="in use"):
        Sandbox(urlsplit(sandbox.url).port or 0)


def test_a_stopped_sandbox_answers_nobody_not_even_over_a_kept_connection() -> None:
    with requests.Session() as session:
        with Sandbox() as sandbox:
            session.get(f"{sandbox.url}/_sandbox/", timeout=5)

        with pytest.raises(requests.ConnectionError):
            session.get(f"{sandbox.url}/_sandbox/", timeout=5)


# --- what is recorded ---


def test_requests_are_recorded_without_their_secrets(sandbox: Sandbox) -> None:
    read(sandbox, "/posts/", "?auth_token=very-secret&locale=en")
    call(sandbox, "POST", "/hook", {"a": 1})

    first, second = sandbox.requests

    assert (first.vendor, first.path, first.status) == ("butter", "/v2/posts/", 200)
    assert first.request.headers["authorization"] == "Token ***"
    assert dict(first.request.query) == {"auth_token": "***", "locale": "en"}
    assert (second.request.method, second.request.json_object()) == ("POST", {"a": 1})
    assert sandbox.requests_to("butter", "/posts/") == [first]
    assert sandbox.requests_to("butter", "/pages/") == []


def test_requests_tell_the_address_that_was_asked(sandbox: Sandbox) -> None:
    address = sandbox.url.removeprefix("http://")

    read(sandbox, "/posts/")

    assert [one.host for one in sandbox.requests] == [address]
    assert [one["host"] for one in call(sandbox, "GET", "/_sandbox/requests").json()] == [address]


@pytest.mark.parametrize(
    ("most", "most_bytes", "kept"), [(10, 100, ["1", "2", "3"]), (2, 100, ["2", "3"]), (10, 9, ["3"]), (10, 2, [])]
)
def test_the_oldest_requests_are_forgotten_when_they_are_too_many_or_too_large(
    most: int, most_bytes: int, kept: list[str]
) -> None:
    memory = Memory(most, most_bytes)

    for number in "123":
        memory.add(Recorded("butter", Request("POST", number, body=b"x" * 2 * int(number)), 200, 0))

    assert [one.path for one in memory.all()] == kept
    memory.clear()
    memory.add(Recorded("butter", Request("POST", "4", body=b"x" * most_bytes), 200, 0))
    assert [one.path for one in memory.all()] == ["4"]


def test_requests_can_be_listed_and_forgotten_over_http(sandbox: Sandbox) -> None:
    read(sandbox, "/posts/")

    (listed,) = call(sandbox, "GET", "/_sandbox/requests").json()
    call(sandbox, "DELETE", "/_sandbox/requests")

    assert (listed["path"], listed["status"], listed["headers"]["authorization"]) == ("/v2/posts/", 200, "Token ***")
    assert sandbox.requests == []


# --- what it can be told ---


def test_help_names_every_edit_and_every_route(sandbox: Sandbox) -> None:
    text = call(sandbox, "GET", "/_sandbox/").text

    for word in ("/_sandbox/faults", "/_sandbox/butter/<operation>", "publish_post", "rename_page", "delete_item"):
        assert word in text
    for word in ("/_sandbox/algolia/hosts/<host>", "/_sandbox/algolia/account", "/_sandbox/algolia/records/<index>"):
        assert word in text


def test_faults_are_set_listed_and_lifted_over_http(sandbox: Sandbox) -> None:
    set_ = call(sandbox, "POST", "/_sandbox/faults", {"kind": "status", "vendor": "butter", "status": 502})
    listed = call(sandbox, "GET", "/_sandbox/faults").json()
    struck = read(sandbox, "/posts/").status_code
    lifted = call(sandbox, "DELETE", "/_sandbox/faults").status_code

    assert set_.json() == {"number": 1}
    assert listed == {"1": {"kind": "status", "vendor": "butter", "status": 502}}
    assert (struck, lifted, read(sandbox, "/posts/").status_code) == (502, 204, 200)


@pytest.mark.parametrize(
    "fault", [{"kind": "earthquake"}, {"kind": "drop", "often": True}, {"kind": "drop", "path": "("}, {}, []]
)
def test_a_fault_that_is_none_is_a_400(sandbox: Sandbox, fault: Any) -> None:
    response = call(sandbox, "POST", "/_sandbox/faults", fault)

    assert response.status_code == 400
    assert sandbox.faults.all() == {}


def test_faults_do_not_strike_who_sets_them(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="drop"))

    assert call(sandbox, "DELETE", "/_sandbox/faults").status_code == 204


def test_the_site_is_edited_over_http(sandbox: Sandbox) -> None:
    edits = [
        ("publish_post", {"slug": "hello", "title": "Hello", "published": "2024-05-01T10:00:00+02:00"}),
        ("publish_page", {"page_type": "landing", "slug": "sale", "fields": {"headline": "Sale"}}),
        ("publish_item", {"collection": "tools", "fields": {"name": "Fork"}}),
        ("add_collection", {"collection": "empty"}),
    ]

    answers = [call(sandbox, "POST", f"/_sandbox/butter/{name}", arguments).json() for name, arguments in edits]

    assert [answer and answer["webhook"]["webhook"]["event"] for answer in answers] == [
        *("post.published", "page.published", "collectionitem.published"),
        {},
    ]
    assert answers[0]["webhook"]["data"] == {"id": "hello", "_id": 1001}
    assert read(sandbox, "/posts/hello/").json()["data"]["published"] == "2024-05-01T08:00:00.000000Z"
    assert read(sandbox, "/content/empty/").status_code == 200


@pytest.mark.parametrize(
    ("operation", "arguments", "status"),
    [
        ("publish_post", {}, 400),
        ("publish_post", {"slug": 5}, 400),
        ("publish_post", {"slug": "a", "colour": "red"}, 400),
        ("publish_post", {"slug": "a", "published": "yesterday"}, 400),
        ("publish_post", ["slug"], 400),
        ("publish_page", {"page_type": "landing", "slug": "a", "fields": []}, 400),
        ("delete_post", {"slug": "nowhere"}, 400),
        ("lock", {}, 404),
    ],
)
def test_an_edit_that_cannot_be_is_refused(sandbox: Sandbox, operation: str, arguments: Any, status: int) -> None:
    assert call(sandbox, "POST", f"/_sandbox/butter/{operation}", arguments).status_code == status
    assert sandbox.site.content.posts == {}


def test_the_account_is_changed_over_http(sandbox: Sandbox) -> None:
    changed = call(sandbox, "POST", "/_sandbox/butter/account", {"locales": ["en", "de"], "calls_left": 0}).json()

    assert (changed["locales"], changed["token"]) == (["en", "de"], sandbox.butter.token)
    assert read(sandbox, "/posts/").status_code == 429
    assert call(sandbox, "GET", "/_sandbox/butter/account").json()["calls_left"] == 0
    assert call(sandbox, "POST", "/_sandbox/butter/account", {"colour": "red"}).status_code == 400
    assert call(sandbox, "POST", "/_sandbox/butter/account", {"locales": "en"}).status_code == 400


def test_the_cdn_is_upset_over_http(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/_sandbox/butter/cdn", {"freeze": "/v2/posts/hello/"})
    sandbox.site.publish_post("hello")

    assert read(sandbox, "/posts/hello/").status_code == 404
    call(sandbox, "POST", "/_sandbox/butter/cdn", {"thaw": "*"})
    assert read(sandbox, "/posts/hello/").status_code == 200
    call(sandbox, "POST", "/_sandbox/butter/cdn", {"absent": "/v2/posts/hello/", "purges": False})
    assert read(sandbox, "/posts/hello/").status_code == 404
    assert sandbox.butter.cdn.purges is False
    assert call(sandbox, "POST", "/_sandbox/butter/cdn", {"melt": "x"}).status_code == 400


# --- webhooks ---


def test_a_webhook_is_posted_once_as_json_with_the_secret(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/hook"

    delivery = send(HOOK, url, "s3cret", {"X-Site": "garden"})

    assert (delivery.status, delivery.body, delivery.succeeded) == (200, '{"accepted": true}', True)
    assert 0 < delivery.milliseconds < 5000
    (got,) = sandbox.requests_to("receiver")
    assert got.request.json_object() == HOOK.body(url)
    assert got.request.headers["content-type"] == "application/json"
    assert (got.request.headers["x-webhook-secret"], got.request.headers["x-site"]) == ("***", "garden")


def test_a_webhook_s_secret_is_the_one_that_was_given() -> None:
    seen = []

    class Curious(Receiver):
        def answer(self, request: Request) -> Response:
            seen.append(request.headers.get("x-webhook-secret"))
            return json_response(200, {})

    with Sandbox() as sandbox:
        sandbox.vendors = (Curious(),)
        send(HOOK, f"{sandbox.url}/hook", "s3cret")
        send(HOOK, f"{sandbox.url}/hook")

    assert seen == ["s3cret", None]


@pytest.mark.parametrize("status", [301, 401, 503])
def test_a_webhook_that_is_turned_away_is_not_sent_again(sandbox: Sandbox, receiver: Receiver, status: int) -> None:
    receiver.status = status

    delivery = send(HOOK, f"{sandbox.url}/hook")

    assert (delivery.status, delivery.succeeded) == (status, False)
    assert len(sandbox.requests) == 1


def test_a_webhook_without_an_answer_says_why(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="drop"))

    delivery = send(HOOK, f"{sandbox.url}/hook")

    assert (delivery.status, delivery.error, delivery.succeeded) == (None, "ConnectionError", False)


def test_a_webhook_is_given_up_after_five_seconds(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="delay", seconds=6))

    delivery = send(HOOK, f"{sandbox.url}/hook")

    assert (delivery.status, delivery.error) == (None, "ReadTimeout")
    assert 5000 <= delivery.milliseconds < 5900


def test_edits_over_http_send_their_webhooks_to_whom_they_were_told(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/hook"
    call(sandbox, "POST", "/_sandbox/butter/webhook", {"url": url, "secret": "s3cret"})

    answer = call(sandbox, "POST", "/_sandbox/butter/publish_post", {"slug": "hello"}).json()
    call(sandbox, "POST", "/_sandbox/butter/webhook", {})
    silent = call(sandbox, "POST", "/_sandbox/butter/publish_post", {"slug": "hello"}).json()

    assert answer["delivery"]["status"] == 200
    assert answer["webhook"]["webhook"] == {"event": "post.published", "target": url}
    assert [got.request.json_object() for got in sandbox.requests_to("receiver")] == [answer["webhook"]]
    assert "delivery" not in silent


# --- as a process ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_serves_the_example_site_and_ends_when_told(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sandbox.server", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[4].rstrip(",")
        token = requests.get(f"{url}/_sandbox/butter/account", timeout=5).json()["token"]
        posts = requests.get(f"{url}/v2/posts/", params={"auth_token": token}, timeout=5).json()
        process.send_signal(number)

        assert process.wait(5) == 0

    assert posts["meta"]["count"] == len(example_site().content.posts) - 2
