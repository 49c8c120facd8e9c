"""What the stores hold, read as their users read them: rows, search hits, records."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg2
import requests

from sandbox.algolia import Algolia
from sandbox.postgres import Postgres

TIMEOUT = 10
MOST_HITS = 10_000
"""OpenSearch gives no more at once.
https://docs.opensearch.org/docs/latest/search-plugins/searching-data/paginate/"""
KINDS = ("pages", "posts", "items")

ROWS = "SELECT ref, title, to_jsonb(content) - 'synced_at' FROM content"


@dataclass(frozen=True)
class Held:
    """What a store holds of one item."""

    title: str
    everything: str
    """All of it, to tell whether it has changed."""


Holding: TypeAlias = Mapping[str, Held]
"""By ref."""


Search: TypeAlias = Callable[[str], Mapping[str, str]]
"""Finds the items with all these words: ref to title, the best first."""


@dataclass(frozen=True)
class Store:
    """A store under the name that people know it by."""

    target: str
    name: str
    read: Callable[[], Holding]
    search: Search | None = None


def postgres(server: Postgres) -> Store:
    """The rows of the view `content`."""

    def read() -> Holding:
        connection = psycopg2.connect(server.dsn)
        try:
            with connection.cursor() as cursor:
                cursor.execute(ROWS)
                return {ref: Held(title, _text(row)) for ref, title, row in cursor.fetchall()}
        finally:
            connection.close()

    return Store("postgres", "PostgreSQL", read)


def opensearch(endpoint: str, prefix: str) -> Store:
    """The documents that a search finds, for `read` after a refresh."""
    indices = f"{endpoint}/" + ",".join(prefix + kind for kind in KINDS)

    def read() -> Holding:
        requests.post(f"{indices}/_refresh", timeout=TIMEOUT).raise_for_status()
        held = [(hit["_version"], hit["_source"]) for hit in _hits(indices, {"version": True})]
        return {source["ref"]: Held(source["title"], _text([version, source])) for version, source in held}

    def search(words: str) -> Mapping[str, str]:
        fields = ["title^3", "summary", "content"]
        query = {"multi_match": {"query": words, "fields": fields, "type": "cross_fields", "operator": "and"}}
        return {hit["_source"]["ref"]: hit["_source"]["title"] for hit in _hits(indices, {"query": query})}

    return Store("opensearch", "OpenSearch", read, search)


def wipe_opensearch(endpoint: str, prefix: str) -> None:
    """Removes what an earlier run has left."""
    for kind in KINDS:
        answer = requests.delete(f"{endpoint}/{prefix}{kind}-v1", timeout=TIMEOUT)
        if answer.status_code != 404:
            answer.raise_for_status()


def _hits(indices: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = requests.post(f"{indices}/_search", json={"size": MOST_HITS, **asked}, timeout=TIMEOUT)
    answer.raise_for_status()
    hits: list[dict[str, Any]] = answer.json()["hits"]["hits"]
    return hits


def algolia(vendor: Algolia, endpoint: str) -> Store:
    """The records that are published in the sandbox's Algolia."""
    headers = {"x-algolia-application-id": vendor.app_id, "x-algolia-api-key": vendor.add_key("search")}

    def read() -> Holding:
        records = [record for index in vendor.indices for record in vendor.records(index).values()]
        return {record["objectID"]: Held(record["title"], _text(record)) for record in records}

    def search(words: str) -> Mapping[str, str]:
        hits = []
        for index in vendor.indices:
            address = f"{endpoint}/1/indexes/{index}/query"
            answer = requests.post(address, json={"query": words}, headers=headers, timeout=TIMEOUT)
            answer.raise_for_status()
            hits += answer.json()["hits"]
        return {hit["objectID"]: hit["title"] for hit in hits}

    return Store("algolia", "Algolia", read, search)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
