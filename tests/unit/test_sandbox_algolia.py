"""The sandbox's Algolia: what the official client and raw requests get from it, and what it refuses."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
import requests
from algoliasearch.http.exceptions import AlgoliaUnreachableHostException
from algoliasearch.http.exceptions import RequestException as AlgoliaError
from algoliasearch.http.hosts import Host, HostsCollection
from algoliasearch.search.client import SearchClientSync
from algoliasearch.search.config import SearchConfig
from hypothesis import given
from hypothesis import strategies as st

from sandbox.algolia import Algolia
from sandbox.faults import Fault
from sandbox.server import Sandbox
from sandbox.wire import Request

BATCH, SETTINGS, QUERY = "/1/indexes/posts/batch", "/1/indexes/posts/settings", "/1/indexes/posts/query"
POST = {"objectID": "post:a:en", "title": "Tide"}
ONE = b'{"requests":[{"action":"updateObject","body":{"objectID":"one"}}]}'


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def algolia() -> Algolia:
    return Algolia()


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[SearchClientSync]:
    with connected(sandbox) as client:
        yield client


@pytest.fixture
def admin(sandbox: Sandbox) -> Iterator[SearchClientSync]:
    with connected(sandbox, sandbox.algolia.add_key("admin")) as client:
        yield client


def connected(sandbox: Sandbox, key: str | None = None) -> SearchClientSync:
    """The official client, its hosts those of the sandbox; it neither sleeps nor repeats after a 429."""
    config = SearchConfig(sandbox.algolia.app_id, key or sandbox.algolia.api_key)
    ports = [urlsplit(url).port for url in sandbox.algolia_endpoint.split(",")]
    config.hosts = HostsCollection([Host("127.0.0.1", scheme="http", port=port) for port in ports])
    config.max_rate_limit_retries = 0
    return SearchClientSync.create_with_config(config)


def ask(algolia: Algolia, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    """Status and body of the answer to a request that did not come over the network."""
    headers = {"x-algolia-application-id": algolia.app_id, "x-algolia-api-key": key or algolia.api_key}
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    parameters = tuple((name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part))
    response = algolia.answer(Request(method, path, parameters, headers, content))
    return response.status, json.loads(response.body)


def batch(algolia: Algolia, *requests: tuple[str, Mapping[str, Any]], index: str = "posts") -> tuple[int, Any]:
    body = {"requests": [{"action": action, "body": body} for action, body in requests]}
    return ask(algolia, "POST", f"/1/indexes/{index}/batch", body, algolia.add_key("admin"))


def versioned(number: int, operation: str = "IncrementSet") -> dict[str, Any]:
    return {"objectID": "a", "version": {"_operation": operation, "value": number}, "title": f"as of {number}"}


def found(algolia: Algolia, **parameters: Any) -> list[str]:
    status, answer = ask(algolia, "POST", QUERY, parameters, algolia.add_key("search"))
    assert status == 200, answer
    return [hit["objectID"] for hit in answer["hits"]]


# --- the official client ---


def test_a_batch_of_the_official_client_is_applied_in_order(sandbox: Sandbox, client: SearchClientSync) -> None:
    requests = [
        {"action": "addObject", "body": {"objectID": "a", "title": "one", "tags": ["x"]}},
        {"action": "updateObject", "body": {"objectID": "b", "title": "two"}},
        {"action": "partialUpdateObject", "body": {"objectID": "a", "title": "three"}},
        {"action": "partialUpdateObject", "body": {"objectID": "c", "title": "four"}},
        {"action": "partialUpdateObjectNoCreate", "body": {"objectID": "d", "title": "five"}},
        {"action": "deleteObject", "body": {"objectID": "b"}},
    ]

    response = client.batch("posts", {"requests": requests})

    assert response.object_ids == ["a", "b", "a", "c", "d", "b"]
    assert client.get_task("posts", response.task_id).status == "published"
    assert sandbox.algolia.records("posts") == {
        "a": {"objectID": "a", "title": "three", "tags": ["x"]},
        "c": {"objectID": "c", "title": "four"},
    }


def test_single_records_come_and_go_through_the_official_client(admin: SearchClientSync) -> None:
    saved = admin.save_object("posts", {"title": "no id"})
    admin.add_or_update_object("posts", "post:a/b:en", {"title": "Tide", "secret": 1})
    admin.partial_update_object("posts", "post:a/b:en", {"title": "Low tide"})
    admin.partial_update_object("posts", "nowhere", {"title": "?"}, create_if_not_exists=False)
    wanted = [{"indexName": "posts", "objectID": "post:a/b:en"}, {"indexName": "posts", "objectID": "nowhere"}]

    record = admin.get_object("posts", "post:a/b:en")
    records = admin.get_objects({"requests": wanted}).results
    admin.delete_object("posts", "post:a/b:en")

    assert record == {"objectID": "post:a/b:en", "title": "Low tide", "secret": 1}
    assert records == [record, None]
    assert [item.entries for item in admin.list_indices().items] == [1]
    assert saved.object_id


def test_a_batch_over_several_indices_is_a_task_in_each(sandbox: Sandbox, client: SearchClientSync) -> None:
    requests = [
        {"action": "addObject", "indexName": "posts", "body": {"objectID": "a"}},
        {"action": "addObject", "indexName": "pages", "body": {"objectID": "b"}},
        {"action": "addObject", "indexName": "posts", "body": {"objectID": "c"}},
    ]

    response = client.multiple_batch({"requests": requests})

    assert response.object_ids == ["a", "b", "c"]
    assert [client.get_task(name, task).status for name, task in response.task_id.items()] == ["published"] * 2
    assert {name: list(sandbox.algolia.records(name)) for name in sandbox.algolia.indices} == {
        "pages": ["b"],
        "posts": ["a", "c"],
    }


def test_settings_are_merged_shown_and_reset(sandbox: Sandbox, client: SearchClientSync) -> None:
    client.set_settings("posts", {"hitsPerPage": 5, "customRanking": ["desc(at)"]}, forward_to_replicas=True)
    client.set_settings("posts", {"ignorePlurals": True})
    client.set_settings("posts", {"hitsPerPage": None})

    settings = client.get_settings("posts")

    assert (settings.hits_per_page, settings.custom_ranking, settings.searchable_attributes) == (20, ["desc(at)"], None)
    assert sandbox.algolia.settings("posts")["ignorePlurals"] is True
    assert sandbox.algolia.records("posts") == {}


def test_an_index_is_listed_emptied_and_deleted(sandbox: Sandbox, admin: SearchClientSync) -> None:
    admin.save_objects("posts", [{"objectID": "a"}, {"objectID": "b"}])
    admin.set_settings("posts", {"hitsPerPage": 5})
    admin.save_objects("pages", [{"objectID": "a"}])

    listed = {item.name: (item.entries, item.data_size) for item in admin.list_indices().items}
    admin.clear_objects("posts")
    admin.delete_index("pages")

    assert listed == {"pages": (1, 16), "posts": (2, 32)}
    assert sandbox.algolia.indices == ["posts"]
    assert sandbox.algolia.records("posts") == {}
    assert sandbox.algolia.settings("posts")["hitsPerPage"] == 5
    with pytest.raises(KeyError):
        sandbox.algolia.settings("pages")


def test_records_are_deleted_by_filters(sandbox: Sandbox, admin: SearchClientSync) -> None:
    admin.set_settings("posts", {"attributesForFaceting": ["filterOnly(parent)"]})
    records: list[dict[str, Any]] = [{"objectID": str(n), "parent": "x", "v": n} for n in range(5)]
    admin.save_objects("posts", records)

    admin.delete_by("posts", {"filters": "parent:x AND v < 3"})

    assert list(sandbox.algolia.records("posts")) == ["3", "4"]


def test_a_search_of_the_official_client_finds_words_in_any_order_and_the_beginning_of_the_last(
    sandbox: Sandbox, client: SearchClientSync, admin: SearchClientSync
) -> None:
    client.set_settings("posts", {"searchableAttributes": ["unordered(title)"], "customRanking": ["desc(at)"]})
    records: list[dict[str, Any]] = [
        {"objectID": "a", "title": "Über die Gezeiten", "at": 1},
        {"objectID": "b", "title": "Die Gezeiten, über Nacht", "at": 2},
        {"objectID": "c", "title": "Nacht", "body": "über Gezeiten"},
    ]
    client.save_objects("posts", records)

    answer = admin.search_single_index("posts", {"query": "GEZEITEN ub", "hitsPerPage": 1})

    assert [hit.object_id for hit in answer.hits] == ["b"]
    assert (answer.nb_hits, answer.nb_pages, answer.page, answer.hits_per_page) == (2, 2, 0, 1)
    assert answer.params == "query=GEZEITEN+ub&hitsPerPage=1"
    assert sandbox.requests[-1].path == QUERY


def test_a_refusal_reaches_the_official_client_with_status_and_words(client: SearchClientSync) -> None:
    with pytest.raises(AlgoliaError, match="Invalid object attributes: zadaz near line:1 column:8") as refused:
        client.set_settings("posts", {"zadaz": "zadza"})

    assert refused.value.status_code == 400
    assert refused.value.correlation_id


# --- the queue ---


def test_what_was_accepted_is_seen_when_its_task_is_done_and_not_before(
    sandbox: Sandbox, client: SearchClientSync
) -> None:
    sandbox.algolia.delay = 0.2

    task = client.batch("posts", {"requests": [{"action": "addObject", "body": POST}]}).task_id
    at_once = (client.get_task("posts", task).status, sandbox.algolia.indices)
    client.wait_for_task("posts", task)

    assert at_once == ("notPublished", [])
    assert sandbox.algolia.records("posts") == {POST["objectID"]: POST}


def test_tasks_are_done_in_the_order_of_their_acceptance(algolia: Algolia) -> None:
    algolia.delay = 3600
    _, first = batch(algolia, ("addObject", {"objectID": "a"}))
    algolia.delay = 0
    _, second = batch(algolia, ("deleteObject", {"objectID": "a"}))

    tasks = [ask(algolia, "GET", f"/1/indexes/posts/task/{one['taskID']}")[1] for one in (first, second)]

    assert second["taskID"] > first["taskID"] > 2**32
    assert tasks == [{"status": "notPublished"}, {"status": "notPublished"}]
    assert algolia.records("posts") == {}


def test_an_index_that_is_still_to_be_made_does_not_exist(algolia: Algolia) -> None:
    algolia.delay = 3600

    ask(algolia, "PUT", SETTINGS, {"hitsPerPage": 5})

    assert ask(algolia, "GET", SETTINGS) == (404, {"message": "Index posts does not exist", "status": 404})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", BATCH, {"requests": [{"action": "deleteObject", "body": {"objectID": "a"}}]}),
        ("POST", BATCH, {"requests": [{"action": "partialUpdateObjectNoCreate", "body": {"objectID": "a"}}]}),
        ("POST", "/1/indexes/posts/clear", None),
        ("DELETE", "/1/indexes/posts", None),
        ("DELETE", "/1/indexes/posts/a", None),
        ("POST", "/1/indexes/posts/deleteByQuery", {"filters": "a:b"}),
    ],
)
def test_deleting_from_an_index_that_does_not_exist_is_done_and_makes_none(
    algolia: Algolia, method: str, path: str, body: Any
) -> None:
    status, answer = ask(algolia, method, path, body, algolia.add_key("admin"))

    assert status == 200
    assert ask(algolia, "GET", f"/1/indexes/posts/task/{answer['taskID']}")[1] == {"status": "published"}
    assert algolia.indices == []


def test_too_many_tasks_stop_all_writes_but_deletes(algolia: Algolia) -> None:
    algolia.delay, algolia.account.most_tasks = 3600, 1
    batch(algolia, ("addObject", {"objectID": "a"}))

    refused = batch(algolia, ("deleteObject", {"objectID": "a"}), ("addObject", {"objectID": "b"}))
    deleted, _ = batch(algolia, ("deleteObject", {"objectID": "a"}))

    assert refused == (429, {"message": "Too many jobs", "status": 429})
    assert deleted == 200


def test_concurrent_batches_all_arrive(sandbox: Sandbox) -> None:
    def write(writer: int) -> list[int]:
        with connected(sandbox) as client:
            records = [{"objectID": f"{writer}-{n}"} for n in range(20)]
            return [
                client.batch("posts", {"requests": [{"action": "addObject", "body": one}]}).task_id for one in records
            ]

    with ThreadPoolExecutor(4) as pool:
        tasks = [task for each in pool.map(write, range(4)) for task in each]

    assert len(set(tasks)) == 80
    assert len(sandbox.algolia.records("posts")) == 80


Requests = Sequence[tuple[str, dict[str, Any]]]
ids = st.sampled_from("abc")
WRITES = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["addObject", "updateObject", "partialUpdateObject", "partialUpdateObjectNoCreate"]),
            st.fixed_dictionaries({"objectID": ids}, optional={"x": st.integers(0, 9), "y": st.booleans()}),
        ),
        st.tuples(st.just("deleteObject"), st.fixed_dictionaries({"objectID": ids})),
        st.tuples(st.sampled_from(["clear", "delete"]), st.just({})),
    ),
    max_size=12,
)


def model(writes: Requests) -> dict[str, dict[str, Any]]:
    """What is there after writes, one after the other."""
    records: dict[str, dict[str, Any]] = {}
    for action, body in writes:
        number = body.get("objectID", "")
        if action in ("addObject", "updateObject"):
            records[number] = body
        elif action == "partialUpdateObject" or (action == "partialUpdateObjectNoCreate" and number in records):
            records[number] = {**records.get(number, {}), **body}
        elif action == "deleteObject":
            records.pop(number, None)
        elif action in ("clear", "delete"):
            records.clear()
    return records


@given(WRITES)
def test_a_batch_does_what_its_requests_would_do_one_after_the_other(writes: Requests) -> None:
    whole, single = Algolia(), Algolia()

    batch(whole, *writes)
    for one in writes:
        batch(single, one)

    assert whole.records("posts") == single.records("posts") == model(writes)


@given(WRITES, st.data())
def test_one_wrong_request_refuses_the_whole_batch_and_is_named_by_its_place(
    writes: Requests, data: st.DataObject
) -> None:
    algolia = Algolia()
    position = data.draw(st.integers(0, len(writes)))
    broken = [*writes[:position], ("updateObject", {"title": "no id"}), *writes[position:]]

    status, answer = batch(algolia, *broken)

    before = json.dumps({"requests": [{"action": action, "body": body} for action, body in broken[: position + 1]]})
    column = len(before) - len("]}")
    message = f"The 'objectID' attribute is required to use action=updateObject near line:1 column:{column}"
    assert (status, answer["message"]) == (400, message)
    assert algolia.indices == []


# --- versions ---


@given(st.lists(st.integers(1, 2**53), min_size=1, max_size=8))
def test_in_whatever_order_versions_come_the_highest_stays(versions: list[int]) -> None:
    algolia = Algolia()

    for version in versions:
        batch(algolia, ("partialUpdateObject", versioned(version)))

    highest = max(versions)
    assert algolia.records("posts")["a"] == {"objectID": "a", "version": highest, "title": f"as of {highest}"}


@pytest.mark.parametrize(
    ("stored", "operation", "value", "result"),
    [
        (None, "IncrementSet", 1, 1),
        (None, "IncrementSet", 0, None),
        (5, "IncrementSet", 6, 6),
        (5, "IncrementSet", 5, 5),
        (5, "IncrementSet", 4, 5),
        ("five", "IncrementSet", 6, "five"),
        (None, "IncrementFrom", 0, 1),
        (None, "IncrementFrom", 1, None),
        (5, "IncrementFrom", 5, 6),
        (5, "IncrementFrom", 4, 5),
        (5, "IncrementFrom", 6, 5),
    ],
)
def test_an_update_with_an_outdated_version_is_accepted_and_ignored(
    algolia: Algolia, stored: Any, operation: str, value: int, result: Any
) -> None:
    if stored is not None:
        batch(algolia, ("addObject", {"objectID": "a", "version": stored}))

    status, _ = batch(algolia, ("partialUpdateObject", versioned(value, operation)))

    assert status == 200
    record = algolia.records("posts").get("a", {})
    assert record.get("version") == result
    assert ("title" in record) is (result is not None and result != stored)


def test_a_task_with_an_ignored_update_never_shows_as_published(algolia: Algolia) -> None:
    batch(algolia, ("addObject", {"objectID": "a", "version": 5}))

    _, ignored = batch(algolia, ("partialUpdateObject", versioned(4)), ("addObject", {"objectID": "b"}))
    _, later = batch(algolia, ("addObject", {"objectID": "c"}))

    tasks = [ask(algolia, "GET", f"/1/indexes/posts/task/{one['taskID']}")[1]["status"] for one in (ignored, later)]
    assert tasks == ["notPublished", "published"]
    assert sorted(algolia.records("posts")) == ["a", "b", "c"]


def test_one_outdated_version_ignores_the_whole_update(algolia: Algolia) -> None:
    batch(algolia, ("addObject", {"objectID": "a", "version": 5, "other": 5}))
    other = {"other": {"_operation": "IncrementSet", "value": 4}}

    batch(algolia, ("partialUpdateObject", {**versioned(6), **other}))

    assert algolia.records("posts")["a"] == {"objectID": "a", "version": 5, "other": 5}


def test_built_in_operations_work_on_the_first_level_only(algolia: Algolia) -> None:
    batch(algolia, ("addObject", {"objectID": "a", "n": 5, "tags": ["x", 1, "x"], "seo": {"views": 1, "title": "t"}}))
    deeper = {"views": {"_operation": "Increment", "value": 1}}
    changes = {
        "n": {"_operation": "Increment", "value": 2},
        "m": {"_operation": "Decrement", "value": 2.5},
        "tags": {"_operation": "Remove", "value": "x"},
        "more": {"_operation": "Add", "value": 1},
        "unique": {"_operation": "AddUnique", "value": 1},
        "seo": deeper,
    }

    batch(algolia, ("partialUpdateObject", {"objectID": "a", **changes}))
    batch(algolia, ("partialUpdateObject", {"objectID": "a", "unique": changes["unique"]}))

    assert algolia.records("posts")["a"] == {
        "objectID": "a",
        "n": 7,
        "m": -2.5,
        "tags": [1],
        "more": [1],
        "unique": [1],
        "seo": deeper,
    }


# --- what is refused ---


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON near line:1 column:0"),
        (b'{"requests":\n [}', "Invalid JSON near line:2 column:2"),
        (
            b'{"requests":[{"action":"addObject","body":{"objectID":"a","x":NaN}}]}',
            "Invalid JSON near line:1 column:62",
        ),
        (b'{"requests":[{"action":"addObject","body":{"objectID":"\\ud800"}}]}', "Invalid JSON near line:1 column:66"),
        (b'{"requests":[{"action":"addObject","body":{"objectID":"\xff"}}]}', "Invalid JSON near line:1 column:61"),
        (b"[" * 100_000, "Invalid JSON: nested too deeply"),
        (b"[]", "Invalid object near line:1 column:1"),
        (b"{}", "Invalid requests: an array was expected"),
        (b'{"requests":{}}', "Invalid requests: an array was expected"),
        (b'{"requests":[],"index":"posts"}', "Invalid object attributes: index near line:1 column:22"),
        (b'{"requests":[1]}', "Invalid request: it must have action and body near line:1 column:14"),
        (b'{"requests":[{"action":"clear"}]}', "Invalid request: it must have action and body near line:1 column:31"),
        (b'{"requests":[{"action":"clear","body":[]}]}', "Invalid body: it must be an object near line:1 column:41"),
        (b'{"requests":[{"action":"addobject","body":{}}]}', "Invalid action near line:1 column:45"),
        (b'{"requests":[{"action":["clear"],"body":{}}]}', "Invalid action near line:1 column:43"),
        (
            b'{"requests":[{"action":"clear","body":{},"indexName":"posts"}]}',
            "Invalid object attributes: indexName near line:1 column:61",
        ),
        (
            b'{"requests":[{"action":"deleteObject","body":{"objectID":""}}]}',
            "The 'objectID' attribute is required to use action=deleteObject near line:1 column:61",
        ),
        (
            b'{"requests":[{"action":"partialUpdateObject","body":{"title":"x"}}]}',
            "The 'objectID' attribute is required to use action=partialUpdateObject near line:1 column:66",
        ),
        (
            b'{"requests":[{"action":"addObject","body":{"objectID":1.5}}]}',
            "Invalid objectID: it must be a string or an integer near line:1 column:59",
        ),
        (
            b'{"requests":[{"action":"addObject","body":{"objectID":"a","x":1e400}}]}',
            "Invalid JSON near line:1 column:71",
        ),
    ],
)
def test_a_malformed_batch_is_a_400(algolia: Algolia, body: bytes, message: str) -> None:
    refused = ask(algolia, "POST", BATCH, body, algolia.add_key("admin"))

    assert refused == (400, {"message": message, "status": 400})
    assert algolia.indices == []


@pytest.mark.parametrize(
    "value",
    [
        {"_operation": "Multiply", "value": 1},
        {"_operation": ["Increment"], "value": 1},
        {"_operation": "Increment"},
        {"_operation": "Increment", "value": 1, "x": 1},
        {"_operation": "Increment", "value": "1"},
        {"_operation": "Decrement", "value": True},
        {"_operation": "IncrementSet", "value": 1.0},
        {"_operation": "IncrementFrom", "value": "0"},
        {"_operation": "Add", "value": []},
        {"_operation": "AddUnique", "value": None},
    ],
)
def test_a_built_in_operation_that_is_none_is_a_400(algolia: Algolia, value: Any) -> None:
    status, answer = batch(algolia, ("partialUpdateObject", {"objectID": "a", "n": value}))
    alone, _ = ask(algolia, "POST", "/1/indexes/posts/a/partial", {"n": value})

    assert (status, alone) == (400, 400)
    assert "attribute n near line:1" in answer["message"]


def test_an_objectid_can_be_an_integer_and_becomes_a_string(algolia: Algolia) -> None:
    status, answer = batch(algolia, ("addObject", {"objectID": 7}), ("addObject", {"title": "none"}))

    assert (status, answer["objectIDs"][0]) == (200, "7")
    assert algolia.records("posts")["7"] == {"objectID": "7"}
    assert len(answer["objectIDs"][1]) > 8


@pytest.mark.parametrize(
    ("acl", "action", "words"),
    [
        (["deleteObject"], "addObject", "add an object"),
        (["settings", "editSettings", "search"], "updateObject", "update an object"),
        (["deleteObject"], "partialUpdateObject", "update an object"),
        (["addObject"], "deleteObject", "delete an object"),
        (["addObject", "deleteObject"], "clear", "clear an index"),
        (["addObject", "deleteObject"], "delete", "delete an index"),
    ],
)
def test_a_batch_that_the_key_has_no_right_to_is_a_400(
    algolia: Algolia, acl: Sequence[str], action: str, words: str
) -> None:
    body = {"requests": [{"action": action, "body": {"objectID": "one"}}]}

    status, answer = ask(algolia, "POST", BATCH, body, algolia.add_key(*acl))

    assert status == 400
    assert answer["message"].startswith(f"Not enough rights to {words} near line:1 column:")
    assert algolia.indices == []


def test_the_place_of_a_refusal_is_the_one_that_algolia_named(algolia: Algolia) -> None:
    key = algolia.add_key("settings", "editSettings", "search")

    _, batched = ask(algolia, "POST", BATCH, ONE, key)
    _, setting = ask(algolia, "PUT", SETTINGS, b'{"zadaz": "zadza"}', key)

    assert batched["message"] == "Not enough rights to update an object near line:1 column:64"
    assert setting["message"] == "Invalid object attributes: zadaz near line:1 column:8"


ROUTES = [
    ("GET", "/1/indexes", "listIndexes"),
    ("POST", QUERY, "search"),
    ("GET", SETTINGS, "settings"),
    ("PUT", SETTINGS, "editSettings"),
    ("GET", "/1/indexes/posts/task/1", "addObject"),
    ("POST", "/1/indexes/posts", "addObject"),
    ("DELETE", "/1/indexes/posts", "deleteIndex"),
    ("POST", "/1/indexes/posts/clear", "deleteIndex"),
    ("POST", "/1/indexes/posts/deleteByQuery", "deleteIndex"),
    ("GET", "/1/indexes/posts/a", "search"),
    ("PUT", "/1/indexes/posts/a", "addObject"),
    ("DELETE", "/1/indexes/posts/a", "deleteObject"),
    ("POST", "/1/indexes/posts/a/partial", "addObject"),
    ("POST", "/1/indexes/*/objects", "search"),
]


@pytest.mark.parametrize(("method", "path", "right"), ROUTES)
def test_a_route_needs_its_entry_of_the_acl(algolia: Algolia, method: str, path: str, right: str) -> None:
    rights = {right for _, _, right in ROUTES}
    lacking, sufficient = algolia.add_key(*(rights - {right})), algolia.add_key(right)

    assert ask(algolia, method, path, {}, lacking) == (
        403,
        {"message": "Method not allowed with this API key", "status": 403},
    )
    assert ask(algolia, method, path, {}, sufficient)[0] != 403


def test_the_project_s_own_key_has_the_rights_that_it_needs_and_no_more(algolia: Algolia) -> None:
    status, answer = ask(algolia, "GET", f"/1/keys/{algolia.api_key}")

    assert status == 200
    assert set(answer["acl"]) == {"addObject", "deleteObject", "settings", "editSettings", "listIndexes"}
    assert {right for method, path, right in ROUTES if ask(algolia, method, path, {})[0] == 403} == {
        "search",
        "deleteIndex",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-algolia-application-id": "BUTTERSYNC"},
        {"x-algolia-api-key": Algolia.api_key},
        {"x-algolia-application-id": "ANOTHER", "x-algolia-api-key": Algolia.api_key},
        {"x-algolia-application-id": "BUTTERSYNC", "x-algolia-api-key": "0"},
    ],
)
def test_without_application_and_key_nothing_is_answered_not_even_that_a_path_is_none(
    algolia: Algolia, headers: dict[str, str]
) -> None:
    for path in ("/1/indexes", "/1/nowhere"):
        response = algolia.answer(Request("GET", path, (), headers))

        assert response.status == 403
        assert json.loads(response.body)["message"] == "Invalid Application-ID or API key"


def test_application_and_key_can_be_parameters(algolia: Algolia) -> None:
    parameters = (("X-Algolia-Application-Id", algolia.app_id), ("X-Algolia-API-Key", algolia.api_key))

    assert algolia.answer(Request("GET", "/1/indexes", parameters)).status == 200


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ([], {"dev_posts", "prod_posts", "prod_pages"}),
        (["prod_posts"], {"prod_posts"}),
        (["prod_*"], {"prod_posts", "prod_pages"}),
        (["*_posts"], {"dev_posts", "prod_posts"}),
        (["*od_p*"], {"prod_posts", "prod_pages"}),
        (["prod.posts", "prod"], set()),
    ],
)
def test_a_key_is_good_for_its_indices_only(algolia: Algolia, patterns: Sequence[str], allowed: set[str]) -> None:
    names = ("dev_posts", "prod_posts", "prod_pages")
    for name in names:
        batch(algolia, ("addObject", {"objectID": "a"}), index=name)
    key = algolia.add_key("addObject", "listIndexes", indexes=patterns)
    many = [{"action": "addObject", "indexName": name, "body": {}} for name in names]

    answers = {name: ask(algolia, "POST", f"/1/indexes/{name}/batch", {"requests": []}, key) for name in names}
    _, listed = ask(algolia, "GET", "/1/indexes", None, key)
    status, _ = ask(algolia, "POST", "/1/indexes/*/batch", {"requests": many}, key)

    assert {name for name, (status, _) in answers.items() if status == 200} == allowed
    refusals = [answer for status, answer in answers.values() if status != 200]
    assert refusals == [{"message": "Index not allowed with this API key", "status": 403}] * (3 - len(allowed))
    assert {item["name"] for item in listed["items"]} == allowed
    assert status == (200 if len(allowed) == 3 else 403)


def test_a_key_reads_itself_and_an_admin_reads_all(algolia: Algolia) -> None:
    search, admin = algolia.add_key("search", indexes=["posts"]), algolia.add_key("admin")

    own = ask(algolia, "GET", f"/1/keys/{search}", None, search)
    others = ask(algolia, "GET", f"/1/keys/{search}")
    by_admin = ask(algolia, "GET", f"/1/keys/{search}", None, admin)
    nobody_s = ask(algolia, "GET", "/1/keys/0", None, admin)

    assert own == by_admin
    assert (own[1]["acl"], own[1]["indexes"], own[1]["description"]) == (["search"], ["posts"], "<redacted>")
    assert (others[0], nobody_s[0]) == (403, 404)


def test_a_key_may_need_the_right_to_search_to_read_itself(algolia: Algolia) -> None:
    algolia.account.keys_need_search = True
    keys = [algolia.add_key(right) for right in ("addObject", "search", "admin")]

    answers = [ask(algolia, "GET", f"/1/keys/{key}", None, key) for key in keys]

    assert answers[0] == (403, {"message": "Method not allowed with this API key", "status": 403})
    assert [status for status, _ in answers[1:]] == [200, 200]


@pytest.mark.parametrize("path", ["/1", "/1/", "/1/nowhere", "/1/indexes/posts/rules/search", "/2/indexes", "/1/keys"])
def test_an_unknown_path_is_a_404(sandbox: Sandbox, path: str) -> None:
    headers = {"x-algolia-application-id": sandbox.algolia.app_id, "x-algolia-api-key": sandbox.algolia.api_key}

    response = requests.patch(f"{sandbox.algolia_hosts[0].url}{path}", headers=headers, timeout=5)

    assert (response.status_code, response.json()) == (404, {"message": "Path not found", "status": 404})
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert response.headers["Correlation-ID"]


@pytest.mark.parametrize("name", ["a/b", "&&", "ü", "*", "a" * 257])
def test_the_name_of_an_index_must_be_valid(algolia: Algolia, name: str) -> None:
    refused = batch(algolia, ("addObject", {}), index=quote(name, safe=""))

    assert refused == (400, {"message": "indexName is not valid", "status": 400})


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", SETTINGS, "Index posts does not exist"),
        ("POST", QUERY, "Index posts does not exist"),
        ("GET", "/1/indexes/posts/a", "Index posts does not exist"),
        ("GET", "/1/indexes/pages/a", "ObjectID does not exist"),
        ("GET", "/1/indexes/pages/task/1", "Task does not exist"),
        ("GET", "/1/indexes/pages/task/none", "Task does not exist"),
    ],
)
def test_what_is_not_there_is_a_404(algolia: Algolia, method: str, path: str, message: str) -> None:
    batch(algolia, ("addObject", {"objectID": "b"}), index="pages")

    assert ask(algolia, method, path, {}, algolia.add_key("admin")) == (404, {"message": message, "status": 404})


def test_a_task_belongs_to_its_index(algolia: Algolia) -> None:
    _, answer = batch(algolia, ("addObject", {}))

    assert ask(algolia, "GET", f"/1/indexes/posts/task/{answer['taskID']}")[0] == 200
    assert ask(algolia, "GET", f"/1/indexes/pages/task/{answer['taskID']}")[0] == 404


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hitsperpage": 5}, "Invalid object attributes: hitsperpage near line:1 column:14"),
        ({"customRanking": [], "settings": {}}, "Invalid object attributes: settings near line:1 column:32"),
        ({"hitsPerPage": "5"}, "Invalid value for the setting hitsPerPage: Expected `int`, got `str`"),
        ({"hitsPerPage": 1001}, "Invalid value for the setting hitsPerPage: Expected `int` <= 1000"),
        ({"searchableAttributes": "title"}, "Invalid value for the setting searchableAttributes: Expected `array`"),
        ({"queryType": "prefix"}, "Invalid value for the setting queryType: Invalid enum value 'prefix'"),
        ({"customRanking": ["name"]}, "Invalid item in the setting customRanking: name"),
        ({"ranking": ["words", "popularity"]}, "Invalid item in the setting ranking: popularity"),
        ({"attributesForFaceting": ["only(x)"]}, "Invalid item in the setting attributesForFaceting: only(x)"),
        ({"searchableAttributes": ["desc(x)"]}, "Invalid item in the setting searchableAttributes: desc(x)"),
    ],
)
def test_a_setting_that_is_none_changes_nothing(algolia: Algolia, settings: Any, message: str) -> None:
    status, answer = ask(algolia, "PUT", SETTINGS, {"hitsPerPage": 5, **settings})
    alone, alone_answer = ask(algolia, "PUT", SETTINGS, settings)

    assert (status, alone) == (400, 400)
    assert alone_answer["message"].startswith(message)
    assert re.search(r"near line:1 column:\d+$", answer["message"])
    assert algolia.indices == []


@pytest.mark.parametrize(
    "settings",
    [
        {"searchableAttributes": ["unordered(title)", "summary,content", "ordered(author)"]},
        {"attributesForFaceting": ["type", "filterOnly(a)", "searchable(b)", "afterDistinct(searchable(c))"]},
        {"ranking": ["asc(price)", "typo", "custom"], "customRanking": ["asc(a.b)", "desc(c)"]},
        {"typoTolerance": "min", "ignorePlurals": ["de"], "removeStopWords": True, "distinct": 2, "userData": [1]},
        {"replicas": []},
    ],
)
def test_settings_as_algolia_s_documentation_has_them_are_taken(algolia: Algolia, settings: dict[str, Any]) -> None:
    assert ask(algolia, "PUT", SETTINGS, settings)[0] == 200
    assert {name: algolia.settings("posts")[name] for name in settings} == settings


def test_what_is_not_played_says_so(algolia: Algolia) -> None:
    batch(algolia, ("addObject", {}))

    answers = [
        ask(algolia, "PUT", SETTINGS, {"replicas": ["posts_by_date"]}),
        ask(algolia, "POST", QUERY, {"facets": ["type"]}, algolia.add_key("search")),
        ask(algolia, "POST", "/1/indexes/posts/deleteByQuery", {"tagFilters": "x"}, algolia.add_key("admin")),
    ]

    assert [status for status, _ in answers] == [501] * 3


@pytest.mark.parametrize(
    "path",
    [
        "/1/indexes/posts/a/partial?createIfNotExists=no",
        "/1/indexes/posts/settings?forwardToReplicas=1",
        "/1/indexes?page=-1",
        "/1/indexes?page=0&hitsPerPage=0",
    ],
)
def test_a_parameter_of_another_type_is_a_400(algolia: Algolia, path: str) -> None:
    method = "POST" if "partial" in path else "PUT" if "settings" in path else "GET"

    assert ask(algolia, method, path, {})[0] == 400


def test_indices_are_listed_by_pages(algolia: Algolia) -> None:
    for name in "abc":
        batch(algolia, ("addObject", {}), index=name)

    _, answer = ask(algolia, "GET", "/1/indexes?page=1&hitsPerPage=2")

    assert ([item["name"] for item in answer["items"]], answer["nbPages"]) == (["c"], 2)


# --- limits ---


def record_of(size: int, text: str = "x") -> dict[str, str]:
    """A record of so many bytes, if `text` has one."""
    return {"objectID": "a", "content": text * (size - len(b'{"objectID":"a","content":""}'))}


@pytest.mark.parametrize("action", ["addObject", "updateObject", "partialUpdateObject", "partialUpdateObjectNoCreate"])
def test_a_record_above_the_limit_refuses_the_batch_in_algolia_s_words(algolia: Algolia, action: str) -> None:
    fits = batch(algolia, (action, record_of(10_000)))[0]
    status, answer = batch(algolia, ("addObject", {"objectID": "b"}), (action, record_of(10_001)))

    assert (fits, status) == (200, 400)
    assert answer == {
        "message": "Record at the position 1 objectID=a is too big size=10001/10000 bytes. Please have a look at "
        "https://www.algolia.com/doc/guides/sending-and-managing-data/prepare-your-data/in-depth/"
        "index-and-records-size-and-usage-limitations/#record-size-limits",
        "position": 1,
        "objectID": "a",
        "status": 400,
    }
    assert "b" not in algolia.records("posts")


@pytest.mark.parametrize(("method", "path"), [("POST", "/1/indexes/posts"), ("PUT", "/1/indexes/posts/a")])
def test_a_single_record_above_the_limit_is_refused_too(algolia: Algolia, method: str, path: str) -> None:
    algolia.record_bytes = 100

    assert ask(algolia, method, path, record_of(100))[0] < 300
    assert ask(algolia, method, path, record_of(101))[1]["message"].startswith("Record at the position 0 objectID=a")


# Without control characters, which have two spellings each.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))


@given(st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_a_record_is_measured_as_it_would_be_written_without_escapes_and_spaces(record: dict[str, str]) -> None:
    algolia = Algolia()
    record["objectID"] = "a"
    size = len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode())
    body = json.dumps({"requests": [{"action": "addObject", "body": record}]}, indent=4).encode()

    algolia.record_bytes = size
    fits = ask(algolia, "POST", BATCH, body)[0]
    algolia.record_bytes = size - 1
    refused = ask(algolia, "POST", BATCH, body)[0]

    assert (fits, refused) == (200, 400)


def test_a_body_above_the_limit_is_a_413(algolia: Algolia) -> None:
    algolia.account.body_bytes = len(ONE)

    fits, too_large = ask(algolia, "POST", BATCH, ONE), ask(algolia, "POST", BATCH, ONE + b" ")

    assert (fits[0], too_large) == (200, (413, {"message": "Request body is too large", "status": 413}))


def test_a_quota_that_was_exceeded_already_stops_no_deletes_and_no_settings(algolia: Algolia) -> None:
    batch(algolia, ("addObject", {"objectID": "a"}), ("addObject", {"objectID": "b"}))
    algolia.account.quota = 1

    added, _ = batch(algolia, ("addObject", {"objectID": "a"}))
    deleted, _ = batch(algolia, ("deleteObject", {"objectID": "a"}))
    algolia.account.quota = 0
    configured, _ = ask(algolia, "PUT", SETTINGS, {"hitsPerPage": 5})

    assert (added, deleted, configured) == (403, 200, 200)


def test_records_above_the_quota_are_refused_while_others_are_updated_and_deleted(algolia: Algolia) -> None:
    algolia.account.quota = 2
    batch(algolia, ("addObject", {"objectID": "a"}), ("addObject", {"objectID": "b"}))

    status, answer = batch(algolia, ("addObject", {"objectID": "a"}), index="pages")
    updated, _ = batch(algolia, ("addObject", {"objectID": "a", "title": "new"}))
    deleted, _ = batch(algolia, ("deleteObject", {"objectID": "b"}))

    assert (status, updated, deleted) == (403, 200, 200)
    assert answer["message"].startswith("You have exceeded your Record quota. You’ll need to change your plan")  # noqa: RUF001 - as Algolia writes it
    assert algolia.records("posts") == {"a": {"objectID": "a", "title": "new"}}


# --- the search ---


@pytest.fixture
def library(algolia: Algolia) -> Algolia:
    facets = ["type", "filterOnly(tags)", "live", "seo.topic"]
    ask(algolia, "PUT", SETTINGS, {"attributesForFaceting": facets})
    batch(
        algolia,
        ("addObject", {"objectID": "a", "type": "post", "tags": ["sea", "low tide"], "n": 1, "live": True}),
        ("addObject", {"objectID": "b", "type": "post", "tags": ["moon"], "n": 2.5, "seo": {"topic": "sky"}}),
        ("addObject", {"objectID": "c", "type": "page", "n": [3, 30], "hidden": "x", "_tags": ["new"]}),
        ("addObject", {"objectID": "d", "type": "AND"}),
    )
    return algolia


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("", "abcd"),
        ("type:post", "ab"),
        ("type:Post", ""),
        ("NOT type:post", "cd"),
        ('tags:"low tide"', "a"),
        ("tags:'moon'", "b"),
        ('type:"AND"', "d"),
        ("type:post AND tags:sea", "a"),
        ("tags:sea OR tags:moon", "ab"),
        ("tags:sea OR tags:moon AND type:post AND NOT objectID:a", "b"),
        ("(tags:sea OR tags:moon) AND (type:post)", "ab"),
        ("n > 1", "bc"),
        ("n>=2.5 AND n < 3", "b"),
        ("n != 1 AND n = 30", "c"),
        ("n:2 TO 3", "bc"),
        ("live:true", "a"),
        ("seo.topic:sky", "b"),
        ("new", "c"),
        ("_tags:new OR old", "c"),
        ("hidden:x", ""),
        ("NOT hidden:x", "abcd"),
    ],
)
def test_filters_let_through_what_they_name(library: Algolia, filters: str, expected: str) -> None:
    assert "".join(found(library, filters=filters)) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("Type:Important dates", "filters: Unexpected token string(dates) expected end of filter at col 15"),
        ("category.lvl2:Womens>Tailoring", "filters: Unexpected token > expected end of filter at col 20"),
        ("(languages:pythonORlanguages:javascript)", "filters: Unexpected token : expected ) at col 28"),
        ('a"b"c', "filters: Unexpected token string(b) expected end of filter at col 1"),
        ('"unclosed', "filters: Unexpected token incomplete string expected filter at col 0"),
        ("a:", "filters: Unexpected token end of filter expected filter value at col 2"),
        ("AND a:b", "filters: Unexpected token AND expected filter at col 0"),
        ("n > many", "filters: Unexpected token string(many) expected numeric at col 4"),
        ("a:1 TO", "filters: Unexpected token end of filter expected numeric at col 6"),
        ("(a:b", "filters: Unexpected token end of filter expected ) at col 4"),
        ("NOT (a:b OR a:c)", "filters: Unexpected token ( expected filter at col 4"),
        ("a:b OR (a:c AND a:d)", "filters: filter (X AND Y) OR Z is not allowed, only (X OR Y) AND Z is allowed"),
        ("a:b OR n > 3", "filters: Different types are not allowed in the same OR."),
    ],
)
def test_filters_that_are_none_are_refused_in_algolia_s_words(library: Algolia, filters: str, message: str) -> None:
    for path, key in ((QUERY, "search"), ("/1/indexes/posts/deleteByQuery", "deleteIndex")):
        refused = ask(library, "POST", path, {"filters": filters}, library.add_key(key))

        assert refused == (400, {"message": message, "status": 400})


# Short, and out of few characters, so that what is looked for is often there.
VALUES = st.text("\"\\' :aO", min_size=1, max_size=2)


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=3), st.lists(VALUES, max_size=4))
def test_quoted_values_of_any_text_are_found_again(wanted: list[list[str]], values: list[str]) -> None:
    algolia = Algolia()
    ask(algolia, "PUT", SETTINGS, {"attributesForFaceting": ["x"]})
    batch(algolia, ("addObject", {"objectID": "a", "x": values}))

    alternatives = [" OR ".join(f"x:{quoted(one)}" for one in each) for each in wanted]

    expected = all(any(one in values for one in each) for each in wanted)
    assert found(algolia, filters=" AND ".join(f"({one})" for one in alternatives)) == (["a"] if expected else [])


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@pytest.mark.parametrize(
    ("facet_filters", "expected"),
    [
        ("type:post", "ab"),
        ([], "abcd"),
        (["type:post", "tags:moon"], "b"),
        ([["tags:sea", "tags:moon"], "type:-page"], "ab"),
        (["type:\\-page"], ""),
    ],
)
def test_facet_filters_are_a_conjunction_of_alternatives(library: Algolia, facet_filters: Any, expected: str) -> None:
    assert "".join(found(library, facetFilters=facet_filters)) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"facetFilters": ["type"]},
        {"facetFilters": [5]},
        {"hitsPerPage": 0},
        {"hitsPerPage": 1001},
        {"page": -1},
        {"query": 5},
        {"query": "ä" * 257},
    ],
)
def test_a_search_that_is_none_is_a_400(library: Algolia, parameters: Any) -> None:
    assert ask(library, "POST", QUERY, parameters, library.add_key("search"))[0] == 400


def test_a_query_may_be_512_bytes_long(library: Algolia) -> None:
    assert found(library, query="ä" * 256) == []


@pytest.mark.parametrize(
    ("settings", "query", "expected"),
    [
        ({}, "", "abc"),
        ({}, "tide", "ab"),
        ({}, "low ti", "a"),
        ({}, "ti low", ""),
        ({}, "7", "c"),
        ({}, "deep", "b"),
        ({}, "a", ""),
        ({"searchableAttributes": ["title"]}, "tide", "a"),
        ({"searchableAttributes": ["title,summary"]}, "tide", "ab"),
        ({"searchableAttributes": ["seo.words"]}, "deep", "b"),
        ({"searchableAttributes": ["objectID"]}, "a", "a"),
        ({"queryType": "prefixNone"}, "ti", ""),
    ],
)
def test_words_are_looked_for_in_the_searchable_attributes(
    algolia: Algolia, settings: dict[str, Any], query: str, expected: str
) -> None:
    ask(algolia, "PUT", SETTINGS, settings)
    batch(
        algolia,
        ("addObject", {"objectID": "a", "title": "Low tide"}),
        ("addObject", {"objectID": "b", "summary": "The tide", "seo": {"words": ["so", "deep"]}}),
        ("addObject", {"objectID": "c", "title": None, "number": 7}),
    )

    assert "".join(found(algolia, query=query)) == expected


def test_hits_are_in_the_order_of_the_custom_ranking_and_what_lacks_it_comes_last(algolia: Algolia) -> None:
    ask(algolia, "PUT", SETTINGS, {"customRanking": ["desc(at)", "asc(name)"]})
    batch(
        algolia,
        ("addObject", {"objectID": "a", "at": 1, "name": "z"}),
        ("addObject", {"objectID": "b", "at": 2, "name": "b"}),
        ("addObject", {"objectID": "c", "at": 2, "name": "a"}),
        ("addObject", {"objectID": "d", "at": None, "name": "a"}),
        ("addObject", {"objectID": "e", "at": [9]}),
    )

    assert "".join(found(algolia)) == "cbade"
    assert "".join(found(algolia, page=1, hitsPerPage=2)) == "ad"


def test_no_more_hits_than_the_pagination_limit_can_be_reached(algolia: Algolia) -> None:
    ask(algolia, "PUT", SETTINGS, {"paginationLimitedTo": 2})
    batch(algolia, *[("addObject", {"objectID": one}) for one in "abc"])

    _, answer = ask(algolia, "POST", QUERY, {"hitsPerPage": 1}, algolia.add_key("search"))

    assert (answer["nbHits"], answer["nbPages"]) == (3, 2)
    assert found(algolia, page=2, hitsPerPage=1) == []


def test_attributes_that_must_not_be_retrieved_are_seen_by_nobody_without_the_right(algolia: Algolia) -> None:
    ask(algolia, "PUT", SETTINGS, {"unretrievableAttributes": ["sales", "objectID"]})
    batch(algolia, ("addObject", {"objectID": "a", "sales": 1, "title": "x"}))
    seeing = algolia.add_key("search", "seeUnretrievableAttributes")

    shown = [
        ask(algolia, "GET", "/1/indexes/posts/a", None, algolia.add_key("search"))[1],
        *ask(algolia, "POST", QUERY, {"attributesToRetrieve": ["sales"]}, algolia.add_key("search"))[1]["hits"],
        *ask(algolia, "POST", QUERY, {"attributesToRetrieve": ["*"]}, seeing)[1]["hits"],
    ]

    assert shown == [{"objectID": "a", "title": "x"}, {"objectID": "a"}, {"objectID": "a", "sales": 1, "title": "x"}]


@pytest.mark.parametrize("body", [{}, {"filters": ""}, {"query": "tide"}, {"filters": "type:post", "hitsPerPage": 1}])
def test_a_deletion_by_anything_but_filters_deletes_nothing(library: Algolia, body: Any) -> None:
    refused, _ = ask(library, "POST", "/1/indexes/posts/deleteByQuery", body, library.add_key("deleteIndex"))

    assert refused == 400
    assert len(library.records("posts")) == 4


@pytest.mark.parametrize("body", [{"requests": [{"indexName": "posts"}]}, {"requests": 5}, {"query": "x"}])
def test_a_request_for_several_records_must_name_them(library: Algolia, body: Any) -> None:
    assert ask(library, "POST", "/1/indexes/*/objects", body, library.add_key("search"))[0] == 400


# --- several hosts ---


def test_a_host_that_is_down_refuses_connections_and_comes_back_on_the_same_port(sandbox: Sandbox) -> None:
    first, *_ = sandbox.algolia_hosts
    endpoint = sandbox.algolia_endpoint

    with requests.Session() as session:
        assert session.get(f"{first.url}/1/indexes", timeout=5).status_code == 403
        first.down()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{first.url}/1/indexes", timeout=5)
        first.up()
        first.up()

        assert session.get(f"{first.url}/1/indexes", timeout=5).status_code == 403
    assert sandbox.algolia_endpoint == endpoint


def test_all_hosts_are_one_application(sandbox: Sandbox, client: SearchClientSync) -> None:
    client.batch("posts", {"requests": [{"action": "addObject", "body": POST}]})
    first, *others = sandbox.algolia_hosts
    first.down()

    headers = {"x-algolia-application-id": sandbox.algolia.app_id, "x-algolia-api-key": sandbox.algolia.api_key}
    answers = [requests.get(f"{host.url}/1/indexes", headers=headers, timeout=5).json() for host in others]

    assert [answer["items"][0]["entries"] for answer in answers] == [1, 1]


def test_the_official_client_goes_on_to_the_next_host_and_the_requests_tell_which(
    sandbox: Sandbox, client: SearchClientSync
) -> None:
    first, second, _ = [host.address for host in sandbox.algolia_hosts]
    sandbox.faults.add(Fault(kind="status", status=503, host=f"{first}$"))

    client.batch("posts", {"requests": [{"action": "addObject", "body": POST}]})

    assert [(one.host, one.status) for one in sandbox.requests_to("algolia", "/batch$")] == [
        (first, 503),
        (second, 200),
    ]
    assert len(sandbox.algolia.records("posts")) == 1


def test_the_official_client_gives_up_when_all_hosts_fail(sandbox: Sandbox, client: SearchClientSync) -> None:
    sandbox.faults.add(Fault(kind="status", status=500, vendor="algolia"))

    with pytest.raises(AlgoliaUnreachableHostException):
        client.batch("posts", {"requests": []})

    assert len(sandbox.requests) == 3


def test_the_sandbox_s_first_port_answers_too(sandbox: Sandbox) -> None:
    assert requests.get(f"{sandbox.url}/1/indexes", timeout=5).status_code == 403
    assert requests.get(f"{sandbox.algolia_hosts[0].url}/v2/posts/", timeout=5).status_code == 403


# --- secrets ---


def test_keys_are_kept_nowhere(sandbox: Sandbox, client: SearchClientSync) -> None:
    key = sandbox.algolia.api_key
    client.get_api_key(key)
    requests.get(f"{sandbox.url}/1/indexes?X-Algolia-API-Key={key}", timeout=5)

    kept = requests.get(f"{sandbox.url}/_sandbox/requests", timeout=5).text

    assert len(sandbox.requests) == 2
    assert key not in kept
    assert sandbox.requests[0].path == "/1/keys/***"
    assert sandbox.requests[0].request.headers["x-algolia-api-key"] == "***"
    assert key not in msgspec.json.encode(sandbox.requests).decode()


# --- what a person can do ---


def test_the_application_is_looked_at_and_changed_over_http(sandbox: Sandbox, client: SearchClientSync) -> None:
    def control(method: str, path: str, json: Any = None) -> requests.Response:
        return requests.request(method, f"{sandbox.url}/_sandbox/algolia/{path}", json=json, timeout=5)

    client.batch("posts", {"requests": [{"action": "addObject", "body": POST}]})

    shown = control("GET", "account").json()
    assert (shown["app_id"], shown["api_key"]) == (sandbox.algolia.app_id, sandbox.algolia.api_key)
    assert (shown["delay"], shown["record_bytes"], shown["indices"]) == (0, 10_000, {"posts": 1})
    assert control("GET", "records/posts").json() == [POST]
    assert control("POST", "account", {"delay": 2, "quota": 5}).json()["delay"] == 2
    assert (sandbox.algolia.delay, sandbox.algolia.record_bytes, sandbox.algolia.account.quota) == (2, 10_000, 5)
    assert control("POST", "account", {"colour": "red"}).status_code == 400
    key = control("POST", "keys", {"acl": ["search"], "indexes": ["p*"]}).json()["key"]
    assert ask(sandbox.algolia, "POST", QUERY, {"query": "tide"}, key)[1]["nbHits"] == 1
    assert control("POST", "keys", {"acl": ["everything"]}).status_code == 400
    assert control("POST", "reset").status_code == 204
    assert (sandbox.algolia.delay, sandbox.algolia.indices) == (0, [])
    assert ask(sandbox.algolia, "POST", QUERY, {}, key)[0] == 403


def test_hosts_are_taken_down_and_up_over_http(sandbox: Sandbox) -> None:
    first, *others = [host.address for host in sandbox.algolia_hosts]
    hosts = f"{sandbox.url}/_sandbox/algolia/hosts"

    down = requests.post(f"{hosts}/{first}", json={"up": False}, timeout=5).json()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{first}/1/indexes", timeout=5)
    up = requests.post(f"{hosts}/{first}", json={"up": True}, timeout=5).json()

    assert down == {first: False, **dict.fromkeys(others, True)}
    assert up == requests.get(hosts, timeout=5).json() == dict.fromkeys((first, *others), True)
    assert requests.get(f"http://{first}/1/indexes", timeout=5).status_code == 403
    assert requests.post(f"{hosts}/nobody", json={"up": True}, timeout=5).status_code == 404
