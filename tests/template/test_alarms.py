"""What goes wrong is heard of, and nothing alarms because no metric came."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.template.expansion import ROOT, Expanded

Alarm = Mapping[str, Any]


def alarms(stack: Expanded, namespace: str, metric: str) -> list[tuple[dict[str, str], Alarm]]:
    """The alarms on a metric, with its dimensions."""
    return [
        ({dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}, alarm)
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
        if (alarm["Namespace"], alarm["MetricName"]) == (namespace, metric)
    ]


def rings_at_the_first(alarm: Alarm) -> bool:
    return (
        alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        and alarm["Threshold"] == 1
        and alarm["EvaluationPeriods"] == 1
        and alarm["Statistic"] in {"Sum", "Maximum"}
    )


def queues(stack: Expanded, ending: str) -> list[dict[str, str]]:
    owners = ["Resolve", *stack.targets]
    return [{"QueueName": f"${{{owner}{ending}.QueueName}}"} for owner in owners]


def by_name(dimensions: dict[str, str]) -> str:
    return json.dumps(dimensions)


def test_the_first_message_in_any_dead_letter_queue_alarms(stack: Expanded) -> None:
    watched = alarms(stack, "AWS/SQS", "ApproximateNumberOfMessagesVisible")

    found = sorted((dimensions for dimensions, _ in watched), key=by_name)
    assert found == sorted(queues(stack, "DeadLetterQueue"), key=by_name)
    assert all(rings_at_the_first(alarm) for _, alarm in watched)


def test_a_message_that_nobody_reads_for_hours_alarms_in_any_queue(stack: Expanded) -> None:
    watched = alarms(stack, "AWS/SQS", "ApproximateAgeOfOldestMessage")

    found = sorted((dimensions for dimensions, _ in watched), key=by_name)
    assert found == sorted(queues(stack, "Queue"), key=by_name)
    for _, alarm in watched:
        assert alarm["Statistic"] == "Maximum"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert 3600 <= alarm["Threshold"] <= 2 * 3600


def test_a_new_look_at_a_stale_reading_does_not_alarm_by_itself(stack: Expanded) -> None:
    longest = max(int(wait) for wait in stack.parameters["LookSeconds"].split(","))

    assert stack.properties("ResolveUnreadAlarm")["Threshold"] > longest


def watches_resolve_and_every_target(stack: Expanded, metric: str) -> None:
    watched = alarms(stack, "buttersync", metric)

    expected = [{"service": name, "stage": stack.parameters["Stage"]} for name in ["resolve", *stack.targets]]
    assert sorted((dimensions for dimensions, _ in watched), key=by_name) == sorted(expected, key=by_name)
    assert all(rings_at_the_first(alarm) for _, alarm in watched)


def test_resolve_and_every_target_alarm_when_they_are_misconfigured(stack: Expanded) -> None:
    watches_resolve_and_every_target(stack, "Misconfigured")


def test_resolve_and_every_target_alarm_when_they_are_behind_though_sqs_tells_no_age_in_an_outage(
    stack: Expanded,
) -> None:
    watches_resolve_and_every_target(stack, "Behind")


@pytest.mark.parametrize("source", ["layers/buttersync/buttersync", "functions/resolve"])
def test_what_is_watched_is_counted_in_the_code_of_targets_and_of_resolve(stack: Expanded, source: str) -> None:
    text = "\n".join(path.read_text() for path in sorted((ROOT / source).glob("*.py")))
    watched = [
        alarm for alarm in stack.of_type("AWS::CloudWatch::Alarm").values() if alarm["Namespace"] == "buttersync"
    ]

    for metric in {alarm["MetricName"] for alarm in watched}:
        assert f'"{metric}"' in text, metric


def test_alarms_are_named_after_the_stage_and_no_two_share_a_name(stack: Expanded) -> None:
    names = [alarm["AlarmName"] for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()]

    assert len(set(names)) == len(names)
    assert all(name.startswith(f"buttersync-{stack.parameters['Stage']}-") for name in names)
    for owner in ["resolve", *stack.targets]:
        own = {name.removeprefix(f"buttersync-{stack.parameters['Stage']}-{owner}-") for name in names}
        assert {"dead-letters", "behind", "unread", "errors", "misconfigured"} <= own, owner


def test_the_alarms_watch_the_names_under_which_the_functions_emit(stack: Expanded) -> None:
    assert stack.globals["Function"]["Environment"]["Variables"] == {
        "STAGE": stack.parameters["Stage"],
        "POWERTOOLS_METRICS_NAMESPACE": "buttersync",
    }
    services = {
        name: function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for name, function in stack.of_type("AWS::Serverless::Function").items()
    }
    own = {f"{target}Function": target for target in stack.targets}
    assert services == {"IngestFunction": "ingest", "ResolveFunction": "resolve"} | own


def test_every_webhook_that_the_door_turns_away_or_fails_alarms_and_strangers_elsewhere_do_not(
    stack: Expanded,
) -> None:
    stage = stack.parameters["Stage"]
    route = {"ApiName": f"buttersync-{stage}", "Resource": "/webhooks/buttercms", "Method": "POST", "Stage": stage}

    for metric in ("4XXError", "5XXError"):
        [(dimensions, alarm)] = alarms(stack, "AWS/ApiGateway", metric)
        assert dimensions == route
        assert rings_at_the_first(alarm)


def test_the_route_has_the_metrics_that_its_alarms_watch(stack: Expanded) -> None:
    api = stack.properties("Api")

    [settings] = api["MethodSettings"]
    assert settings == {"ResourcePath": "/~1webhooks~1buttercms", "HttpMethod": "POST", "MetricsEnabled": True}
    assert api["Name"] == f"buttersync-{stack.parameters['Stage']}"


def test_every_function_that_breaks_down_or_runs_out_of_time_alarms(stack: Expanded) -> None:
    watched = alarms(stack, "AWS/Lambda", "Errors")

    found = sorted(dimensions["FunctionName"] for dimensions, _ in watched)
    assert found == sorted(f"${{{name}}}" for name in stack.of_type("AWS::Serverless::Function"))
    assert all(list(dimensions) == ["FunctionName"] and rings_at_the_first(alarm) for dimensions, alarm in watched)


def test_an_ingest_that_finds_no_room_alarms(stack: Expanded) -> None:
    [(dimensions, alarm)] = alarms(stack, "AWS/Lambda", "Throttles")

    assert dimensions == {"FunctionName": "${IngestFunction}"}
    assert rings_at_the_first(alarm)


def test_every_alarm_tells_the_alarm_topic_what_it_means_and_is_quiet_without_data(stack: Expanded) -> None:
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == ["${AlarmTopic}"], name
        assert alarm["AlarmDescription"].endswith((".", "?")), name
        assert alarm["TreatMissingData"] == "notBreaching", name


def test_an_address_is_subscribed_to_alarms_only_if_one_is_given(stack: Expanded) -> None:
    asked = stack.parameters["AlarmEmail"]

    assert ("AlarmSubscription" in stack.resources) == bool(asked)
    if asked:
        subscription = stack.properties("AlarmSubscription")
        assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", asked)
        assert subscription["TopicArn"] == "${AlarmTopic}"


def test_the_dashboard_shows_the_door_the_deliveries_and_the_queues_of_this_stage(stack: Expanded) -> None:
    board = json.loads(stack.properties("Dashboard")["DashboardBody"])
    stage = stack.parameters["Stage"]

    rows = [json.dumps(row) for widget in board["widgets"] for row in widget["properties"]["metrics"]]
    for metric in (
        "4XXError",
        "5XXError",
        "Delivered",
        "Misconfigured",
        "DeadLettered",
        "Behind",
        "ApproximateAgeOfOldestMessage",
    ):
        assert any(metric in row for row in rows), metric
    assert all(stage in row for row in rows)


def test_the_widgets_of_the_dashboard_lie_beside_each_other(stack: Expanded) -> None:
    board = json.loads(stack.properties("Dashboard")["DashboardBody"])

    squares = [
        (x, y)
        for it in board["widgets"]
        for x in range(it["x"], it["x"] + it["width"])
        for y in range(it["y"], it["y"] + it["height"])
    ]
    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24
