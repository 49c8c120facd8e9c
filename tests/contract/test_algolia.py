"""algolia against the sandbox's Algolia: what arrives there, what is in its indices then, what each answer means."""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import hypothesis
import pytest
import requests
import trustme
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

import algolia
import hosts
from application import Account, Application
from buttersync.delivery import Adapter, Delivery
from buttersync.model import Document, Effect, Identity, Kind
from buttersync.outcomes import DONE, Failure, Misconfigured, Outcome, Refused, Unavailable
from sandbox.faults import Fault
from sandbox.server import Recorded, Sandbox
from tests.fakes.target import Target, target

KEY = "0123456789abcdef0123456789abcdef"
BATCH = "/1/indexes/posts/batch"

DOCUMENT = Document(
    identity=Identity("post", "", "hello", "en"),
    version=1,
    change="created",
    announce_key="post:7",
    archive_key="archive",
    title="Hello there",
    summary="A greeting.",
    url="https://www.example.com/blog/hello",
    author="Ada Example",
    tags=("first", "short"),
    published_at="2026-03-01T08:00:00.000000Z",
    text="Hello there, reader.",
)
RECORD = {
    "objectID": "post:hello:en",
    "type": "post",
    "title": "Hello there",
    "slug": "hello",
    "locale": "en",
    "url": "https://www.example.com/blog/hello",
    "summary": "A greeting.",
    "author": "Ada Example",
    "categories": [],
    "tags": ["first", "short"],
    "published_at": 1_772_352_000,
    "content": "Hello there, reader.",
}


def document(
    slug: str = "hello", version: int = 1, change: Effect = "updated", kind: Kind = "post", group: str = "", **more: Any
) -> Document:
    """A version of an item; a removed one has its identity and version only."""
    identity = Identity(kind, group, slug, "en")
    given = {name: getattr(DOCUMENT, name) for name in Document.__struct_fields__} if change != "removed" else {}
    key = {"announce_key": "post:7", "archive_key": f"{identity.ref}/{version}"}
    return Document(**(given | key | {"identity": identity, "version": version, "change": change} | more))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running
        algolia.client.close()


def settings(sandbox: Sandbox, **changed: str) -> dict[str, str]:
    """Those of the sandbox's first application."""
    own = {"app_id": sandbox.algolia.app_id, "api_key": KEY, "endpoint": sandbox.algolia_endpoint}
    return own | changed


def deliver(sandbox: Sandbox, *documents: Document, **changed: str) -> list[Outcome]:
    return algolia.deliver(settings(sandbox, **changed), documents or [DOCUMENT])


def failure(sandbox: Sandbox, *documents: Document, **changed: str) -> Failure:
    """What all of the documents came to."""
    first, *others = deliver(sandbox, *documents, **changed)
    assert isinstance(first, Failure)
    assert all(other is first for other in others)
    return first


def asked(sandbox: Sandbox) -> list[Recorded]:
    return sandbox.requests_to("algolia")


def methods(sandbox: Sandbox) -> set[str]:
    return {one.request.method for one in asked(sandbox)}


def body(recorded: Recorded) -> Any:
    return json.loads(recorded.request.body)


def place(sandbox: Sandbox, number: int = 0) -> str:
    """A pattern for one of Algolia's hosts."""
    return re.escape(sandbox.algolia_hosts[number].address)


# What arrives


def test_a_post_arrives_as_one_request(sandbox: Sandbox) -> None:
    assert deliver(sandbox, DOCUMENT) == [DONE]

    [recorded] = asked(sandbox)
    assert (recorded.request.method, recorded.path, recorded.request.query) == ("POST", BATCH, ())
    assert recorded.request.headers["x-algolia-application-id"] == sandbox.algolia.app_id
    assert recorded.request.headers["content-type"] == "application/json"
    assert body(recorded) == {"requests": [{"action": "addObject", "body": RECORD}]}
    assert sandbox.algolia.records("posts") == {"post:hello:en": RECORD}


def test_each_index_gets_one_request_with_its_documents_in_their_order(sandbox: Sandbox) -> None:
    removed = document("5", change="removed", kind="item", group="products")
    documents = [document("b"), document("x", kind="page", group="landing"), document("a", change="removed"), removed]

    assert deliver(sandbox, *documents, document("c"), index_prefix="prod_") == [DONE] * 5

    sent = {
        one.path: [(two["action"], two["body"]["objectID"]) for two in body(one)["requests"]] for one in asked(sandbox)
    }
    assert sent == {
        "/1/indexes/prod_posts/batch": [
            ("addObject", "post:b:en"),
            ("deleteObject", "post:a:en"),
            ("addObject", "post:c:en"),
        ],
        "/1/indexes/prod_pages/batch": [("addObject", "page:landing:x:en")],
        "/1/indexes/prod_collection_products/batch": [("deleteObject", "item:products:5:en")],
    }
    assert len(asked(sandbox)) == 3


def test_the_name_of_a_collection_stays_in_its_part_of_the_path(sandbox: Sandbox) -> None:
    item = document("5", kind="item", group="a b/../posts?x#%2F", fields={})

    assert isinstance(failure(sandbox, item), Refused)

    assert {one.path for one in asked(sandbox)} == {"/1/indexes/collection_a%20b%2F..%2Fposts%3Fx%23%252F/batch"}


def test_a_new_version_replaces_the_record_whole(sandbox: Sandbox) -> None:
    page = document("x", kind="page", group="landing", fields={"headline": "Old", "discount": 20})
    deliver(sandbox, page)

    deliver(sandbox, document("x", kind="page", group="landing", fields={"headline": "New"}))

    [record] = sandbox.algolia.records("pages").values()
    assert record["headline"] == "New"
    assert "discount" not in record


def test_a_removal_deletes_the_record_and_is_done_also_where_there_is_none(sandbox: Sandbox) -> None:
    deliver(sandbox, document("here"), document("stays"))

    assert deliver(sandbox, document("here", change="removed"), document("never", change="removed")) == [DONE, DONE]

    assert list(sandbox.algolia.records("posts")) == ["post:stays:en"]


def test_what_is_accepted_is_done_before_it_can_be_found(sandbox: Sandbox) -> None:
    sandbox.algolia.delay = 60

    assert deliver(sandbox) == [DONE]

    assert sandbox.algolia.records("posts") == {}


def test_whatever_a_cms_holds_arrives(sandbox: Sandbox) -> None:
    fields = {
        "half": "a\ud800b",
        "nul": "a\0b",
        "astral": "\U0001f44b\u2028",
        "infinite": float("inf"),
        "large": 10**30,
        "nested": [{"deep": [[["words"]]]}],
        "_tags": ["theirs"],
        "objectID": "another",
        "": "nameless",
        "bad\ud800name": 1,
    }

    assert deliver(sandbox, document("x", kind="page", group="*", fields=fields)) == [DONE]

    [record] = sandbox.algolia.records("pages").values()
    own = {name: record[name] for name in record.keys() - RECORD.keys()}
    assert own == {"page_type": "*", "half": "ab", "nul": "ab", "astral": "\U0001f44b", "nested": "words", "badname": 1}


