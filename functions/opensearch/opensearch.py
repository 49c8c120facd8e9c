"""OpenSearch and Elasticsearch: published content to be searched, as documents behind `pages`, `posts` and `items`.

Order and repetition do not matter: each document is written with its version, and the server turns down what is older
than what it has, deletions included, for as long as it remembers those; the delivery table remembers them for ever.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from buttersync import delivery
from buttersync.model import Document
from buttersync.outcomes import DONE, Misconfigured, Outcome, Refused, Unavailable
from cluster import Cluster, Settings, cluster_of, serverless
from conversation import Answered, Client, Conversation, failure_by_status, failure_of, failure_of_writing, nonsense
from mapping import ALIASES, aliases, forgetful, lacking, make, required

CALL_SECONDS = 20
"""A call begins no request after this, and waits no longer for an answer."""

LATEST_SECONDS = 9
"""3 x CONNECT_SECONDS: a request that begins in the last moment may connect, agree on keys, and be taken."""

SETUP_SECONDS = 35
"""Serverless is slow to make an index. With LATEST_SECONDS, and what SSM may take, the function has 10 s to spare."""

SHARD_SECONDS = 10
"""So long the server may look for a shard that takes a document, before it says that there is none."""

BODY_BYTES = 5_000_000
"""A request is not larger, but for the sake of one document: the smallest domains of Amazon take 10 MiB.
https://docs.aws.amazon.com/opensearch-service/latest/developerguide/limits.html"""

ID_BYTES = 512
"""https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-id-field"""

client = Client()

# -------------------------------------------------------------------------------- from documents to requests


def source(document: Document) -> dict[str, object]:
    """What is found and shown of a document."""
    return {
        "ref": document.identity.ref,
        "version": document.version,
        "type": document.identity.kind,
        **_key(document),
        "locale": document.identity.locale,
        "title": document.title,
        "summary": document.summary,
        "content": document.text,
        "url": document.url or None,
        "image": document.image or None,
        "author": document.author or None,
        "categories": document.categories,
        "tags": document.tags,
        "published_at": document.published_at,
        "updated_at": document.updated_at,
        "fields": document.fields,
    }


def _key(document: Document) -> dict[str, object]:
    group, name = document.identity.group, document.identity.name
    if document.identity.kind == "page":
        return {"page_type": group, "slug": name}
    if document.identity.kind == "post":
        return {"slug": name}
    slug = document.fields.get("slug")
    return {"collection": group, "item_id": name, "slug": slug if isinstance(slug, str) else None}


def document_id(ref: str) -> str:
    """The ref, which is ASCII, or what stands for one that is too long."""
    return ref if len(ref) <= ID_BYTES else hashlib.sha256(ref.encode()).hexdigest()


@dataclass(frozen=True)
class Action:
    """What is to be done for one document: lines of a bulk request, and how many items its answer has for them."""

    lines: bytes
    items: int = 1


def action(document: Document, cluster: Cluster) -> Action:
    """Write the document, or delete it; raises Refused if no JSON can hold it.

    To delete by an external version makes an index of the name where there is none, whatever `require_alias` says, but
    not if the same request writes to the name. Hence the probe, which shows too whether the name is an alias.
    """
    where = {"_index": _alias(document, cluster), "_id": document_id(document.identity.ref)}
    version = {} if cluster.serverless else {"version": document.version, "version_type": "external_gte"}
    if document.change != "removed":
        return Action(_line({"index": where | version}) + _line(source(document)))
    deletion = _line({"delete": where | version})
    return Action(deletion) if cluster.serverless else Action(_probe(where["_index"], "index") + deletion, items=2)


def _alias(document: Document, cluster: Cluster) -> str:
    return cluster.prefix + ALIASES[document.identity.kind]


def _probe(alias: str, operation: Literal["index", "delete"]) -> bytes:
    """A write that cannot succeed: the document that it asks for is not there."""
    where = {"_index": alias, "_id": "buttersync", "if_seq_no": 0, "if_primary_term": 1}
    return _line({operation: where}) + (_line({}) if operation == "index" else b"")


_HALF_PAIR = re.compile("[\ud800-\udfff]")


