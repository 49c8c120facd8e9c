"""A proxy before a real server on this machine, which fails as the sandbox's vendors do.

It speaks plain HTTP. What no fault strikes passes through byte for byte; what a fault strikes is answered here, before
the server has acted or after it.
"""

import re
import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from sandbox.faults import Fault, Faults
from sandbox.server import HOST, hang_up
from sandbox.wire import Request, Response, detail

CHUNK = 65536
END_OF_HEAD = b"\r\n\r\n"
ASKS_FIRST = re.compile(rb"\r\nexpect: *100-continue(?=\r\n)", re.IGNORECASE)
OF_THE_CONNECTION = ("connection", "content-length", "transfer-encoding")

SIGNED_SERVICE = re.compile(r"/([a-z0-9-]+)/aws4_request")
"""In the Authorization header, the service that a request to AWS is signed for.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html"""


def aws_service(request: Request) -> str:
    """``sns``, ``dynamodb``, ``s3`` …; empty for a request that nobody has signed."""
    signed = SIGNED_SERVICE.search(request.headers.get("authorization", ""))
    return signed[1] if signed else ""


@dataclass(frozen=True)
class _Arrived:
    """A request, and its bytes as they are to be passed on."""

    request: Request
    raw: bytes


class Proxy:
    """Listens on a free port of 127.0.0.1, before the server at the address `server`.

    `vendor` says by which name the faults know a request. It can stay while the server restarts: a connection that the
    server has ended is ended on this side too, as is one that cannot be made.
    """

    def __init__(self, server: str, vendor: Callable[[Request], str], faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        address = urlsplit(server)
        self._server = (address.hostname, address.port)
        self._vendor = vendor
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        """``http://127.0.0.1:<port>``, without a slash at its end."""
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()

    def start(self) -> Self:
        """Begins to answer."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop(self) -> None:
        """Ends every connection and takes none."""
        self._ended.set()
        hang_up(self._listener)
        self._listener.close()
        for connection in list(self._open):
            hang_up(connection)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, HTTPException), client, socket.create_connection(self._server) as server:
            ends = {client, server}
            self._open |= ends
            try:
                for end in ends:
                    # An answer that comes in two chunks must not wait between them.
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Whoever is not among the open when all are ended sees the end here.
                while not self._ended.is_set() and self._pass(client, server):
                    pass
            finally:
                self._open -= ends

    def _pass(self, client: socket.socket, server: socket.socket) -> bool:
        """Passes on a request, or a chunk of the answer; false at the end."""
        readable = select.select([client, server], [], [])[0]
        if server in readable:
            chunk = server.recv(CHUNK)
            client.sendall(chunk)
            return bool(chunk)
        arrived = _arrived(client)
        if arrived is None:
            return False
        faults = self.faults.striking(self._vendor(arrived.request), arrived.request)
        if faults:
            return self._struck(faults, arrived, client, server)
        server.sendall(arrived.raw)
        return True

    def _struck(self, faults: Sequence[Fault], arrived: _Arrived, client: socket.socket, server: socket.socket) -> bool:
        late = sum(fault.seconds for fault in faults if fault.kind == "delay")
        early = not any(fault.after for fault in faults if fault.kind == "delay")
        other = next((fault for fault in faults if fault.kind != "delay"), None)
        if early:
            self._ended.wait(late)
        response = _answer(server, arrived) if other is None or other.takes_effect else None
        if not early:
            self._ended.wait(late)
        return _send(client, arrived.request, response, other)


def _arrived(client: socket.socket) -> _Arrived | None:
    """The next request, whole; None if the client has left, or sends what this proxy does not read."""
    head, body = b"", b""
    while END_OF_HEAD not in head:
        chunk = client.recv(CHUNK)
        if not chunk:
            return None
        head += chunk
    head, _, body = head.partition(END_OF_HEAD)
    request = _request(head)
    if "transfer-encoding" in request.headers:
        client.sendall(_bytes(detail(411), request))
        return None
    if ASKS_FIRST.search(head):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = ASKS_FIRST.sub(b"", head)
    body = _whole(client, body, int(request.headers.get("content-length", 0)))
    return _Arrived(request, head + END_OF_HEAD + body)


def _request(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    named = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in named}
    address = urlsplit(target)
    return Request(method, address.path, tuple(parse_qsl(address.query, keep_blank_values=True)), headers)


def _whole(client: socket.socket, body: bytes, length: int) -> bytes:
    """The body of so many bytes, of which some have arrived already; raises OSError if the client leaves before."""
    parts, missing = [body], length - len(body)
    while missing > 0:
        chunk = client.recv(min(missing, CHUNK))
        if not chunk:
            raise ConnectionError("the client left amid its request")
        parts.append(chunk)
        missing -= len(chunk)
    return b"".join(parts)


def _answer(server: socket.socket, arrived: _Arrived) -> Response:
    """The server acts on the request; raises OSError or HTTPException if it goes away."""
    server.sendall(arrived.raw)
    answer = HTTPResponse(server, method=arrived.request.method)
    answer.begin()
    headers = {name: value for name, value in answer.getheaders() if name.lower() not in OF_THE_CONNECTION}
    return Response(answer.status, answer.read(), headers)


def _send(client: socket.socket, request: Request, response: Response | None, fault: Fault | None) -> bool:
    """Sends what the fault leaves of the answer; false if that ends the connection."""
    if fault is None and response is not None:
        client.sendall(_bytes(response, request))
        return True
    if fault is None or fault.kind == "drop":
        return False
    if fault.kind == "malformed" and response is not None:
        spoiled = _bytes(fault.spoiled(response), request)
        if fault.form == "cut":
            client.sendall(spoiled[: -len(response.body) // 2 or None])
            return False
        client.sendall(spoiled)
        return True
    client.sendall(_bytes(fault.response(), request))
    return True


def _bytes(response: Response, request: Request) -> bytes:
    """An answer to HEAD has the length of a body and no body."""
    headers = {**response.headers, "Content-Length": str(len(response.body))}
    lines = [f"HTTP/1.1 {response.status} ", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join(lines).encode("latin-1") + END_OF_HEAD
    return head if request.method == "HEAD" else head + response.body
