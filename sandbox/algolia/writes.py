"""From what is written to Algolia to operations on an index: which actions there are, what each demands.

https://www.algolia.com/doc/rest-api/search/batch
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from sandbox.algolia.errors import Refusal
from sandbox.algolia.indices import (
    BUILT_IN,
    Clear,
    Delete,
    Drop,
    Operation,
    Save,
    Update,
    is_built_in,
    is_integer,
    is_number,
)

TOO_BIG = (
    "Record at the position {position} objectID={object_id} is too big size={size}/{limit} bytes. "
    "Please have a look at https://www.algolia.com/doc/guides/sending-and-managing-data/prepare-your-data/in-depth/"
    "index-and-records-size-and-usage-limitations/#record-size-limits"
)


@dataclass(frozen=True)
class Action:
    """What a request of a batch can ask for."""

    right: str
    """The entry of the ACL that it needs."""
    deed: str
    """What Algolia calls it when the key lacks that right."""
    operation: Callable[[Mapping[str, Any]], Operation]
    """What becomes of the body; raises ValueError if it does not fit."""


def save(body: Mapping[str, Any]) -> Save:
    """A record is written whole; without an objectID it gets one."""
    return Save({**body, "objectID": object_id(body, "addObject") if "objectID" in body else uuid4().hex})


def update(body: Mapping[str, Any], action: str = "partialUpdateObject", *, creates: bool = True) -> Update:
    """Some attributes of a record are written."""
    attributes = {name: value for name, value in body.items() if name != "objectID"}
    for name, value in attributes.items():
        if is_built_in(value):
            _check_built_in(name, value)
    return Update(object_id(body, action), attributes, creates)


def object_id(body: Mapping[str, Any], action: str) -> str:
    """The id of a record: a string that is not empty, or an integer, which becomes one."""
    value = body.get("objectID")
    if is_integer(value) or (isinstance(value, str) and value):
        return str(value)
    if value is None or value == "":
        raise ValueError(f"The 'objectID' attribute is required to use action={action}")
    raise ValueError("Invalid objectID: it must be a string or an integer")


def _check_built_in(name: str, value: Mapping[str, Any]) -> None:
    kind, operand = value["_operation"], value.get("value")
    if not isinstance(kind, str) or kind not in BUILT_IN or value.keys() != {"_operation", "value"}:
        raise ValueError(f"Invalid operation on the attribute {name}")
    fits = {
        "Increment": is_number(operand),
        "Decrement": is_number(operand),
        "IncrementFrom": is_integer(operand),
        "IncrementSet": is_integer(operand),
    }
    if not fits.get(kind, is_number(operand) or isinstance(operand, str)):
        raise ValueError(f"Invalid value of the operation {kind} on the attribute {name}")


ACTIONS: Mapping[str, Action] = {
    "addObject": Action("addObject", "add an object", save),
    "updateObject": Action(
        "addObject",
        "update an object",
        lambda body: Save({**body, "objectID": object_id(body, "updateObject")}),
    ),
    "partialUpdateObject": Action("addObject", "update an object", update),
    "partialUpdateObjectNoCreate": Action(
        "addObject",
        "update an object",
        lambda body: update(body, "partialUpdateObjectNoCreate", creates=False),
    ),
    "deleteObject": Action("deleteObject", "delete an object", lambda body: Delete(object_id(body, "deleteObject"))),
    "delete": Action("deleteIndex", "delete an index", lambda _: Drop()),
    "clear": Action("deleteIndex", "clear an index", lambda _: Clear()),
}


def operation_of(request: Any, may: Callable[[str], bool], needed: frozenset[str]) -> Operation:
    """What a request of a batch asks for; raises ValueError if it may not, or not like that.

    A key without the right for one action is a 400 here, not a 403.
    """
    if not isinstance(request, dict) or not request.keys() >= needed:
        raise ValueError(f"Invalid request: it must have {' and '.join(sorted(needed))}")
    for name in request.keys() - needed - {"body"}:
        raise ValueError(f"Invalid object attributes: {name}")
    action = ACTIONS.get(request["action"]) if isinstance(request["action"], str) else None
    if action is None:
        raise ValueError("Invalid action")
    if not may(action.right):
        raise ValueError(f"Not enough rights to {action.deed}")
    body = request.get("body", {})
    if not isinstance(body, dict):
        raise ValueError("Invalid body: it must be an object")  # noqa: TRY004 - a value from outside, no type of ours
    return action.operation(body)


def ids(operations: Iterable[Operation]) -> list[str]:
    """The ids of the records that are written or deleted, one for each such operation."""
    return [one for operation in operations for one in _id(operation)]


def _id(operation: Operation) -> list[str]:
    match operation:
        case Save(record):
            return [record["objectID"]]
        case Update(number) | Delete(number):
            return [number]
    return []


def check_size(operation: Operation, position: int, limit: int) -> None:
    """Raises Refusal (400) for a record above the limit: in bytes, as minified JSON in UTF-8, objectID included.

    https://support.algolia.com/hc/en-us/articles/4406981897617
    """
    match operation:
        case Save(record):
            number, size = record["objectID"], len(msgspec.json.encode(record))
        case Update(number, attributes):
            size = len(msgspec.json.encode({"objectID": number, **attributes}))
        case _:
            return
    if size > limit:
        text = TOO_BIG.format(position=position, object_id=number, size=size, limit=limit)
        raise Refusal(400, text, {"position": position, "objectID": number})
