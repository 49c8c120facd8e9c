"""How many documents a second the adapters of search write, against their SDKs alone with the same documents.

The SDK alone gets actions and records that are made already; the adapter makes them, and reads the answers. Each server
is a process of its own, so that it takes nothing of the time that Python has here.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from algoliasearch.http.hosts import Host, HostsCollection
from algoliasearch.search.client import SearchClientSync
from algoliasearch.search.config import SearchConfig
from opensearchpy import OpenSearch, helpers

import algolia
import opensearch
from buttersync.model import Document, Identity
from buttersync.outcomes import DONE, Outcome
from records import request
from sandbox.algolia import Algolia
from sandbox.processes import free_port
from sandbox.search import SearchServer
from sandbox.tools import ROOT
from tests.bench.pairs import Bench, Figure, Goal, timed

DOCUMENTS = 1_000
CALL = 100
"""Documents in one call."""
WORDS = "Plant the bulbs in autumn, water them well, and wait until the snow has gone. "
TEXT_CHARACTERS = 3_000
GOAL = Goal(0.8, at_least=True)


def documents(version: int) -> list[Document]:
    """Posts as blogs have them, of one version."""
    return [
        Document(
            identity=Identity("post", "", f"post-{number}", "en"),
            version=version,
            change="updated",
            announce_key=f"post:{number}",
            archive_key=f"post-{number}/{version}",
            title=f"Post {number}",
            summary=WORDS * 2,
            url=f"https://garden.example/blog/post-{number}",
            image="https://cdn.buttercms.com/1",
            author="The gardener",
            categories=("Garden",),
            tags=("autumn", "bulbs"),
            published_at="2026-01-01T09:00:00.000000Z",
            updated_at="2026-01-02T09:00:00.000000Z",
            text=(WORDS * (TEXT_CHARACTERS // len(WORDS) + 1))[:TEXT_CHARACTERS],
            fields={"body": f"<p>{WORDS * (TEXT_CHARACTERS // len(WORDS))}</p>", "featured": True},
        )
        for number in range(DOCUMENTS)
    ]


Thing = TypeVar("Thing")


def calls(things: Sequence[Thing], most: int = CALL) -> Iterator[Sequence[Thing]]:
    """A few at a time."""
    return (things[start : start + most] for start in range(0, len(things), most))


def of_opensearch(bench: Bench) -> Iterator[Figure]:
    """Against `helpers.bulk`, into an index of the same mapping."""
    with SearchServer() as server:
        settings = {"endpoint": server.endpoint, "auth": "none", "index_prefix": "ours-"}
        opensearch.setup(settings)
        opensearch.setup({**settings, "index_prefix": "alone-"})
        sdk = OpenSearch(hosts=[server.endpoint], timeout=30)
        versions = iter(range(1, 1_000))

        def ours() -> float:
            few = list(calls(documents(next(versions))))
            return timed(lambda: require_done(opensearch.deliver(settings, part) for part in few))

        def alone() -> float:
            few = list(calls([_action(document) for document in documents(next(versions))]))
            return timed(lambda: [helpers.bulk(sdk, part) for part in few])

        yield bench.paired(f"OpenSearch: {DOCUMENTS:,} documents", ours, alone, GOAL)


def _action(document: Document) -> dict[str, object]:
    where = {"_index": "alone-posts", "_id": document.identity.ref, "_op_type": "index"}
    return {
        **where,
        "version": document.version,
        "version_type": "external_gte",
        "_source": opensearch.source(document),
    }


def of_algolia(bench: Bench) -> Iterator[Figure]:
    """Against `batch`, at the sandbox."""
    with _sandbox() as endpoint:
        app_id, api_key = Algolia.app_id, Algolia.api_key
        settings = {"app_id": app_id, "api_key": api_key, "endpoint": endpoint, "index_prefix": "ours_"}
        config = SearchConfig(app_id, api_key)
        config.hosts = HostsCollection([Host("127.0.0.1", scheme="http", port=urlsplit(endpoint).port)])
        sdk = SearchClientSync.create_with_config(config)
        versions = iter(range(1, 1_000))

        def ours() -> float:
            few = list(calls(documents(next(versions))))
            return timed(lambda: require_done(algolia.deliver(settings, part) for part in few))

        def alone() -> float:
            written = [request(document, 10_000) for document in documents(next(versions))]
            few = [{"requests": part} for part in calls(written)]
            return timed(lambda: [sdk.batch("alone_posts", part) for part in few])

        yield bench.paired(f"Algolia: {DOCUMENTS:,} records", ours, alone, GOAL)


def require_done(answers: Iterable[Sequence[Outcome]]) -> None:
    failed = [outcome for outcomes in answers for outcome in outcomes if outcome is not DONE]
    if failed:
        raise RuntimeError(f"{len(failed)} documents were not written: {failed[0]}")


@contextmanager
def _sandbox() -> Iterator[str]:
    """The address of a sandbox in a process of its own."""
    port = free_port()
    command = (sys.executable, "-m", "sandbox.server", "--empty", "--port", str(port))
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        if process.stdout is not None:
            process.stdout.readline()  # It answers as soon as it says so.
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
