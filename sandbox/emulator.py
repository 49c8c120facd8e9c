"""AWS in one process, emulated by ministack, with IAM enforced."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sandbox.processes import Program, free_port, program
from sandbox.tools import program as installed

REGION = "us-east-1"
KEY = "test"
START_SECONDS = 60
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Emulator:
    """A ministack that has been started; it answers from `wait` on."""

    port: int
    process: Program

    @property
    def endpoint(self) -> str:
        """The value for ``AWS_ENDPOINT_URL``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What makes the AWS CLI, the SAM CLI and every SDK talk to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    def wait(self) -> None:
        """Returns when it answers; raises SandboxError if it does not."""
        self.process.wait_until(self._answers, START_SECONDS)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def emulator(home: Path, log: Path, variables: Mapping[str, str] = NOTHING) -> Iterator[Emulator]:
    """A ministack without state, its workers' files under `home`; all of it ends with the block.

    `variables` are further ones of its environment, which its workers inherit.
    """
    port = free_port()
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "AUTH": "true", "TMPDIR": str(home)}
    own = {"S3_DATA_DIR": str(home / "s3"), "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY}
    command = (installed("ministack", "python"), "-m", "ministack")
    with program(command, log, {**bare_environment(), **variables, **settings, **own}) as process:
        yield Emulator(port, process)


def bare_environment() -> Mapping[str, str]:
    """Ours without what is meant for AWS or Python: functions inherit it, and a profile must not reach them."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))}
