"""Nothing gets lost on the way or at rest: queues, subscriptions, tables, bucket, logs."""

from collections.abc import Mapping
from typing import Any

import database
import hosts
import opensearch
import postgres
from buttersync import delivery
from buttersync.queues import LONGEST_STEP, SCHEDULE
from tests.fakes import account
from tests.fakes.account import Function
from tests.template.expansion import Expanded, expand

DAYS_14 = 14 * 86_400
LONGEST_VISIBILITY = 12 * 3600


def sources(stack: Expanded) -> dict[str, Mapping[str, Any]]:
    """The queues that functions read, by name."""
    queues = stack.of_type("AWS::SQS::Queue")
    return {name: queue for name, queue in queues.items() if not name.endswith("DeadLetterQueue")}


def reader(stack: Expanded, queue: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The one mapping that empties a queue, and the function behind it."""
    mappings = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    [mapping] = [mapping for mapping in mappings if mapping["EventSourceArn"] == f"${{{queue}.Arn}}"]
    return mapping, stack.properties(mapping["FunctionName"].strip("${}"))


def test_resolve_and_every_target_have_a_queue(stack: Expanded) -> None:
    assert set(sources(stack)) == {"ResolveQueue", *(f"{target}Queue" for target in stack.targets)}


def test_a_message_stays_hidden_for_six_timeouts_and_the_window(stack: Expanded) -> None:
    for name, queue in sources(stack).items():
        mapping, function = reader(stack, name)
        window = int(mapping.get("MaximumBatchingWindowInSeconds", 0))
        assert 6 * function["Timeout"] + window <= queue["VisibilityTimeout"] <= LONGEST_VISIBILITY, name


def test_more_than_ten_messages_come_at_once_only_with_a_window(stack: Expanded) -> None:
    for name in sources(stack):
        mapping, _ = reader(stack, name)
        assert mapping["BatchSize"] <= 10 or int(mapping["MaximumBatchingWindowInSeconds"]) >= 1, name


def test_what_the_stories_of_the_whole_take_for_granted_is_in_the_template(template: dict[str, Any]) -> None:
    stack = expand(template)
    found = {}
    for name, queue in sources(stack).items():
        mapping, function = reader(stack, name)
        values = Function(function["Timeout"], queue["VisibilityTimeout"], mapping["BatchSize"])
        found[name.removesuffix("Queue").lower()] = values

    assert found == account.FUNCTIONS


def test_sqs_gives_up_long_after_the_schedule_has(stack: Expanded) -> None:
    # A long wait is slept in steps, each of which costs a receive.
    receives = sum(-(-wait // LONGEST_STEP) for wait in SCHEDULE)

    for name, queue in sources(stack).items():
        assert 10 * receives < queue["RedrivePolicy"]["maxReceiveCount"] <= 1000, name


def test_every_queue_keeps_messages_for_14_days(stack: Expanded) -> None:
    for name, queue in stack.of_type("AWS::SQS::Queue").items():
        assert queue["MessageRetentionPeriod"] == DAYS_14, name


def test_every_source_queue_has_a_dead_letter_queue_of_its_own(stack: Expanded) -> None:
    for name, queue in sources(stack).items():
        own = name.removesuffix("Queue") + "DeadLetterQueue"
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == f"${{{own}.Arn}}"
        assert own in stack.resources


def test_queues_are_encrypted_by_sqs_itself_since_sns_cannot_use_its_kms_key(stack: Expanded) -> None:
    for name, queue in stack.of_type("AWS::SQS::Queue").items():
        assert queue["SqsManagedSseEnabled"] is True, name
        assert "KmsMasterKeyId" not in queue, name


def test_the_topic_is_encrypted_and_the_alarm_topic_is_not_for_cloudwatch_could_not_publish(stack: Expanded) -> None:
    assert stack.properties("Topic")["KmsMasterKeyId"] == "alias/aws/sns"
    assert "KmsMasterKeyId" not in stack.properties("AlarmTopic")


def subscriptions(stack: Expanded) -> dict[str, Mapping[str, Any]]:
    everything = stack.of_type("AWS::SNS::Subscription")
    return {name: it for name, it in everything.items() if it["TopicArn"] == "${Topic}"}


def test_a_message_that_the_topic_cannot_deliver_goes_to_the_dead_letter_queue(stack: Expanded) -> None:
    assert len(subscriptions(stack)) == len(sources(stack))
    for name, subscription in subscriptions(stack).items():
        own = name.removesuffix("Subscription") + "DeadLetterQueue"
        assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": f"${{{own}.Arn}}"}
        assert subscription["Endpoint"] == f"${{{name.removesuffix('Subscription')}Queue.Arn}}"
        assert subscription["RawMessageDelivery"] is True


def test_resolve_hears_changes_and_a_target_documents_for_all_or_for_itself(stack: Expanded) -> None:
    assert stack.properties("ResolveSubscription")["FilterPolicy"] == {"stage": ["change"]}
    for target in stack.targets:
        policy = stack.properties(f"{target}Subscription")["FilterPolicy"]
        assert policy["stage"] == ["document"]
        assert policy["target"] == ["all", target]
        assert set(policy["change"]) <= {"created", "updated", "removed"}


def test_stores_mirror_every_change(stack: Expanded) -> None:
    for store in ("algolia", "opensearch", "postgres"):
        heard = stack.properties(f"{store}Subscription")["FilterPolicy"]["change"]
        assert set(heard) == {"created", "updated", "removed"}


def test_search_hears_at_once(stack: Expanded) -> None:
    for store in ("algolia", "opensearch"):
        mapping, _ = reader(stack, f"{store}Queue")
        assert mapping["MaximumBatchingWindowInSeconds"] == 0


def test_no_message_is_requeued_because_of_a_neighbour_and_the_functions_do_not_crowd_the_account(
    stack: Expanded,
) -> None:
    for name in sources(stack):
        mapping, _ = reader(stack, name)
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name
        assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 10, name


def test_each_store_has_time_for_its_worst_case_and_the_loops_margin(stack: Expanded) -> None:
    worst_cases = {
        "algolia": hosts.CALL_SECONDS + hosts.CONNECT_SECONDS,
        "opensearch": max(opensearch.CALL_SECONDS, opensearch.SETUP_SECONDS) + opensearch.LATEST_SECONDS,
        "postgres": postgres.CALL_SECONDS + database.ANSWER_SECONDS,
    }

    for store, seconds in worst_cases.items():
        _, function = reader(stack, f"{store}Queue")
        assert function["Timeout"] > seconds + delivery.MARGIN


def test_the_functions_know_their_own_queues_and_no_others(stack: Expanded) -> None:
    owners = {"ResolveFunction": "Resolve", **{f"{target}Function": target for target in stack.targets}}

    for name, owner in owners.items():
        variables = stack.properties(name)["Environment"]["Variables"]
        assert variables["QUEUE_URL"] == f"${{{owner}Queue}}"
        assert variables["DEAD_LETTER_QUEUE_URL"] == f"${{{owner}DeadLetterQueue}}"


def test_tables_and_bucket_outlive_the_stack(stack: Expanded) -> None:
    kept = {"ContentTable", "DeliveryTable", "ArchiveBucket"}

    assert kept == set(stack.of_type("AWS::DynamoDB::Table")) | set(stack.of_type("AWS::S3::Bucket"))
    for name in kept:
        assert stack.resources[name]["DeletionPolicy"] == "Retain", name
        assert stack.resources[name]["UpdateReplacePolicy"] == "Retain", name


def test_tables_are_protected_encrypted_and_can_be_put_back_in_time(stack: Expanded) -> None:
    for name, table in stack.of_type("AWS::DynamoDB::Table").items():
        assert table["DeletionProtectionEnabled"] is True, name
        assert table["SSESpecification"] == {"SSEEnabled": True}, name
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, name
        assert table["BillingMode"] == "PAY_PER_REQUEST", name
        assert "TimeToLiveSpecification" not in table, name


def test_the_tables_have_the_keys_that_the_code_writes(stack: Expanded) -> None:
    keys = {
        name: [key["AttributeName"] for key in table["KeySchema"]]
        for name, table in stack.of_type("AWS::DynamoDB::Table").items()
    }

    assert keys == {"ContentTable": ["ref"], "DeliveryTable": ["target", "key"]}


def test_the_archive_is_encrypted_and_keeps_versions(stack: Expanded) -> None:
    bucket = stack.properties("ArchiveBucket")

    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "LifecycleConfiguration" not in bucket


def test_every_function_writes_to_a_log_group_of_its_own_that_ends(stack: Expanded) -> None:
    groups = stack.of_type("AWS::Logs::LogGroup")

    assert all(group["RetentionInDays"] == 30 for group in groups.values())
    for name, function in stack.of_type("AWS::Serverless::Function").items():
        own = name.removesuffix("Function") + "LogGroup"
        assert function["LoggingConfig"] == {"LogGroup": f"${{{own}}}"}
        assert groups[own]["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"
