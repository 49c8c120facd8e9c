"""Requests that end when their time does: by themselves time-outs count anew with every byte that comes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from http.client import HTTPConnection
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class Adapter(HTTPAdapter):
    """The second time-out is for all of a request and its answer, from its beginning until the last byte is read.

    Not bounded by it are the look-up of the host's name, for which the machine's resolver has limits of its own, and
    a connection to the second and each further address of that name, which gets the first time-out anew.
    """

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """The answer, read; raises requests.ReadTimeout if it is not whole in time."""
        with _within(options["timeout"][1]):
            response = super().send(request, *arguments, **options)
            _ = response.content
            return response

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """The pool for a request, whose connections tell the present call of their sockets."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        pool.ConnectionCls = _telling(type(pool).ConnectionCls)
        return pool


class _Call:
    """A request and its answer, and the sockets that they use."""

    def __init__(self) -> None:
        self._is_over = False
        self._sockets: list[socket.socket] = []

    @property
    def was_cut(self) -> bool:
        """Whether its time was over while there was a connection."""
        return self._is_over and bool(self._sockets)

    def uses(self, one: socket.socket) -> None:
        self._sockets.append(one)
        if self._is_over:
            self.end()

    def end(self) -> None:
        """From another thread: whoever reads or writes finds the connection closed."""
        self._is_over = True
        for one in self._sockets:
            with suppress(OSError):
                # Not its own method: that of TLS would let what is written meanwhile out unencrypted.
                socket.socket.shutdown(one, socket.SHUT_RDWR)


_present: ContextVar[_Call] = ContextVar("_present")


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    call = _Call()
    token = _present.set(call)
    timer = threading.Timer(seconds, call.end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # or else it might end the next call
        _present.reset(token)
        if call.was_cut:
            # What came until then may look like an answer, and what it was cut off with like anything.
            raise requests.ReadTimeout


class _Telling(HTTPConnection):
    """Before one of urllib3's connections: tells of its socket when it is made and when it is used again."""

    def connect(self) -> None:
        super().connect()
        _present.get().uses(self.sock)

    def request(self, *arguments: Any, **options: Any) -> None:
        if self.sock:
            _present.get().uses(self.sock)
        super().request(*arguments, **options)


@cache
def _telling(kind: type[HTTPConnection]) -> type[HTTPConnection]:
    return type(kind.__name__, (_Telling, kind), {})
