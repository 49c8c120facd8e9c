"""Algolia: records in indices, written through a queue of tasks; strict, and in Algolia's words where they are known.

`sandbox.algolia.indices` has the indices and the queue, `sandbox.algolia.writes` what a batch may hold,
`sandbox.algolia.settings` the settings, `sandbox.algolia.search` the search, `sandbox.algolia.errors` the refusals;
here are the keys and the endpoints. What the project never calls (rules, synonyms, copies, replicas, logs) is not here
and answers 404. The rules are those of https://www.algolia.com/doc/rest-api/search.
"""

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import msgspec

from sandbox.algolia.errors import Refusal, after_attribute, after_request, json_object, only
from sandbox.algolia.indices import (
    Clear,
    Configure,
    Delete,
    DeleteMatching,
    Drop,
    Index,
    Indices,
    Operation,
    Record,
    Save,
    now,
)
from sandbox.algolia.keys import Key, KeyWish
from sandbox.algolia.search import deletion, search
from sandbox.algolia.settings import TYPES, fault, shown
from sandbox.algolia.writes import check_size, ids, operation_of, save, update
from sandbox.wire import Request, Response, Route, json_response

APP_ID = "BUTTERSYNC"
API_KEY = "0123456789abcdef0123456789abcdef"  # opens nothing but the sandbox
WRITE_ACL = ("addObject", "deleteObject", "settings", "editSettings", "listIndexes")

QUOTA = (
    "You have exceeded your Record quota. You\u2019ll need to change your plan for more capacity, or delete records. "
    "See more details at https://www.algolia.com/account/billing/details"
)
INDEX_NAME = re.compile(r"[A-Za-z0-9 _.-]{1,256}")
"""Stricter than Algolia may be, whose rule is known from its refusals only."""

ABOUT_ACCOUNT = 'change limits and delay: {"delay": 2, "record_bytes": 10000, "most_tasks": 0, "quota": 100}'
ABOUT_KEYS = 'add a key: {"acl": ["search"], "indexes": ["prod_*"]}'


@dataclass(frozen=True)
class _Endpoint:
    """A method, a pattern for the whole path, the entry of the ACL that it needs (none: any key), what answers."""

    method: str
    pattern: str
    right: str | None
    answer: Callable[..., Response]


class Account(msgspec.Struct, forbid_unknown_fields=True):
    """What the plan allows, and how slow the queue is.

    Limits: https://www.algolia.com/doc/guides/scaling/algolia-service-limits
    """

    delay: float = 0
    """How many seconds lie between the acceptance of a write and its being visible."""
    record_bytes: int = 10_000
    """Of a record as minified JSON in UTF-8, its objectID included."""
    body_bytes: int = 1_000_000_000
    """Of a request's body."""
    most_tasks: int = 5_000
    """So many tasks may wait; then writes are refused, except those that do nothing but delete records."""
    quota: int | None = None
    """Of records in all indices; None: no limit."""
    keys_need_search: bool = False
    """Whether a key reads itself only with the right ``search``, as the API's description has it; its words let any."""


