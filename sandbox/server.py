"""One small HTTP server that plays the vendors who cannot be had: one port for all, and more for Algolia's hosts.

In a test: ``with Sandbox() as sandbox: ...``. As a process: ``python -m sandbox.server --port 8900``, and then
``curl http://127.0.0.1:8900/_sandbox/`` tells what it can be asked for.
"""

import argparse
import re
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from sandbox.algolia import Algolia
from sandbox.butter import Butter
from sandbox.examples import example_site
from sandbox.faults import Fault, Faults
from sandbox.site import Site
from sandbox.wire import Request, Response, Route, Vendor, detail, dispatch, json_response

HOST = "127.0.0.1"
ALGOLIA_HOSTS = 3
KEPT_REQUESTS = 20_000
KEPT_BYTES = 200_000_000


@dataclass(frozen=True)
class Recorded:
    """A request that a vendor got, once it is answered: without secrets, and with the status of the answer."""

    vendor: str
    request: Request
    status: int | None
    """None: the connection was dropped."""
    at: float
    """When it arrived, in seconds since 1970."""

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def host(self) -> str:
        return self.request.host


class Memory:
    """The latest requests: so many of them, fewer if their bodies are more than so many bytes. Safe for threads."""

    def __init__(self, most: int = KEPT_REQUESTS, most_bytes: int = KEPT_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._lock = threading.Lock()
        self._kept: deque[Recorded] = deque()
        self._bytes = 0

    def add(self, recorded: Recorded) -> None:
        """Keeps a request, and forgets the oldest that are too many now."""
        with self._lock:
            self._kept.append(recorded)
            self._bytes += len(recorded.request.body)
            while len(self._kept) > self._most or self._bytes > self._most_bytes:
                self._bytes -= len(self._kept.popleft().request.body)

    def all(self) -> list[Recorded]:
        """What is kept, the oldest first."""
        with self._lock:
            return list(self._kept)

    def clear(self) -> None:
        """Forgets all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


@dataclass(frozen=True)
class _Reply:
    """How an answer leaves: None closes the connection without a byte, `cut` halfway through the body."""

    response: Response | None
    cut: bool = False


class Sandbox:
    """The vendors behind one port of 127.0.0.1; port 0 takes a free one. Starts as a context manager or by `start`.

    Algolia has addresses of its own besides, on free ports: `algolia_hosts`.
    """

    def __init__(self, port: int = 0, *, site: Site | None = None) -> None:
        self.butter = Butter(site)
        self.algolia = Algolia()
        self.faults = Faults()
        self.vendors: Sequence[Vendor] = (self.butter, self.algolia)
        self._memory = Memory()
        self._front = Listener(self.reply, port)
        self.algolia_hosts = [Listener(self._algolia_reply) for _ in range(ALGOLIA_HOSTS)]
        faults, requests, hosts = "/_sandbox/faults", "/_sandbox/requests", "/_sandbox/algolia/hosts"
        self._controls = (
            Route("GET", "/_sandbox/", self._help, "this page"),
            Route("GET", faults, self._list_faults, "the faults that are set"),
            Route("POST", faults, self._add_fault, 'set a fault: {"kind": "status", "status": 503, "times": 2}'),
            Route("DELETE", faults, self._clear_faults, "lift all faults"),
            Route("GET", requests, self._list_requests, "what the vendors were asked"),
            Route("DELETE", requests, self._clear_requests, "forget what they were asked"),
            Route("GET", hosts, self._list_hosts, "Algolia's hosts, and which of them are up"),
            Route("POST", f"{hosts}/(?P<host>[^/]+)", self._switch_host, 'take a host down: {"up": false}'),
        )

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, without a slash at its end."""
        return self._front.url

    @property
    def site(self) -> Site:
        """The ButterCMS site, to be edited."""
        return self.butter.site

    @property
    def butter_endpoint(self) -> str:
        """The value for the setting ``butter/endpoint``."""
        return f"{self.url}/v2"

    @property
    def algolia_endpoint(self) -> str:
        """The value for the setting ``algolia/endpoint``: the addresses of Algolia's hosts, separated by commas."""
        return ",".join(host.url for host in self.algolia_hosts)

    @property
    def requests(self) -> list[Recorded]:
        """What the vendors were asked so far, the oldest first."""
        return self._memory.all()

    def requests_to(self, vendor: str, path: str = "") -> list[Recorded]:
        """The requests to one vendor whose path has a match of the pattern `path`."""
        return [one for one in self.requests if one.vendor == vendor and re.search(path, one.path)]

    def start(self) -> Self:
        """Begins to answer."""
        for listener in (self._front, *self.algolia_hosts):
            listener.up()
        return self

    def stop(self) -> None:
        """Ends every connection and frees the ports."""
        for listener in (self._front, *self.algolia_hosts):
            listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def reply(self, request: Request) -> _Reply:
        """What becomes of a request: the vendor's answer, or what the faults leave of it."""
        vendor = next((vendor for vendor in self.vendors if re.match(vendor.paths, request.path)), None)
        return self._vendor_reply(vendor, request) if vendor else _Reply(self._control(request))

    def _algolia_reply(self, request: Request) -> _Reply:
        return self._vendor_reply(self.algolia, request)

    def _vendor_reply(self, vendor: Vendor, request: Request) -> _Reply:
        arrived = time.time()
        reply = _stricken(vendor, request, self.faults.striking(vendor.name, request))
        status = reply.response.status if reply.response else None
        self._memory.add(Recorded(vendor.name, request.without_secrets(), status, arrived))
        return reply

    def _control(self, request: Request) -> Response:
        controls = [*self._controls, *(route for vendor in self.vendors for route in vendor.controls)]
        try:
            return dispatch(controls, request) or detail(404, "no vendor answers here; see GET /_sandbox/")
        except (ValueError, msgspec.MsgspecError) as error:
            return detail(400, str(error))

    def _help(self, _: Request) -> Response:
        controls = [*self._controls, *(route for vendor in self.vendors for route in vendor.controls)]
        lines = [f"{route.method:6} {_readable(route.pattern)}\n       {route.about}" for route in controls]
        return Response(200, "\n".join([*lines, ""]).encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def _list_faults(self, _: Request) -> Response:
        return json_response(200, {number: msgspec.to_builtins(fault) for number, fault in self.faults.all().items()})

    def _add_fault(self, request: Request) -> Response:
        return json_response(200, {"number": self.faults.add(msgspec.json.decode(request.body, type=Fault))})

    def _clear_faults(self, _: Request) -> Response:
        self.faults.clear()
        return Response(204)

    def _list_requests(self, _: Request) -> Response:
        return json_response(200, [_listed(recorded) for recorded in self.requests])

    def _clear_requests(self, _: Request) -> Response:
        self._memory.clear()
        return Response(204)

    def _list_hosts(self, _: Request) -> Response:
        return json_response(200, {host.address: host.is_up for host in self.algolia_hosts})

    def _switch_host(self, request: Request, host: str) -> Response:
        wanted = msgspec.json.decode(request.body, type=HostChange)
        listener = next((one for one in self.algolia_hosts if one.address == host), None)
        if listener is None:
            return detail(404, f"Algolia has no host {host}; see GET /_sandbox/algolia/hosts")
        if wanted.up:
            listener.up()
        else:
            listener.down()
        return self._list_hosts(request)


class HostChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do to a host."""

    up: bool


def _stricken(vendor: Vendor, request: Request, faults: Sequence[Fault]) -> _Reply:
    late = sum(fault.seconds for fault in faults if fault.kind == "delay")
    early = not any(fault.after for fault in faults if fault.kind == "delay")
    other = next((fault for fault in faults if fault.kind != "delay"), None)
    if late and early:
        time.sleep(late)
    response = vendor.answer(request) if other is None or other.takes_effect else None
    if late and not early:
        time.sleep(late)
    return _spoiled(response, other)


def _spoiled(response: Response | None, fault: Fault | None) -> _Reply:
    if fault is None:
        return _Reply(response)
    if fault.kind == "drop":
        return _Reply(None)
    if fault.kind == "malformed" and response is not None:
        return _Reply(fault.spoiled(response), cut=fault.form == "cut")
    return _Reply(fault.response())


def _readable(pattern: str) -> str:
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", pattern)


def _listed(recorded: Recorded) -> dict[str, Any]:
    request = recorded.request
    return {
        "vendor": recorded.vendor,
        "host": request.host,
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": dict(request.headers),
        "body": request.body.decode(errors="replace"),
        "status": recorded.status,
        "at": recorded.at,
    }


class Listener:
    """A port of 127.0.0.1 (0: a free one) that can be taken down, and brought up again."""

    def __init__(self, reply: Callable[[Request], _Reply], port: int = 0) -> None:
        self._reply = reply
        self._place = _place(port)
        self.address = "{}:{}".format(*self._place.getsockname())
        """``127.0.0.1:<port>``, as the Host header has it."""
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, without a slash at its end."""
        return f"http://{self.address}"

    @property
    def is_up(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None

    def up(self) -> None:
        """Begins to answer, if it does not already."""
        with self._lock:
            if self._server is None:
                self._server = _Server(self._place.getsockname(), self._reply)
                self._thread = threading.Thread(target=self._server.serve, daemon=True)
                self._thread.start()

    def down(self) -> None:
        """Ends every connection, and refuses new ones from now on."""
        with self._lock:
            if self._server is not None and self._thread is not None:
                self._server.end()
                self._thread.join()
                self._server.server_close()
                self._server = self._thread = None

    def close(self) -> None:
        """Is taken down for good, and frees the port."""
        self.down()
        self._place.close()


def _place(port: int) -> socket.socket:
    """A socket that is bound but does not listen: it refuses connections, and keeps the port from anybody else."""
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((HOST, port))
    except OSError:
        place.close()
        raise
    return place


class _Server(ThreadingHTTPServer):
    """Keeps its connections, to end them with it: else a client would go on over a kept one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], reply: Callable[[Request], _Reply]) -> None:
        super().__init__(address, _Handler)
        self.reply = reply
        self._open: set[socket.socket] = set()
        self._ended = False

    def serve(self) -> None:
        """Answers until `end`, which is heard at once: `serve_forever` would look for it from time to time."""
        while not self._ended:
            self.handle_request()

    def end(self) -> None:
        """Wakes `serve`, which is waiting for a connection, for the last time."""
        self._ended = True
        hang_up(self.socket)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            hang_up(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def hang_up(connection: socket.socket) -> None:
    """Ends a connection at once, whoever is reading from it, if the other side has not done so."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Reads a request whole, and sends the answer whole."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def _serve(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.close_connection = True
            self._send(_Reply(detail(411)))
            return
        self._send(self.server.reply(self._request()))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - names of the base class

    def _request(self) -> Request:
        target = urlsplit(self.path)
        query = tuple(parse_qsl(target.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return Request(self.command, target.path, query, headers, body)

    def _send(self, reply: _Reply) -> None:
        response = reply.response
        if response is None:
            self.close_connection = True
            hang_up(self.connection)
            return
        self.send_response(response.status)
        for name, value in {**response.headers, "Content-Length": str(len(response.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = self.close_connection or reply.cut
        self.wfile.write(response.body[: len(response.body) // 2] if reply.cut else response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - a name of the base class
        """Says nothing: requests are recorded."""


def main() -> None:
    """Serves until it is told to stop by Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.server", description="The vendors, faked, on one port.")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--empty", action="store_true", help="begin without the example site")
    options = parser.parse_args()
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with Sandbox(options.port, site=Site() if options.empty else example_site()) as sandbox:
        print(f"the sandbox answers at {sandbox.url}, see {sandbox.url}/_sandbox/", flush=True)
        print(f"Algolia's hosts are {sandbox.algolia_endpoint}", flush=True)
        told.wait()


if __name__ == "__main__":
    main()
