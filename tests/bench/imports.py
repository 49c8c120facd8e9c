"""How much processor time a function's import from its bundle takes, against its SDK's, in processes of their own.

In Lambda a function has its bundle, its layer and boto3 on the path, and so it has here. All is compiled already.
Whatever writes to a table needs boto3, which takes longer to import than most SDKs: hence the second figure of each.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox import deployment
from sandbox.tools import LOCAL
from tests.bench.pairs import Bench, Figure, Goal
from tests.bundles.lambda_runtime import runtime

SDKS: Mapping[str, str] = {
    "algolia": "algoliasearch.search.client",
    "opensearch": "opensearchpy",
    "postgres": "psycopg2, psycopg2.extras",
}
GOAL = Goal(1.2)

TIMING = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"


def figures(bench: Bench) -> Iterator[Figure]:
    """Two for each function."""
    with ColdStarts.prepared() as starts:
        for function in SDKS:
            yield from starts.figures(function, bench)


@dataclass(frozen=True)
class ColdStarts:
    """Times imports with what Lambda brings along, in a folder, and with compiled modules in another."""

    brought_along: Path
    compiled: Path

    @classmethod
    @contextmanager
    def prepared(cls) -> "Iterator[ColdStarts]":
        """The functions, built unless they are."""
        deployment.build(LOCAL / "sam-build.log")
        with TemporaryDirectory() as folder:
            yield cls(runtime(Path(folder, "runtime")), Path(folder, "compiled"))

    def seconds(self, function: str, modules: str) -> float:
        """Of the processor, for the import of modules, with the function's bundle on the path."""
        (bundle,) = (path.parent for path in deployment.BUILT.glob(f"*/{function}.py"))
        path = (bundle, deployment.BUILT / "SharedLayer" / "python", self.brought_along)
        environment = {
            "PYTHONPATH": ":".join(map(str, path)),
            "PYTHONPYCACHEPREFIX": str(self.compiled),
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_METRICS_NAMESPACE": "buttersync",
        }
        # Without site-packages, which hold everything here.
        command = (sys.executable, "-S", "-c", TIMING.format(modules))
        return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)

    def figures(self, function: str, bench: Bench) -> Iterator[Figure]:
        """Against the SDK alone, and against the SDK and boto3."""
        sdk = SDKS[function]
        for against, modules in {"SDK": sdk, "SDK + boto3": f"{sdk}, boto3"}.items():
            ours, alone = self._import(function, function), self._import(function, modules)
            yield bench.paired(f"import {function} / {against}", ours, alone, GOAL)

    def _import(self, function: str, modules: str) -> "Import":
        return Import(self, function, modules)


@dataclass(frozen=True)
class Import:
    """The import of modules, to be timed."""

    starts: ColdStarts
    function: str
    modules: str

    def __call__(self) -> float:
        """Seconds."""
        return self.starts.seconds(self.function, self.modules)
