"""opensearch against a real OpenSearch and a real Elasticsearch: one story for both, whatever order and trouble."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapping
import opensearch
from buttersync.clients import client
from buttersync.delivery import Adapter, Delivery
from buttersync.model import Document, Effect, Identity, Kind
from buttersync.outcomes import DONE, Failure, Misconfigured, Outcome, Unavailable
from cluster import cluster_of, serverless
from conversation import Client, Conversation
from decisions import Pointer, Row, Status
from sandbox.jars import Engine
from sandbox.search import GIVEN, SearchServer
from storage import ContentTable
from tests.fakes.documents import HELLO
from tests.fakes.target import Target, target

names = count()


def document(
    slug: str = "hello",
    version: int = 1,
    change: Effect = "updated",
    kind: Kind = "post",
    group: str = "",
    locale: str = "en",
    **more: Any,
) -> Document:
    """A version of an item; a removed one has its identity and version only."""
    identity = Identity(kind, group, slug, locale)
    own: dict[str, Any] = {
        "identity": identity,
        "version": version,
        "change": change,
        "archive_key": f"{identity.ref}/{version}",
    }
    if change == "removed":
        return Document(announce_key="post:7", **own)
    return msgspec.structs.replace(HELLO, **(own | more))


def quoted(ref: str) -> str:
    return quote(ref, safe="")


class Site:
    """The indices of one prefix, and what a person sees of them with `curl`."""

    def __init__(self, server: SearchServer, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.settings = {
            "endpoint": server.endpoint,
            "engine": server.engine,
            "auth": "none",
            "index_prefix": prefix,
        }

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer, whatever its status; ``{}`` in a path is the prefix."""
        request = urllib.request.Request(
            self.server.endpoint + path.replace("{}", self.prefix),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def deliver(self, *documents: Document) -> list[Outcome]:
        return opensearch.deliver(self.settings, documents)

    def failure(self, *documents: Document) -> Failure:
        """What all of the documents came to."""
        first, *others = self.deliver(*documents)
        assert isinstance(first, Failure)
        assert all(str(other) == str(first) for other in others)
        return first

    def found(self, ref: str, alias: str = "posts") -> dict[str, Any]:
        """A document as it is kept, read past the search; empty if there is none."""
        answer = self.ask("GET", f"/{{}}{alias}/_doc/{quoted(ref)}")
        return answer.get("_source", {})  # type: ignore[no-any-return]

    def version(self, slug: str) -> int | None:
        """The version of a post, if it is there."""
        return self.found(f"post:{slug}:en").get("version")

    def search(self, query: Mapping[str, Any], alias: str = "posts") -> Any:
        """The answer to a search, of everything that was written before."""
        self.ask("POST", f"/{{}}{alias}/_refresh")
        return self.ask("POST", f"/{{}}{alias}/_search", query)

    def slugs(self, query: Mapping[str, Any], alias: str = "posts") -> list[str]:
        return [hit["_source"]["slug"] for hit in self.search(query, alias)["hits"]["hits"]]

    def configure(self, index: str, **values: object) -> None:
        """Change settings of an index, as ``gc_deletes="0s"``."""
        assert self.ask("PUT", f"/{{}}{index}/_settings", {"index": values})["acknowledged"]

    @contextmanager
    def configured(self, index: str, **values: object) -> Iterator[None]:
        """The settings for a while; then those that setup made, or none."""
        self.configure(index, **values)
        try:
            yield
        finally:
            self.configure(index, **{name: mapping.SETTINGS.get(name) for name in values})

    def alias(self, *actions: tuple[str, Mapping[str, object]]) -> None:
        """Change aliases of the posts, as ``("add", {"index": "posts-v2"})``."""
        alias = f"{self.prefix}posts"
        whole = [{do: {**what, "index": self.prefix + str(what["index"]), "alias": alias}} for do, what in actions]
        assert self.ask("POST", "/_aliases", {"actions": whole})["acknowledged"]

    def indices(self) -> set[str]:
        return set(self.ask("GET", "/{}*"))


@pytest.fixture(scope="module", params=["opensearch", "elasticsearch"])
def server(request: pytest.FixtureRequest) -> Iterator[SearchServer]:
    """Ours, wherever another may be at hand: it is stopped and started."""
    engine: Engine = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(GIVEN, raising=False)
        with SearchServer(engine) as running:
            yield running
    opensearch.client.close()


@pytest.fixture
def empty(server: SearchServer) -> Site:
    """A prefix for which nobody has run setup."""
    return Site(server, f"site{next(names)}-")


@pytest.fixture
def fresh(empty: Site) -> Site:
    """A prefix after setup, for tests that change more than their own documents."""
    opensearch.setup(empty.settings)
    return empty


@pytest.fixture(scope="module")
def store(server: SearchServer) -> Site:
    """A prefix after setup, for all tests that take slugs of their own."""
    made = Site(server, "shared-")
    opensearch.setup(made.settings)
    return made


@pytest.fixture
def slug() -> str:
    return f"slug-{next(names)}"


# What a document holds


def test_a_post_is_found_with_every_field(store: Site) -> None:
    assert store.deliver(HELLO) == [DONE]

    assert store.found("post:hello:en") == {
        "ref": "post:hello:en",
        "version": 1,
        "type": "post",
        "slug": "hello",
        "locale": "en",
        "title": "Hello there",
        "summary": "A greeting.",
        "content": "Hello there, reader.",
        "url": "https://www.example.com/blog/hello",
        "image": "https://cdn.example.com/hello.png",
        "author": "Ada Example",
        "categories": ["Letters", "Notes"],
        "tags": ["first", "short"],
        "published_at": "2026-03-01T08:00:00.000000Z",
        "updated_at": "2026-03-02T09:30:00.250000Z",
        "fields": {"slug": "hello", "body": "<p>Hello there, reader.</p>", "featured": {"rank": 3}},
    }


def test_pages_and_items_have_aliases_of_their_own(store: Site) -> None:
    page = document("about", kind="page", group="*", locale="de")
    thing = document("41", kind="item", group="products", fields={"slug": "lamp"})

    assert store.deliver(page, thing) == [DONE, DONE]

    assert store.found("page:*:about:de", "pages")["page_type"] == "*"
    assert store.found("item:products:41:en", "items")["slug"] == "lamp"
    assert store.found("page:*:about:de") == {}


def test_a_ref_that_is_longer_than_an_id_may_be_is_kept_and_removed(store: Site) -> None:
    long = "ü" * 140
    query = {"query": {"term": {"ref": Identity("post", "", long, "en").ref}}}

    assert store.deliver(document(long)) == [DONE]
    assert store.slugs(query) == [long]

    assert store.deliver(document(long, 2, "removed")) == [DONE]
    assert store.slugs(query) == []


# Search


def test_a_post_is_found_by_its_words_one_refresh_later(store: Site, slug: str) -> None:
    word = f"marmalade{next(names)}"
    query = {"query": {"match": {"content": word}}}

    store.deliver(document(slug, text=f"Bread with {word.upper()}, please."))

    began = time.monotonic()
    until(lambda: store.ask("POST", "/{}posts/_search", query)["hits"]["total"]["value"] == 1)
    assert time.monotonic() - began < 5


def test_content_is_found_by_label_by_facet_and_by_date(store: Site) -> None:
    tag = f"Red Things {next(names)}"
    dates = [f"2026-03-0{day}T08:00:00.{day}00000Z" for day in (2, 3, 1)]
    posts = [
        document(f"{tag}-{date}", tags=(tag, "other"), author=f"Ada {day}", published_at=date)
        for day, date in enumerate(dates)
    ]

    assert store.deliver(*posts) == [DONE] * 3

    labelled = {"query": {"term": {"tags": tag}}}
    assert store.slugs(labelled | {"sort": [{"published_at": "desc"}]}) == [
        f"{tag}-{date}" for date in sorted(dates, reverse=True)
    ]
    facets = store.search(labelled | {"aggs": {"tags": {"terms": {"field": "tags"}}}})["aggregations"]["tags"]
    assert {bucket["key"]: bucket["doc_count"] for bucket in facets["buckets"]} == {tag: 3, "other": 3}
    by_author = {"query": {"bool": {"filter": [labelled["query"], {"match": {"author.text": "ADA"}}]}}}
    assert len(store.slugs(by_author)) == 3
    recent = {"query": {"bool": {"filter": [labelled["query"], {"range": {"published_at": {"gte": dates[0]}}}]}}}
    assert len(store.slugs(recent)) == 2


# Order and repetition


def test_a_newer_version_replaces_the_document_and_an_older_one_does_not(store: Site, slug: str) -> None:
    store.deliver(document(slug, 5, title="five"))

    assert store.deliver(document(slug, 6, title="six", tags=())) == [DONE]
    assert store.deliver(document(slug, 5, title="five")) == [DONE]

    found = store.found(f"post:{slug}:en")
    assert (found["version"], found["title"], found["tags"]) == (6, "six", [])


def test_an_equal_version_is_written_again(store: Site, slug: str) -> None:
    store.deliver(document(slug, 5, title="five"))
    store.deliver(document(f"{slug}-x", 5, "removed"))

    assert store.deliver(document(slug, 5, title="mended"), document(f"{slug}-x", 5, "removed")) == [DONE] * 2

    assert store.found(f"post:{slug}:en")["title"] == "mended"


def test_a_stale_upsert_after_a_delete_changes_nothing(store: Site, slug: str) -> None:
    store.deliver(document(slug, 5))
    assert store.deliver(document(slug, 6, "removed")) == [DONE]

    assert store.deliver(document(slug, 5)) == [DONE]

    assert store.version(slug) is None


def test_a_delete_of_what_never_was_there_fences_an_older_upsert_off(store: Site, slug: str) -> None:
    assert store.deliver(document(slug, 6, "removed")) == [DONE]

    store.deliver(document(slug, 5))

    assert store.version(slug) is None


def test_a_late_delete_does_not_kill_a_republished_document(store: Site, slug: str) -> None:
    store.deliver(document(slug, 7))

    assert store.deliver(document(slug, 6, "removed")) == [DONE]

    assert store.version(slug) == 7


def test_a_wiped_index_makes_no_other_of_itself_and_is_rebuilt_by_setup_and_the_same_versions(fresh: Site) -> None:
    page = document("about", kind="page", group="*")
    assert fresh.deliver(document(version=5), page) == [DONE, DONE]
    fresh.ask("DELETE", "/{}posts-v1")

    lost, removed, kept = fresh.deliver(document(version=5), document("a", change="removed"), page)
    assert (type(lost), type(removed), kept) == (Misconfigured, Misconfigured, DONE)
    assert fresh.indices() == {f"{fresh.prefix}pages-v1", f"{fresh.prefix}items-v1"}

    opensearch.setup(fresh.settings)
    assert fresh.deliver(document(version=5)) == [DONE]
    assert fresh.version("hello") == 5


REFS = 4
CHANGES: tuple[Effect, ...] = ("created", "updated", "removed")
HISTORIES = st.lists(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=5), min_size=1, max_size=REFS)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[tuple[int, int, Effect]]]:
    """Batches of (item, version, change): every version of every item, in any order, some more than once."""
    versions = [
        (item, version, change)
        for item, history in enumerate(draw(HISTORIES))
        for version, change in enumerate(history, start=1)
    ]
    sent = draw(st.permutations(versions + draw(st.lists(st.sampled_from(versions), max_size=5))))
    batches: list[list[tuple[int, int, Effect]]] = [[]]
    for item, version, change in sent:
        if draw(st.booleans()) or item in [other for other, *_ in batches[-1]]:
            batches.append([])
        batches[-1].append((item, version, change))
    return batches


