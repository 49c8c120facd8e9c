"""The three virtual environments under `.local/venv`, each installed from its lock.

They are apart because their pins contradict each other: *dev* runs the sandbox, the demo and the tests, *ministack*
emulates AWS, *sam* builds and deploys. A fourth, *uv*, installs them: in a third of the time that pip takes.

Runs before anything is installed, so it imports the standard library only; and in any Python 3, to say that it is too
old, so what this module imports must have annotations that are not evaluated.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sandbox.processes import stopped
from sandbox.progress import step

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
VENVS = LOCAL / "venv"
ENVIRONMENTS = ("dev", "ministack", "sam")
OLDEST = (3, 11)
NEWEST = (3, 14)

NO_VENV = f"""\
{sys.executable} cannot make virtual environments (the module `ensurepip` is missing).
On Debian and Ubuntu: sudo apt-get install python3-venv
Elsewhere: install Python with pip, or name another one: make PYTHON=python3.13 ..."""

WRONG_PYTHON = f"""\
{sys.executable} is Python {platform.python_version()}; 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed.
Name another one: make PYTHON=python3.13 ..."""


def program(environment: str, name: str) -> str:
    """The path of a program in one of the environments, for example ``program("sam", "sam")``."""
    return str(VENVS / environment / "bin" / name)


def caches() -> dict[str, str]:
    """Where uv and pip, unless the environment says otherwise, keep what they have downloaded."""
    return {"UV_CACHE_DIR": str(LOCAL / "cache" / "uv"), "PIP_CACHE_DIR": str(LOCAL / "cache" / "pip")}


def install(environments: Sequence[str]) -> None:
    """Makes those of the environments anew whose lock, interpreter or place has changed; raises CalledProcessError."""
    VENVS.mkdir(parents=True, exist_ok=True)
    with _alone():
        stale = [name for name in environments if not _is_current(name)]
        if not stale:
            return
        if not _is_current("uv"):
            with step("Installing uv, the installer"):
                _bootstrap()
        with step(f"Installing {', '.join(stale)}"), ThreadPoolExecutor() as pool:
            list(pool.map(_make, stale))


def problem() -> str | None:
    """What keeps this interpreter from making the environments; None if nothing does."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return WRONG_PYTHON
    return None if importlib.util.find_spec("ensurepip") else NO_VENV


def _bootstrap() -> None:
    _run(sys.executable, "-m", "venv", "--clear", str(VENVS / "uv"))
    _run(program("uv", "python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(_lock("uv")))
    _stamp("uv").write_text(_fingerprint("uv"))


def _make(name: str) -> None:
    uv, python = program("uv", "uv"), program(name, "python")
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENVS / name))
    _run(uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "--only-binary", ":all:",
         "--requirements", str(_lock(name)))  # fmt: skip
    _stamp(name).write_text(_fingerprint(name))


def _run(*command: str) -> None:
    """Raises CalledProcessError with what the command said; what it says when Ctrl-C ends it is of no use."""
    subprocess.run(
        command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def environment() -> dict[str, str]:
    """Ours, the caches, and for uv what pip was told: the address of the registry's mirror, and its certificate."""
    names = {"UV_DEFAULT_INDEX": "PIP_INDEX_URL", "SSL_CERT_FILE": "PIP_CERT"}
    meant = {ours: os.environ[theirs] for ours, theirs in names.items() if theirs in os.environ}
    return {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **caches(), **meant, **os.environ}


def _is_current(name: str) -> bool:
    stamp = _stamp(name)
    return stamp.exists() and stamp.read_text() == _fingerprint(name) and Path(program(name, "python")).exists()


def _fingerprint(name: str) -> str:
    """Of all that the environment was made from; scripts in it hold its absolute path."""
    made_from = f"{sys.version} {platform.machine()} {sys.base_prefix} {VENVS} {_lock(name).read_text()}"
    return hashlib.sha256(made_from.encode()).hexdigest()


def _lock(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def _stamp(name: str) -> Path:
    return VENVS / name / "made-from"


@contextmanager
def _alone() -> Iterator[None]:
    with (VENVS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> str | int:
    """Installs the environments that the arguments name, all if none."""
    try:
        what = problem()
        if what is None:
            install(sys.argv[1:] or ENVIRONMENTS)
    except subprocess.CalledProcessError as error:
        what = f"{error.stdout}\nInstalling failed ({' '.join(error.cmd[:3])} …). Is the network there?"
    except KeyboardInterrupt:
        return stopped()
    return what or 0


if __name__ == "__main__":
    sys.exit(main())
