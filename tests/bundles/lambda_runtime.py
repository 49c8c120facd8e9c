"""Lambda on this machine: awslambdaric, the runtime's own client, runs a bundle against a small Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

BROUGHT_ALONG = ("awslambdaric", "boto3")
"""What is on the path in Lambda beside the bundle and its layers."""
PATIENCE_SECONDS = 60
DEADLINE_SECONDS = 900
"""The most that a function may be given; resolve begins nothing that might not fit."""
INVOCATIONS = "/2018-06-01/runtime/invocation/"


class BrokenDown(Exception):
    """The function could not be started, raised an exception or did not answer in time."""


@dataclass
class _Invocations:
    waiting: deque[Mapping[str, Any]]
    answers: list[Any] = field(default_factory=list)
    error: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    """Nothing more will come of the process."""
    ended: threading.Event = field(default_factory=threading.Event)
    """There is no process any more."""


def runtime(folder: Path) -> Path:
    """A folder for the path with the packages that Lambda brings along, and theirs, linked from our environment."""
    folder.mkdir()
    for package in _with_requirements(BROUGHT_ALONG):
        for name in {file.parts[0] for file in package.files or () if ".." not in file.parts}:
            if not (folder / name).exists():
                (folder / name).symlink_to(str(package.locate_file(name)))
    return folder


def _with_requirements(names: Sequence[str]) -> Iterator[Distribution]:
    seen, open_names = set(), list(names)
    while open_names:
        name = open_names.pop().lower()
        if name in seen:
            continue
        seen.add(name)
        package = distribution(name)
        requirements = map(Requirement, package.requires or ())
        open_names += [one.name for one in requirements if not one.marker or one.marker.evaluate({"extra": ""})]
        yield package


def run(
    handler: str, path: Sequence[Path], variables: Mapping[str, str], events: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """What one function environment answers to `events`, in order.

    `path`: the bundle, then all else that may be imported; nothing of our own environment is. Raises BrokenDown.
    """
    invocations = _Invocations(deque(events))
    with _runtime_api(invocations) as address, _process(handler, path, {**variables, **_own(path, address)}) as process:
        end = time.monotonic() + PATIENCE_SECONDS
        while not invocations.over.wait(0.05) and process.poll() is None and time.monotonic() < end:
            pass
    if invocations.error or len(invocations.answers) < len(events):
        raise BrokenDown(invocations.error or "no answer")
    return invocations.answers


def _own(path: Sequence[Path], address: str) -> dict[str, str]:
    return {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "bundle",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(path[0]),
        "PYTHONPATH": ":".join(map(str, path)),
        "PYTHONPYCACHEPREFIX": str(path[-1].parent / "pycache"),
    }


@contextmanager
def _process(handler: str, path: Sequence[Path], variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    # -S: no site-packages, so that only `path` and the standard library are left.
    command = (sys.executable, "-S", "-m", "awslambdaric", handler)
    with subprocess.Popen(command, cwd=path[0], env=variables) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _runtime_api(invocations: _Invocations) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(invocations))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        invocations.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(invocations: _Invocations) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not invocations.waiting:
                invocations.over.set()
                invocations.ended.wait()
                return
            deadline = int((time.time() + DEADLINE_SECONDS) * 1000)
            self._reply(
                200,
                json.dumps(invocations.waiting.popleft()).encode(),
                {
                    "Lambda-Runtime-Aws-Request-Id": f"invocation-{len(invocations.answers)}",
                    "Lambda-Runtime-Deadline-Ms": str(deadline),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:bundle",
                },
            )

        def do_POST(self) -> None:
            said = self.rfile.read(int(self.headers["Content-Length"]))
            self._reply(202, b"", {})
            if self.path.startswith(INVOCATIONS) and self.path.endswith("/response"):
                invocations.answers.append(json.loads(said))
            else:
                invocations.error = said.decode()
                invocations.over.set()

        def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler
