"""Reading ButterCMS, against the sandbox's Read API over a real socket."""

from collections.abc import Iterator

import pytest

from buttersync.butter import Butter
from buttersync.model import Identity
from buttersync.outcomes import Failure, Misconfigured, Unavailable
from sandbox.faults import Fault
from sandbox.server import Sandbox
from sandbox.site import Account, Site


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(site=Site(Account(locales=("en", "de")))) as running:
        yield running


def butter(sandbox: Sandbox) -> Butter:
    return Butter(sandbox.butter.token, sandbox.butter_endpoint)


def post(slug: str, locale: str = "en") -> Identity:
    return Identity("post", "", slug, locale)


def test_a_post_a_page_and_an_item_are_read_with_one_request_each(sandbox: Sandbox) -> None:
    sandbox.site.publish_post("hello", title="Hello")
    sandbox.site.publish_page("landing", "spring", {"headline": "Spring"})
    sandbox.site.publish_page("*", "about", {"headline": "About"})
    number = sandbox.site.publish_item("products", {"name": "Lamp"}).number
    reader = butter(sandbox)

    items = [
        reader.item(post("hello")),
        reader.item(Identity("page", "landing", "spring", "en")),
        reader.item(Identity("page", "*", "about", "en")),
        reader.item(Identity("item", "products", str(number), "en")),
    ]

    assert items[0] is not None
    assert items[0]["title"] == "Hello"
    assert items[1] is not None
    assert items[1]["page_type"] == "landing"
    assert items[2] is not None
    assert items[2]["page_type"] is None
    assert items[3] is not None
    assert items[3]["meta"]["id"] == number
    assert len(sandbox.requests) == 4


def test_what_is_not_there_is_none(sandbox: Sandbox) -> None:
    assert butter(sandbox).item(post("nothing")) is None
    assert butter(sandbox).item(Identity("item", "products", "5", "en")) is None
    assert butter(sandbox).listing("page", "no-such-type", 1) is None


def test_the_token_travels_in_a_header(sandbox: Sandbox) -> None:
    sandbox.site.publish_post("hello", title="Hello")

    butter(sandbox).item(post("hello"))

    [request] = sandbox.requests
    assert "auth_token" not in str(request)
    assert "***" in str(request.request.headers)


def test_items_pass_every_cache_and_leave_no_404_in_it(sandbox: Sandbox) -> None:
    reader = butter(sandbox)
    assert reader.item(post("hello")) is None
    sandbox.butter.cdn.purges = False
    sandbox.site.publish_post("hello", title="Hello")
    first = reader.item(post("hello"))
    sandbox.butter.cdn.freeze("/v2/posts/hello/")
    sandbox.site.publish_post("hello", title="Edited")

    second = reader.item(post("hello"))

    assert (first and first["title"], second and second["title"]) == ("Hello", "Edited")


def test_a_list_is_read_through_the_cache_unless_told_to_pass_it(sandbox: Sandbox) -> None:
    sandbox.site.publish_post("hello", title="Hello")
    reader = butter(sandbox)
    reader.listing("post", "", 1)
    sandbox.butter.cdn.purges = False
    sandbox.site.publish_post("hello", title="Edited")

    cached, fresh = reader.listing("post", "", 1), reader.listing("post", "", 1, fresh=True)

    assert [listing and listing.items[0]["title"] for listing in (cached, fresh)] == ["Hello", "Edited"]


def test_an_unknown_locale_is_misconfigured(sandbox: Sandbox) -> None:
    with pytest.raises(Misconfigured, match="400: it knows no such locale"):
        butter(sandbox).item(post("hello", "xx"), locale="xx")


def test_a_wrong_token_is_misconfigured_and_not_told(sandbox: Sandbox) -> None:
    with pytest.raises(Misconfigured, match="401: the token in butter/read_token is not valid") as failure:
        Butter("not-the-token", sandbox.butter_endpoint).item(post("hello"))
    assert "not-the-token" not in str(failure.value)


@pytest.mark.parametrize("token", ["two\nlines", "snow☃man"])
def test_a_token_that_no_header_may_hold_is_misconfigured(sandbox: Sandbox, token: str) -> None:
    with pytest.raises(Misconfigured):
        Butter(token, sandbox.butter_endpoint).item(post("hello"))


@pytest.mark.parametrize("endpoint", ["api.buttercms.com", "ftp://example.com", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_misconfigured(endpoint: str) -> None:
    with pytest.raises(Misconfigured, match="butter/endpoint"):
        Butter("t", endpoint).item(post("hello"))


def test_a_site_that_refuses_connections_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="did not answer /posts/hello/: ConnectionError"):
        Butter("t", "http://127.0.0.1:9").item(post("hello"))


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault(kind="status", status=500), Unavailable),
        (Fault(kind="status", status=503), Unavailable),
        (Fault(kind="drop"), Unavailable),
        (Fault(kind="status", status=403), Misconfigured),
        (Fault(kind="status", status=405), Misconfigured),
        (Fault(kind="status", status=301), Misconfigured),
    ],
)
def test_every_failure_has_its_outcome(sandbox: Sandbox, fault: Fault, failure: type[Failure]) -> None:
    sandbox.faults.add(fault)

    with pytest.raises(failure):
        butter(sandbox).item(post("hello"))


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("1814400", 1_814_400), ("soon", 0), ("-4", 0)])
def test_a_used_up_quota_says_when_to_come_back(sandbox: Sandbox, header: str, seconds: float) -> None:
    sandbox.faults.add(Fault(kind="status", status=429, headers={"Retry-After": header}))

    with pytest.raises(Unavailable) as failure:
        butter(sandbox).item(post("hello"))
    assert failure.value.retry_after == seconds


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"data": [', '{"data": 5}', '{"data": null}'])
def test_nonsense_is_unavailable_for_items_and_lists(sandbox: Sandbox, body: str) -> None:
    sandbox.faults.add(Fault(kind="status", status=200, body=body))

    with pytest.raises(Unavailable):
        butter(sandbox).item(post("hello"))
    with pytest.raises(Unavailable):
        butter(sandbox).listing("post", "", 1)


@pytest.mark.parametrize(
    "data", ['{"meta": {"id": 5}}', '{"products": {"meta": {"id": 5}}}', '{"products": [{"meta": {"id": 5}}]}']
)
def test_a_single_item_is_found_in_each_shape_that_it_may_have(sandbox: Sandbox, data: str) -> None:
    sandbox.faults.add(Fault(kind="status", status=200, body=f'{{"data": {data}}}'))

    assert butter(sandbox).item(Identity("item", "products", "5", "en")) == {"meta": {"id": 5}}


def test_a_list_comes_page_by_page(sandbox: Sandbox) -> None:
    for number in range(5):
        sandbox.site.publish_post(f"post-{number}", title="Hello")
    reader = butter(sandbox)

    pages = [reader.listing("post", "", page, size=2) for page in (1, 2, 3)]

    assert [(len(page.items), page.next_page) for page in pages if page] == [(2, 2), (2, 3), (1, None)]


def test_a_collections_list_is_keyed_by_the_collection(sandbox: Sandbox) -> None:
    sandbox.site.publish_item("products", {"name": "Lamp"})

    listing = butter(sandbox).listing("item", "products", 1)

    assert listing is not None
    assert [item["name"] for item in listing.items] == ["Lamp"]
