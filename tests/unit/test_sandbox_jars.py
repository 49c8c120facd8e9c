"""Jars come from Maven Central once, are what was locked, and no crash, crowd or meddler leaves others behind."""

import hashlib
import os
import pty
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jgo.maven._core import DEFAULT_REMOTE_REPOS

from sandbox import jars
from sandbox.jars import Cache, Engine, Jar, locked
from sandbox.processes import SandboxError, free_port
from sandbox.progress import step

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"PK" + bytes(range(256)) * 200
ENGINES: tuple[Engine, ...] = get_args(Engine)
GETTING = """
import sys
from pathlib import Path
from jgo.maven._core import DEFAULT_REMOTE_REPOS
from sandbox.jars import Cache, Jar
DEFAULT_REMOTE_REPOS["central"], folder, *lines = sys.argv[1:]
print(*Cache(Path(folder)).get([Jar.of(line) for line in lines]))
"""
COUNTING = """
import time
from sandbox.progress import step
with step("Fetching", lambda: (3, 12)):
    time.sleep(0.5)
"""


class Maven(ThreadingHTTPServer):
    """A Maven Central with some jars, in which a jar can be missing, damaged, cut off, or never end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MavenHandler)
        self.asked: Counter[str] = Counter()
        self.status = 200
        self.content = CONTENT
        self.sent = len(CONTENT)
        """How many bytes of a jar are sent before the connection ends."""
        self.stalled = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class MavenHandler(BaseHTTPRequestHandler):
    server: Maven

    def do_GET(self) -> None:
        if self.path.endswith(".sha1"):
            self.send_error(404)
            return
        self.server.asked[self.path] += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        half = len(CONTENT) // 2
        self.wfile.write(self.server.content[:half])
        if not self.server.goes_on.is_set():
            self.server.stalled.set()
            self.server.goes_on.wait()
        self.wfile.write(self.server.content[half : self.server.sent])

    def log_message(self, *_: object) -> None:
        """Keeps the tests' output readable."""


@pytest.fixture
def maven(monkeypatch: pytest.MonkeyPatch) -> Iterator[Maven]:
    with Maven() as server:
        monkeypatch.setitem(DEFAULT_REMOTE_REPOS, "central", server.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "jars")


def jar(name: str) -> Jar:
    return Jar(f"org.example:{name}:1.0", hashlib.sha256(CONTENT).hexdigest())


THREE = [jar("alpha"), jar("beta"), jar("gamma")]


def kept(cache: Cache) -> set[str]:
    """What the cache has, but its lock."""
    return {path.name for path in cache.folder.rglob("*") if path.is_file()} - {"lock"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lock_names_each_jar_once_with_its_hash(engine: Engine) -> None:
    found = locked(engine)

    assert all(len(bytes.fromhex(one.sha256)) == 32 for one in found)
    assert [one.coordinate for one in found] == sorted({one.coordinate for one in found})
    (core,) = [one for one in found if one.coordinate.startswith(f"org.{engine}:{engine}:")]
    (file,) = jars.LOCKS.glob(f"{engine}-*")
    assert file.name == f"{core.path.stem}.txt"


@given(st.from_regex(r"[a-z.]+:[a-z-]+:[0-9.]+", fullmatch=True), st.binary(min_size=32, max_size=32))
def test_a_line_of_a_lock_is_read_as_it_is_written(coordinate: str, digest: bytes) -> None:
    one = Jar(coordinate, digest.hex())

    assert Jar.of(str(one)) == one


def test_what_is_missing_is_fetched_and_what_is_there_is_not(cache: Cache, maven: Maven) -> None:
    first = cache.get(THREE[:2])
    both = cache.get(THREE)
    again = cache.get(THREE)

    assert both == again == [*first, cache.folder / "org/example/gamma/1.0/gamma-1.0.jar"]
    assert [path.read_bytes() for path in both] == [CONTENT] * 3
    assert set(maven.asked.values()) == {1}


def test_other_bytes_than_the_locked_ones_are_refused_and_removed(cache: Cache, maven: Maven) -> None:
    maven.content = CONTENT[::-1]

    with pytest.raises(SandboxError, match=r"org.example:alpha:1.0 is refused: what came has sha256:.* not sha256:"):
        cache.get(THREE[:1])

    assert not kept(cache)


def test_half_a_jar_is_no_jar(cache: Cache, maven: Maven) -> None:
    maven.sent = len(CONTENT) - 1

    with pytest.raises(SandboxError, match=r"Maven Central does not answer(.|\n)*Is the network there\?"):
        cache.get(THREE[:1])

    assert not kept(cache)


@pytest.mark.parametrize("status", [404, 503])
def test_a_jar_that_maven_central_does_not_give_is_named(status: int, cache: Cache, maven: Maven) -> None:
    maven.status = status

    with pytest.raises(SandboxError, match=r"Maven Central does not give org\.example:alpha:1\.0"):
        cache.get(THREE[:1])


def test_without_a_network_it_is_asked_for(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULT_REMOTE_REPOS, "central", f"http://127.0.0.1:{free_port()}")

    with pytest.raises(SandboxError, match=r"does not answer(.|\n)*Connection refused(.|\n)*Is the network there\?"):
        cache.get(THREE)


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"!"])
def test_what_was_damaged_in_the_cache_is_fetched_again(damage: bytes, cache: Cache, maven: Maven) -> None:
    (path,) = cache.get(THREE[:1])
    path.write_bytes(damage)

    cache.get(THREE[:1])

    assert path.read_bytes() == CONTENT
    assert maven.asked.total() == 2


