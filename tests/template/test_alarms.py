"""What goes wrong is heard of, and nothing alarms because no metric came."""

import json
from collections.abc import Mapping
from typing import Any

from tests.template.expansion import Expanded

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


def test_a_message_that_waits_for_hours_in_any_queue_alarms(stack: Expanded) -> None:
    watched = alarms(stack, "AWS/SQS", "ApproximateAgeOfOldestMessage")

    found = sorted((dimensions for dimensions, _ in watched), key=by_name)
    assert found == sorted(queues(stack, "Queue"), key=by_name)
    for _, alarm in watched:
        assert alarm["Statistic"] == "Maximum"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert 3600 <= alarm["Threshold"] <= 2 * 3600


def test_a_new_look_at_a_stale_reading_does_not_alarm_by_itself(stack: Expanded) -> None:
    longest = max(int(wait) for wait in stack.parameters["LookSeconds"].split(","))

    assert stack.properties("ResolveAgeAlarm")["Threshold"] > longest


def test_resolve_and_every_target_alarm_when_they_are_misconfigured(stack: Expanded) -> None:
    watched = alarms(stack, "buttersync", "Misconfigured")

    expected = [{"service": name, "stage": stack.parameters["Stage"]} for name in ["resolve", *stack.targets]]
    assert sorted((dimensions for dimensions, _ in watched), key=by_name) == sorted(expected, key=by_name)
    assert all(rings_at_the_first(alarm) for _, alarm in watched)


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


def test_an_ingest_that_breaks_down_or_finds_no_room_alarms(stack: Expanded) -> None:
    for metric in ("Errors", "Throttles"):
        [(dimensions, alarm)] = alarms(stack, "AWS/Lambda", metric)
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