KINDS: list[tuple[Kind, str]] = [("post", ""), ("page", "landing"), ("item", "products"), ("page", "*")]


@given(batches=deliveries())
@settings(max_examples=25, deadline=None)
def test_whatever_the_order_the_newest_version_of_each_remains(
    store: Site, batches: list[list[tuple[int, int, Effect]]]
) -> None:
    newest = {item: (version, change) for item, version, change in sorted(chain(*batches))}
    run = 1000 * next(names)

    for batch in batches:
        sent = [
            document(str(run + item), version, change, *KINDS[item], title=f"version {version}")
            for item, version, change in batch
        ]
        assert store.deliver(*sent) == [DONE] * len(sent)

    for item, (version, change) in newest.items():
        kind, group = KINDS[item]
        found = store.found(Identity(kind, group, str(run + item), "en").ref, mapping.ALIASES[kind])
        assert found.get("title") == (None if change == "removed" else f"version {version}")


def forget_deletions(site: Site) -> None:
    """What time does to them, at once: until a witness of it, removed later than all others, comes back."""
    witness = f"witness-{next(names)}"
    site.deliver(document(witness, 6, "removed"))

    def has_forgotten() -> bool:
        site.ask("POST", "/{}posts/_flush?force=true")
        site.ask("POST", "/{}posts/_refresh")
        site.deliver(document(witness, 5))
        return site.version(witness) == 5

    with site.configured("posts", gc_deletes="0s"):
        until(has_forgotten)


