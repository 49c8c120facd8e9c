"""`sam build`, `sam deploy` and `sam validate` of the real template, as `samconfig.toml` says in its section ``local``.

From a terminal: ``python -m sandbox.deployment build`` and ``validate``.
"""

import fcntl
import hashlib
import json
import os
import platform
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sandbox.emulator import REGION, Emulator, bare_environment
from sandbox.processes import commanded, program
from sandbox.progress import step
from sandbox.tools import LOCAL, ROOT, VENVS, caches
from sandbox.tools import program as installed

BUILD = LOCAL / "build"
BUILT = BUILD / "sam"
"""Where the bundles are, a folder for each function and the layer, and the template that names them."""

RUNTIME = {
    "Runtime": f"python3.{sys.version_info.minor}",
    "Architecture": "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64",
}
"""The parameters that make bundles which this machine can run."""

SAM_SECONDS = 150
"""Longer than any build on a slow line; a deployment that takes longer hangs, and the emulator's log says why."""

SOURCES = ("template.yaml", "samconfig.toml", "functions/**/*", "layers/**/*", "requirements/sam.txt")


def build(log: Path) -> None:
    """Builds the template, unless what is there was built from the same; raises SandboxError."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with _alone():
        stamp, sources = BUILD / "made-from", _fingerprint()
        if stamp.exists() and stamp.read_text() == sources:
            return
        stamp.unlink(missing_ok=True)
        places = ("--template-file", str(ROOT / "template.yaml"), "--build-dir", str(BUILT))
        reuse = ("--cached", "--cache-dir", str(BUILD / "cache"), "--parallel")
        _sam(("build", *places, *reuse, *_overrides({})), log, {"AWS_DEFAULT_REGION": REGION})
        stamp.write_text(sources)


def deploy(emulator: Emulator, parameters: Mapping[str, str], log: Path) -> None:
    """Deploys what `build` made; raises SandboxError."""
    arguments = ("deploy", "--template-file", str(BUILT / "template.yaml"), "--no-progressbar", *_overrides(parameters))
    _sam(arguments, log, {**emulator.variables, "SAM_CLI_POLL_DELAY": "0.2"})


def validate(log: Path) -> None:
    """Raises SandboxError with what is wrong with the template, linted."""
    _sam(("validate", "--lint", "--template-file", str(ROOT / "template.yaml")), log, {"AWS_DEFAULT_REGION": REGION})


def stack_name() -> str:
    """The name that `samconfig.toml` gives the local stack."""
    return str(_section()["global"]["parameters"]["stack_name"])


def stage() -> str:
    """The stage that `samconfig.toml` gives the local stack."""
    return _configured()["Stage"]


def _configured() -> dict[str, str]:
    pairs = _section()["deploy"]["parameters"]["parameter_overrides"].split()
    return dict(pair.split("=", 1) for pair in pairs)


def _section() -> dict[str, Any]:
    section: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())["local"]
    return section


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    """The option that replaces the one of samconfig.toml, whose parameters it therefore repeats."""
    everything = {**_configured(), **RUNTIME, **parameters}
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in everything.items())]


def _sam(arguments: tuple[str, ...], log: Path, variables: Mapping[str, str]) -> None:
    configuration = ("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local")
    command = (installed("sam", "sam"), *arguments, *configuration)
    with program(command, log, {**caches(), **bare_environment(), **_quiet(), **variables}) as sam:
        sam.finish(SAM_SECONDS)


def _quiet() -> dict[str, str]:
    """The SAM CLI phones nobody: no telemetry, and no look for a newer version, which it has made just now."""
    own = LOCAL / "sam"
    own.mkdir(parents=True, exist_ok=True)
    (own / "metadata.json").write_text(json.dumps({"telemetryEnabled": False, "lastVersionCheck": time.time()}))
    return {
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(own),
        "TMPDIR": str(own),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # It builds with the first Python of the runtime's version on the path, which must have pip.
        "PATH": f"{VENVS / 'uv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }


def _fingerprint() -> str:
    found = {path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file() and path.suffix != ".pyc"}
    digest = hashlib.sha256(f"{ROOT} {sys.version} {RUNTIME}".encode())
    for path in sorted(found):
        content = path.read_bytes()
        digest.update(f"{path} {len(content)} ".encode() + content)
    return digest.hexdigest()


@contextmanager
def _alone() -> Iterator[None]:
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _logged(name: str, act: Callable[[Path], None]) -> None:
    with step(f"sam {name}"):
        act(LOCAL / f"sam-{name}.log")


def main() -> str | int:
    """Does what the argument says; the exit status is 0 if it did."""
    acts = {"build": build, "validate": validate}
    return commanded("sandbox.deployment", {name: partial(_logged, name, act) for name, act in acts.items()})


if __name__ == "__main__":
    sys.exit(main())
