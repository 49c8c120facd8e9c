"""The tests of the template can fail: each copy below breaks one promise, and the test of that promise says so."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.template import test_alarms as alarms
from tests.template import test_interface as interface
from tests.template import test_permissions as permissions
from tests.template import test_queues_and_storage as storage
from tests.template.conftest import EVERY_OPTION
from tests.template.expansion import Expanded, expand

Template = dict[str, Any]


def properties(template: Template, name: str) -> dict[str, Any]:
    """The properties of a resource, or of one in the loop (``${T}Queue``)."""
    resources = template["Resources"]
    body = resources["Fn::ForEach::EachTarget"][2][name] if name.startswith("${T}") else resources[name]
    found: dict[str, Any] = body["Properties"]
    return found


def sid(template: Template, role: str, name: str) -> dict[str, Any]:
    statements = properties(template, role)["Policies"][0]["PolicyDocument"]["Statement"]
    [statement] = [statement for statement in statements if statement.get("Sid") == name]
    found: dict[str, Any] = statement
    return found


def a_timeout_that_outgrew_the_visibility(template: Template) -> None:
    template["Mappings"]["Target"]["postgres"]["Timeout"] = 71


def a_longer_window(template: Template) -> None:
    template["Mappings"]["Target"]["postgres"]["Window"] = 61


def an_impatient_queue(template: Template) -> None:
    properties(template, "ResolveQueue")["RedrivePolicy"]["maxReceiveCount"] = 10


def a_forgetful_dead_letter_queue(template: Template) -> None:
    properties(template, "${T}DeadLetterQueue")["MessageRetentionPeriod"] = 345_600


def a_queue_under_kms(template: Template) -> None:
    properties(template, "${T}Queue")["KmsMasterKeyId"] = "alias/aws/sqs"


def a_subscription_that_drops(template: Template) -> None:
    properties(template, "${T}Subscription")["RedrivePolicy"] = None


def a_batch_that_fails_whole(template: Template) -> None:
    properties(template, "${T}Documents")["FunctionResponseTypes"] = []


def a_single_worker(template: Template) -> None:
    template["Mappings"]["Target"]["postgres"]["Concurrency"] = 1


def a_table_that_goes_with_the_stack(template: Template) -> None:
    template["Resources"]["DeliveryTable"]["DeletionPolicy"] = "Delete"


def a_log_without_end(template: Template) -> None:
    properties(template, "${T}LogGroup")["RetentionInDays"] = None


def a_key_to_all_partitions(template: Template) -> None:
    sid(template, "${T}Role", "KeepDeliveries")["Condition"] = {}


def a_generous_action(template: Template) -> None:
    sid(template, "${T}Role", "KeepDeliveries")["Action"] = "dynamodb:*"


def a_resource_without_bounds(template: Template) -> None:
    sid(template, "ResolveRole", "PublishDocuments")["Resource"] = "*"


def a_door_that_reads_every_setting(template: Template) -> None:
    paths = sid(template, "IngestRole", "ReadWebhookSecrets")["Resource"]
    paths[0] = {"Fn::Sub": paths[0]["Fn::Sub"].replace("webhook_secret", "*")}


def a_queue_for_anybody(template: Template) -> None:
    statement = properties(template, "${T}QueuePolicy")["PolicyDocument"]["Statement"][0]
    statement["Principal"] = "*"


def a_secret_in_the_environment(template: Template) -> None:
    variables = properties(template, "${T}Function")["Environment"]["Variables"]
    variables["DSN"] = "{{resolve:ssm-secure:/buttersync/prod/postgres/dsn}}"


def an_alarm_on_the_wrong_queue(template: Template) -> None:
    alarm = properties(template, "${T}DeadLettersAlarm")
    alarm["Dimensions"][0]["Value"] = {"Fn::GetAtt": [{"Fn::Sub": "${T}Queue"}, "QueueName"]}


def an_alarm_under_another_dimension(template: Template) -> None:
    properties(template, "${T}MisconfiguredAlarm")["Dimensions"][0]["Name"] = "Service"


def an_alarm_that_waits_for_a_second_loss(template: Template) -> None:
    properties(template, "WebhookRefusedAlarm")["Threshold"] = 2


def no_alarm_on_age(template: Template) -> None:
    del template["Resources"]["ResolveUnreadAlarm"]


def an_alarm_that_believes_sqs(template: Template) -> None:
    alarm = properties(template, "${T}BehindAlarm")
    alarm["Namespace"], alarm["MetricName"] = "AWS/SQS", "ApproximateAgeOfOldestMessage"


def an_alarm_on_what_nobody_counts(template: Template) -> None:
    properties(template, "ResolveBehindAlarm")["MetricName"] = "Late"


def an_unnoticed_break_down(template: Template) -> None:
    properties(template, "${T}ErrorsAlarm")["Dimensions"][0]["Value"] = {"Ref": "ResolveFunction"}


def two_alarms_of_one_name(template: Template) -> None:
    properties(template, "${T}UnreadAlarm")["AlarmName"] = {"Fn::Sub": "buttersync-${Stage}-${T}-behind"}


def a_domain_for_every_target(template: Template) -> None:
    statements = properties(template, "${T}Role")["Policies"][0]["PolicyDocument"]["Statement"]
    [statement] = [it["Fn::If"][1] for it in statements if it.get("Fn::If", [""])[0] == "HasOpenSearchArn"]
    statement["Effect"] = "Allow"


def interfaces_that_stay(template: Template) -> None:
    sid(template, "${T}Role", "LeaveTheVpc")["Effect"] = "Deny"


def a_layer_that_stages_share(template: Template) -> None:
    properties(template, "SharedLayer")["LayerName"] = "buttersync"


def a_door_that_asks_for_a_key(template: Template) -> None:
    properties(template, "Api")["Auth"]["ApiKeyRequired"] = True


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (a_timeout_that_outgrew_the_visibility, storage.test_a_message_stays_hidden_for_six_timeouts_and_the_window),
        (a_longer_window, storage.test_a_message_stays_hidden_for_six_timeouts_and_the_window),
        (an_impatient_queue, storage.test_sqs_gives_up_long_after_the_schedule_has),
        (a_forgetful_dead_letter_queue, storage.test_every_queue_keeps_messages_for_14_days),
        (a_queue_under_kms, storage.test_queues_are_encrypted_by_sqs_itself_since_sns_cannot_use_its_kms_key),
        (a_subscription_that_drops, storage.test_a_message_that_the_topic_cannot_deliver_goes_to_the_dead_letter_queue),
        (
            a_batch_that_fails_whole,
            storage.test_no_message_is_requeued_because_of_a_neighbour_and_the_functions_do_not_crowd_the_account,
        ),
        (
            a_single_worker,
            storage.test_no_message_is_requeued_because_of_a_neighbour_and_the_functions_do_not_crowd_the_account,
        ),
        (a_table_that_goes_with_the_stack, storage.test_tables_and_bucket_outlive_the_stack),
        (a_log_without_end, storage.test_every_function_writes_to_a_log_group_of_its_own_that_ends),
        (a_key_to_all_partitions, permissions.test_a_target_reaches_its_own_partition_of_the_delivery_table_alone),
        (a_generous_action, permissions.test_a_statement_names_everything_only_where_aws_has_no_other_way),
        (a_resource_without_bounds, permissions.test_a_statement_names_everything_only_where_aws_has_no_other_way),
        (
            a_door_that_reads_every_setting,
            permissions.test_ingest_publishes_changes_and_reads_the_webhook_secrets_but_no_read_token,
        ),
        (a_queue_for_anybody, permissions.test_every_queue_admits_the_topic_and_nobody_else),
        (a_secret_in_the_environment, permissions.test_no_environment_variable_holds_or_names_a_secret),
        (an_alarm_on_the_wrong_queue, alarms.test_the_first_message_in_any_dead_letter_queue_alarms),
        (an_alarm_under_another_dimension, alarms.test_resolve_and_every_target_alarm_when_they_are_misconfigured),
        (
            an_alarm_that_waits_for_a_second_loss,
            alarms.test_every_webhook_that_the_door_turns_away_or_fails_alarms_and_strangers_elsewhere_do_not,
        ),
        (no_alarm_on_age, alarms.test_a_message_that_nobody_reads_for_hours_alarms_in_any_queue),
        (
            an_alarm_that_believes_sqs,
            alarms.test_resolve_and_every_target_alarm_when_they_are_behind_though_sqs_tells_no_age_in_an_outage,
        ),
        (
            an_alarm_on_what_nobody_counts,
            alarms.test_resolve_and_every_target_alarm_when_they_are_behind_though_sqs_tells_no_age_in_an_outage,
        ),
        (an_unnoticed_break_down, alarms.test_every_function_that_breaks_down_or_runs_out_of_time_alarms),
        (two_alarms_of_one_name, alarms.test_alarms_are_named_after_the_stage_and_no_two_share_a_name),
        (a_domain_for_every_target, permissions.test_opensearch_alone_signs_requests_to_the_search_domain),
        (
            interfaces_that_stay,
            permissions.test_a_target_that_left_the_vpc_can_still_have_its_network_interfaces_taken_away,
        ),
        (a_layer_that_stages_share, interface.test_a_stage_shares_no_layer_with_another),
        (a_door_that_asks_for_a_key, interface.test_nothing_looks_at_a_body_before_ingest_has_compared_the_secret),
    ],
)
def test_a_broken_copy_is_found_out(
    template: Template, broken: Callable[[Template], None], promise: Callable[[Expanded], None]
) -> None:
    parameters = {"OpenSearchArn": EVERY_OPTION["OpenSearchArn"]}
    promise(expand(template, **parameters))

    broken(template)

    with pytest.raises(AssertionError):
        promise(expand(template, **parameters))