@contextmanager
def behind_a_queue(site: Site) -> Iterator[Target]:
    """The whole loop before a site."""
    with target(**site.settings) as loop:
        adapter = Adapter(
            "shop",
            ("endpoint",),
            opensearch.deliver,
            opensearch.check,
            opensearch.setup,
            opensearch.client.close,
            worst_case=opensearch.CALL_SECONDS,
            leased=serverless,
        )
        loop.loop = Delivery(adapter, clock=loop.cloud.clock)
        yield loop


@pytest.fixture
def queue(store: Site) -> Iterator[Target]:
    with behind_a_queue(store) as loop:
        yield loop


def test_a_deletion_that_the_index_has_forgotten_keeps_no_stale_upsert_out(store: Site, slug: str) -> None:
    # Why the delivery row is looked at first, and why gc_deletes is longer than any worker can be late.
    store.deliver(document(slug, 5))
    store.deliver(document(slug, 6, "removed"))

    def is_back() -> bool:
        forget_deletions(store)
        store.deliver(document(slug, 5))
        return store.version(slug) == 5

    until(is_back)


def test_a_deletion_that_the_index_has_forgotten_is_still_known_to_the_delivery(
    store: Site, queue: Target, slug: str
) -> None:
    for one in (document(slug, 5), document(slug, 6, "removed")):
        queue.send(one)
        queue.round()
    forget_deletions(store)

    queue.send(document(slug, 5))
    assert queue.round() == set()

    assert store.version(slug) is None
    assert queue.row(slug)["version"] == 6
    assert len(queue.logged("skipped")) == 1


