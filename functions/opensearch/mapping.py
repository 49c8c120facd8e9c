"""The indices: what is found by which field, how they are made, whether they are as they should be.

Documents are written to three aliases, behind each of which stands an index: a new mapping is a new index, to which the
alias is then switched. See docs/opensearch.md.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from buttersync.outcomes import Misconfigured
from conversation import Answered, Conversation, failure_of, nonsense

ALIASES = {"page": "pages", "post": "posts", "item": "items"}
"""Of which kind of content the documents are under which name, before which the prefix stands."""

# ----------------------------------------------------------------------------------------------------- mapping

KEYWORD = {"type": "keyword", "ignore_above": 8191}
"""A longer value is kept and not found: Lucene refuses a document with a term of more than 32,766 bytes, which 8,191
characters never take. https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/ignore-above"""

KEPT = {"type": "keyword", "index": False, "doc_values": False}
"""Nobody searches for an address."""

TEXT = {"type": "text"}

DATE = {"type": "date", "format": "strict_date_optional_time||epoch_millis", "ignore_malformed": True}

PROPERTIES: Mapping[str, Any] = {
    **dict.fromkeys(("ref", "type", "locale", "slug", "page_type", "collection", "item_id"), KEYWORD),
    "version": {"type": "long"},
    "title": {**TEXT, "fields": {"raw": {"type": "keyword", "ignore_above": 256}}},
    "summary": TEXT,
    "content": TEXT,
    "author": {**KEYWORD, "fields": {"text": TEXT}},
    "categories": KEYWORD,
    "tags": KEYWORD,
    "url": KEPT,
    "image": KEPT,
    "published_at": DATE,
    "updated_at": DATE,
    # An item's own fields are kept as they are, and never parsed: every site names, nests and types them as it likes.
    "fields": {"type": "object", "enabled": False},
}

# Strictly typed values could turn a document down; a field that is not mapped cannot.
MAPPINGS = {"dynamic": False, "properties": PROPERTIES}

SETTINGS = {
    "number_of_shards": 1,
    "refresh_interval": "1s",
    # So long the index remembers the version of what was deleted: longer than a worker can be late.
    "gc_deletes": "1h",
}

LEAST_GC_SECONDS = 300
"""Five time-outs of the function: what a worker sends in its last moment arrives within them."""

PRIORITY = 500
"""Of the index template; those that come with the servers have 200 and less."""


def index_template(prefix: str) -> Mapping[str, Any]:
    """The template of the indices, whichever number they end in."""
    return {
        "index_patterns": [f"{alias}-v*" for alias in aliases(prefix)],
        "priority": PRIORITY,
        "template": {"settings": {"index": SETTINGS}, "mappings": MAPPINGS},
    }


def aliases(prefix: str) -> list[str]:
    """The names that documents are written to."""
    return [prefix + name for name in ALIASES.values()]


# ------------------------------------------------------------------------------------------------------- looks

Fields = Mapping[str, Any]
"""What an index maps, by name."""


class _Mappings(msgspec.Struct):
    properties: dict[str, Any] = {}


class _Mapped(msgspec.Struct):
    mappings: _Mappings


class _Configured(msgspec.Struct):
    settings: dict[str, Any]


def mapped(server: Conversation, name: str) -> dict[str, Fields]:
    """The indices behind a name, with what each maps; empty if there are none. Raises Answered or a Failure."""
    try:
        answer = server.ask(lambda sdk, limits: sdk.indices.get_mapping(index=name, params=limits))
        found = msgspec.convert(answer, dict[str, _Mapped])
    except Answered as answered:
        if answered.type != "index_not_found_exception":
            raise
        return {}
    except msgspec.ValidationError:
        raise nonsense() from None
    return {index: one.mappings.properties for index, one in found.items()}


def behind(server: Conversation, alias: str) -> dict[str, Fields]:
    """The indices behind an alias, with what each maps; empty without the alias.

    Raises Answered or a Failure: Misconfigured, if the name is that of an index.
    """
    found = mapped(server, alias)
    if alias in found:
        raise Misconfigured(
            f"{alias} is an index, and no alias: delete it, or store another index_prefix; then run setup"
        )
    return found


def required(server: Conversation, names: Iterable[str]) -> dict[str, dict[str, Fields]]:
    """What is behind each of the aliases; raises Answered or a Failure: Misconfigured, if one is missing."""
    found = {alias: behind(server, alias) for alias in names}
    if missing := [alias for alias, indices in found.items() if not indices]:
        raise Misconfigured(f"there is no alias {', '.join(missing)}: run setup")
    return found


def lacking(fields: Fields) -> list[str]:
    """What an index should map and does not; how it maps is its owner's choice."""
    return [name for name in PROPERTIES if name not in fields]


