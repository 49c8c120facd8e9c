"""What users script against and type in: parameters, outputs, the route, samconfig.toml; and what the code reads."""

import re
import shlex
import tomllib
from typing import Any

import pytest

from buttersync.queues import SCHEDULE
from tests.template.conftest import with_every_option
from tests.template.expansion import ROOT, Expanded, expand

ENVIRONMENTS = ("default", "staging", "local")


def test_the_parameters_have_their_public_names(template: dict[str, Any]) -> None:
    assert set(template["Parameters"]) == {
        "Stage",
        "Targets",
        "PostUrl",
        "PageUrl",
        "ItemUrl",
        "DefaultLocale",
        "Locales",
        "PageTypes",
        "Collections",
        "LookSeconds",
        "AnnounceWindowHours",
        "BatchWindowSeconds",
        "OpenSearchArn",
        "AlarmEmail",
        "AccessLogs",
        "IngestReservedConcurrency",
        "SubnetIds",
        "SecurityGroupIds",
        "Runtime",
        "Architecture",
    }


def test_the_outputs_have_their_public_names(stack: Expanded) -> None:
    of_targets = {f"{target}{output}" for target in stack.targets
                  for output in ("QueueUrl", "DeadLetterQueueUrl", "FunctionName")}  # fmt: skip

    assert set(stack.outputs) == of_targets | {
        "WebhookUrl",
        "TopicArn",
        "ContentTable",
        "DeliveryTable",
        "ArchiveBucket",
        "DashboardUrl",
        "ResolveFunctionName",
        "resolveQueueUrl",
        "resolveDeadLetterQueueUrl",
    }


def test_every_output_says_what_it_is(stack: Expanded) -> None:
    for name, output in stack.outputs.items():
        assert output["Description"].endswith("."), name
        assert "${T}" not in f"{output}", name


def test_every_parameter_has_a_description_and_a_default_that_it_allows(template: dict[str, Any]) -> None:
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"].endswith("."), name
        assert allows(parameter, str(parameter["Default"])), name


def allows(parameter: dict[str, Any], value: str) -> bool:
    if parameter["Type"] == "Number":
        return bool(parameter["MinValue"] <= float(value) <= parameter["MaxValue"])
    if "AllowedValues" in parameter:
        return value in parameter["AllowedValues"]
    return bool(re.fullmatch(parameter.get("AllowedPattern", ".*"), value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Stage", "prod/eu"),
        ("Stage", "Prod"),
        ("PostUrl", "garden.example/{slug}"),
        ("DefaultLocale", ""),
        ("Locales", "en,"),
        ("PageTypes", "event, landing"),
        ("LookSeconds", "5;60"),
        ("LookSeconds", ""),
        ("AlarmEmail", "nobody"),
        ("AccessLogs", "true"),
        ("OpenSearchArn", "https://search-garden.eu-west-1.es.amazonaws.com"),
        ("OpenSearchArn", "arn:aws:es:eu-west-1:123456789012:domain/garden/*"),
        ("OpenSearchArn", "arn:aws:s3:::garden"),
        ("IngestReservedConcurrency", "0"),
        ("BatchWindowSeconds", "0"),
        ("AnnounceWindowHours", "24"),
        ("Runtime", "python3.9"),
    ],
)
def test_a_slip_is_told_before_anything_is_deployed(template: dict[str, Any], name: str, value: str) -> None:
    assert not allows(template["Parameters"][name], value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Stage", "staging"),
        ("PostUrl", "https://garden.example/{locale}/blog/{slug}"),
        ("Locales", "de,pt-br"),
        ("PageTypes", "*,landing-page"),
        ("Collections", "faq,team_members"),
        ("OpenSearchArn", "arn:aws:es:eu-west-1:123456789012:domain/garden"),
        ("OpenSearchArn", "arn:aws-cn:aoss:cn-north-1:123456789012:collection/0a1b2c3d4e5f6g7h8i9j"),
        ("LookSeconds", "1"),
        ("AlarmEmail", "gardener@garden.example"),
        ("IngestReservedConcurrency", "20"),
    ],
)
def test_what_users_need_is_allowed(template: dict[str, Any], name: str, value: str) -> None:
    assert allows(template["Parameters"][name], value)


