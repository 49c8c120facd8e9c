"""Faults: what an outside system does when it does not do what it should, for every route of every vendor.

A fault is matched by vendor, host, method and path, strikes `times` times or `percent` of the times (drawn with a seed,
so that a run can be repeated), before the vendor acted or after it did.
"""

import math
import random
import re
import threading
from collections.abc import Mapping
from typing import Literal

import msgspec

from sandbox.wire import Request, Response, detail

Kind = Literal["status", "delay", "drop", "throttle", "malformed"]
Form = Literal["html", "truncated", "type", "cut"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to fail.

    - ``status``: answers `status` with `body` and `headers`;
    - ``delay``: answers `seconds` late;
    - ``drop``: closes the connection without a byte;
    - ``throttle``: answers 429 with ``Retry-After: seconds``;
    - ``malformed``: spoils the answer: ``html`` in its place, ``truncated`` JSON, JSON under another content ``type``,
      or a connection ``cut`` halfway through the body.

    `after` lets the vendor act first: the request takes effect, only the answer is late, wrong or lost.
    """

    kind: Kind
    vendor: str = ""
    """A pattern to be found in the vendor's name; empty: any vendor. The same with `host`, `method` and `path`."""
    host: str = ""
    """In the Host header, where a vendor has several: ``:4001$``."""
    method: str = ""
    path: str = ""
    after: bool = False
    times: int | None = None
    """How often it strikes; None: until it is removed."""
    percent: float = 100
    status: int = 500
    body: str | None = None
    headers: Mapping[str, str] = {}
    seconds: float = 0
    form: Form = "html"

    def __post_init__(self) -> None:
        """Raises ValueError for a pattern that is none."""
        for pattern in (self.vendor, self.host, self.method, self.path):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no pattern: {error}") from error

    def fits(self, vendor: str, request: Request) -> bool:
        """Whether it is about this request."""
        patterns = (self.vendor, self.host, self.method, self.path)
        texts = (vendor, request.host, request.method, request.path)
        return all(re.search(pattern, text) for pattern, text in zip(patterns, texts, strict=True))

    @property
    def takes_effect(self) -> bool:
        """Whether the vendor acts on the request although it fails."""
        return self.after or self.kind in ("delay", "malformed")

    def response(self) -> Response:
        """What is answered in place of the vendor's answer (status, throttle)."""
        if self.kind == "throttle":
            return self._said(429, {"Retry-After": str(math.ceil(self.seconds)), **self.headers})
        return self._said(self.status, self.headers)

    def _said(self, status: int, headers: Mapping[str, str]) -> Response:
        if self.body is None:
            return detail(status, headers=headers)
        return Response(status, self.body.encode(), {"Content-Type": "application/json", **headers})

    def spoiled(self, response: Response) -> Response:
        """The vendor's answer, malformed; ``cut`` is left to whoever sends it."""
        if self.form == "html":
            page = b"<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>"
            return Response(response.status, page, {"Content-Type": "text/html; charset=utf-8"})
        if self.form == "truncated":
            return Response(response.status, response.body[: len(response.body) // 2], response.headers)
        if self.form == "type":
            return response.with_headers(Content_Type="application/octet-stream")
        return response


class Faults:
    """The faults that are set. Safe for threads."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it draws faults, not secrets
        self._lock = threading.Lock()
        self._left: dict[int, tuple[Fault, int | None]] = {}
        self._next = 1

    def add(self, fault: Fault) -> int:
        """Sets a fault; returns its number, for `remove`."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._left[number] = (fault, fault.times)
            return number

    def remove(self, number: int) -> None:
        """Lifts one fault; one that is used up or unknown is lifted already."""
        with self._lock:
            self._left.pop(number, None)

    def clear(self) -> None:
        """Lifts all faults."""
        with self._lock:
            self._left.clear()

    def all(self) -> dict[int, Fault]:
        """The faults that may still strike, by number."""
        with self._lock:
            return {number: fault for number, (fault, _) in self._left.items()}

    def striking(self, vendor: str, request: Request) -> list[Fault]:
        """The faults for this request, counted down: all delays that fit, and the first of the other kinds."""
        with self._lock:
            struck: list[Fault] = []
            for number, (fault, _) in list(self._left.items()):
                decided = any(other.kind != "delay" for other in struck) and fault.kind != "delay"
                if not decided and fault.fits(vendor, request) and self._random.random() * 100 < fault.percent:
                    struck.append(fault)
                    self._count_down(number)
            return struck

    def _count_down(self, number: int) -> None:
        fault, left = self._left[number]
        if left == 1:
            del self._left[number]
        elif left is not None:
            self._left[number] = (fault, left - 1)
