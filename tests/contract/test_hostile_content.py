"""Content that was written to do harm, from ButterCMS's answer to the stores: kept as text, or refused in silence.

Read by resolve's own client and mapping, brought to a real PostgreSQL, a real OpenSearch and the sandbox's Algolia by
their own adapters, always in the midst of content that is well.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
import psycopg2
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

import algolia
import decisions
import opensearch
import postgres
from buttersync.butter import Butter
from buttersync.clients import client
from buttersync.model import REF_BYTES, Document, Identity, usable
from buttersync.outcomes import DONE, Failure, Outcome, Refused, Unavailable
from buttersync.rows import ABSENT, DeliveryTable, Row
from mapping import ALIASES
from records import index_of
from sandbox.algolia.settings import shown as settings_shown
from sandbox.postgres import Postgres
from sandbox.search import GIVEN, SearchServer
from sandbox.server import Sandbox
from sandbox.wire import Response
from storage import Archive, ContentTable
from tests.fakes.hostile import FIELDS, NAMES, TEXTS, Anything, nested, to_json
from tests.unit.test_protocol import LOOKS, World

Kept = Mapping[str, Any]
"""What a store has of an item, under the names of a document's parts."""

numbers = count(1)


class Store(Protocol):
    """A target with its store behind it."""

    def deliver(self, documents: Sequence[Document]) -> Sequence[Outcome]: ...

    def kept(self, document: Document) -> Kept | None:
        """None if it is not there."""

    def shape(self) -> tuple[object, int]:
        """What no content may change, be it tables or indices and their settings; and the number of items."""


@dataclass
class Rows:
    """PostgreSQL."""

    dsn: str

    def deliver(self, documents: Sequence[Document]) -> Sequence[Outcome]:
        return postgres.deliver({"dsn": self.dsn}, documents)

    def kept(self, document: Document) -> Kept | None:
        table = postgres.TABLES[document.identity.kind]
        rows = self._ask(f"SELECT to_jsonb(it) FROM {table} AS it WHERE ref = %s", document.identity.ref)  # noqa: S608
        return rows[0][0] if rows else None

    def shape(self) -> tuple[object, int]:
        columns = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        )
        [(number,)] = self._ask("SELECT count(*) FROM content")
        return sorted(self._ask(columns)), number

    def _ask(self, sql: str, *values: str) -> list[Any]:
        with closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()


@dataclass
class Hits:
    """OpenSearch."""

    endpoint: str

    def deliver(self, documents: Sequence[Document]) -> Sequence[Outcome]:
        return opensearch.deliver({"endpoint": self.endpoint, "auth": "none"}, documents)

    def kept(self, document: Document) -> Kept | None:
        number = quote(opensearch.document_id(document.identity.ref), safe="")
        found = self._ask(f"{ALIASES[document.identity.kind]}/_doc/{number}").get("_source")
        return found and {**found, "text": found["content"]}

    def shape(self) -> tuple[object, int]:
        requests.post(f"{self.endpoint}/_refresh", timeout=10).raise_for_status()
        return [self._ask(path) for path in ("_mapping", "_alias", "_index_template")], self._ask("_count")["count"]

    def _ask(self, path: str) -> Any:
        return requests.get(f"{self.endpoint}/{path}", timeout=10).json()


@dataclass
class Records:
    """Algolia."""

    sandbox: Sandbox

    @property
    def settings(self) -> Mapping[str, str]:
        vendor = self.sandbox.algolia
        return {"app_id": vendor.app_id, "api_key": vendor.api_key, "endpoint": self.sandbox.algolia_endpoint}

    def deliver(self, documents: Sequence[Document]) -> Sequence[Outcome]:
        return algolia.deliver(self.settings, documents)

    def kept(self, document: Document) -> Kept | None:
        found = self.sandbox.algolia.records(index_of(document.identity, "")).get(document.identity.ref)
        return found and {**found, "text": found["content"]}

    def shape(self) -> tuple[object, int]:
        vendor = self.sandbox.algolia
        names = vendor.indices
        return {name: vendor.settings(name) for name in names}, sum(len(vendor.records(name)) for name in names)


