"""The jars that OpenSearch and Elasticsearch are made of, locked by coordinate and SHA-256, from Maven Central.

``sandbox/jars/<engine>-<version>.txt`` names them, a line each. After a change there ``python -m sandbox.jars lock``
fetches all of them anew and writes their hashes.

They are kept for all working copies in ``$XDG_CACHE_HOME/buttersync/jars``, else ``~/.cache/buttersync/jars``. Their
bytes are looked at each time, so what a crash, a full disk or a meddling proxy has left there is fetched again.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

from sandbox.processes import SandboxError, commanded
from sandbox.progress import step

Engine = Literal["opensearch", "elasticsearch"]

LOCKS = Path(__file__).with_name("jars")
HASH = "sha256:"
AT_ONCE = 8


@dataclass(frozen=True)
class Jar:
    """A line of a lock: ``group:artifact:version sha256:…``."""

    coordinate: str
    sha256: str

    @classmethod
    def of(cls, line: str) -> Self:
        """Reads the line; one that was just added to a lock has no hash yet."""
        coordinate, _, sha256 = line.partition(" ")
        return cls(coordinate, sha256.removeprefix(HASH))

    def __str__(self) -> str:
        return f"{self.coordinate} {HASH}{self.sha256}"

    @property
    def path(self) -> Path:
        """Where a Maven repository has it, below its root."""
        group, artifact, version = self.coordinate.split(":")
        return Path(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


@dataclass(frozen=True)
class Cache:
    """A folder of jars, which several processes may use at once."""

    folder: Path

    def present(self, jars: Sequence[Jar]) -> int:
        """How many of the jars are there, by their names, without a look inside."""
        return sum((self.folder / jar.path).exists() for jar in jars)

    def get(self, jars: Sequence[Jar]) -> list[Path]:
        """The paths of the jars, each with the bytes that are locked; what is missing is fetched first.

        Raises SandboxError. The look at 48 MB that are there takes 0.05 s.
        """
        try:
            if not all(map(self._has, jars)):
                with self._alone() as unfinished, ThreadPoolExecutor(AT_ONCE) as pool:
                    missing = [jar for jar in jars if not self._has(jar)]
                    list(pool.map(partial(self._add, unfinished), missing))
        except OSError as error:
            raise SandboxError(
                f"{self.folder} cannot keep jars: {error}\nSet XDG_CACHE_HOME to another place."
            ) from error
        return [self.folder / jar.path for jar in jars]

    def _has(self, jar: Jar) -> bool:
        path = self.folder / jar.path
        return path.exists() and _sha256(path) == jar.sha256

    def _add(self, unfinished: Path, jar: Jar) -> None:
        """Only what is whole and right gets its name, in one step, so that nothing else is ever seen under it."""
        _fetch(jar, unfinished)
        come = unfinished / jar.path
        if (sha256 := _sha256(come)) != jar.sha256:
            raise SandboxError(f"{jar.coordinate} is refused: what came has {HASH}{sha256}, not {HASH}{jar.sha256}.")
        kept = self.folder / jar.path
        kept.parent.mkdir(parents=True, exist_ok=True)
        come.replace(kept)

    @contextmanager
    def _alone(self) -> Iterator[Path]:
        """A folder for what is on its way, which no other process uses, without what a killed one has left there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unfinished = self.folder / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                yield unfinished
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)


def locked(engine: Engine) -> list[Jar]:
    """The jars of an engine."""
    (lock,) = LOCKS.glob(f"{engine}-*.txt")
    return _read(lock)


def cache() -> Cache:
    """Where the jars are kept; raises SandboxError if nothing says where.

    https://specifications.freedesktop.org/basedir-spec/latest/: a relative path in XDG_CACHE_HOME is to be ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        raise SandboxError("There is no home directory to keep jars in: set XDG_CACHE_HOME.") from None
    return Cache(base / "buttersync" / "jars")


def lock(locks: Path = LOCKS) -> None:
    """Writes every lock anew, with the hashes of what Maven Central gives now; raises SandboxError."""
    for file in sorted(locks.glob("*.txt")):
        with step(f"Locking {file.stem}"), tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
            jars = list(pool.map(partial(_hashed, Path(folder)), _read(file)))
        file.write_text("".join(f"{jar}\n" for jar in jars))


def _fetch(jar: Jar, folder: Path) -> None:
    """Puts a jar into a folder, at its path, by jgo, which knows where Maven Central is; raises SandboxError."""
    # Only here, for it takes its time, and mostly nothing is to be fetched.
    from jgo.maven import MavenContext  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    group, artifact, version = jar.coordinate.split(":")
    context = MavenContext(repo_cache=folder, local_repos=[])
    try:
        context.project(group, artifact).at_version(version).artifact().resolve()
    except RequestException as error:
        raise SandboxError(f"Maven Central does not answer: {error}\nIs the network there?") from error
    except RuntimeError as error:
        raise SandboxError(f"Maven Central does not give {jar.coordinate}: {error}") from error


def _hashed(folder: Path, jar: Jar) -> Jar:
    _fetch(jar, folder)
    return replace(jar, sha256=_sha256(folder / jar.path))


def _read(lock: Path) -> list[Jar]:
    return [Jar.of(line) for line in lock.read_text().splitlines()]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> str | int:
    """Does what the argument says; the exit status is 0 if it did."""
    return commanded("sandbox.jars", {"lock": lock})


if __name__ == "__main__":
    sys.exit(main())
