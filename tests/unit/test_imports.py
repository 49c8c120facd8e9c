"""Imports point one way: a function imports buttersync, and buttersync knows neither functions nor vendors."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYER = ROOT / "layers" / "buttersync"
FUNCTIONS = sorted(path for path in (ROOT / "functions").iterdir() if any(path.glob("*.py")))

RUNTIME = sys.stdlib_module_names | {"boto3", "botocore"}
SHARED = {"aws_lambda_powertools", "msgspec", "requests"}


def required(function: Path) -> set[str]:
    """The modules of the packages that the function's requirements name, its vendor's SDK foremost."""
    requirements = function / "requirements.in"
    lines = requirements.read_text().splitlines() if requirements.exists() else []
    names = {re.split("[<>=]", line)[0] for line in lines if not line.startswith("#")}
    return {module for module, packages in packages_distributions().items() if names & set(packages)}


def imported(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file under `folder` with each top-level module that it imports, wherever in the file."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path.name, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} imports relative to itself"
                yield path.name, (node.module or "").partition(".")[0]


def test_the_shared_package_imports_no_function_no_vendor_and_no_test() -> None:
    strangers = {pair for pair in imported(LAYER) if pair[1] not in RUNTIME | SHARED | {"buttersync"}}

    assert not strangers


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda path: path.name)
def test_a_function_imports_the_shared_package_its_own_files_and_its_vendor_only(function: Path) -> None:
    own = {path.stem for path in function.glob("*.py")}
    known = RUNTIME | SHARED | {"buttersync"} | own | required(function)

    strangers = {pair for pair in imported(function) if pair[1] not in known}

    assert not strangers


def test_no_two_functions_have_a_file_of_the_same_name() -> None:
    names = [path.stem for function in FUNCTIONS for path in function.glob("*.py")]

    assert len(names) == len(set(names)), "they lie side by side on the path of the tests"


def test_ingest_loads_neither_requests_nor_the_tracer() -> None:
    loaded = modules_after("ingest", function=ROOT / "functions" / "ingest")

    assert "buttersync.model" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"requests", "aws_xray_sdk"}}
    assert not {name for name in loaded if name.startswith("aws_lambda_powertools.tracing")}


def modules_after(module: str, function: Path) -> set[str]:
    """The modules that a fresh interpreter has loaded after importing `module`."""
    path = os.pathsep.join([str(function), str(LAYER)])
    names = {"DEFAULT_LOCALE": "en", "TOPIC_ARN": "topic", "RESOLVE_QUEUE_URL": "queue"}
    command = [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"]
    done = subprocess.run(command, env={**os.environ, **names, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True)
    return set(done.stdout.decode().split())