def test_a_worker_that_stalls_between_its_look_and_its_write_brings_nothing_back(
    store: Site, queue: Target, slug: str
) -> None:
    # Within its time-out, far below gc_deletes, the index remembers.
    queue.send(document(slug, 5))
    looked = queue.loop.adapter.deliver

    def stalled(settings: Mapping[str, str], documents: Sequence[Document]) -> Sequence[Outcome]:
        store.deliver(document(slug, 6, "removed"))
        return looked(settings, documents)

    queue.loop.adapter = replace(queue.loop.adapter, deliver=stalled)
    assert queue.round() == set()

    assert store.version(slug) is None


# A mapping of the user's own


@pytest.fixture(scope="module")
def priced(server: SearchServer) -> Site:
    """A prefix whose posts have an index of the user's own, in which prices are numbers."""
    made = Site(server, "priced-")
    opensearch.setup(made.settings)
    price = {"enabled": True, "properties": {"price": {"type": "long"}}}
    own = {"dynamic": False, "properties": {**mapping.PROPERTIES, "fields": price}}
    assert made.ask("PUT", "/{}posts-v2", {"mappings": own})["acknowledged"]
    made.alias(("remove", {"index": "posts-v1"}), ("add", {"index": "posts-v2"}))
    return made


def test_a_bad_document_does_not_sink_its_batch_mates(priced: Site, slug: str) -> None:
    prices = [0, 1, "a secret price", 3, 4]

    with behind_a_queue(priced) as queue:
        for price in prices:
            queue.send(document(f"{slug}-{price}".replace(" ", "-"), fields={"price": price}))
        assert queue.round() == set()
        [letter] = queue.letters

    assert [price for price in prices if priced.version(f"{slug}-{price}")] == [0, 1, 3, 4]
    assert re.fullmatch(
        r"400 (mapper|document)_parsing_exception \(fields\.price, long\): illegal_argument_exception",
        letter.attributes["reason"],
    )


def test_own_fields_can_be_found_once_they_are_mapped(priced: Site, slug: str) -> None:
    priced.deliver(document(slug, fields={"price": 1234, "unknown": {"a": "b"}}))

    assert priced.slugs({"query": {"range": {"fields.price": {"gte": 1234}}}}) == [slug]


# Hostile content


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"end": True}
    for _ in range(levels):
        value = {"a": value}
    return value


HOSTILE = """'); DROP TABLE posts; -- \\' \" {"delete":{}}\n{"index":{}}\r\n \u2028 \x00 \u202e 👋 <script>"""

