"""The searches run beside the other tests, in a process of their own that nobody measures the coverage of."""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.interleavings.scheduler import Explored
from tests.interleavings.spaces import searched_by_name

POOL = pytest.StashKey[ProcessPoolExecutor]()
SEARCHES = pytest.StashKey[Mapping[str, "Future[Explored]"]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins those that a test will ask for."""
    asking = [item for item in session.items if isinstance(item, pytest.Function) and "seen" in item.fixturenames]
    names = [str(item.callspec.params["name"]) for item in asking]
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    session.config.stash[POOL] = pool
    session.config.stash[SEARCHES] = {name: pool.submit(searched_by_name, name) for name in names}


def pytest_unconfigure(config: pytest.Config) -> None:
    """Does not begin what nobody waits for any more."""
    if POOL in config.stash:
        config.stash[POOL].shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def seen(name: str, request: pytest.FixtureRequest) -> Explored:
    """What the search of the space of that name has seen."""
    return request.config.stash[SEARCHES][name].result()