def test_a_long_text_is_cut_to_what_the_plan_takes(sandbox: Sandbox) -> None:
    text = 'Salt & "pepper", \u20ac5 \U0001f44b ' * 1_000

    assert deliver(sandbox, document(text=text)) == [DONE]

    [record] = sandbox.algolia.records("posts").values()
    assert text.startswith(record["content"])
    assert len(record["content"]) > 6_000


def test_who_is_too_large_or_wrong_keeps_nobody_else_out(sandbox: Sandbox) -> None:
    large = document("large", tags=tuple(f"tag {number}" for number in range(5_000)))
    documents = [document(f"good-{number}") for number in range(5)]
    sandbox.algolia.record_bytes = 2_000
    wrong = document("wrong", text="word " * 1_000)

    outcomes = deliver(sandbox, *documents[:2], large, *documents[2:], wrong)

    assert outcomes[:2] + outcomes[3:6] == [DONE] * 5
    ours, theirs = outcomes[2], outcomes[6]
    assert isinstance(ours, Refused)
    assert "10000 allowed by the setting record_bytes" in ours.reason
    assert isinstance(theirs, Refused)
    assert re.search(
        r"400 .*objectID=post:wrong:en is too big size=\d+/2000 bytes.*record_bytes is above", theirs.reason
    )
    assert len(sandbox.algolia.records("posts")) == 5


# What each answer means


class Row(NamedTuple):
    """What Algolia does, and what it means."""

    fault: Fault
    outcome: type[Failure]
    reason: str
    unsure: bool = False
    retry_after: float = 0