class Algolia:
    """Algolia's Search API below ``/1/``, and routes of the sandbox to look behind it.

    A test reads `records` and `settings`, and sets `delay` (s) and the other limits of `account`. Safe for threads.
    """

    name = "algolia"
    paths = "/1/"
    app_id = APP_ID
    api_key = API_KEY
    """A key that may do what the project needs, and no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()
        index, one = r"/1/indexes/(?P<index>[^/]+)", r"/1/indexes/(?P<index>[^/]+)/(?P<object_id>[^/]+)"
        self._endpoints = (
            _Endpoint("GET", "/1/indexes/?", "listIndexes", self._list),
            _Endpoint("POST", r"/1/indexes/\*/batch", None, self._batch_of_many),
            _Endpoint("POST", r"/1/indexes/\*/objects", "search", self._get_many),
            _Endpoint("POST", f"{index}/batch", None, self._batch),
            _Endpoint("POST", f"{index}/query", "search", self._query),
            _Endpoint("POST", f"{index}/clear", "deleteIndex", self._clear),
            _Endpoint("POST", f"{index}/deleteByQuery", "deleteIndex", self._delete_matching),
            _Endpoint("GET", f"{index}/settings", "settings", self._get_settings),
            _Endpoint("PUT", f"{index}/settings", "editSettings", self._set_settings),
            _Endpoint("GET", f"{index}/task/(?P<task>[^/]+)", "addObject", self._task),
            _Endpoint("POST", index, "addObject", self._add),
            _Endpoint("DELETE", index, "deleteIndex", self._drop),
            _Endpoint("POST", f"{one}/partial", "addObject", self._update),
            _Endpoint("GET", one, "search", self._get),
            _Endpoint("PUT", one, "addObject", self._put),
            _Endpoint("DELETE", one, "deleteObject", self._delete),
            _Endpoint("GET", "/1/keys/(?P<value>[^/]+)", None, self._key),
        )
        own = "/_sandbox/algolia"
        self.controls = (
            Route("GET", f"{own}/account", self._show_account, "Algolia's application, its limits, its indices"),
            Route("POST", f"{own}/account", self._change_account, ABOUT_ACCOUNT),
            Route("GET", f"{own}/records/(?P<index>[^/]+)", self._show_records, "what a search sees of an index"),
            Route("POST", f"{own}/keys", self._add_key, ABOUT_KEYS),
            Route("POST", f"{own}/reset", self._reset, "forget all indices, keys and limits"),
        )

    # --- for tests ---

    def reset(self) -> None:
        """Forgets all indices, tasks and added keys; limits and delay are as at the beginning."""
        with self._lock:
            self.account = Account()
            self._indices = Indices()
            self._keys = {API_KEY: Key.made(API_KEY, WRITE_ACL)}

    @property
    def delay(self) -> float:
        """How many seconds lie between the acceptance of a write and its being visible."""
        return self.account.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self.account.delay = seconds

    @property
    def record_bytes(self) -> int:
        """The largest record, in bytes of minified JSON."""
        return self.account.record_bytes

    @record_bytes.setter
    def record_bytes(self, size: int) -> None:
        self.account.record_bytes = size

    @property
    def indices(self) -> list[str]:
        """The names of the indices that exist now."""
        return self._indices.names()

    def records(self, index: str) -> Mapping[str, Record]:
        """What a search would see now, by objectID; nothing of an index that does not exist."""
        found = self._indices.get(index)
        return found.records if found else {}

    def settings(self, index: str) -> Mapping[str, Any]:
        """What reading the settings would answer now; raises KeyError for an index that does not exist."""
        found = self._indices.get(index)
        if found is None:
            raise KeyError(index)
        return shown(found.settings)

    def add_key(self, *acl: str, indexes: Sequence[str] = ()) -> str:
        """A new key with these rights (``admin``: all) on these indices; raises ValueError for a right that is none."""
        key = Key.made(uuid4().hex, acl, indexes)
        with self._lock:
            self._keys[key.value] = key
        return key.value

    # --- who may do what ---

    def answer(self, request: Request) -> Response:
        """The application and the key first, then the path, then the key's rights, then what is asked for."""
        try:
            response = self._answer(request)
        except Refusal as refusal:
            response = refusal.response
        except RecursionError:
            response = Refusal(400, "Invalid JSON: nested too deeply").response
        number = uuid4().hex + request.headers.get("request-id", "")
        return response.with_headers(Content_Type="application/json; charset=UTF-8", Correlation_ID=number)

    def _answer(self, request: Request) -> Response:
        key = self._key_of(request)
        if len(request.body) > self.account.body_bytes:
            raise Refusal(413, "Request body is too large")
        endpoint, groups = self._endpoint(request)
        if endpoint.right and not key.may(endpoint.right):
            raise Refusal(403, "Method not allowed with this API key")
        if "index" in groups:
            _usable(key, groups["index"])
        return endpoint.answer(request, key, **groups)

    def _key_of(self, request: Request) -> Key:
        query = {name.lower(): value for name, value in request.query}
        given = {**query, **request.headers}
        key = self._keys.get(given.get("x-algolia-api-key", ""))
        if key is None or given.get("x-algolia-application-id") != self.app_id:
            raise Refusal(403, "Invalid Application-ID or API key")
        return key

    def _endpoint(self, request: Request) -> tuple[_Endpoint, dict[str, str]]:
        for endpoint in self._endpoints:
            match = re.fullmatch(endpoint.pattern, request.path)
            if match and endpoint.method == request.method:
                return endpoint, {name: unquote(value) for name, value in match.groupdict().items()}
        raise Refusal(404, "Path not found")

    def _key(self, _: Request, key: Key, value: str) -> Response:
        is_blind = self.account.keys_need_search and not key.may("search")
        if is_blind or (value != key.value and not key.is_admin):
            raise Refusal(403, "Method not allowed with this API key")
        if value not in self._keys:
            raise Refusal(404, "Key does not exist")
        return json_response(200, self._keys[value].shown())

    # --- writing ---

    def _batch(self, request: Request, key: Key, index: str) -> Response:
        operations = [operation for _, operation in self._operations(request, key, frozenset({"action", "body"}))]
        return json_response(200, {"taskID": self._accept({index: operations})[index], "objectIDs": ids(operations)})

    def _batch_of_many(self, request: Request, key: Key) -> Response:
        operations = self._operations(request, key, frozenset({"action", "indexName"}))
        by_index: dict[str, list[Operation]] = {}
        for index, operation in operations:
            by_index.setdefault(_usable(key, index), []).append(operation)
        written = ids(operation for _, operation in operations)
        return json_response(200, {"taskID": self._accept(by_index), "objectIDs": written})

    def _operations(self, request: Request, key: Key, needed: frozenset[str]) -> list[tuple[Any, Operation]]:
        """The requests of a batch, each with the index that it names. One that is wrong refuses all."""
        body = json_object(request)
        only(request, body, frozenset({"requests"}))
        if not isinstance(body.get("requests"), list):
            raise Refusal(400, "Invalid requests: an array was expected")
        operations = []
        for position, one in enumerate(body["requests"]):
            try:
                operation = operation_of(one, key.may, needed)
            except ValueError as error:
                raise Refusal(400, f"{error} {after_request(request.body, position)}") from error
            check_size(operation, position, self.account.record_bytes)
            operations.append((one.get("indexName"), operation))
        return operations

    def _accept(self, written: Mapping[str, Sequence[Operation]]) -> dict[str, int]:
        """A task for each index, its number by the index's name; raises Refusal (429, 403)."""
        growing = [one for operations in written.values() for one in operations if not isinstance(one, Delete)]
        with self._lock:
            if growing and self._indices.waiting >= self.account.most_tasks:
                raise Refusal(429, "Too many jobs")
            if self.account.quota is not None:
                self._check_quota(written, self.account.quota)
            delay = self.account.delay
            return {index: self._indices.accept(index, operations, delay) for index, operations in written.items()}

    def _check_quota(self, written: Mapping[str, Sequence[Operation]], quota: int) -> None:
        added = {
            index: ids(one for one in operations if not isinstance(one, Delete))
            for index, operations in written.items()
        }
        if any(added.values()) and self._indices.count(added) > quota:
            raise Refusal(403, QUOTA)

    def _written(self, index: str, operation: Operation, at: str, status: int = 200) -> Response:
        """One operation, answered with the time under the name `at`, and with the id of what was written."""
        check_size(operation, 0, self.account.record_bytes)
        task = self._accept({index: [operation]})[index]
        written = [] if isinstance(operation, Delete) else ids([operation])
        return json_response(status, {at: now(), "taskID": task, **dict(zip(["objectID"], written, strict=False))})

    def _add(self, request: Request, _: Key, index: str) -> Response:
        with _bad_request():
            return self._written(index, save(json_object(request)), "createdAt", 201)

    def _put(self, request: Request, _: Key, index: str, object_id: str) -> Response:
        return self._written(index, Save({**json_object(request), "objectID": object_id}), "updatedAt")

    def _update(self, request: Request, _: Key, index: str, object_id: str) -> Response:
        creates = _flag(request, "createIfNotExists", default=True)
        with _bad_request():
            changes = update({**json_object(request), "objectID": object_id}, creates=creates)
        return self._written(index, changes, "updatedAt")

    def _delete(self, _: Request, __: Key, index: str, object_id: str) -> Response:
        return self._written(index, Delete(object_id), "deletedAt")

    def _clear(self, _: Request, __: Key, index: str) -> Response:
        return self._written(index, Clear(), "updatedAt")

    def _drop(self, _: Request, __: Key, index: str) -> Response:
        return self._written(index, Drop(), "deletedAt")

    def _delete_matching(self, request: Request, _: Key, index: str) -> Response:
        return self._written(index, DeleteMatching(deletion(json_object(request))), "updatedAt")

    def _set_settings(self, request: Request, _: Key, index: str) -> Response:
        _flag(request, "forwardToReplicas", default=False)
        settings = json_object(request)
        only(request, settings, frozenset(TYPES))
        if settings.get("replicas"):
            raise Refusal(501, "the sandbox does not play replicas")
        for name, value in settings.items():
            if why := fault(name, value):
                raise Refusal(400, f"{why} {after_attribute(request.body, name)}")
        return self._written(index, Configure(settings), "updatedAt")

    def _task(self, _: Request, __: Key, index: str, task: str) -> Response:
        status = self._indices.status(index, int(task)) if re.fullmatch(r"[0-9]{1,19}", task) else None
        if status is None:
            raise Refusal(404, "Task does not exist")
        return json_response(200, {"status": status})

    # --- reading ---

    def _found(self, index: str) -> Index:
        found = self._indices.get(index)
        if found is None:
            raise Refusal(404, f"Index {index} does not exist")
        return found

    def _get_settings(self, _: Request, __: Key, index: str) -> Response:
        return json_response(200, shown(self._found(index).settings))

    def _get(self, _: Request, key: Key, index: str, object_id: str) -> Response:
        found = self._found(index)
        if object_id not in found.records:
            raise Refusal(404, "ObjectID does not exist")
        return json_response(200, _visible(found, found.records[object_id], key))

    def _get_many(self, request: Request, key: Key) -> Response:
        try:
            wanted = msgspec.convert(json_object(request), Wanted).requests
        except msgspec.ValidationError as error:
            raise Refusal(400, f"Invalid requests: {error}") from error
        found = [(self._found(_usable(key, one.index)), one.object_id) for one in wanted]
        results = [_visible(index, index.records[one], key) if one in index.records else None for index, one in found]
        return json_response(200, {"results": results})

    def _query(self, request: Request, key: Key, index: str) -> Response:
        found = self._found(index)
        answer = search(found, json_object(request))
        return json_response(200, {**answer, "hits": [_visible(found, hit, key) for hit in answer["hits"]]})

    def _list(self, request: Request, key: Key) -> Response:
        names = [name for name in self._indices.names() if key.reaches(name)]
        size = _integer(request, "hitsPerPage", 100)
        pages = math.ceil(len(names) / size) if request.parameter("page") else 1
        if request.parameter("page"):
            names = names[_integer(request, "page", 0) * size :][:size]
        found = ((name, self._indices.get(name)) for name in names)
        return json_response(200, {"items": [_listed(name, one) for name, one in found if one], "nbPages": pages})

    # --- for people ---

    def _show_account(self, _: Request) -> Response:
        own = {"app_id": self.app_id, "api_key": self.api_key, **msgspec.to_builtins(self.account)}
        return json_response(200, {**own, "indices": {name: len(self.records(name)) for name in self.indices}})

    def _change_account(self, request: Request) -> Response:
        wanted = {**msgspec.to_builtins(self.account), **request.json_object()}
        self.account = msgspec.convert(wanted, Account)
        return self._show_account(request)

    def _show_records(self, _: Request, index: str) -> Response:
        return json_response(200, list(self.records(index).values()))

    def _add_key(self, request: Request) -> Response:
        wanted = msgspec.json.decode(request.body, type=KeyWish)
        return json_response(200, {"key": self.add_key(*wanted.acl, indexes=wanted.indexes)})

    def _reset(self, _: Request) -> Response:
        self.reset()
        return Response(204)


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request for several records."""

    requests: list["WantedRecord"]


class WantedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them."""

    index: str = msgspec.field(name="indexName")
    object_id: str = msgspec.field(name="objectID")


