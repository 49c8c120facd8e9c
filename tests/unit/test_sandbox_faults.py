"""Faults strike over a real socket as an outside system's do: which request, how often, before or after it acted."""

import time
from collections.abc import Iterator

import msgspec
import pytest
import requests

from sandbox.faults import Fault, Faults
from sandbox.server import Sandbox
from sandbox.wire import Request, Response, Route, json_response

GET = Request("GET", "/v2/posts/hello/", headers={"host": "127.0.0.1:4001"})


class Ledger:
    """A vendor that counts what it was told to do."""

    name = "ledger"
    paths = "/ledger/"
    controls: tuple[Route, ...] = ()

    def __init__(self) -> None:
        self.entries = 0

    def answer(self, _: Request) -> Response:
        self.entries += 1
        return json_response(201, {"entries": self.entries, "note": "a body that is long enough to be cut in two"})


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def sandbox(ledger: Ledger) -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.vendors = (*sandbox.vendors, ledger)
        yield sandbox


def post(sandbox: Sandbox, timeout: float = 5) -> requests.Response:
    with requests.Session() as session:
        return session.post(f"{sandbox.url}/ledger/entries", timeout=timeout)


# --- the kinds ---


def test_a_status_is_answered_before_the_vendor_acts(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="status", status=503, body='{"oh": "no"}', headers={"X-Reason": "maintenance"}))

    response = post(sandbox)

    assert (response.status_code, response.json(), response.headers["X-Reason"]) == (503, {"oh": "no"}, "maintenance")
    assert ledger.entries == 0


def test_a_status_after_acting_hides_that_it_was_done(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="status", status=500, after=True))

    response = post(sandbox)

    assert (response.status_code, response.json()) == (500, {"detail": "Internal Server Error"})
    assert ledger.entries == 1


def test_a_connection_dropped_before_acting_leaves_nothing_done(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="drop"))

    with pytest.raises(requests.ConnectionError):
        post(sandbox)

    assert ledger.entries == 0
    assert sandbox.requests[-1].status is None


def test_a_connection_dropped_after_acting_hides_that_it_was_done(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="drop", after=True))

    with pytest.raises(requests.ConnectionError):
        post(sandbox)

    assert ledger.entries == 1


def test_throttling_says_when_to_come_back(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="throttle", seconds=2_000_000))

    response = post(sandbox)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "2000000")
    assert ledger.entries == 0


def test_a_delay_makes_the_answer_late_but_right(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="delay", seconds=0.2))

    started = time.monotonic()
    response = post(sandbox)

    assert time.monotonic() - started >= 0.2
    assert response.status_code == 201


def test_who_gives_up_during_a_delay_after_acting_does_not_know_that_it_was_done(
    sandbox: Sandbox, ledger: Ledger
) -> None:
    sandbox.faults.add(Fault(kind="delay", seconds=0.5, after=True))

    with pytest.raises(requests.ReadTimeout):
        post(sandbox, timeout=0.2)

    assert ledger.entries == 1


def test_who_gives_up_during_a_delay_before_acting_leaves_nothing_done_yet(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="delay", seconds=0.5))

    with pytest.raises(requests.ReadTimeout):
        post(sandbox, timeout=0.2)

    assert ledger.entries == 0


def test_html_comes_where_json_is_expected(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.faults.add(Fault(kind="malformed", form="html"))

    response = post(sandbox)

    assert (response.status_code, response.headers["Content-Type"]) == (201, "text/html; charset=utf-8")
    assert "<html>" in response.text
    assert ledger.entries == 1


def test_truncated_json_is_a_whole_answer_with_half_a_document(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="malformed", form="truncated"))

    response = post(sandbox)

    assert response.text.startswith('{"entries": 1')
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_json_comes_under_another_content_type(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="malformed", form="type"))

    response = post(sandbox)

    assert (response.headers["Content-Type"], response.json()["entries"]) == ("application/octet-stream", 1)


def test_a_connection_cut_halfway_through_the_body_breaks_the_reading(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="malformed", form="cut"))

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        post(sandbox)


def test_a_delay_and_another_fault_strike_together(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="delay", seconds=0.2))
    sandbox.faults.add(Fault(kind="status", status=502))

    started = time.monotonic()
    response = post(sandbox)

    assert response.status_code == 502
    assert time.monotonic() - started >= 0.2


# --- which requests, and how often ---


def test_a_fault_strikes_as_often_as_it_was_told(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind="status", status=503, times=2))

    assert [post(sandbox).status_code for _ in range(3)] == [503, 503, 201]
    assert sandbox.faults.all() == {}


def test_two_faults_strike_one_after_the_other() -> None:
    faults = Faults()
    faults.add(Fault(kind="status", status=503, times=1))
    faults.add(Fault(kind="drop", times=1))

    struck = [[fault.kind for fault in faults.striking("butter", GET)] for _ in range(3)]

    assert struck == [["status"], ["drop"], []]


@pytest.mark.parametrize(
    ("fault", "strikes"),
    [
        (Fault(kind="drop"), True),
        (Fault(kind="drop", vendor="butter", method="GET", path="/posts/"), True),
        (Fault(kind="drop", path=r"/hello/$"), True),
        (Fault(kind="drop", path=r"^/posts/"), False),
        (Fault(kind="drop", method="POST"), False),
        (Fault(kind="drop", vendor="algolia"), False),
        (Fault(kind="drop", host=":4001$"), True),
        (Fault(kind="drop", host=":4002$"), False),
    ],
)
def test_a_fault_is_about_a_vendor_a_host_a_method_and_a_path(fault: Fault, strikes: bool) -> None:
    faults = Faults()
    faults.add(fault)

    assert bool(faults.striking("butter", GET)) is strikes


def test_a_share_of_the_requests_fails_the_same_ones_under_the_same_seed() -> None:
    def struck(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(kind="drop", percent=30))
        return [bool(faults.striking("butter", GET)) for _ in range(1000)]

    assert 250 < sum(struck(1)) < 350
    assert struck(1) == struck(1) != struck(2)


def test_a_removed_fault_strikes_no_more() -> None:
    faults = Faults()
    first, _ = faults.add(Fault(kind="drop", vendor="butter")), faults.add(Fault(kind="status", status=418))

    faults.remove(first)
    faults.remove(first)

    assert [fault.status for fault in faults.striking("butter", GET)] == [418]
    faults.clear()
    assert faults.striking("butter", GET) == []


@pytest.mark.parametrize("pattern", ["vendor", "host", "method", "path"])
def test_a_pattern_that_is_none_is_refused_when_the_fault_is_made(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no pattern"):
        msgspec.convert({"kind": "drop", pattern: "("}, Fault)
