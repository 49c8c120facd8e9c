"""Every built function runs from its own bundle: with its layer, boto3 and nothing else on the path.

It gets the files of `events/`, with the variables that it has on the local stack.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox import deployment, docker
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


def deployed_variables(stack: Stack, function: str) -> dict[str, str]:
    name = f"buttersync-{deployment.stage()}-{function}"
    deployed: dict[str, str] = stack.client("lambda").get_function_configuration(FunctionName=name)["Environment"][
        "Variables"
    ]
    return deployed


def variables(stack: Stack, function: str) -> dict[str, str]:
    return {**deployed_variables(stack, function), **stack.emulator.variables}


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

    with pytest.raises(BrokenDown, match=r"Unable to import module .*: No module named"):
        run(f"{function}.handler", path_without_layer, variables(stack, function), [{"command": "check"}])


def test_containers_get_the_settings_and_names_of_the_local_stack(stack: Stack) -> None:
    command = (sys.executable, "-m", "sandbox.docker")

    printed = subprocess.run(
        command, env={**os.environ, **stack.variables}, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    exports = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    dsn = stack.client("ssm").get_parameter(Name="/buttersync/docker/postgres/dsn", WithDecryption=True)["Parameter"]
    assert exports == {
        "AWS_ENDPOINT_URL": f"http://host.docker.internal:{stack.emulator.port}",
        "CONTENT_TABLE": stack.outputs["ContentTable"],
        "DELIVERY_TABLE": stack.outputs["DeliveryTable"],
        "ARCHIVE_BUCKET": stack.outputs["ArchiveBucket"],
    }
    assert dsn["Value"] == stack.postgres.dsn.replace("127.0.0.1", "host.docker.internal")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_container_has_every_variable_that_the_deployed_function_has(stack: Stack, function: str) -> None:
    """`sam local invoke` takes the template's literals, then the shell's values, then those of env.json."""
    example = event("env.json")
    (logical_id,) = (path.parent.name for path in BUNDLES.glob(f"*/{function}.py"))
    given = {**dict.fromkeys(docker.NAMES), **example["Parameters"], **example[logical_id]}

    for name, value in deployed_variables(stack, function).items():
        if "buttersync-" in value:
            assert name in given, f"{name} is made by the stack; the container would get a logical id instead"
        if name in example[logical_id]:
            assert value.endswith(example[logical_id][name].removeprefix("http://localhost"))