@pytest.fixture(scope="module")
def rows() -> Iterator[Store]:
    with Postgres() as server:
        postgres.setup({"dsn": server.dsn})
        yield Rows(server.dsn)
        postgres.client.close()


@pytest.fixture(scope="module")
def hits() -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(GIVEN, raising=False)
        with SearchServer() as server:
            opensearch.setup({"endpoint": server.endpoint, "auth": "none"})
            yield Hits(server.endpoint)
            opensearch.client.close()


@pytest.fixture(scope="module")
def records() -> Iterator[Store]:
    with Sandbox() as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLLECTIONS", "products")
        algolia.setup(Records(sandbox).settings)
        yield Records(sandbox)
        algolia.client.close()


@pytest.fixture(scope="module")
def stores(rows: Store, hits: Store, records: Store) -> Sequence[Store]:
    return rows, hits, records


class Site:
    """ButterCMS with one item at a time, and resolve before it."""

    def __init__(self, cms: Anything, endpoint: str) -> None:
        self._cms = cms
        self._world = World()
        self._world.resolver._reader = Butter("token", endpoint)

    def document(self, identity: Identity, shown: Mapping[str, Any]) -> Document:
        """What resolve archives of the item; raises Unavailable for what it does not take."""
        self._cms.response = Response(200, to_json({"data": shown}).encode(), {"Content-Type": "application/json"})
        self._world.resolve(self._world.change(identity=identity, look=len(LOOKS)))
        archived = self._world.archive.objects[self._world.row(identity).archive_key]
        return Document.from_json(archived.to_json())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Sandbox() as sandbox:
        cms = Anything(Response(200))
        sandbox.vendors = [cms]
        yield Site(cms, sandbox.butter_endpoint)


# ----------------------------------------------------------------------------------------------------------- content

KINDS = ("post", "page", "item")
DATES = {"published": "2025-11-23T12:00:00Z", "updated": "2025-11-23T12:00:00Z"}
PLAIN = Document(
    identity=Identity("post", "", "plain", "en"),
    version=1,
    change="created",
    announce_key="post:plain:en",
    archive_key="archive",
    title="Plain",
    text="It's nobody's victim.",
    tags=("calm",),
    fields={"body": "<p>It's nobody's victim.</p>"},
)


def identity_of(kind: str, group: str = "") -> Identity:
    """One that nobody has had."""
    groups = {"post": "", "page": "landing", "item": "products"}
    return Identity(kind, group or groups[kind], str(next(numbers)), "en")  # type: ignore[arg-type]