def _line(value: Mapping[str, Any]) -> bytes:
    """The value as a line of JSON; half of a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        try:
            return msgspec.json.encode(value) + b"\n"
        except UnicodeEncodeError:
            text = _HALF_PAIR.sub("\ufffd", json.dumps(value, ensure_ascii=False))
            return msgspec.json.encode(json.loads(text)) + b"\n"
    except (RecursionError, ValueError) as error:
        raise Refused(f"no JSON can hold this document: {type(error).__name__}") from None


def parts(actions: Iterable[Action]) -> Iterator[list[Action]]:
    """The actions by requests, in their order."""
    part: list[Action] = []
    size = 0
    for one in actions:
        if part and size + len(one.lines) > BODY_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.lines)
    if part:
        yield part


# --------------------------------------------------------------------------------- from answers to outcomes


class Fault(msgspec.Struct):
    """What the server says of an item that failed; of an exception of Java's without words the reason is null."""

    type: str | None = None
    reason: str | None = None
    caused_by: "Fault | None" = None


class Item(msgspec.Struct):
    """What became of one item of a bulk request."""

    status: int
    result: str = ""
    error: Fault | None = None


class _Bulk(msgspec.Struct):
    items: list[dict[Literal["index", "delete"], Item]]


def items_of(answer: object, count: int) -> list[Item]:
    """The items of a bulk request's answer; raises Unavailable if it is not the answer to so many."""
    try:
        items = [item for operation in msgspec.convert(answer, _Bulk).items for item in operation.values()]
    except msgspec.ValidationError:
        raise nonsense() from None
    if len(items) != count:
        raise nonsense()
    return items


INDEX_FAULTS = {
    "cluster_block_exception": "the index takes no writes",
    "index_closed_exception": "open the index",
    "index_not_found_exception": "there is no such alias: run setup",
    "routing_missing_exception": "the index asks for a routing",
    # Of illegal_argument_exception, what its reason says.
    "no write index": "the alias leads to more than one index: say which is_write_index",
    "data streams": "the alias leads to a data stream",
    "Document ID is not supported": "the collection must be of the type SEARCH",
}
"""What is the matter with the index, and not with the document, and what to do about it."""

_FIELD = re.compile(
    r"(?:\[\d+:\d+\] )?failed to parse field \[([\w.-]{1,80})\] of type \[(\w{1,40})\]"
    r'|Document contains at least one immense term in field="([\w.-]{1,80})"'
)
"""How a reason begins that names a field; it goes on with a preview of the value."""


def outcome_of(items: Sequence[Item]) -> Outcome:
    """The outcome of a document by the items that it had: the first that is not well."""
    return next(filter(None, map(_outcome, items)), DONE)


def _outcome(item: Item) -> Outcome:
    fault = item.error
    if fault is None:
        gone = item.status == 404 and item.result == "not_found"
        return DONE if 200 <= item.status < 300 or gone else nonsense()
    if fault.type == "version_conflict_engine_exception":
        return DONE  # A newer version is there, or it was the probe.
    said = f"{item.status} {_without_content(fault)}"
    if item.status < 500:
        for sign, hint in INDEX_FAULTS.items():
            if sign == fault.type or (fault.type == "illegal_argument_exception" and sign in (fault.reason or "")):
                return Misconfigured(f"{said}; {hint}")
    return failure_by_status(item.status, said)


def _without_content(fault: Fault) -> str:
    """``mapper_parsing_exception (published_at, date): illegal_argument_exception``, and no word of a reason."""
    named = _FIELD.match(fault.reason or "")
    field = f" ({', '.join(filter(None, named.groups()))})" if named else ""
    cause = f": {_without_content(fault.caused_by)}" if fault.caused_by else ""
    return f"{fault.type or 'an error'}{field}{cause}"


# ----------------------------------------------------------------------------------------------------- target


def deliver(settings: Settings, documents: Sequence[Document]) -> list[Outcome]:
    """One bulk request for all documents, or a few if they are large; raises a Failure that holds for all."""
    server = _server(settings, CALL_SECONDS)
    actions = [action(document, server.cluster) for document in documents]
    outcomes: list[Outcome] = []
    try:
        if server.cluster.serverless:
            _require_aliases(server, documents)
        for part in parts(actions):
            outcomes += _written(server, part)
    except Refused as refused:
        # Each document is then written alone, and what came of the parts before is forgotten, but for its doubts.
        refused.unsure = any(outcome is not None and outcome.unsure for outcome in outcomes)
        raise
    except (Unavailable, Misconfigured) as failure:
        # It holds for all that are left, and it may be the connection's fault, for example if it is to a lost node.
        client.close()
        outcomes += [failure] * (len(documents) - len(outcomes))
    return outcomes


def _server(settings: Settings, seconds: float) -> Conversation:
    return Conversation(client, cluster_of(settings), time.monotonic() + seconds)


def _require_aliases(server: Conversation, documents: Iterable[Document]) -> None:
    """Serverless is not known to require aliases, and makes an index of any name that is written to."""
    try:
        required(server, sorted({_alias(document, server.cluster) for document in documents}))
    except Answered as answered:
        raise failure_of(answered) from None


def _written(server: Conversation, part: Sequence[Action]) -> list[Outcome]:
    items = iter(_bulk(server, b"".join(one.lines for one in part), sum(one.items for one in part)))
    return [outcome_of([next(items) for _ in range(one.items)]) for one in part]


def _bulk(server: Conversation, body: bytes, count: int) -> list[Item]:
    more = {"timeout": f"{SHARD_SECONDS}s"} | ({} if server.cluster.serverless else {"require_alias": "true"})
    try:
        answer = server.write(lambda sdk, limits: sdk.bulk(body=body, params={**limits, **more}))
    except Answered as answered:
        raise failure_of_writing(answered, len(body)) from None
    return items_of(answer, count)


def setup(settings: Settings) -> str:
    """Make the index template, the indices and the aliases that are missing; raises a Failure."""
    return make(_server(settings, SETUP_SECONDS))


def check(settings: Settings) -> str:
    """Whether documents could be delivered now, without changing anything; raises a Failure."""
    server = _server(settings, CALL_SECONDS)
    try:
        name = _name(server)
        found = required(server, aliases(server.cluster.prefix))
        if not server.cluster.serverless:
            _remembers(server)
    except Answered as answered:
        raise failure_of(answered) from None
    _may_write(server)
    indices = {index: fields for behind in found.values() for index, fields in behind.items()}
    remarks = [f"{index} does not map {', '.join(lacks)}" for index in indices if (lacks := lacking(indices[index]))]
    leads = ", ".join(f"{alias} ({', '.join(behind)})" for alias, behind in found.items())
    return "; ".join([f"{name} takes documents for {leads}", *remarks])


class _Version(msgspec.Struct):
    number: str = ""
    distribution: str = ""


class _Info(msgspec.Struct):
    version: _Version


def _name(server: Conversation) -> str:
    """What the server calls itself; not each kind tells, and not everybody."""
    try:
        version = msgspec.convert(server.ask(lambda sdk, limits: sdk.info(params=limits)), _Info).version
    except Answered as answered:
        if answered.status == 401:
            raise
        return "the server"
    except msgspec.ValidationError:
        raise nonsense() from None
    return f"{'OpenSearch' if version.distribution == 'opensearch' else 'Elasticsearch'} {version.number}"


def _remembers(server: Conversation) -> None:
    if indices := forgetful(server):
        raise Misconfigured(
            f"{', '.join(indices)} may forget a deletion before an older version arrives: set index.gc_deletes to 1h"
        )


def _may_write(server: Conversation) -> None:
    names = aliases(server.cluster.prefix)
    probes = [probe for alias in names for probe in _probes(alias, server.cluster)]
    failure = outcome_of(_bulk(server, b"".join(probes), len(probes)))
    if failure:
        raise failure


def _probes(alias: str, cluster: Cluster) -> list[bytes]:
    """What shows the right to write: where no condition can stop a write, the deletion of what is not there."""
    if cluster.serverless:
        return [_line({"delete": {"_index": alias, "_id": "buttersync"}})]
    return [_probe(alias, "index"), _probe(alias, "delete")]


handler = delivery.handler(
    "opensearch",
    required=("endpoint",),
    deliver=deliver,
    check=check,
    setup=setup,
    reset=client.close,
    worst_case=CALL_SECONDS + LATEST_SECONDS,
    leased=serverless,
)
