"""What the contract tests share: AWS, emulated, with no stack deployed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from buttersync.clients import client
from sandbox.emulator import emulator


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an emulated AWS, to which every client of buttersync talks while the fixture lives."""
    home: Path = tmp_path_factory.mktemp("aws")
    before = dict(os.environ)
    with emulator(home, home / "log") as running:
        running.wait()
        os.environ.update(running.variables)
        client.cache_clear()
        yield running.endpoint
    os.environ.clear()
    os.environ.update(before)
    client.cache_clear()
