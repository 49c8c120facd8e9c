"""Every built function runs from its own bundle: with its layer, boto3 and nothing else on the path.

It gets the files of `events/`, with the variables that it has on the local stack.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox import deployment
from sandbox.stack import Stack
from tests.bundles.lambda_runtime import BrokenDown, run, runtime

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
BUNDLES = deployment.BUILD / "sam"
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/*.py") if path.stem == path.parent.name)
BEHIND_A_QUEUE = [name for name in FUNCTIONS if name != "ingest"]


@pytest.fixture(scope="module")
def brought_along(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime(tmp_path_factory.mktemp("lambda") / "runtime")


def bundle(function: str) -> Path:
    (path,) = BUNDLES.glob(f"*/{function}.py")
    return path.parent


def layer() -> Path:
    return BUNDLES / "SharedLayer" / "python"


def variables(stack: Stack, function: str) -> dict[str, str]:
    name = f"buttersync-{deployment.stage()}-{function}"
    deployed = stack.client("lambda").get_function_configuration(FunctionName=name)
    return {**deployed["Environment"]["Variables"], **stack.emulator.variables}


def event(*path: str) -> Any:
    return json.loads(EVENTS.joinpath(*path).read_text())


def invoked(
    stack: Stack, brought_along: Path, function: str, events: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    path = (bundle(function), layer(), brought_along)
    return run(f"{function}.handler", path, variables(stack, function), events)


def test_ingest_accepts_every_example_event_and_nobody_without_the_secret(stack: Stack, brought_along: Path) -> None:
    files = sorted((EVENTS / "api").iterdir())
    stranger = {**event("api", "post.published.json"), "headers": {}, "multiValueHeaders": {}}

    *accepted, refused = invoked(stack, brought_along, "ingest", [*(event("api", one.name) for one in files), stranger])

    assert [answer["statusCode"] for answer in accepted] == [200] * 18
    assert [json.loads(answer["body"])["event"] for answer in accepted] == [one.stem for one in files]
    assert refused["statusCode"] == 401


@pytest.mark.parametrize("function", BEHIND_A_QUEUE)
def test_a_function_behind_a_queue_handles_its_example_batch(stack: Stack, brought_along: Path, function: str) -> None:
    (answer,) = invoked(stack, brought_along, function, [event("queues", f"{function}.json")])

    assert answer == {"batchItemFailures": []}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_checks_its_settings(stack: Stack, brought_along: Path, function: str) -> None:
    (answer,) = invoked(stack, brought_along, function, [{"command": "check"}])

    assert answer["ok"], answer


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_missing_from_the_path_is_noticed(stack: Stack, brought_along: Path, function: str) -> None:
    path_without_layer = (bundle(function), brought_along)

    with pytest.raises(BrokenDown, match="Unable to import module .*: No module named"):
        run(f"{function}.handler", path_without_layer, variables(stack, function), [{"command": "check"}])
