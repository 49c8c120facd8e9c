"""The local stack from a terminal: ``python -m sandbox.local up`` and ``down``; ``run`` stays in the foreground."""

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sandbox.processes import SandboxError, commanded
from sandbox.progress import step
from sandbox.stack import INDEX_PREFIX, Stack
from sandbox.tools import LOCAL, VENVS

HOME = LOCAL / "local"
LOCK = HOME.with_suffix(".lock")
OUTPUT = LOCAL / "local.log"
ENV = LOCAL / "env"
STOP_SECONDS = 60
BACKFILL_SECONDS = 30

WELCOME = """
The local stack is up.

  webhook     {WEBHOOK_URL}
  ButterCMS   {SANDBOX_URL}/_sandbox/  (the sandbox: read token, faults, requests)
  Algolia     {ALGOLIA_ENDPOINT}  (three hosts, in the sandbox)
  OpenSearch  {SEARCH_ENDPOINT}
  PostgreSQL  {POSTGRES_DSN}
  AWS         {AWS_ENDPOINT_URL}
  logs        {logs}

In this shell, or any other (`aws` is the AWS CLI, 2.13 or newer):

  source {env}
  curl -sS "$WEBHOOK_URL" -H "X-Webhook-Secret: $WEBHOOK_SECRET" -d '{webhook}'
  curl -sS "$SEARCH_ENDPOINT/{prefix}posts/_search?q=roses&filter_path=hits.hits._source.title"
  {psql} "$POSTGRES_DSN" -c 'SELECT slug, status, updated_at FROM posts'
  aws lambda invoke --function-name buttersync-local-postgres --payload '{{"command": "check"}}' \\
    --cli-binary-format raw-in-base64-out /dev/stdout

Stop it:

  make stop
"""

WEBHOOK = '{"data": {"id": "pruning-roses"}, "webhook": {"event": "post.published", "target": ""}}'


def up() -> None:
    """Starts the stack in the background and returns when it can be used; raises SandboxError."""
    if _is_up():
        raise SandboxError(f"the local stack is up already: source {_shown(ENV)}, or make stop")
    # One that was killed left it behind.
    ENV.unlink(missing_ok=True)
    with OUTPUT.open("wb") as output:
        command = (sys.executable, "-m", "sandbox.local", "run")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _relay(lambda: ENV.exists() or process.poll() is not None)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if process.poll() is not None:
        raise SandboxError("the local stack did not start")


def run() -> None:
    """Keeps the stack up until Ctrl-C or SIGTERM."""
    with Stack.start(HOME) as stack:
        with step("Backfilling the example site"):
            backfill(stack)
        print(welcome(stack), flush=True)
        ENV.write_text(exports(stack))
        try:
            with suppress(KeyboardInterrupt):
                signal.pause()
        finally:
            ENV.unlink()


def backfill(stack: Stack) -> None:
    """Brings what the site has published into the store; raises SandboxError."""
    answer = stack.invoke("resolve", {"command": "backfill"})
    if not answer["ok"]:
        raise SandboxError(f"the backfill did not begin: {answer['message']}")
    end = time.monotonic() + BACKFILL_SECONDS
    while not stack.invoke("resolve", answer["progress"])["done"] or stack.on_the_way():
        if time.monotonic() > end:
            raise SandboxError(
                f"the backfill did not end in {BACKFILL_SECONDS} s; the logs are in {_shown(stack.logs)}"
            )
        time.sleep(0.1)


def welcome(stack: Stack) -> str:
    """What a person is told who has started the stack."""
    installed = next((VENVS / "dev").glob("lib/*/site-packages/*/pginstall/bin/psql"))
    psql = "psql" if shutil.which("psql") else _shown(installed)
    shown = {"logs": _shown(stack.logs), "env": _shown(ENV), "webhook": WEBHOOK, "psql": psql, "prefix": INDEX_PREFIX}
    return WELCOME.format(**stack.variables, **shown)


def exports(stack: Stack) -> str:
    """The lines of `.local/env`, for a shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in stack.variables.items())


def down() -> None:
    """Stops the stack and returns when all of it has ended; raises SandboxError."""
    if not _is_up():
        print("The local stack is not up.")
        return
    os.kill(int(LOCK.read_text()), signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while _is_up():
        if time.monotonic() > end:
            raise SandboxError(f"the local stack did not end in {STOP_SECONDS} s; see {_shown(OUTPUT)}")
        time.sleep(0.1)
    print(f"Stopped. The logs stay in {_shown(HOME / 'logs')}.")


def _is_up() -> bool:
    """Whether a process holds the lock of the stack's folder."""
    if not LOCK.exists():
        return False
    with LOCK.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _relay(is_over: Callable[[], bool]) -> None:
    """Shows the output of the background process as it comes."""
    with OUTPUT.open("r") as output:
        over = False
        while not over:
            over = is_over()
            print(output.read(), end="", flush=True)
            time.sleep(0.1)


def _shown(path: Path) -> Path:
    return path.relative_to(LOCAL.parent)


def main() -> str | int:
    """Does what the argument says; the exit status is 0 if it did."""
    return commanded("sandbox.local", {"up": up, "down": down, "run": run})


if __name__ == "__main__":
    sys.exit(main())