def _usable(key: Key, index: Any) -> str:
    """The name of an index, if it can be one and the key is good for it; else raises Refusal."""
    if not isinstance(index, str) or not INDEX_NAME.fullmatch(index):
        raise Refusal(400, "indexName is not valid")
    if not key.reaches(index):
        raise Refusal(403, "Index not allowed with this API key")
    return index


@contextmanager
def _bad_request() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Refusal(400, str(error)) from error


def _flag(request: Request, name: str, *, default: bool) -> bool:
    value = request.parameter(name)
    if value not in (None, "true", "false"):
        raise Refusal(400, f'Invalid value for "{name}" parameter, expected a boolean')
    return default if value is None else value == "true"


def _integer(request: Request, name: str, default: int) -> int:
    value = request.parameter(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", value) or (name == "hitsPerPage" and value == "0"):
        raise Refusal(400, f'Invalid value for "{name}" parameter, expected an integer')
    return int(value)


def _visible(index: Index, record: Record, key: Key) -> Record:
    """A record without what must not be retrieved, unless the key may see that too."""
    hidden = shown(index.settings)["unretrievableAttributes"] or []
    if key.may("seeUnretrievableAttributes"):
        return record
    return {name: value for name, value in record.items() if name not in hidden or name == "objectID"}


def _listed(name: str, index: Index) -> dict[str, Any]:
    size = sum(len(msgspec.json.encode(record)) for record in index.records.values())
    return {
        "name": name,
        "createdAt": index.created_at,
        "updatedAt": index.updated_at,
        "entries": len(index.records),
        "dataSize": size,
        "fileSize": size,
        "lastBuildTimeS": 0,
        "numberOfPendingTasks": 0,
        "pendingTask": False,
    }
