"""TLS before a PostgreSQL that has none: the handshake of its protocol, then bytes, with connections that can break.

A client asks for TLS with an SSLRequest, hears ``S``, and does the handshake on the same connection:
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
"""

import select
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from typing import Self

import trustme

HOST = "127.0.0.1"
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)
HANDSHAKE_SECONDS = 10
CHUNK = 65536

NO_ENCRYPTION = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for host, no encryption\0\0"
"""What a server says that takes encrypted connections only."""


class TlsRelay:
    """Listens on a free port of 127.0.0.1, and passes what comes in over TLS to `port` of the same host.

    The certificate is for `hostname`, by `authority`, else by a new one. `seconds` delays every chunk of bytes.
    """

    def __init__(self, port: int, hostname: str = "localhost", authority: trustme.CA | None = None) -> None:
        self.authority = authority or trustme.CA()
        self.seconds = 0.0
        self._target = (HOST, port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(hostname).configure_cert(self._context)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()

    @property
    def ca(self) -> str:
        """The PEM of the authority."""
        return self.authority.cert_pem.bytes().decode()

    def drop(self) -> None:
        """Breaks every connection that there is; new ones are taken."""
        for connection in list(self._open):
            _hang_up(connection)

    def start(self) -> Self:
        """Begins to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop(self) -> None:
        """Breaks every connection and takes none."""
        _hang_up(self._listener)
        self._listener.close()
        self.drop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        # A client that leaves, or trusts nobody here, ends its own connection and no other.
        with suppress(OSError), plain:
            plain.settimeout(HANDSHAKE_SECONDS)
            if not _wants_tls(plain):
                return
            with self._context.wrap_socket(plain, server_side=True) as client:
                client.settimeout(None)
                self._relay(client)

    def _relay(self, client: ssl.SSLSocket) -> None:
        with socket.create_connection(self._target) as server:
            ends = {client, server}
            self._open |= ends
            try:
                while self._pass(client, server):
                    pass
            finally:
                self._open -= ends

    def _pass(self, client: ssl.SSLSocket, server: socket.socket) -> bool:
        """Passes on a chunk from each side that has one; false at the end. One thread: OpenSSL wants no second."""
        readable = [client] if client.pending() else select.select([client, server], [], [])[0]
        for source in readable:
            chunk = source.recv(CHUNK)
            if not chunk:
                return False
            time.sleep(self.seconds)
            (server if source is client else client).sendall(chunk)
        return True


def _wants_tls(client: socket.socket) -> bool:
    """Whether the client asks for TLS, which is granted; without it, it hears why it may not come in."""
    request = client.recv(len(SSL_REQUEST), socket.MSG_WAITALL)
    if request == GSS_REQUEST:
        client.sendall(b"N")
        return _wants_tls(client)
    if request == SSL_REQUEST:
        client.sendall(b"S")
        return True
    client.sendall(b"E" + struct.pack("!i", len(NO_ENCRYPTION) + 4) + NO_ENCRYPTION)
    return False


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        # A TLS socket's own shutdown would drop its TLS state under the thread that reads from it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