def said(status: int, message: str = "", **headers: str) -> Fault:
    """An answer in Algolia's form."""
    text = json.dumps({"message": message, "status": status}) if message else None
    return Fault(
        kind="status",
        status=status,
        body=text,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def answered(text: str) -> Fault:
    return Fault(kind="status", status=200, body=text)


PROXY = r"^400 Bad Request$"
DEEP = '{"deep": ' + "[" * 100_000
NONSENSE = "what came with 2xx is no answer of Algolia's"

ROWS = {
    "400": Row(said(400, "Invalid object attributes"), Refused, "^400 Invalid object attributes$"),
    "400 of a proxy": Row(Fault(kind="status", status=400, body="<html>a message</html>"), Misconfigured, PROXY),
    "400 that is no object": Row(Fault(kind="status", status=400, body='["message"]'), Misconfigured, PROXY),
    "400 of great depth": Row(Fault(kind="status", status=400, body=DEEP), Misconfigured, PROXY),
    "401": Row(said(401, "Invalid credentials"), Misconfigured, "^401 Invalid credentials$"),
    "402": Row(said(402, "Feature not enabled"), Misconfigured, "^402 Feature not enabled$"),
    "403": Row(said(403, "Invalid Application-ID or API key"), Misconfigured, "^403 Invalid Application-ID"),
    "404": Row(said(404, "Path not found"), Misconfigured, "^404 Path not found$"),
    "405": Row(said(405, "Not allowed"), Misconfigured, "^405 Not allowed$"),
    "408": Row(said(408, "Request time-out"), Unavailable, "^408 Request time-out$"),
    "413 of a proxy": Row(said(413), Refused, "^413 .*Too Large$"),
    "413": Row(said(413, "Request body is too large"), Refused, "^413 Request body is too large$"),
    "429": Row(said(429, "Too many jobs"), Unavailable, "^429 Too many jobs$"),
    "429 for a while": Row(said(429, "Slow", Retry_After="40"), Unavailable, "^429 Slow$", retry_after=40),
    "429 for ages": Row(
        said(429, "Slow", Retry_After="9" * 400), Unavailable, "429", retry_after=hosts.LONGEST_RETRY_AFTER
    ),
    "429 until long ago": Row(said(429, "Slow", Retry_After="Sun, 06 Nov 1994 08:49:37 GMT"), Unavailable, "429"),
    "429 until ever": Row(
        said(429, "Slow", Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"),
        Unavailable,
        "429",
        retry_after=hosts.LONGEST_RETRY_AFTER,
    ),
    "429 until soon": Row(said(429, "Slow", Retry_After="soon"), Unavailable, "429"),
    "429 until before": Row(said(429, "Slow", Retry_After="-5"), Unavailable, "429"),
    "500": Row(said(500), Unavailable, "500 Internal Server Error", unsure=True),
    "502": Row(said(502), Unavailable, "502 Bad Gateway", unsure=True),
    "503": Row(said(503, "Busy", Retry_After="7"), Unavailable, ": 503 Busy", unsure=True, retry_after=7),
    "dropped": Row(Fault(kind="drop"), Unavailable, "no answer: ConnectionError", unsure=True),
    "cut off": Row(Fault(kind="malformed", form="cut"), Unavailable, "no answer: ChunkedEncodingError", unsure=True),
    "HTML": Row(Fault(kind="malformed", form="html"), Unavailable, NONSENSE, unsure=True),
    "half": Row(Fault(kind="malformed", form="truncated"), Unavailable, NONSENSE, unsure=True),
    "nothing": Row(answered(""), Unavailable, NONSENSE, unsure=True),
    "no object": Row(answered("[1]"), Unavailable, NONSENSE, unsure=True),
    "a depth": Row(answered(DEEP), Unavailable, NONSENSE, unsure=True),
    "no task": Row(answered('{"objectIDs": ["post:hello:en"]}'), Unavailable, NONSENSE, unsure=True),
    "no ids": Row(answered('{"taskID": 1}'), Unavailable, NONSENSE, unsure=True),
    "too few ids": Row(
        answered('{"taskID": 1, "objectIDs": []}'), Unavailable, "answered for 0 of 1 actions", unsure=True
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_answer_has_its_outcome(sandbox: Sandbox, row: Row) -> None:
    sandbox.faults.add(row.fault)

    found = failure(sandbox)

    assert isinstance(found, row.outcome)
    assert re.search(row.reason, found.reason)
    if isinstance(found, Unavailable):
        assert (found.unsure, found.retry_after) == (row.unsure, row.retry_after)


def test_an_answer_that_is_called_something_else_is_an_answer(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="malformed", form="type"))

    assert deliver(sandbox) == [DONE]


def test_until_when_to_wait_may_be_a_date(sandbox: Sandbox) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    sandbox.faults.add(said(429, "Slow", Retry_After=date))

    found = failure(sandbox)

    assert isinstance(found, Unavailable)
    assert 90 < found.retry_after <= 100


def test_a_full_queue_of_tasks_is_unavailable(sandbox: Sandbox) -> None:
    sandbox.algolia.account.most_tasks = 0

    assert failure(sandbox).reason == "429 Too many jobs"
    assert deliver(sandbox, document(change="removed")) == [DONE]


def test_a_used_up_plan_is_misconfigured(sandbox: Sandbox) -> None:
    sandbox.algolia.account.quota = 0

    assert isinstance(failure(sandbox), Misconfigured)


def test_a_key_that_may_not_is_misconfigured_and_never_told(sandbox: Sandbox) -> None:
    lame, narrow = sandbox.algolia.add_key("search"), sandbox.algolia.add_key("addObject", indexes=["blog_*"])

    found = [failure(sandbox, api_key=key) for key in (lame, narrow, "n0ne")]

    assert [re.sub("line:.*;", "line;", one.reason) for one in found] == [
        "400 Not enough rights to add an object near line; the key lacks a right",
        "403 Index not allowed with this API key; the key is for other indices only",
        "403 Invalid Application-ID or API key",
    ]
    assert all(isinstance(one, Misconfigured) for one in found)


def test_an_index_that_the_key_is_not_for_keeps_no_other_out(sandbox: Sandbox) -> None:
    narrow = sandbox.algolia.add_key("addObject", indexes=["posts"])

    outcomes = deliver(sandbox, document("a"), document("x", kind="page", group="*"), document("b"), api_key=narrow)

    assert [type(outcome) for outcome in outcomes] == [type(DONE), Misconfigured, type(DONE)]


def test_no_reason_repeats_the_key_or_what_may_be_content(sandbox: Sandbox) -> None:
    sandbox.faults.add(said(400, f'no `secret words` with {KEY}: "Hello there" in 5\n{{"requests": "Hello there"'))

    assert failure(sandbox).reason == "400 no … with …: … in 5"


def test_a_redirection_is_not_followed(sandbox: Sandbox) -> None:
    elsewhere = {"Location": f"{sandbox.url}{BATCH}"}
    sandbox.faults.add(
        Fault(kind="status", status=307, headers=elsewhere, host="|".join(place(sandbox, n) for n in range(3)))
    )

    found = failure(sandbox)

    assert isinstance(found, Misconfigured)
    assert found.reason == f"{sandbox.algolia_hosts[2].address}: 307 Temporary Redirect"
    assert len(asked(sandbox)) == 3


@pytest.mark.parametrize("place", ["http://[::1:80/", "http://[nowhere]/", "//", "\u00ff", "http://x:y/"])
def test_a_redirection_to_what_is_no_address_is_misconfigured(sandbox: Sandbox, place: str) -> None:
    # requests understands where it leads also when it is not to follow, or fails to: the error came out of deliver.
    sandbox.faults.add(Fault(kind="status", status=302, headers={"Location": place}))

    assert failure(sandbox).reason.endswith(": 302 Found")


def test_no_credentials_come_from_a_file_of_the_machine(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password lovelace")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    deliver(sandbox)

    assert "authorization" not in asked(sandbox)[0].request.headers


@pytest.mark.parametrize("fault", [said(429, "Slow", Retry_After="30"), said(503, "Slow", Retry_After="30")])
def test_nothing_sleeps_and_nothing_is_sent_twice_to_a_host(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.faults.add(fault)
    began = time.monotonic()

    failure(sandbox)

    assert time.monotonic() - began < 5
    assert len({one.host for one in asked(sandbox)}) == len(asked(sandbox))


# Hosts


def test_a_host_that_is_down_is_passed_over(sandbox: Sandbox) -> None:
    sandbox.algolia_hosts[0].down()
    sandbox.algolia_hosts[1].down()

    assert deliver(sandbox) == [DONE]

    assert [one.host for one in asked(sandbox)] == [sandbox.algolia_hosts[2].address]


def test_when_all_hosts_are_down_nothing_was_sent(sandbox: Sandbox) -> None:
    for host in sandbox.algolia_hosts:
        host.down()

    found = failure(sandbox)

    assert isinstance(found, Unavailable)
    assert not found.unsure
    assert found.reason == "; ".join(
        f"{host.address}: no connection: ConnectionError" for host in sandbox.algolia_hosts
    )


def test_to_a_host_whose_name_nobody_knows_nothing_was_sent() -> None:
    [found] = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": "https://nobody.invalid"}, [DOCUMENT])

    assert isinstance(found, Unavailable)
    assert not found.unsure
    assert found.reason == "nobody.invalid: no connection: ConnectionError"


def test_to_a_host_that_takes_no_connection_in_time_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CALL_SECONDS", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        address = listener.getsockname()
        with closing(socket.create_connection(address)):  # there is no room for another
            endpoint = f"http://127.0.0.1:{address[1]}"
            [found] = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": endpoint}, [DOCUMENT])

    assert isinstance(found, Unavailable)
    assert not found.unsure
    assert found.reason.endswith("no connection: ConnectTimeout")


def test_hosts_that_come_back_are_asked_at_once(sandbox: Sandbox) -> None:
    sandbox.faults.add(said(500))
    failure(sandbox)
    sandbox.faults.clear()

    assert deliver(sandbox) == [DONE]


def test_a_host_that_went_away_in_between_is_connected_to_anew(sandbox: Sandbox) -> None:
    deliver(sandbox)
    for host in sandbox.algolia_hosts:
        host.down()
        host.up()

    assert deliver(sandbox) == [DONE]


@pytest.mark.parametrize("fault", [said(400, "Wrong"), said(403), said(404), said(429)])
def test_what_a_host_turns_down_is_not_brought_to_another(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.faults.add(fault)

    failure(sandbox)

    assert len(asked(sandbox)) == 1


def test_429_after_a_host_that_may_still_act_leaves_it_unsure(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="drop", host=place(sandbox)))
    sandbox.faults.add(said(429, "Too many jobs"))

    found = failure(sandbox)

    assert isinstance(found, Unavailable)
    assert found.unsure
    assert found.reason.endswith("no answer: ConnectionError; 429 Too many jobs")


@pytest.mark.parametrize("answer", [said(400, "Wrong"), said(413), said(403), said(404)])
@pytest.mark.parametrize("first", [Fault(kind="drop"), said(503), Fault(kind="status", status=302)])
def test_a_refusal_after_a_host_that_may_still_act_leaves_it_unsure(
    sandbox: Sandbox, first: Fault, answer: Fault
) -> None:
    # The lease was released: the first host could write what it got after something newer.
    sandbox.faults.add(replace(first, host=place(sandbox)))
    sandbox.faults.add(answer)

    found = failure(sandbox)

    assert isinstance(found, Misconfigured | Refused)
    assert found.unsure == (first.status != 302)


def test_the_halves_of_a_batch_that_a_host_may_still_act_on_are_unsure(sandbox: Sandbox) -> None:
    # They were accepted by the second host, and counted as done.
    sandbox.algolia.record_bytes = 2_000
    sandbox.faults.add(Fault(kind="drop", host=place(sandbox), path=BATCH))
    page, wrong = document("x", kind="page", group="*"), document("wrong", text="word " * 1_000)

    good, refused, other = deliver(sandbox, document("a"), wrong, page)

    assert isinstance(good, Unavailable)
    assert good.unsure
    assert good.reason.startswith("accepted, but a silent host may act on what another refused: 400 Record at the ")
    assert isinstance(refused, Refused)
    assert refused.unsure
    assert other is DONE
    assert set(sandbox.algolia.records("posts")) == {"post:a:en"}


def test_what_is_not_sent_after_a_doubt_is_in_doubt_only_where_it_was_sent_before(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="drop", host=place(sandbox)))
    sandbox.faults.add(replace(said(400, "Wrong"), times=1))
    sandbox.faults.add(said(429, "Slow"))

    outcomes = deliver(sandbox, document("x", kind="page", group="*"), document("a"), document("b"))

    assert [isinstance(outcome, Unavailable) and outcome.unsure for outcome in outcomes] == [False, True, True]


def test_one_host_that_may_come_back_is_enough_to_try_again(sandbox: Sandbox) -> None:
    sandbox.algolia_hosts[0].down()
    redirecting = Fault(kind="status", status=302, host=f"{place(sandbox, 1)}|{place(sandbox, 2)}")
    sandbox.faults.add(redirecting)

    found = failure(sandbox)

    first, second, third = (host.address for host in sandbox.algolia_hosts)
    assert isinstance(found, Unavailable)
    assert found.reason == f"{first}: no connection: ConnectionError; {second}: 302 Found; {third}: 302 Found"


def test_a_host_without_an_answer_is_asked_once_in_a_delivery_and_last_in_the_next(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.3)
    sandbox.faults.add(Fault(kind="delay", seconds=2, host=place(sandbox)))
    documents = [document("a"), document("x", kind="page", group="*"), document("5", kind="item", group="products")]

    first = deliver(sandbox, *documents)
    second = deliver(sandbox, *documents)

    silent, answering = (sandbox.algolia_hosts[number].address for number in (0, 1))
    assert [one.host for one in asked(sandbox) if one.host != silent] == [answering] * 6
    assert second == [DONE] * 3
    [unsure] = [outcome for outcome in first if outcome is not DONE]
    assert isinstance(unsure, Unavailable)
    assert unsure.unsure
    assert unsure.reason == f"accepted, but not at first: {silent}: no answer: ReadTimeout"


ACCEPTED = b'{"taskID": 1, "objectIDs": ["post:hello:en"]}'
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = b"content-length: %d\r\n\r\n%s" % (len(ACCEPTED), ACCEPTED)
DRIPS = {
    "headers": (OK, WHOLE),
    "body": (OK + WHOLE.removesuffix(ACCEPTED), ACCEPTED),
    "body without an end": (OK + b"\r\n", ACCEPTED),
    "white space": (OK + b"\r\n" + ACCEPTED, b" " * 500),
}


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
def test_an_answer_that_comes_in_drips_ends_when_the_time_does(
    answer: tuple[bytes, bytes], secured: bool, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A time-out counts between two bytes: this host kept a delivery for as long as it liked.
    monkeypatch.setattr(hosts, "CALL_SECONDS", 1)
    with dripping(answer, context=context if secured else None) as endpoint:
        began = time.monotonic()

        [found] = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": endpoint}, [DOCUMENT])

    assert 0.9 < time.monotonic() - began < 3
    assert isinstance(found, Unavailable)
    assert found.unsure
    assert found.reason.endswith("no answer: ReadTimeout")


def test_a_kept_connection_is_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping((b"%sconnection: keep-alive\r\n%s" % (OK, WHOLE), b""), DRIPS["headers"]) as endpoint:
        own = {"app_id": "L", "api_key": KEY, "endpoint": endpoint}
        assert algolia.deliver(own, [DOCUMENT]) == [DONE]
        monkeypatch.setattr(hosts, "CALL_SECONDS", 1)
        began = time.monotonic()

        [found] = algolia.deliver(own, [DOCUMENT])

    assert time.monotonic() - began < 3
    assert isinstance(found, Unavailable)
    assert found.unsure


def test_a_connection_that_is_made_when_the_time_is_over_is_not_used(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.3)
    with dripping(DRIPS["headers"], context=context, pause=0.6) as endpoint:
        began = time.monotonic()

        [found] = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": endpoint}, [DOCUMENT])

    assert 0.6 < time.monotonic() - began < 3
    assert isinstance(found, Unavailable)


def test_after_a_host_whose_answer_comes_in_drips_the_next_is_asked(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.5)
    with dripping(DRIPS["headers"]) as slow:
        found = failure(sandbox, endpoint=f"{slow},{sandbox.algolia_hosts[0].url}")

    assert found.reason.startswith("accepted, but not at first: ")
    assert found.unsure
    assert set(sandbox.algolia.records("posts")) == {"post:hello:en"}


def test_a_host_that_reads_in_drips_does_not_keep_a_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CALL_SECONDS", 1)
    long = [document(str(number), text="word " * 20_000) for number in range(100)]
    with dripping() as endpoint:
        began = time.monotonic()

        found = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": endpoint, "record_bytes": "100000"}, long)

    assert 0.9 < time.monotonic() - began < 3
    assert all(isinstance(outcome, Unavailable) and outcome.unsure for outcome in found)


@contextmanager
def dripping(*answers: tuple[bytes, bytes], context: ssl.SSLContext | None = None, pause: float = 0) -> Iterator[str]:
    """The address of a host that sends a part of each answer, and then a byte in every 100 ms; it reads as slowly."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        over = threading.Event()

        def serve() -> None:
            plain, _ = listener.accept()
            over.wait(pause)
            with context.wrap_socket(plain, server_side=True) if context else plain as connection, suppress(OSError):
                for at_once, in_drips in answers:
                    receive(connection)
                    connection.sendall(at_once)
                    for byte in in_drips:
                        over.wait(0.1)
                        connection.sendall(bytes([byte]))
                while not over.wait(0.1):
                    connection.recv(10_000)

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"http{'s' if context else ''}://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        algolia.client.close()
        serving.join()


def receive(connection: socket.socket) -> None:
    """Reads a request, if one comes."""
    with connection.makefile("rb") as request:
        head = b"".join(takewhile(lambda line: line != b"\r\n", request))
        length = re.search(rb"(?i)content-length: (\d+)", head)
        request.read(int(length[1]) if length else 0)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """What makes a host one that is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "authority.pem"))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    return server_side


def test_what_a_silent_host_was_sent_may_come_back_after_a_removal(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why what was accepted by another host does not count as done: see the story of the lease below.
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.2)
    sandbox.faults.add(Fault(kind="delay", seconds=1, host=place(sandbox)))
    deliver(sandbox, document())
    sandbox.faults.clear()

    deliver(sandbox, document(change="removed"))
    assert sandbox.algolia.records("posts") == {}

    wait_until(lambda: bool(sandbox.algolia.records("posts")))


def test_when_the_time_is_over_what_is_left_is_not_sent(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CALL_SECONDS", 0.5)
    sandbox.faults.add(Fault(kind="delay", seconds=3))
    began = time.monotonic()

    outcomes = deliver(sandbox, document("x", kind="page", group="*"), document("a"))

    assert time.monotonic() - began < 0.5 + hosts.CONNECT_SECONDS
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert [outcome.unsure for outcome in outcomes if isinstance(outcome, Unavailable)] == [False, True]
    assert all("no time was left" in outcome.reason for outcome in outcomes if outcome)


def test_algolias_own_hosts_are_asked_where_no_endpoint_is_set() -> None:
    application = Application(Account("LATENCY", KEY))

    application.begin()

    own = application._config.hosts
    assert own is not None
    assert next(host.url for host in own.write()) == "LATENCY.algolia.net"
    assert next(host.url for host in own.read()) == "LATENCY-dsn.algolia.net"
    spare = {f"LATENCY-{number}.algolianet.com" for number in (1, 2, 3)}
    assert {host.url for host in own.write()} - spare == {"LATENCY.algolia.net"}
    assert {host.scheme for host in own.write()} == {"https"}
    application.close()


def test_a_kept_connection_is_used_again_until_it_was_idle_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as (address, connections):
        own = {"app_id": "LATENCY", "api_key": KEY, "endpoint": f"http://{address}"}
        for _ in range(3):
            assert algolia.deliver(own, [DOCUMENT]) == [DONE]
        [kept] = connections

        monkeypatch.setattr(hosts, "KEPT_SECONDS", 0)
        assert algolia.deliver(own, [DOCUMENT]) == [DONE]
        wait_until(lambda: kept not in connections)
        assert len(connections) == 1

        algolia.client.close()
        wait_until(lambda: not connections)


def test_new_settings_make_a_new_client_and_a_reset_drops_it(sandbox: Sandbox) -> None:
    deliver(sandbox)
    kept = algolia.client._application
    deliver(sandbox)
    assert algolia.client._application is kept

    failure(sandbox, api_key="another")
    assert algolia.client._application is not kept

    algolia.client.close()
    assert algolia.client._application is None


def test_a_host_with_a_certificate_of_nobody_known_is_misconfigured() -> None:
    with server(trustme.CA().issue_cert("127.0.0.1")) as (address, _):
        [found] = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": f"https://{address}"}, [DOCUMENT])

    assert isinstance(found, Misconfigured)
    assert re.fullmatch(rf"{address}: TLS: .*certificate.*", found.reason)


def test_a_host_without_tls_is_misconfigured(sandbox: Sandbox) -> None:
    found = failure(sandbox, endpoint=sandbox.algolia_hosts[0].url.replace("http:", "https:"))

    assert isinstance(found, Misconfigured)
    assert "TLS: WRONG_VERSION_NUMBER" in found.reason


def test_a_connection_that_is_lost_in_the_handshake_is_unavailable() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=hang_up_on_the_first, args=(listener,), daemon=True).start()
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"

        [found] = algolia.deliver({"app_id": "L", "api_key": KEY, "endpoint": endpoint}, [DOCUMENT])

    assert isinstance(found, Unavailable)


def hang_up_on_the_first(listener: socket.socket) -> None:
    listener.accept()[0].close()


@contextmanager
def server(certificate: trustme.LeafCert | None = None) -> Iterator[tuple[str, set[object]]]:
    """A host that accepts everything; its address, and the connections that are open to it."""
    connections: set[object] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.add(self.client_address)
            super().setup()

        def finish(self) -> None:
            super().finish()
            connections.discard(self.client_address)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = b'{"taskID": 1, "objectIDs": ["post:hello:en"]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that turns the certificate down is no error of the server."""

    running = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{running.server_port}", connections
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
        algolia.client.close()


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Setup and check

FACETS = ["type", "locale", "searchable(categories)", "searchable(tags)", "searchable(author)", "filterOnly(slug)"]
SEARCHED = {
    "searchableAttributes": [
        "unordered(title)",
        "unordered(summary)",
        "categories,tags",
        "author",
        "unordered(content)",
    ],
    "attributesToHighlight": ["title", "summary", "categories", "tags", "author"],
    "attributesToSnippet": ["content:30"],
}
NEWEST_FIRST = {"customRanking": ["desc(published_at)"]}


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTIONS", " products, ,team")


def set_by_a_person(sandbox: Sandbox, index: str, **changed: object) -> None:
    application = Application(Account.of(settings(sandbox)))
    application.begin()
    application.set(index, changed)
    application.close()
    sandbox.requests.clear()


def own(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of an index those that setup cares for."""
    names = [*SEARCHED, *NEWEST_FIRST, "attributesForFaceting"]
    return {name: shown[name] for name in names if shown[name] is not None}


@pytest.mark.usefixtures("collections")
def test_setup_gives_every_index_its_settings(sandbox: Sandbox) -> None:
    answer = algolia.setup(settings(sandbox, index_prefix="prod_"))

    found = {index: own(sandbox.algolia.settings(index)) for index in sandbox.algolia.indices}
    item = SEARCHED | {"attributesForFaceting": [*FACETS, "collection"]}
    assert found == {
        "prod_pages": SEARCHED | NEWEST_FIRST | {"attributesForFaceting": [*FACETS, "page_type"]},
        "prod_posts": SEARCHED | NEWEST_FIRST | {"attributesForFaceting": FACETS},
        "prod_collection_products": item,
        "prod_collection_team": item,
    }
    assert answer.startswith("prod_pages: set searchableAttributes, ")
    assert answer.count("; ") == 3


def test_setup_sets_what_nobody_has_set_and_leaves_the_rest(sandbox: Sandbox) -> None:
    theirs = {"customRanking": ["asc(title)"], "attributesToSnippet": [], "hitsPerPage": 5}
    set_by_a_person(sandbox, "posts", **theirs)

    answer = algolia.setup(settings(sandbox))

    shown = sandbox.algolia.settings("posts")
    assert own(shown) | theirs == SEARCHED | {"attributesForFaceting": FACETS} | theirs
    assert {name: shown[name] for name in theirs} == theirs
    assert "posts: set searchableAttributes, attributesToHighlight, attributesForFaceting and left " in answer
    assert answer.endswith("left attributesToSnippet, customRanking")


def test_setup_again_changes_nothing(sandbox: Sandbox) -> None:
    algolia.setup(settings(sandbox))
    before = len(asked(sandbox))

    answer = algolia.setup(settings(sandbox))

    assert {one.request.method for one in asked(sandbox)[before:]} == {"GET"}
    assert " set " not in answer


def test_setup_finds_the_collections_that_have_an_index_and_nobody_elses(sandbox: Sandbox) -> None:
    for index in ("collection_team", "prod_collection_team", "shop"):
        set_by_a_person(sandbox, index, hitsPerPage=5)

    algolia.setup(settings(sandbox))

    assert sandbox.algolia.settings("collection_team")["searchableAttributes"]
    assert sandbox.algolia.settings("prod_collection_team")["searchableAttributes"] is None
    assert sandbox.algolia.settings("shop")["searchableAttributes"] is None


def test_setup_leaves_replicas_to_those_who_made_them(sandbox: Sandbox) -> None:
    listed = [{"name": "collection_a", "primary": None, "replicas": ["collection_a_by_price"]}]
    listed += [{"name": "collection_a_by_price", "primary": "collection_a"}]
    sandbox.faults.add(Fault(kind="status", status=200, path="/1/indexes$", body=json.dumps({"items": listed})))

    algolia.setup(settings(sandbox))

    assert sandbox.algolia.indices == ["collection_a", "pages", "posts"]


def test_setup_goes_without_the_right_to_list_indices(sandbox: Sandbox) -> None:
    key = sandbox.algolia.add_key("settings", "editSettings")

    algolia.setup(settings(sandbox, api_key=key))

    assert sandbox.algolia.indices == ["pages", "posts"]


@pytest.mark.parametrize("acl", [("addObject", "deleteObject"), ("addObject", "deleteObject", "settings")])
def test_setup_without_its_rights_is_misconfigured(sandbox: Sandbox, acl: Sequence[str]) -> None:
    with pytest.raises(Misconfigured, match="Method not allowed with this API key; the key lacks a right"):
        algolia.setup(settings(sandbox, api_key=sandbox.algolia.add_key(*acl)))


@pytest.mark.parametrize("ask", [algolia.setup, algolia.check])
@pytest.mark.parametrize("fault", [said(503), Fault(kind="malformed")])
def test_a_command_that_gets_no_answer_is_unavailable(
    sandbox: Sandbox, ask: Callable[[Mapping[str, str]], str], fault: Fault
) -> None:
    sandbox.faults.add(fault)

    with pytest.raises(Unavailable):
        ask(settings(sandbox))


@pytest.mark.usefixtures("collections")
def test_check_says_what_is_well_and_writes_nothing(sandbox: Sandbox) -> None:
    algolia.setup(settings(sandbox))
    before = len(asked(sandbox))

    answer = algolia.check(settings(sandbox))

    assert answer == (
        "the key may write to pages, posts, collection_products, collection_team; all have their settings"
    )
    assert {one.request.method for one in asked(sandbox)[before:]} == {"GET"}


def test_check_names_the_settings_that_are_lacking(sandbox: Sandbox) -> None:
    algolia.setup(settings(sandbox))
    set_by_a_person(sandbox, "pages", customRanking=None, attributesToSnippet=None)

    answer = algolia.check(settings(sandbox))

    assert answer.endswith("; run setup: pages lacks attributesToSnippet, customRanking")


def test_check_names_all_settings_of_an_index_that_is_not_there(sandbox: Sandbox) -> None:
    answer = algolia.check(settings(sandbox))

    assert "run setup: pages lacks searchableAttributes, " in answer
    assert "posts lacks searchableAttributes, " in answer
    assert sandbox.algolia.indices == []


@pytest.mark.parametrize(
    ("acl", "lacking"),
    [(("addObject",), "deleteObject"), (("deleteObject",), "addObject"), (("search",), "addObject, deleteObject")],
)
def test_check_names_the_right_that_is_lacking(sandbox: Sandbox, acl: Sequence[str], lacking: str) -> None:
    with pytest.raises(Misconfigured, match=f"^the key lacks {lacking}$"):
        algolia.check(settings(sandbox, api_key=sandbox.algolia.add_key(*acl)))


def test_check_is_content_with_a_key_that_may_deliver_and_no_more(sandbox: Sandbox) -> None:
    key = sandbox.algolia.add_key("addObject", "deleteObject")

    answer = algolia.check(settings(sandbox, api_key=key))

    assert answer.startswith("the key may write to pages, posts; for setup it lacks settings, editSettings; ")
    assert "the indices' settings cannot be read (403 Method not allowed" in answer


def test_check_says_what_a_key_that_may_only_deliver_could_not_see(sandbox: Sandbox) -> None:
    sandbox.algolia.account.keys_need_search = True
    key = sandbox.algolia.add_key("addObject", "deleteObject")

    answer = algolia.check(settings(sandbox, api_key=key))

    why = "(403 Method not allowed with this API key; the key lacks a right)"
    assert answer == f"what the key may do cannot be read {why}; the indices' settings cannot be read {why}"


def test_check_sees_the_rights_of_a_key_that_may_search_too(sandbox: Sandbox) -> None:
    sandbox.algolia.account.keys_need_search = True
    key = sandbox.algolia.add_key("addObject", "deleteObject", "search")

    assert algolia.check(settings(sandbox, api_key=key)).startswith("the key may write to pages, posts; ")


def test_check_turns_a_key_for_other_indices_down_that_may_not_read_itself(sandbox: Sandbox) -> None:
    sandbox.algolia.account.keys_need_search = True
    key = sandbox.algolia.add_key("addObject", "deleteObject", "settings", indexes=["prod_*"])

    with pytest.raises(Misconfigured, match=r"^403 Index not allowed with this API key"):
        algolia.check(settings(sandbox, api_key=key))


@pytest.mark.parametrize("status", [403, 404, 405])
@pytest.mark.parametrize("form", ["<html>No</html>", '{"message": "Path not found"}', ""])
def test_check_turns_down_what_is_not_algolia(sandbox: Sandbox, status: int, form: str) -> None:
    # 404 to everything was an application without indices.
    sandbox.faults.add(Fault(kind="status", status=status, body=form))

    with pytest.raises(Misconfigured, match=f"^{status}"):
        algolia.check(settings(sandbox))


def test_check_names_the_indices_that_the_key_is_not_for(sandbox: Sandbox) -> None:
    key = sandbox.algolia.add_key("addObject", "deleteObject", indexes=["prod_*", "post?", "*ages"])

    with pytest.raises(Misconfigured, match=r"^the key is for other indices than posts$"):
        algolia.check(settings(sandbox, api_key=key))
    assert algolia.check(settings(sandbox, api_key=key, index_prefix="prod_"))


def test_check_goes_on_with_a_key_that_may_not_read_itself(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="status", status=403, path="/1/keys/"))

    assert algolia.check(settings(sandbox)).startswith("what the key may do cannot be read (403 Forbidden); run setup")


@pytest.mark.parametrize("more", [{}, {"indexes": None}, {"indexes": []}, {"indexes": ["*"]}])
def test_check_knows_each_way_to_say_that_a_key_is_for_all_indices(
    sandbox: Sandbox, more: Mapping[str, object]
) -> None:
    rights = json.dumps({"value": KEY, "createdAt": 1, "acl": ["deleteObject", "addObject"], **more})
    sandbox.faults.add(Fault(kind="status", status=200, path="/1/keys/", body=rights))

    assert algolia.check(settings(sandbox)).startswith("the key may write to pages, posts; for setup it lacks settings")


@pytest.mark.parametrize("keys_need_search", [False, True])
def test_check_turns_a_wrong_key_down_and_does_not_tell_it(sandbox: Sandbox, keys_need_search: bool) -> None:
    sandbox.algolia.account.keys_need_search = keys_need_search

    with pytest.raises(Misconfigured, match=r"^403 Invalid Application-ID or API key$"):
        algolia.check(settings(sandbox, api_key="n0ne"))


def test_headers_that_are_none_bring_no_key_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    odd = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n: nameless\r\n\r\n{}"
    with dripping(*[(odd, b"")] * 4) as endpoint, pytest.raises(Misconfigured, match=r"^404 Not Found$"):
        algolia.check({"app_id": "L", "api_key": KEY, "endpoint": endpoint})

    assert KEY not in caplog.text


@pytest.mark.parametrize("ask", [algolia.setup, algolia.check])
def test_a_setting_that_cannot_be_is_misconfigured_before_anything_is_asked(
    sandbox: Sandbox, ask: Callable[[Mapping[str, str]], str]
) -> None:
    wrong = settings(sandbox, app_id="evil.example.com/")

    with pytest.raises(Misconfigured, match="app_id"):
        ask(wrong)
    with pytest.raises(Misconfigured, match="app_id"):
        algolia.deliver(wrong, [DOCUMENT])
    assert asked(sandbox) == []


# Through the queue


@pytest.fixture
def behind_a_queue(sandbox: Sandbox) -> Iterator[Target]:
    """The target, between queues on a virtual clock."""
    with target(**settings(sandbox)) as loop:
        yield leased(loop)


def leased(loop: Target) -> Target:
    """The target with algolia in the place of its vendor."""
    adapter = Adapter(
        "shop",
        ("app_id", "api_key"),
        algolia.deliver,
        algolia.check,
        algolia.setup,
        algolia.client.close,
        worst_case=hosts.CALL_SECONDS + hosts.CONNECT_SECONDS,
        leased=lambda _: True,
    )
    loop.loop = Delivery(adapter, clock=loop.cloud.clock)
    return loop


def test_a_story_of_edits_ends_as_it_should(sandbox: Sandbox, behind_a_queue: Target) -> None:
    for one in (document(version=1), document(version=2, title="Edited"), document("bye", version=1)):
        behind_a_queue.send(one)
        behind_a_queue.round()
    behind_a_queue.send(document("bye", version=2, change="removed"))
    behind_a_queue.round()

    behind_a_queue.send(document("bye", version=1))
    behind_a_queue.send(document(version=1))
    assert behind_a_queue.round() == set()

    assert {key: one["title"] for key, one in sandbox.algolia.records("posts").items()} == {"post:hello:en": "Edited"}
    assert len(behind_a_queue.logged("skipped")) == 2


def test_who_is_refused_waits_as_a_dead_letter_and_the_others_are_there(
    sandbox: Sandbox, behind_a_queue: Target
) -> None:
    sandbox.algolia.record_bytes = 2_000
    for one in (document("a"), document("wrong", text="word " * 1_000), document("b")):
        behind_a_queue.send(one)

    assert behind_a_queue.round() == set()

    assert set(sandbox.algolia.records("posts")) == {"post:a:en", "post:b:en"}
    [letter] = behind_a_queue.letters
    assert "objectID=post:wrong:en is too big" in letter.attributes["reason"]
    assert behind_a_queue.row("wrong")["status"] == "refused"


def test_a_throttled_document_comes_back_when_algolia_says(sandbox: Sandbox, behind_a_queue: Target) -> None:
    sandbox.faults.add(said(429, "Too many jobs", Retry_After="600"))
    message = behind_a_queue.send(document())

    behind_a_queue.round()
    assert 600 <= behind_a_queue.visible_in(message) <= 601

    sandbox.faults.clear()
    behind_a_queue.live_on()
    assert "post:hello:en" in sandbox.algolia.records("posts")


def test_a_key_that_is_mended_heals_by_itself(sandbox: Sandbox, behind_a_queue: Target) -> None:
    sandbox.faults.add(said(403, "Invalid Application-ID or API key"))
    behind_a_queue.send(document())
    behind_a_queue.round()
    assert behind_a_queue.row()["status"] == "misconfigured"

    sandbox.faults.clear()
    behind_a_queue.live_on()

    assert behind_a_queue.row()["status"] == "done"


def test_a_removal_waits_until_no_host_can_bring_back_what_it_removes(
    sandbox: Sandbox, behind_a_queue: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.2)
    sandbox.faults.add(Fault(kind="delay", seconds=1, host=place(sandbox), times=1))
    behind_a_queue.send(document(version=5))
    behind_a_queue.round()
    assert set(sandbox.algolia.records("posts")) == {"post:hello:en"}
    assert behind_a_queue.row()["status"] == "unavailable"

    behind_a_queue.send(document(version=6, change="removed"))
    behind_a_queue.round()
    assert set(sandbox.algolia.records("posts")) == {"post:hello:en"}
    wait_until(lambda: len(asked(sandbox)) == 2)  # the silent host has acted by now
    behind_a_queue.live_on()

    assert sandbox.algolia.records("posts") == {}
    assert behind_a_queue.row()["version"] == 6


VERSIONS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 6), st.integers(1, 10)), min_size=1, max_size=12)


@given(VERSIONS)
@hypothesis.settings(deadline=None, max_examples=50)
@example([("a", 5, 1), ("a", 6, 1), ("a", 5, 1)])
def test_whatever_the_order_the_newest_version_of_each_remains(deliveries: list[tuple[str, int, int]]) -> None:
    with Sandbox() as sandbox, target(**settings(sandbox)) as loop:
        for slug, version, most in deliveries:
            change: Effect = "removed" if version % 3 == 0 else "updated"
            leased(loop).send(document(slug, version, change, title=f"Version {version}"))
            loop.round(most)
        loop.live_on()
        algolia.client.close()

        titles = {one["slug"]: one["title"] for one in sandbox.algolia.records("posts").values()}
    newest = {slug: max(version for one, version, _ in deliveries if one == slug) for slug, _, _ in deliveries}
    assert titles == {slug: f"Version {version}" for slug, version in newest.items() if version % 3}


def test_the_handler_is_a_store_behind_the_lease(sandbox: Sandbox) -> None:
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    with target() as loop:
        loop.cloud.clock.now = time.time()
        assert algolia.handler({"command": "check"}, context)["settings"] == "dormant"

        path = "/buttersync/test/algolia/"
        loop.cloud.ssm.parameters = {
            path + name: value for name, value in settings(sandbox).items() if name != "api_key"
        }
        assert algolia.handler({"command": "check"}, context)["message"] == f"missing in SSM: {path}api_key"

        loop.cloud.ssm.parameters[f"{path}api_key"] = KEY
        assert algolia.handler({"command": "setup"}, context)["ok"]
        assert algolia.handler({"command": "check"}, context)["message"].endswith("all have their settings")

        kept = algolia.client._application
        assert algolia.handler({"command": "check"}, context)["ok"]
        assert algolia.client._application is not kept

        sandbox.faults.add(Fault(kind="drop"))
        loop.send(document())
        records = [one.record() for one in loop.cloud.sqs.receive()]
        answer = algolia.handler({"Records": records}, context)

    assert answer == {"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}
    row = loop.cloud.dynamodb.tables["deliveries"]["algolia|post:hello:en"]
    assert row["status"]["S"] == "unavailable"
    assert "lease" in row


# What the docs say

DOCUMENTATION = (Path(__file__).parents[2] / "docs/algolia.md").read_text()


def test_the_record_in_the_docs_is_what_arrives(sandbox: Sandbox) -> None:
    page = document(
        "spring-sale",
        kind="page",
        group="landing-page",
        title="Spring Sale",
        url="https://www.example.com/spring-sale",
        summary="Everything for the garden.",
        image="https://cdn.buttercms.com/tulips",
        categories=("Offers",),
        tags=("garden", "sale"),
        updated_at="2026-03-02T09:30:00.250000Z",
        text="Spring Sale Everything for the garden. Tulips & more Ends soon",
        fields={
            "headline": "Spring Sale",
            "body": "<p>Tulips &amp; <b>more</b></p>",
            "discount": 20,
            "sizes": ["S", "M"],
            "hero": {"url": "https://cdn.buttercms.com/tulips", "alt": "Tulips"},
            "sections": [{"type": "banner", "fields": {"text": "Ends soon"}}],
            "tags": [{"name": "garden"}, {"name": "sale"}],
        },
    )
    [block] = re.findall(r"```json\n(.*?)```", DOCUMENTATION, re.DOTALL)

    assert deliver(sandbox, page) == [DONE]

    assert sandbox.algolia.records("pages") == {"page:landing-page:spring-sale:en": json.loads(block)}
    assert list(json.loads(block)) == list(*map(list, sandbox.algolia.records("pages").values()))


def test_every_attribute_of_every_record_is_in_the_docs(sandbox: Sandbox) -> None:
    whole: dict[str, Any] = {
        "image": "https://cdn.example.com/a.png",
        "updated_at": DOCUMENT.published_at,
        "fields": {"slug": "a"},
    }
    deliver(sandbox, document(**whole), document("x", kind="page", group="*", **whole | {"fields": {}}))
    deliver(sandbox, document("5", kind="item", group="products", **whole))

    table = DOCUMENTATION.split("| attribute |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    found = {
        name for index in sandbox.algolia.indices for one in sandbox.algolia.records(index).values() for name in one
    }
    assert named == found


def test_the_settings_in_the_docs_are_those_that_are_read() -> None:
    table = DOCUMENTATION.split("## Settings")[1].split("##")[0]

    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(Account.__dataclass_fields__)


def test_the_key_of_the_docs_may_do_all_that_is_needed(sandbox: Sandbox) -> None:
    [acl, indexes] = [
        json.loads(re.findall(rf'"{name}": (\[[^]]*\])', DOCUMENTATION)[0]) for name in ("acl", "indexes")
    ]
    key = sandbox.algolia.add_key(*acl, indexes=indexes)

    algolia.setup(settings(sandbox, api_key=key))

    assert algolia.check(settings(sandbox, api_key=key)) == "the key may write to pages, posts; all have their settings"
    assert deliver(sandbox, document(), document("a", change="removed"), api_key=key) == [DONE, DONE]


def test_the_least_rights_of_the_docs_are_enough_to_deliver_and_each_is_needed(sandbox: Sandbox) -> None:
    table = DOCUMENTATION.split("## Least rights")[1].split("##")[0]
    daily = [right for right in re.findall(r"`(\w+)`", table) if right in algolia.RIGHTS]
    both = [document(), document("a", change="removed")]

    assert deliver(sandbox, *both, api_key=sandbox.algolia.add_key(*algolia.RIGHTS)) == [DONE, DONE]
    assert set(daily) == set(algolia.RIGHTS)
    for right in algolia.RIGHTS:
        key = sandbox.algolia.add_key(*{*algolia.RIGHTS} - {right})
        assert any(isinstance(outcome, Misconfigured) for outcome in deliver(sandbox, *both, api_key=key))


def test_the_settings_that_the_docs_name_are_those_of_setup(sandbox: Sandbox) -> None:
    table = DOCUMENTATION.split("## Ranking and facets")[1].split("## ")[0]
    algolia.setup(settings(sandbox, index_prefix="prod_"))

    named = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| ", table, re.MULTILINE))
    shown = own(sandbox.algolia.settings("prod_pages"))
    assert set(named) == set(shown)
    for name, values in shown.items():
        assert [value for value in values if f"`{value}`" not in named[name]] == []


def test_a_visitors_search_finds_the_new_post(sandbox: Sandbox) -> None:
    algolia.setup(settings(sandbox))
    deliver(
        sandbox,
        document("old", published_at="2020-01-01T00:00:00.000000Z"),
        document("new"),
        document("x", text="Else"),
    )
    headers = {
        "x-algolia-application-id": sandbox.algolia.app_id,
        "x-algolia-api-key": sandbox.algolia.add_key("search"),
    }
    asking = {"query": "reader", "filters": "locale:en AND tags:short", "attributesToRetrieve": ["slug"]}

    answer = requests.post(f"{sandbox.url}/1/indexes/posts/query", json=asking, headers=headers, timeout=10).json()

    assert [hit["slug"] for hit in answer["hits"]] == ["new", "old"]