def shown(identity: Identity, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A published item as the Read API answers it."""
    if identity.kind == "item":
        return {**fields, "meta": {"id": int(identity.name)}}
    own = {"slug": identity.name, "status": "published", **DATES}
    if identity.kind == "page":
        return {**own, "page_type": identity.group, "name": "Page", "fields": dict(fields)}
    return {**fields, **own, "deleted": None}


def storable(value: Any) -> Any:
    """The value without what docs/documents.md says that no store can hold."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in value if one != "\0")
    if isinstance(value, dict):
        return {storable(key): storable(one) for key, one in value.items()}
    if isinstance(value, list):
        return list(map(storable, value))
    return None if isinstance(value, int) and abs(value) >= 2**1023 else value


def comparable(value: Any) -> Any:
    """The same number is the same, with how many digits ever it is written."""
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    if isinstance(value, list):
        return list(map(comparable, value))
    return value if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def is_kept(store: Store, document: Document) -> None:
    """Every part of it, as it is; Algolia has a text at its limit cut, and no fields."""
    kept = store.kept(document)
    assert kept is not None
    for name in ("title", "summary", "author"):
        assert (kept.get(name) or "") == getattr(document, name)
    for name in ("tags", "categories"):
        assert tuple(kept[name]) == getattr(document, name)
    if "fields" in kept:
        assert kept["text"] == document.text
        assert comparable(kept["fields"]) == comparable(document.fields)
    else:
        assert document.text.startswith(kept["text"])
        assert not [name for name, value in kept.items() if name.startswith("_") or isinstance(value, dict)]


def are_kept_or_refused(store: Store, documents: Sequence[Document], secret: str) -> list[Outcome]:
    """What became of the documents, which are delivered between two that must not suffer for it."""
    mates = [msgspec.structs.replace(PLAIN, identity=identity_of("post")) for _ in range(2)]
    shape, stored = store.shape()

    first, *outcomes, last = store.deliver([mates[0], *documents, mates[1]])

    assert (first, last) == (DONE, DONE)
    for document, outcome in zip(documents, outcomes, strict=True):
        if outcome is DONE:
            is_kept(store, document)
        else:
            assert isinstance(outcome, Refused)
            assert secret not in outcome.reason
            assert store.kept(document) is None
    for mate in mates:
        is_kept(store, mate)
    assert store.shape() == (shape, stored + 2 + outcomes.count(DONE))
    return outcomes


CANARY = "kanarienvogel"


@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_text_is_kept_letter_by_letter(site: Site, stores: Sequence[Store], text: str) -> None:
    fields = {"title": text, "body": text, "headline": text, "tags": [text], text: [{text: text}], "x": CANARY + text}
    identities = [identity_of(kind) for kind in KINDS]

    documents = [site.document(identity, shown(identity, fields)) for identity in identities]

    for document in documents:
        assert document.fields.items() >= storable(fields).items()
    for store in stores:
        assert are_kept_or_refused(store, documents, CANARY) == [DONE] * len(KINDS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), FIELDS), min_size=1, max_size=4))
def test_any_content_is_kept_by_every_store_or_refused_without_a_word_of_it(
    site: Site, stores: Sequence[Store], contents: list[tuple[str, dict[str, Any]]]
) -> None:
    read = [reading(site, identity_of(kind), {**fields, "x": CANARY}) for kind, fields in contents]

    documents = [one for one in read if isinstance(one, Document)]
    assert not [one for one in read if isinstance(one, Failure) and CANARY in one.reason]
    for store in stores:
        are_kept_or_refused(store, documents, CANARY)


