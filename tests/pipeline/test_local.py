"""What `make local` prints and writes can be used as it stands."""

import shlex
import subprocess
from pathlib import Path

import psycopg2
import requests

from sandbox.local import backfill, exports, welcome
from sandbox.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


def sourced(stack: Stack, folder: Path, line: str) -> list[str]:
    """The words of a shell's line as the shell sees them after `source .local/env`."""
    (folder / "env").write_text(exports(stack))
    script = f'. "$0"; for word in {line}; do printf "%s\\n" "$word"; done'
    done = subprocess.run(("/bin/sh", "-c", script, str(folder / "env")), stdout=subprocess.PIPE, check=True, env={})
    return done.stdout.decode().splitlines()


def line_of(stack: Stack, program: str, having: str = "") -> str:
    """The line of the welcome that begins with a program and has some text, continued lines joined."""
    lines = [line for line in welcome(stack).replace("\\\n", "").splitlines() if having in line]
    (line,) = (line for line in lines if shlex.split(line)[:1] and Path(shlex.split(line)[0]).name == program)
    return line.strip()


def test_the_curl_line_is_accepted(stack: Stack, tmp_path: Path) -> None:
    _, _, url, _, header, _, body = sourced(stack, tmp_path, line_of(stack, "curl", "WEBHOOK_URL"))
    name, _, value = header.partition(": ")

    answer = requests.post(url, data=body, headers={name: value}, timeout=10)

    assert answer.json() == {"accepted": True, "event": "post.published", "id": "pruning-roses"}


def test_the_line_of_a_search_finds_a_post_of_the_site(stack: Stack, tmp_path: Path) -> None:
    *_, address = sourced(stack, tmp_path, line_of(stack, "curl", "_search"))

    backfill(stack)
    requests.post(f"{stack.search.endpoint}/_refresh", timeout=10)

    assert "Pruning roses" in requests.get(address, timeout=10).text


def test_the_psql_line_shows_the_posts_of_the_site(stack: Stack, tmp_path: Path) -> None:
    _, dsn, _, statement = sourced(stack, tmp_path, line_of(stack, "psql"))

    backfill(stack)

    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            assert "compost-in-a-small-yard" in [slug for slug, *_ in cursor.fetchall()]
    finally:
        connection.close()


def test_the_aws_line_invokes_a_function_that_answers(stack: Stack, tmp_path: Path) -> None:
    _, _, _, _, name, _, payload, *_ = sourced(stack, tmp_path, line_of(stack, "aws"))

    answer = stack.client("lambda").invoke(FunctionName=name, Payload=payload)

    assert b'"ok": true' in answer["Payload"].read()


def test_env_exports_what_the_tools_need(stack: Stack, tmp_path: Path) -> None:
    names = "AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION STACK_NAME SANDBOX_URL SEARCH_ENDPOINT"

    values = sourced(stack, tmp_path, " ".join(f"${name}" for name in names.split()))

    assert values == [
        stack.emulator.endpoint,
        "test",
        "test",
        "us-east-1",
        "buttersync-local",
        stack.sandbox.url,
        stack.search.endpoint,
    ]