def test_what_came_before_another_failed_is_kept(cache: Cache, maven: Maven) -> None:
    wrong = Jar("org.example:wrong:1.0", "00" * 32)

    with pytest.raises(SandboxError, match=r"wrong:1\.0 is refused"):
        cache.get([wrong, *THREE])
    before = maven.asked.total()
    cache.get(THREE)

    assert kept(cache) == {"alpha-1.0.jar", "beta-1.0.jar", "gamma-1.0.jar"}
    assert maven.asked.total() - before < len(THREE)


def getting(cache: Cache, maven: Maven) -> subprocess.Popen[str]:
    command = (sys.executable, "-c", GETTING, maven.url, str(cache.folder), *map(str, THREE))
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)


def test_a_fetch_that_is_killed_leaves_no_jar_behind(cache: Cache, maven: Maven) -> None:
    maven.goes_on.clear()
    with getting(cache, maven) as process:
        assert maven.stalled.wait(30)
        process.kill()
    left = cache.present(THREE)
    maven.goes_on.set()

    paths = cache.get(THREE)

    assert left == 0
    assert [path.read_bytes() for path in paths] == [CONTENT] * 3
    assert kept(cache) == {path.name for path in paths}


def test_two_processes_at_once_fetch_each_jar_once(cache: Cache, maven: Maven) -> None:
    maven.goes_on.clear()
    with getting(cache, maven) as one, getting(cache, maven) as other:
        while not waits_for_a_lock({one.pid, other.pid}) and maven.asked.total() <= len(THREE):
            assert None in {one.poll(), other.poll()}
        maven.goes_on.set()
        said = {process.communicate(timeout=30)[0] for process in (one, other)}

    assert len(said) == 1
    assert (one.returncode, other.returncode) == (0, 0)
    assert set(maven.asked.values()) == {1}


def waits_for_a_lock(processes: set[int]) -> bool:
    """Whether one of the processes does, as Linux tells it: `7: -> FLOCK ADVISORY WRITE <pid> …`."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(int(fields[5]) in processes for fields in waiting)


def test_a_place_that_cannot_be_written_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SandboxError, match=r"file/jars cannot keep jars(.|\n)*XDG_CACHE_HOME"):
        Cache(tmp_path / "file" / "jars").get(THREE)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/caches", "HOME": "/home/somebody"}, "/caches/buttersync/jars"),
        ({"XDG_CACHE_HOME": "caches", "HOME": "/home/somebody"}, "/home/somebody/.cache/buttersync/jars"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/somebody"}, "/home/somebody/.cache/buttersync/jars"),
        ({"HOME": "/home/somebody"}, "/home/somebody/.cache/buttersync/jars"),
    ],
)
def test_the_cache_is_where_the_user_keeps_caches(
    variables: Mapping[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert jars.cache().folder == Path(expected)


def test_without_a_home_directory_another_place_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)

    with pytest.raises(SandboxError, match="set XDG_CACHE_HOME"):
        jars.cache()


def test_locking_writes_the_hashes_of_what_maven_central_gives(
    tmp_path: Path, maven: Maven, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "engine-1.0.txt").write_text(f"{THREE[0].coordinate}\n{THREE[1].coordinate} sha256:00\n")

    jars.lock(tmp_path)

    assert (tmp_path / "engine-1.0.txt").read_text() == f"{THREE[0]}\n{THREE[1]}\n"
    assert maven.asked.total() == 2
    assert capsys.readouterr().out.startswith("Locking engine-1.0 ")


def test_without_a_terminal_a_step_with_a_bar_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with step("Fetching", lambda: (3, 12)):
        pass

    assert re.fullmatch(r"Fetching {36} {3}0\.\d s\n", capsys.readouterr().out)


def test_on_a_terminal_a_bar_shows_how_far_it_is() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run((sys.executable, "-c", COUNTING), env=environment, stdout=theirs, check=True)
    os.close(theirs)

    shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert "[####............] 3/12" in shown
    assert re.search(r"\r\x1b\[KFetching {36} {3}0\.\d s\r\n$", shown)