def test_news_stays_news_longer_than_the_retries_take(template: dict[str, Any]) -> None:
    window = template["Parameters"]["AnnounceWindowHours"]

    assert window["MinValue"] * 3600 > sum(SCHEDULE)
    assert window["Default"] == 72


def test_webhooks_are_posted_to_one_path_and_a_person_may_look_at_it(stack: Expanded) -> None:
    events = stack.properties("IngestFunction")["Events"].values()

    routes = {(event["Properties"]["Method"], event["Properties"]["Path"]) for event in events}
    assert routes == {("POST", "/webhooks/buttercms"), ("GET", "/webhooks/buttercms")}
    assert {event["Properties"]["RestApiId"] for event in events} == {"${Api}"}
    assert stack.outputs["WebhookUrl"]["Value"].endswith(f"/{stack.parameters['Stage']}/webhooks/buttercms")


def test_nothing_looks_at_a_body_before_ingest_has_compared_the_secret(stack: Expanded) -> None:
    assert stack.resources["Api"]["Type"] == "AWS::Serverless::Api"
    assert not {"Models", "DefinitionBody", "DefinitionUri"} & set(stack.properties("Api"))
    assert stack.properties("Api")["Auth"] == {
        "ApiKeyRequired": False
    }  # said, so that `sam deploy --guided` need not ask
    for event in stack.properties("IngestFunction")["Events"].values():
        assert set(event["Properties"]) == {"RestApiId", "Path", "Method"}


def test_ingest_may_end_what_it_began_after_its_caller_has_left(stack: Expanded) -> None:
    assert 5 < stack.properties("IngestFunction")["Timeout"] < 29


def test_requests_are_logged_only_if_asked_for_and_then_with_the_role_of_the_account(template: dict[str, Any]) -> None:
    account = {"ApiGatewayAccount", "ApiGatewayRole", "AccessLogGroup"}

    assert not account & set(expand(template).resources)
    assert "AccessLogSetting" not in expand(template).properties("Api")

    logged = expand(template, AccessLogs="yes")
    assert account <= set(logged.resources)
    assert logged.properties("Api")["AccessLogSetting"]["DestinationArn"] == "${AccessLogGroup.Arn}"
    assert logged.resources["Api"]["DependsOn"] == "ApiGatewayAccount"
    assert logged.resources["ApiGatewayAccount"]["DeletionPolicy"] == "Retain"
    assert logged.resources["ApiGatewayRole"]["DeletionPolicy"] == "Retain"


def test_no_execution_is_reserved_unless_asked_for(template: dict[str, Any]) -> None:
    assert "ReservedConcurrentExecutions" not in expand(template).properties("IngestFunction")

    reserved = expand(template, IngestReservedConcurrency="7").properties("IngestFunction")
    assert reserved["ReservedConcurrentExecutions"] == "7"


def test_plain_http_passes_on_the_local_stack_alone(template: dict[str, Any]) -> None:
    assert "SecureTransport" in f"{expand(template).resources}"
    assert "SecureTransport" in f"{expand(template, Stage='staging').resources}"
    assert "SecureTransport" not in f"{expand(template, Stage='local').resources}"


def test_a_laptop_builds_functions_and_layer_for_its_own_interpreter(template: dict[str, Any]) -> None:
    stack = expand(template, Runtime="python3.11", Architecture="x86_64")

    layer = stack.resources["SharedLayer"]
    assert layer["Metadata"] == {"BuildMethod": "python3.11", "BuildArchitecture": "x86_64"}
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.11"]
    assert stack.globals["Function"]["Runtime"] == "python3.11"
    assert stack.globals["Function"]["Architectures"] == ["x86_64"]
    assert stack.globals["Function"]["Layers"] == ["${SharedLayer}"]


