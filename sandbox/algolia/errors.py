"""Algolia's refusals: their form, their words where they are known, and the place in the body that they name.

The known words are those that people met and reported; the form of the others is the same.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sandbox.wire import Request, json_response

DECODER = json.JSONDecoder()
BETWEEN = re.compile(r"[\s,:]*")


class Refusal(Exception):
    """A request that Algolia does not fulfil; carries what it answers instead."""

    def __init__(self, status: int, message: str, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.response = json_response(status, {"message": message, **(more or {}), "status": status})


def json_object(request: Request) -> dict[str, Any]:
    """The body of a request; raises Refusal (400) if it is no JSON object."""
    try:
        value = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"Invalid JSON {_place_of(error, request.body)}") from error
    if not isinstance(value, dict):
        raise Refusal(400, "Invalid object near line:1 column:1")
    return value


def only(request: Request, given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raises Refusal (400) for an attribute of the body that is not known."""
    for name in given.keys() - known:
        raise Refusal(400, f"Invalid object attributes: {name} {after_attribute(request.body, name)}")


# --- places: "near line:1 column:8" is behind the eighth character ---


def after_attribute(body: bytes, name: str) -> str:
    """The place behind the name of an attribute of the object that is the whole body."""
    text = body.decode()
    return _near(text, next(end for key, end, _ in _members(text) if key == name))


def after_request(body: bytes, position: int) -> str:
    """The place behind a request of a batch, counted from 0."""
    text = body.decode()
    at = next(value for key, _, value in _members(text) if key == "requests") + 1
    for _ in range(position + 1):
        _, at = DECODER.raw_decode(text, _skip(text, at))
    return _near(text, at)


def _place_of(error: Exception, body: bytes) -> str:
    """Where it stopped to be JSON: at the byte that the error names, or at the end."""
    named = re.search(r"\(byte (\d+)\)", str(error))
    text = body[: int(named[1]) if named else None].decode(errors="replace")
    return _near(text, len(text))


def _near(text: str, end: int) -> str:
    lines = text[:end].split("\n")
    return f"near line:{len(lines)} column:{len(lines[-1])}"


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """The attributes of a well-formed object: name, where the name ends, where the value begins."""
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, end = DECODER.raw_decode(text, at)
        value = _skip(text, end)
        yield name, end, value
        at = _skip(text, DECODER.raw_decode(text, value)[1])


def _skip(text: str, at: int) -> int:
    """The next character that is neither white nor between two values."""
    between = BETWEEN.match(text, at)
    return between.end() if between else at
