"""What a request and an answer are to every vendor of the sandbox, and the routes that lead from one to the other."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

HIDDEN = "***"
SECRET_NAMES = frozenset(
    {"authorization", "auth_token", "cookie", "x-algolia-api-key", "x-api-key", "x-webhook-secret"}
)
"""Headers and query parameters, in lower case, whose values are not kept when a request is recorded."""

SECRET_IN_PATH = re.compile(r"(?<=^/1/keys/)[^/]+")
"""The same for a part of a path: Algolia's keys are asked for by themselves."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived: the path still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def host(self) -> str:
        """The Host header: the address that was asked, such as ``127.0.0.1:8900``."""
        return self.headers.get("host", "")

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter, or None."""
        return dict(self.query).get(name)

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, empty without one; raises ValueError."""
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("the body must be a JSON object")  # noqa: TRY004 - a value from outside, no type of ours
        return value

    def without_secrets(self) -> "Request":
        """The same request, secrets in headers, parameters and path hidden; the auth scheme's word stays."""
        path = SECRET_IN_PATH.sub(HIDDEN, self.path)
        query = tuple((name, HIDDEN if name.lower() in SECRET_NAMES else value) for name, value in self.query)
        headers = {name: _hidden(name, value) for name, value in self.headers.items()}
        return Request(self.method, path, query, headers, self.body)


def _hidden(name: str, value: str) -> str:
    if name not in SECRET_NAMES:
        return value
    scheme, _, rest = value.partition(" ")
    return f"{scheme} {HIDDEN}" if rest else HIDDEN


@dataclass(frozen=True)
class Response:
    """An answer, complete before its first byte is sent."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, **headers: str) -> "Response":
        """The same answer with more headers; an underscore stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(self.status, self.body, {**self.headers, **named})


def json_response(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Response(status, body, {"Content-Type": "application/json", **(headers or {})})


def detail(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """An error as many vendors word it: ``{"detail": ...}``, by default with the status's own phrase."""
    return json_response(status, {"detail": text or HTTPStatus(status).phrase}, headers)


@dataclass(frozen=True)
class Route:
    """A method, a pattern for the whole path, and what answers, with the decoded named groups as keyword arguments."""

    method: str
    pattern: str
    answer: Callable[..., Response]
    about: str = ""
    """A line for people, where the route is one of the sandbox's own."""


class Vendor(Protocol):
    """One vendor: the paths that are its own, what it answers, and what a person may do to it."""

    name: str
    paths: str
    """A pattern for the paths that this vendor answers, as `re.match` reads it."""

    @property
    def controls(self) -> Sequence[Route]:
        """The sandbox's own routes for it, below ``/_sandbox/<name>/``."""

    def answer(self, request: Request) -> Response:
        """What the vendor answers, refusals included."""


def dispatch(routes: Sequence[Route], request: Request) -> Response | None:
    """The answer of the first route that fits, a 405 where only the method does not, or None."""
    fitting = [(route, match) for route in routes if (match := re.fullmatch(route.pattern, request.path))]
    for route, match in fitting:
        if route.method == request.method:
            return route.answer(request, **{name: unquote(value) for name, value in match.groupdict().items()})
    return detail(405, f'Method "{request.method}" not allowed.') if fitting else None