def forgetful(server: Conversation) -> list[str]:
    """The indices that forget deletions too soon; raises Answered or a Failure."""
    names = aliases(server.cluster.prefix)
    answer = server.ask(lambda sdk, limits: sdk.indices.get_settings(index=names, flat_settings=True, params=limits))
    try:
        found = msgspec.convert(answer, dict[str, _Configured])
    except msgspec.ValidationError:
        raise nonsense() from None
    kept = {index: str(one.settings.get("index.gc_deletes", "60s")) for index, one in found.items()}
    return [index for index, time in sorted(kept.items()) if seconds(time) < LEAST_GC_SECONDS]


_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 1e-3, "micros": 1e-6, "nanos": 1e-9}
"""https://www.elastic.co/docs/reference/elasticsearch/rest-apis/api-conventions#time-units"""


def seconds(time: str) -> float:
    """A time as the servers write it, ``1h`` for example; 0 for what is none."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", time)
    return float(parts[1]) * _UNITS.get(parts[2], 0) if parts else 0


# ------------------------------------------------------------------------------------------------------- setup


def make(server: Conversation) -> str:
    """Make what is missing: the index template, the indices, the aliases; returns what was made. Raises a Failure.

    What is there stays as it is, and so does what a person has changed about it.
    """
    try:
        names = aliases(server.cluster.prefix)
        missing = [alias for alias in names if not behind(server, alias)]
        # Serverless makes each index from what is asked for.
        made = [] if server.cluster.serverless else _make_template(server)
        for alias in missing:
            _make_index(server, f"{alias}-v1")
        if missing:
            _add_aliases(server, missing)
    except Answered as answered:
        raise failure_of(answered) from None
    made += [f"{alias}-v1 behind {alias}" for alias in missing]
    return f"made {', '.join(made)}" if made else f"nothing to do: {', '.join(names)} are there"


def _make_template(server: Conversation) -> list[str]:
    name = f"{server.cluster.prefix}buttersync"
    try:
        server.ask(lambda sdk, limits: sdk.indices.get_index_template(name=name, params=limits))
    except Answered as answered:
        if answered.status != 404:
            raise
    else:
        return []
    template = index_template(server.cluster.prefix)
    server.ask(lambda sdk, limits: sdk.indices.put_index_template(name=name, body=template, params=limits))
    return [f"the index template {name}"]


def _make_index(server: Conversation, index: str) -> None:
    body = {"mappings": MAPPINGS} if server.cluster.serverless else None
    try:
        server.ask(lambda sdk, limits: sdk.indices.create(index=index, body=body, params=limits))
    except Answered as answered:
        # Another setup was faster, or an earlier one got no further.
        if answered.type != "resource_already_exists_exception":
            raise
    if lacks := lacking(mapped(server, index).get(index, {})):
        raise Misconfigured(
            f"{index} does not map {', '.join(lacks)}: another application or another index template made it;"
            " delete it, and run setup"
        )


def _add_aliases(server: Conversation, names: Iterable[str]) -> None:
    actions = [{"add": {"index": f"{alias}-v1", "alias": alias}} for alias in names]
    server.ask(lambda sdk, limits: sdk.indices.update_aliases(body={"actions": actions}, params=limits))
