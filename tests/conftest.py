"""What all tests share: the functions on the path, an environment as Lambda gives it, the local stack."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.stack import Stack

ROOT = Path(__file__).resolve().parent.parent

# In Lambda each function's folder is the root of its imports; here they lie side by side.
sys.path[:0] = [str(folder) for folder in sorted((ROOT / "functions").iterdir()) if folder.is_dir()]

# No profile of the person who runs the tests may leak into a client.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]

os.environ |= {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    # A client that a test did not point elsewhere reaches nothing, least of all AWS.
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "STAGE": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "buttersync",
}


@pytest.fixture(scope="session")
def stack() -> "Iterator[Stack]":
    """The real template on the local stack, deployed once for all tests that ask for it."""
    from sandbox.stack import Stack  # noqa: PLC0415  boto3, servers: unit tests need not pay for them

    with Stack.start(ROOT / ".local/test") as running:
        yield running


SLOWEST = ("test_whole.py", "test_every_interleaving_of_resolve.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files come first, lest one process has them when the other is done; those on the local stack last."""
    items.sort(key=lambda item: ("stack" in getattr(item, "fixturenames", ()), item.path.name not in SLOWEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of every interleaving was searched, as those tests record it."""
    passed = terminalreporter.stats.get("passed", [])
    lines = [value for report in passed for name, value in report.user_properties if name == "searched"]
    if lines:
        terminalreporter.section("every interleaving")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a promise that nobody checked: the run fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