READ = re.compile(r"""(?:environ\[|environ\.get\(|_words\()["'](?!AWS_)(\w+)["']""")


def names_read(folder: str) -> set[str]:
    """The environment variables that the files of a folder read, without those that Lambda itself sets."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / folder).glob("*.py")))
    return set(READ.findall(text))


def test_every_function_is_given_what_it_reads_and_nothing_else(template: dict[str, Any]) -> None:
    stack = expand(template)
    shared, common = names_read("layers/buttersync/buttersync"), stack.globals["Function"]["Environment"]["Variables"]
    # The loop gives all targets the same.
    of_targets = set().union(*(names_read(f"functions/{target}") for target in stack.targets))

    for function in stack.of_type("AWS::Serverless::Function").values():
        given = set(function["Environment"]["Variables"]) | set(common)
        of_powertools = {name for name in given if name.startswith("POWERTOOLS_")}
        own = names_read(function["CodeUri"])
        own_kind = of_targets if function["CodeUri"].removeprefix("functions/") in stack.targets else own
        assert own <= given, function["CodeUri"]
        assert given <= own_kind | shared | of_powertools, function["CodeUri"]


def test_every_target_is_given_what_the_shared_package_reads(stack: Expanded) -> None:
    shared = names_read("layers/buttersync/buttersync") - set(stack.globals["Function"]["Environment"]["Variables"])

    assert shared
    for target in stack.targets:
        assert shared <= set(stack.properties(f"{target}Function")["Environment"]["Variables"]), target


def test_a_stage_shares_no_layer_with_another(stack: Expanded) -> None:
    assert stack.properties("SharedLayer")["LayerName"] == f"buttersync-{stack.parameters['Stage']}"


def test_every_function_and_the_layer_have_the_folder_that_the_template_names(template: dict[str, Any]) -> None:
    stack = expand(template)

    for function in stack.of_type("AWS::Serverless::Function").values():
        module, handler = function["Handler"].split(".")
        source = (ROOT / function["CodeUri"] / f"{module}.py").read_text()
        assert re.search(rf"^(def {handler}\(|{handler} = )", source, re.MULTILINE), function["Handler"]
    assert (ROOT / stack.properties("SharedLayer")["ContentUri"] / "requirements.txt").exists()


def test_a_target_is_a_row_of_the_mapping_and_its_name(template: dict[str, Any]) -> None:
    before, after = expand(template), with_every_option(template)

    of_postgres = {name.removeprefix("postgres") for name in before.resources if name.startswith("postgres")}
    of_other = {name.removeprefix("other") for name in after.resources if name.startswith("other")}
    assert of_other == of_postgres
    assert of_postgres == {
        "DeadLetterQueue", "DeadLetterQueuePolicy", "Queue", "QueuePolicy", "Subscription", "LogGroup", "Role",
        "Function", "Documents", "DeadLettersAlarm", "BehindAlarm", "UnreadAlarm", "ErrorsAlarm", "MisconfiguredAlarm",
    }  # fmt: skip


def test_the_row_of_a_target_decides_what_differs(template: dict[str, Any]) -> None:
    stack = with_every_option(template)

    function, mapping = stack.properties("otherFunction"), stack.properties("otherDocuments")
    assert (function["Handler"], function["CodeUri"]) == ("other.handler", "functions/other")
    assert (function["Timeout"], function["MemorySize"]) == (30, 256)
    assert (mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == (1, 0)
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 3}
    assert stack.properties("otherSubscription")["FilterPolicy"]["change"] == ["created"]
    assert stack.properties("postgresDocuments")["MaximumBatchingWindowInSeconds"] == "60"


def test_the_targets_alone_are_in_the_vpc_and_only_if_there_are_subnets(template: dict[str, Any]) -> None:
    assert "VpcConfig" not in expand(template).properties("postgresFunction")

    stack = with_every_option(template)
    vpc = {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert all(stack.properties(f"{target}Function")["VpcConfig"] == vpc for target in stack.targets)
    assert "VpcConfig" not in stack.properties("IngestFunction")
    assert "VpcConfig" not in stack.properties("ResolveFunction")


def test_the_subscription_waits_for_the_policies_that_admit_it(stack: Expanded, template: dict[str, Any]) -> None:
    [fragment] = [
        it for it in template["Resources"]["Fn::ForEach::EachTarget"] if isinstance(it, dict) and "Ref" not in it
    ]
    policies = {"${T}QueuePolicy", "${T}DeadLetterQueuePolicy"}

    named = fragment["${T}Subscription"]["Properties"]["TopicArn"]["Fn::Select"][1]
    assert {it["Ref"]["Fn::Sub"] for it in named[1:]} == policies
    assert stack.resources["ResolveSubscription"]["DependsOn"] == ["ResolveQueuePolicy", "ResolveDeadLetterQueuePolicy"]


@pytest.fixture(scope="module")
def samconfig() -> dict[str, Any]:
    return tomllib.loads((ROOT / "samconfig.toml").read_text())


def overrides(samconfig: dict[str, Any], environment: str) -> dict[str, str]:
    """The parameters that an environment gives, quoted or not: `sam deploy --guided` quotes them."""
    pairs = shlex.split(samconfig[environment]["deploy"]["parameters"]["parameter_overrides"])
    return dict(pair.split("=", 1) for pair in pairs)


def capabilities(deploy: dict[str, Any]) -> set[str]:
    """What an environment may do; `sam deploy --guided` writes the list as text."""
    given = deploy["capabilities"]
    return set(given.split() if isinstance(given, str) else given)


def test_an_environment_that_the_sam_cli_has_written_is_read_too() -> None:
    guided = {
        "parameter_overrides": 'Stage="shop" PostUrl="" LookSeconds="5,60" PageUrl="https://shop.example/{slug}?a=b"',
        "capabilities": "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND",
    }

    assert overrides({"default": {"deploy": {"parameters": guided}}}, "default") == {
        "Stage": "shop",
        "PostUrl": "",
        "LookSeconds": "5,60",
        "PageUrl": "https://shop.example/{slug}?a=b",
    }
    assert capabilities(guided) == {"CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"}


def test_production_staging_and_the_local_stack_are_configured_and_lie_apart(samconfig: dict[str, Any]) -> None:
    stages = [overrides(samconfig, environment)["Stage"] for environment in ENVIRONMENTS]
    stacks = [samconfig[environment]["global"]["parameters"]["stack_name"] for environment in ENVIRONMENTS]

    assert samconfig["version"] == 0.1
    assert stages[1:] == ["staging", "local"]
    assert len(set(stages)) == len(set(stacks)) == len(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_expands_the_loops_and_may_make_roles(samconfig: dict[str, Any], environment: str) -> None:
    assert samconfig[environment]["global"]["parameters"]["language_extensions"] is True
    assert capabilities(samconfig[environment]["deploy"]["parameters"]) >= {"CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"}


def test_nobody_is_asked_before_the_local_stack_changes(samconfig: dict[str, Any]) -> None:
    assert samconfig["local"]["deploy"]["parameters"]["confirm_changeset"] is False
    assert samconfig["staging"]["deploy"]["parameters"]["confirm_changeset"] is True


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_an_environment_overrides_is_a_parameter_and_allowed(
    samconfig: dict[str, Any], template: dict[str, Any], environment: str
) -> None:
    for name, value in overrides(samconfig, environment).items():
        assert allows(template["Parameters"][name], value), name


def test_the_local_stack_looks_again_within_seconds(samconfig: dict[str, Any]) -> None:
    looks = overrides(samconfig, "local")["LookSeconds"].split(",")

    assert len(looks) == 4
    assert sum(map(int, looks)) <= 10