CONTENTS: dict[str, dict[str, Any]] = {
    "hostile texts": {
        **dict.fromkeys(("title", "summary", "url", "image", "author", "text"), HOSTILE),
        "tags": (HOSTILE,),
        "fields": {HOSTILE: [HOSTILE]},
    },
    "halves of surrogate pairs": {
        "title": "a\ud83d",
        "tags": ("\udc4b",),
        "fields": dict(zip("\ud800\udfff", (1, ["\ud800"]), strict=True)),
    },
    "one endless word": dict.fromkeys(("title", "summary", "url", "image", "author", "text"), "w" * 100_000),
    "one endless word of four bytes": {"tags": ("👋" * 25_000,), "author": "👋" * 8191, "title": "👋" * 256},
    "ten thousand tags": {"tags": tuple(f"tag {number}" for number in range(10_000))},
    "a megabyte of words": {"text": "Büroklammer " * 90_000, "fields": {"body": "Büroklammer " * 90_000}},
    "empty and dotted keys": {
        "fields": {"": {"": ""}, " ": 1, ".": 2, "a.": 3, ".a": 4, "a..b": 5, "a.b": {"c": 6}, "a": "b"}
    },
    "names that mean something": {"fields": {"_id": 1, "_source": {}, "version": {"a": []}, "_routing": None}},
    "one name, many types": {"fields": {"a": [1, "x", {"b": [[]]}, None, True, 1.5, "2026-01-01"]}},
    "numbers beyond range": {"fields": {"n": [2**70, -(2**70), 10**300, 1.7e308, 5e-324, float("inf"), float("nan")]}},
    "many fields": {"fields": {f"field {number}": number for number in range(20_000)}},
    "deep nesting": {"fields": nested(300)},
    "dates that are none": {"published_at": "the day before", "updated_at": "2026-02-31T00:00:00Z"},
    "the first and the last day": {
        "published_at": "0001-01-01T00:00:00.000000Z",
        "updated_at": "9999-12-31T23:59:59.999999Z",
    },
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_no_content_is_turned_down(store: Site, slug: str, content: dict[str, Any]) -> None:
    assert store.deliver(document(slug, **content)) == [DONE]

    assert store.version(slug) == 1
    assert store.slugs({"query": {"term": {"slug": slug}}, "sort": ["published_at"]}) == [slug]


def test_hostile_text_is_kept_as_it_is(store: Site, slug: str) -> None:
    store.deliver(document(slug, **CONTENTS["hostile texts"]))

    found = store.found(f"post:{slug}:en")
    assert {found[name] for name in ("title", "summary", "content", "author", "url")} == {HOSTILE}
    assert (found["tags"], found["fields"]) == ([HOSTILE], {HOSTILE: [HOSTILE]})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(fields=st.dictionaries(st.text(max_size=8), JSON), tags=st.lists(st.text(max_size=20), max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_fields_an_item_has_it_is_written(store: Site, fields: dict[str, Any], tags: list[str]) -> None:
    number = str(next(names))

    outcome = store.deliver(document(number, kind="item", group="any", fields=fields, tags=tuple(tags), text=str(tags)))

    assert outcome == [DONE]
    assert store.found(f"item:any:{number}:en", "items")["version"] == 1


def test_a_batch_larger_than_a_request_is_written_whole(store: Site) -> None:
    run = next(names)
    batch = [document(f"large-{run}-{number}", text="Büroklammer " * 180_000) for number in range(5)]

    assert store.deliver(*batch) == [DONE] * 5

    assert [store.version(one.identity.name) for one in batch] == [1] * 5


# Indices that are not as they should be


def test_before_setup_nothing_is_written_and_no_index_is_made(empty: Site) -> None:
    removed = [document("b", change="removed"), document("c", kind="page", group="*", change="removed")]

    for documents in ([document("a")], removed, [document("a"), *removed]):
        outcome = empty.failure(*documents)
        assert isinstance(outcome, Misconfigured)
        assert outcome.reason == "404 index_not_found_exception; there is no such alias: run setup"

    assert empty.indices() == set()


def test_an_index_by_the_name_of_an_alias_is_left_alone(empty: Site) -> None:
    empty.ask("PUT", "/{}posts")

    outcomes = empty.deliver(document("a"), document("b", change="removed"))
    with pytest.raises(Misconfigured) as raised:
        opensearch.setup(empty.settings)

    assert all(isinstance(outcome, Misconfigured) for outcome in outcomes)
    assert raised.value.reason == (
        f"{empty.prefix}posts is an index, and no alias: delete it, or store another index_prefix; then run setup"
    )
    assert empty.indices() == {f"{empty.prefix}posts"}
    assert empty.search({})["hits"]["total"]["value"] == 0


BLOCKS = {"blocks.write": 403, "blocks.read_only": 403, "blocks.read_only_allow_delete": 429}


@pytest.mark.parametrize(("block", "status"), BLOCKS.items())
def test_an_index_that_takes_no_writes_is_misconfigured_until_it_does(
    store: Site, slug: str, block: str, status: int
) -> None:
    thing = document("41", kind="item", group="products")

    with store.configured("posts", **{block: True}):
        *blocked, other = store.deliver(document(slug), document(f"{slug}-x", change="removed"), thing)
        with pytest.raises(Misconfigured, match="the index takes no writes"):
            opensearch.check(store.settings)

    assert [type(outcome) for outcome in blocked] == [Misconfigured] * 2
    assert [str(outcome) for outcome in blocked] == [f"{status} cluster_block_exception; the index takes no writes"] * 2
    assert other is DONE
    assert store.deliver(document(slug)) == [DONE]


def test_a_closed_index_is_misconfigured(store: Site, slug: str) -> None:
    store.ask("POST", "/{}posts/_close")

    outcome = store.failure(document(slug))
    store.ask("POST", "/{}posts/_open")

    assert isinstance(outcome, Misconfigured)
    assert outcome.reason == "400 index_closed_exception; open the index"


def test_an_alias_that_leads_to_two_indices_is_misconfigured_until_one_is_written_to(priced: Site, slug: str) -> None:
    priced.alias(("add", {"index": "posts-v1"}))

    outcome = priced.failure(document(slug))
    priced.alias(("add", {"index": "posts-v2", "is_write_index": True}))
    written = priced.deliver(document(slug))
    priced.alias(("remove", {"index": "posts-v1"}))

    assert isinstance(outcome, Misconfigured)
    assert "say which is_write_index" in outcome.reason
    assert written == [DONE]
    assert priced.version(slug) == 1


# Setup


def test_setup_makes_what_is_missing_and_touches_nothing_else(empty: Site) -> None:
    prefix = empty.prefix
    assert opensearch.setup(empty.settings) == (
        f"made the index template {prefix}buttersync, {prefix}pages-v1 behind {prefix}pages,"
        f" {prefix}posts-v1 behind {prefix}posts, {prefix}items-v1 behind {prefix}items"
    )
    assert opensearch.setup(empty.settings) == f"nothing to do: {prefix}pages, {prefix}posts, {prefix}items are there"

    made = empty.ask("GET", "/{}posts")[f"{prefix}posts-v1"]
    assert list(made["aliases"]) == [f"{prefix}posts"]
    assert made["mappings"]["dynamic"] == "false"
    assert set(made["mappings"]["properties"]) == set(mapping.PROPERTIES)
    configured = {name: made["settings"]["index"][name] for name in mapping.SETTINGS}
    assert configured == {"gc_deletes": "1h", "number_of_shards": "1", "refresh_interval": "1s"}
    empty.ask("PUT", "/{}posts-archive")
    assert empty.ask("GET", "/{}posts-archive")[f"{prefix}posts-archive"]["mappings"] == {}


def test_setup_leaves_what_a_person_has_changed(fresh: Site) -> None:
    template = fresh.ask("GET", "/_index_template/{}buttersync")["index_templates"][0]["index_template"]
    template["template"]["settings"]["index"]["number_of_replicas"] = "0"
    assert fresh.ask("PUT", "/_index_template/{}buttersync", template)["acknowledged"]
    fresh.configure("pages", refresh_interval="30s")
    fresh.ask("PUT", "/{}pages/_mapping", {"properties": {"teaser": {"type": "text"}}})
    fresh.ask("PUT", "/{}posts-v2")
    fresh.alias(("remove", {"index": "posts-v1"}), ("add", {"index": "posts-v2"}))
    fresh.ask("DELETE", "/{}items-v1")

    said = opensearch.setup(fresh.settings)

    assert said == f"made {fresh.prefix}items-v1 behind {fresh.prefix}items"
    pages = fresh.ask("GET", "/{}pages")[f"{fresh.prefix}pages-v1"]
    assert pages["settings"]["index"]["refresh_interval"] == "30s"
    assert pages["mappings"]["properties"]["teaser"] == {"type": "text"}
    assert list(fresh.ask("GET", "/{}posts")) == [f"{fresh.prefix}posts-v2"]
    assert fresh.ask("GET", "/{}items")[f"{fresh.prefix}items-v1"]["settings"]["index"]["number_of_replicas"] == "0"


def test_setups_at_once_end_alike(empty: Site) -> None:
    def run(_: int) -> str:
        server = Conversation(Client(), cluster_of(empty.settings), time.monotonic() + opensearch.SETUP_SECONDS)
        return mapping.make(server)

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(run, range(3)))

    assert all(one.startswith(("made ", "nothing to do")) for one in said)
    assert empty.deliver(document()) == [DONE]


def test_a_setup_that_was_cut_off_is_named_by_check_and_taken_up_again(fresh: Site) -> None:
    fresh.alias(("remove", {"index": "posts-v1"}))

    with pytest.raises(Misconfigured) as raised:
        opensearch.check(fresh.settings)

    assert raised.value.reason == f"there is no alias {fresh.prefix}posts: run setup"
    assert opensearch.setup(fresh.settings) == f"made {fresh.prefix}posts-v1 behind {fresh.prefix}posts"


def test_an_index_of_another_application_is_not_taken_over(empty: Site) -> None:
    for name in ("pages-v1", "posts-v1"):
        empty.ask("PUT", f"/{{}}{name}", {"mappings": {"properties": {"title": {"type": "keyword"}}}})

    with pytest.raises(Misconfigured) as raised:
        opensearch.setup(empty.settings)

    assert raised.value.reason.startswith(f"{empty.prefix}pages-v1 does not map ref, type, locale, slug, page_type")
    assert empty.ask("GET", "/{}pages-v1/_alias") == {f"{empty.prefix}pages-v1": {"aliases": {}}}


def test_a_template_that_goes_before_ours_is_noticed(empty: Site) -> None:
    empty.ask("PUT", "/_index_template/{}greedy", {"index_patterns": [f"{empty.prefix}*"], "priority": 1000})

    with pytest.raises(Misconfigured, match="another index template made it"):
        opensearch.setup(empty.settings)


def test_a_template_of_the_same_priority_is_named(empty: Site) -> None:
    template = {"index_patterns": [f"{empty.prefix}*"], "priority": mapping.PRIORITY}
    empty.ask("PUT", "/_index_template/{}greedy", template)

    with pytest.raises(Misconfigured, match=f"400 illegal_argument_exception: .*{empty.prefix}greedy"):
        opensearch.setup(empty.settings)


# Check


def written(site: Site) -> Any:
    """What the indices have been told: a merge in the background changes nothing about it."""
    told = site.ask("GET", "/{}*/_stats/indexing")["_all"]["primaries"]["indexing"]
    return {name: told[name] for name in ("index_total", "delete_total", "noop_update_total")}


def test_check_says_where_documents_go_and_writes_nothing(store: Site) -> None:
    store.deliver(HELLO)
    before = written(store)

    said = opensearch.check(store.settings)

    leads = ", ".join(f"shared-{name} (shared-{name}-v1)" for name in mapping.ALIASES.values())
    assert re.fullmatch(rf"(OpenSearch 2\.19|Elasticsearch 8\.19)\.\d+ takes documents for {re.escape(leads)}", said)
    assert written(store) == before


def test_check_names_what_forgets_deletions_too_soon(store: Site) -> None:
    with (
        store.configured("items", gc_deletes="299s"),
        store.configured("posts", gc_deletes=None),
        pytest.raises(Misconfigured) as raised,
    ):
        opensearch.check(store.settings)

    assert raised.value.reason == (
        "shared-items-v1, shared-posts-v1 may forget a deletion before an older version arrives:"
        " set index.gc_deletes to 1h"
    )


def test_check_remarks_on_what_cannot_be_searched(priced: Site) -> None:
    own = {"mappings": {"dynamic": False}, "settings": {"index": mapping.SETTINGS}}
    priced.ask("PUT", "/{}posts-own", own)
    priced.alias(("remove", {"index": "posts-v2"}), ("add", {"index": "posts-own"}))

    with priced.configured("pages", refresh_interval="1s"):
        said = opensearch.check(priced.settings)
    priced.alias(("remove", {"index": "posts-own"}), ("add", {"index": "posts-v2"}))

    assert "priced-posts (priced-posts-own), priced-items (priced-items-v1); priced-posts-own does not map ref" in said


# What the documentation says

DOCUMENTATION = (Path(__file__).parents[2] / "docs/opensearch.md").read_text()


def documented(title: str) -> list[tuple[str, str, Any]]:
    """The requests of a chapter: method, path and body of each."""
    chapter = DOCUMENTATION.split(f"\n## {title}\n")[1].split("\n## ")[0]
    asked = re.findall(r"^(GET|PUT|POST) (/\S+)\n((?:[ {}].*\n)*)", chapter, re.MULTILINE)
    return [(method, path, json.loads(body) if body else None) for method, path, body in asked]


@pytest.fixture(scope="module")
def site(server: SearchServer) -> Site:
    """Without a prefix, as the documentation has it."""
    made = Site(server, "")
    opensearch.setup(made.settings)
    return made


def test_the_documented_queries_find_what_they_should(site: Site) -> None:
    site.deliver(document("sourdough", title="Bread for everyone", tags=("Recipes",)), document("tea", text="Tea."))
    site.deliver(document("41", kind="item", group="products", text="A bread knife", fields={"slug": "knife"}))
    site.ask("POST", "/_refresh")

    found = [site.ask(*one) for one in documented("Queries")]

    assert [[hit["_source"]["slug"] for hit in answer["hits"]["hits"]] for answer in found] == [
        ["sourdough", "knife"],
        ["sourdough"],
        ["sourdough", "tea"],
    ]
    [tags] = [answer["aggregations"]["tags"]["buckets"] for answer in found if "aggregations" in answer]
    assert {"key": "Recipes", "doc_count": 1} in tags


def reindexed(site: Site, method: str, path: str, body: Mapping[str, Any]) -> int:
    """How many documents were copied, and how many not, as the destination had newer versions.

    Elasticsearch's part that does it is not to be had as a jar: it searches, and writes with the versions it finds.
    """
    if site.server.engine == "opensearch":
        answer = site.ask(method, path, body)
        assert answer["failures"] == []
        return int(answer["created"])
    found = site.ask("POST", f"/{body['source']['index']}/_search?version=true&size=1000")["hits"]["hits"]
    there = {"version_type": body["dest"]["version_type"]}
    copied = [
        site.ask(
            "PUT",
            f"/{body['dest']['index']}/_doc/{quoted(one['_id'])}?version={one['_version']}&{urlencode(there)}",
            one["_source"],
        )
        for one in found
    ]
    return sum(answer.get("result") == "created" for answer in copied)


def test_the_documented_change_of_a_mapping_loses_nothing_while_documents_come_in(site: Site) -> None:
    site.deliver(*(document(name, 5, title="old") for name in ("kept", "edited", "gone")))
    before = site.search({})["hits"]["total"]["value"]
    make, write, reindex, switch, _ = documented("Another mapping")

    assert site.ask(*make)["acknowledged"]
    assert site.ask(*write)["acknowledged"]
    meanwhile = document("edited", 6, title="new"), document("gone", 6, "removed"), document("fresh", 6, title="new")
    assert site.deliver(*meanwhile) == [DONE] * 3
    assert reindexed(site, *reindex) == before - 2
    assert site.ask(*switch)["acknowledged"]

    assert list(site.ask("GET", "/posts")) == ["posts-v2"]
    assert [site.version(name) for name in ("kept", "edited", "gone", "fresh")] == [5, 6, None, 6]
    assert site.deliver(document("kept", 4, title="new"), document("gone", 5, title="old")) == [DONE] * 2
    assert [site.found(f"post:{name}:en").get("title") for name in ("kept", "gone")] == ["old", None]
    assert "posts (posts-v2)" in opensearch.check(site.settings)


def test_what_a_shard_that_moved_let_the_copy_bring_back_is_found_as_documented(fresh: Site) -> None:
    fresh.deliver(document("kept", 5), document("gone", 5))
    _, _, reindex, _, find = documented("Another mapping")
    fresh.ask("PUT", "/{}posts-v2")
    fresh.alias(
        ("add", {"index": "posts-v1", "is_write_index": False}), ("add", {"index": "posts-v2", "is_write_index": True})
    )
    fresh.deliver(document("gone", 6, "removed"))
    # It is opened again as anywhere else: with what was written, without what is known of the past.
    fresh.ask("POST", "/{}posts-v2/_close")
    fresh.ask("POST", "/{}posts-v2/_open?wait_for_active_shards=1")

    method, path, body = reindex
    whole = {side: {**body[side], "index": fresh.prefix + body[side]["index"]} for side in ("source", "dest")}
    fresh.ask("POST", "/{}posts/_refresh")
    assert reindexed(fresh, method, path, {**body, **whole}) == 2
    fresh.alias(("remove", {"index": "posts-v1"}))
    assert fresh.slugs(find[2]) == ["gone"]

    [found] = fresh.search(find[2])["hits"]["hits"]
    fresh.ask("DELETE", f"/{{}}posts-v2/_doc/{quoted(found['_id'])}")
    assert (fresh.slugs(find[2]), fresh.version("kept")) == ([], 5)
    fresh.deliver(document("gone", 7))
    assert fresh.version("gone") == 7


@pytest.mark.usefixtures("aws")
def test_the_documented_scan_tells_what_is_removed() -> None:
    name = f"test-{next(names)}"
    client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "ref", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "ref", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    table = ContentTable(name)
    states: dict[str, Status] = {"post:gone:en": "removed", "post:here:en": "published", "page:*:gone:en": "removed"}
    for ref, status in states.items():
        table.record(Row(ref=ref, status=status, version=5, readings=1))
    table.move(Pointer(ref="id:post:7:en", writes=1))
    options = dict(re.findall(r"--((?:filter|expression)-[a-z-]+) '(.*)'", DOCUMENTATION))

    found = client("dynamodb").scan(
        TableName=name,
        FilterExpression=options["filter-expression"],
        ExpressionAttributeNames=json.loads(options["expression-attribute-names"]),
        ExpressionAttributeValues=json.loads(options["expression-attribute-values"]),
    )

    assert [item["ref"]["S"] for item in found["Items"]] == ["post:gone:en"]


def test_the_documented_rights_are_json() -> None:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENTATION, re.DOTALL)

    assert len(blocks) == 4
    assert all(json.loads(block) for block in blocks)


def test_the_documented_fields_are_those_of_the_mapping() -> None:
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENTATION.split("\n## What is in a document\n")[1], re.MULTILINE)

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} >= set(mapping.PROPERTIES)


# Outages, the last, since they take a while


def test_a_restart_after_a_flush_forgets_deletions_whatever_gc_deletes_says(fresh: Site) -> None:
    # Why the delivery row is looked at first.
    fresh.deliver(document("gone", 5))
    fresh.deliver(document("gone", 6, "removed"))
    fresh.ask("POST", "/{}posts/_flush?force=true")
    fresh.server.restart()
    opensearch.client.close()

    assert fresh.deliver(document("gone", 5)) == [DONE]

    assert fresh.version("gone") == 5


def test_an_outage_is_unavailable_and_heals_with_all_that_was_there(store: Site, slug: str) -> None:
    store.deliver(document(slug, 5), document(f"{slug}-x", 6, "removed"))
    store.server.stop()

    refused = store.failure(document("a"), document("b"))
    store.server.start()

    assert isinstance(refused, Unavailable)
    assert refused.reason == "no connection to the server: NewConnectionError"
    assert store.deliver(document(slug, 4), document(f"{slug}-x", 5)) == [DONE, DONE]
    assert (store.version(slug), store.version(f"{slug}-x")) == (5, None)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
