"""Through the relay a real libpq speaks TLS to a real PostgreSQL, and refuses whom it should not trust."""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import trustme

from sandbox.postgres import Postgres
from sandbox.tls_relay import TlsRelay


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as postgres:
        yield postgres


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[TlsRelay]:
    with TlsRelay(postgres.port) as relay:
        yield relay


class Client:
    """Connects as a user would who holds `ca`."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self._password, self._ca = postgres.password, folder / "ca.pem"

    def connect(self, relay: TlsRelay, mode: str = "verify-full", ca: str = "") -> psycopg2.extensions.connection:
        self._ca.write_text(ca or relay.ca)
        address = f"host=localhost hostaddr=127.0.0.1 port={relay.port} connect_timeout=5"
        identity = f"user=postgres password={self._password} dbname=postgres"
        return psycopg2.connect(f"{address} {identity} sslmode={mode} sslrootcert={self._ca}")


@pytest.fixture
def client(postgres: Postgres, tmp_path: Path) -> Client:
    return Client(postgres, tmp_path)


def ask(connection: psycopg2.extensions.connection, query: str = "SELECT 1") -> object:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return (cursor.fetchone() or (None,))[0]


def test_a_client_that_trusts_the_authority_gets_through_encrypted(relay: TlsRelay, client: Client) -> None:
    connection = client.connect(relay)

    assert connection.info.ssl_in_use
    assert ask(connection) == 1
    connection.close()


def test_large_amounts_pass_both_ways(relay: TlsRelay, client: Client) -> None:
    connection = client.connect(relay)
    text = "größer " * 300_000

    with connection.cursor() as cursor:
        cursor.execute("SELECT %s || 'Ende'", (text,))
        assert cursor.fetchone() == (f"{text}Ende",)
    connection.close()


def test_many_connections_are_served_at_once(relay: TlsRelay, client: Client) -> None:
    connections = [client.connect(relay) for _ in range(5)]

    assert [ask(connection) for connection in connections] == [1] * 5
    for connection in connections:
        connection.close()


def test_a_certificate_for_another_host_is_not_trusted(postgres: Postgres, client: Client) -> None:
    with TlsRelay(postgres.port, "elsewhere.example.com") as relay:
        with pytest.raises(psycopg2.OperationalError, match='does not match host name "localhost"'):
            client.connect(relay)

        client.connect(relay, "verify-ca").close()


def test_an_authority_that_the_client_does_not_know_is_not_trusted(relay: TlsRelay, client: Client) -> None:
    stranger = trustme.CA().cert_pem.bytes().decode()

    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        client.connect(relay, ca=stranger)


def test_two_relays_can_share_an_authority(postgres: Postgres, relay: TlsRelay, client: Client) -> None:
    with TlsRelay(postgres.port, authority=relay.authority) as second:
        client.connect(second, ca=relay.ca).close()


def test_without_tls_nobody_comes_in(relay: TlsRelay, client: Client) -> None:
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        client.connect(relay, "disable")


def test_a_client_that_asks_for_kerberos_first_may_still_ask_for_tls(relay: TlsRelay) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), 5) as connection:
        connection.sendall(struct.pack("!ii", 8, 80877104))
        assert connection.recv(1) == b"N"

        connection.sendall(struct.pack("!ii", 8, 80877103))
        assert connection.recv(1) == b"S"


def test_dropped_connections_break_and_new_ones_are_taken(relay: TlsRelay, client: Client) -> None:
    connection = client.connect(relay)
    ask(connection)

    relay.drop()

    with pytest.raises(psycopg2.OperationalError):
        ask(connection)
    connection.close()
    again = client.connect(relay)
    assert ask(again) == 1
    again.close()


def test_a_delay_makes_every_answer_late(relay: TlsRelay, client: Client) -> None:
    connection = client.connect(relay)
    relay.seconds = 0.1

    started = time.monotonic()
    ask(connection)

    assert time.monotonic() - started >= 0.2
    relay.seconds = 0
    connection.close()


def test_an_outage_behind_the_relay_ends_the_connections_through_it() -> None:
    with Postgres() as own, TlsRelay(own.port) as relay:
        connection = psycopg2.connect(
            f"postgresql://postgres:{own.password}@127.0.0.1:{relay.port}/postgres?sslmode=require"
        )
        own.stop()

        with pytest.raises(psycopg2.OperationalError):
            ask(connection)
        connection.close()


def test_a_stopped_relay_takes_nobody(postgres: Postgres, client: Client) -> None:
    with TlsRelay(postgres.port) as relay:
        pass

    with pytest.raises(psycopg2.OperationalError, match="refused"):
        client.connect(relay)