def reading(site: Site, identity: Identity, fields: Mapping[str, Any]) -> Document | Failure:
    """What resolve makes of it: a document, or the reason why there is none."""
    try:
        return site.document(identity, shown(identity, fields))
    except Unavailable as failure:
        return failure


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"title": "t" * MEGABYTE, "body": CANARY + "<p>word</p>" * (MEGABYTE // 11)}, KINDS),
        ({"body": CANARY * (MEGABYTE // len(CANARY))}, KINDS),
        ({"markup": "<" * MEGABYTE, "comment": "<!--" * 250_000, "entity": "&" * MEGABYTE, "x": CANARY}, KINDS),
        ({"deep": nested(60, CANARY)}, KINDS),
        ({"numbers": [10**308, -(10**308), 1.7e308, 5e-324, 2**64, 0.1 + 0.2], "x": CANARY}, KINDS),
        ({"tags": [{"name": f"{CANARY} {number}"} for number in range(10_000)]}, ()),
        ({"tags": [{"name": CANARY * 80_000}]}, ()),
        ({"wide": [CANARY] * 100_000}, ("post",)),
        ({f"{CANARY}{number}": number for number in range(5_000)}, ("post",)),
        ({CANARY * 6_000: CANARY}, ("post",)),
    ],
    ids=[
        *("a long title and body", "a long word", "markup", "deep", "numbers", "10,000 tags", "a long tag"),
        *("a long list", "many fields", "a long name"),
    ],
)
def test_content_of_any_size_is_kept_or_where_a_plan_has_limits_refused_with_its_size(
    site: Site, stores: Sequence[Store], fields: Mapping[str, Any], taken: Sequence[str]
) -> None:
    """Algolia's plan has limits, and an index there has no fields of a post."""
    documents = [site.document(identity := identity_of(kind), shown(identity, fields)) for kind in KINDS]

    rows, hits, records = (are_kept_or_refused(store, documents, CANARY) for store in stores)

    assert rows == hits == [DONE] * len(KINDS)
    assert [kind for kind, outcome in zip(KINDS, records, strict=True) if outcome is DONE] == list(taken)
    for outcome in filter(None, records):
        assert re.search(r" too big even when its texts are cut: [0-9]+ bytes, 10000 allowed", outcome.reason)


# ------------------------------------------------------------------------------------------------------------- names

USABLE = [name for name in NAMES if usable(name)]
IDENTITIES = [
    *(Identity("post", "", name, "en") for name in USABLE),
    *(Identity("page", group, name, "en") for group, name in zip(USABLE, reversed(USABLE), strict=True)),
    *(Identity("page", "*", name, "-_-") for name in USABLE),
    *(Identity("item", group, str(number), "en") for number, group in enumerate(USABLE, 10**9)),
]
NAMED = [
    msgspec.structs.replace(PLAIN, identity=identity, title=f"No {number}")
    for number, identity in enumerate(IDENTITIES)
    if len(identity.ref) <= REF_BYTES
]


def test_a_hostile_name_is_a_name_and_no_two_are_one(stores: Sequence[Store]) -> None:
    for store in stores:
        shape, stored = store.shape()

        outcomes = store.deliver(NAMED)

        done = [document for document, outcome in zip(NAMED, outcomes, strict=True) if outcome is DONE]
        assert [kept["title"] for kept in map(store.kept, NAMED) if kept] == [document.title for document in done]
        assert store.shape() == (with_collections(shape, done), stored + len(done))
        assert {outcome.reason for outcome in outcomes if outcome} <= {"400 indexName is not valid"}

        removals = [msgspec.structs.replace(one, version=2, change="removed", fields={}) for one in NAMED]
        assert list(map(str, store.deliver(removals))) == list(map(str, outcomes))
        assert not any(map(store.kept, NAMED))


def with_collections(shape: Any, documents: Sequence[Document]) -> object:
    """Algolia has an index for each collection, with the settings that every index has at first."""
    if not isinstance(shape, dict):
        return shape
    indices = {index_of(one.identity, ""): settings_shown({}) for one in documents if one.identity.kind == "item"}
    return {**indices, **shape}


def test_the_rows_and_the_archive_tell_hostile_names_apart(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert aws
    name = f"hostile-{uuid.uuid4().hex[:12]}"
    for table, keys in (("contents", ["ref"]), ("deliveries", ["target", "key"])):
        client("dynamodb").create_table(
            TableName=f"{name}-{table}",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            BillingMode="PAY_PER_REQUEST",
        )
    client("s3").create_bucket(Bucket=name)
    monkeypatch.setenv("DELIVERY_TABLE", f"{name}-deliveries")
    archive, contents, deliveries = Archive(name), ContentTable(f"{name}-contents"), DeliveryTable("shop")
    archived = [msgspec.structs.replace(one, archive_key=f"{one.identity.ref}/1-{'a' * 32}") for one in NAMED[::2]]

    for document in archived:
        archive.put(document)
        contents.record(decisions.Row(ref=document.identity.ref, url=document.title, readings=1))
        assert deliveries.write(document.identity.ref, ABSENT, Row(1, reason=document.title))

    refs = [document.identity.ref for document in archived]
    assert [archive.get(document.archive_key) for document in archived] == archived
    assert [contents.rows(refs)[ref].url for ref in refs] == [document.title for document in archived]
    assert [deliveries.read(refs)[ref].reason for ref in refs] == [document.title for document in archived]
