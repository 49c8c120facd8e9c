"""Who may do what, in full: a right that is not written here is not in the template."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.template.expansion import Expanded

PARAMETERS = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/buttersync"

EVERYTHING = {
    "Trace": "X-Ray knows no resources",
    "JoinTheVpc": "Lambda asks for all network interfaces or none",
    "LeaveTheVpc": "and so it does when it takes them away",
}
"""The only statements that name `*`, and why AWS leaves no other way."""

TRACE = ({"xray:PutTraceSegments", "xray:PutTelemetryRecords"}, {"*"})
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
CONSUME = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"}
JOIN = {
    "ec2:CreateNetworkInterface",
    "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}
LEAVE = {"ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"}

SEARCH = {"es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "aoss:APIAccessAll"}

Rights = dict[str, tuple[set[str], set[str]]]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(stack: Expanded) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, role in stack.of_type("AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def rights(stack: Expanded, role: str) -> Rights:
    """What a role allows: the actions and resources of each statement, by its name."""
    return {
        statement["Sid"]: (set(listed(statement["Action"])), set(listed(statement["Resource"])))
        for name, statement in statements(stack)
        if name == role and statement["Effect"] == "Allow"
    }


def test_ingest_publishes_changes_and_reads_the_webhook_secrets_but_no_read_token(stack: Expanded) -> None:
    butter = f"{PARAMETERS}/{stack.parameters['Stage']}/butter"

    assert rights(stack, "IngestRole") == {
        "WriteLogs": (LOGS, {"${IngestLogGroup.Arn}"}),
        "Trace": TRACE,
        "PublishChanges": ({"sns:Publish"}, {"${Topic}"}),
        "SendChangesWhenSnsFails": ({"sqs:SendMessage"}, {"${ResolveQueue.Arn}"}),
        "ReadWebhookSecrets": ({"ssm:GetParameters"}, {f"{butter}/webhook_secret", f"{butter}/webhook_secret_next"}),
    }


def test_resolve_reads_the_read_token_but_no_webhook_secret(stack: Expanded) -> None:
    butter = f"{PARAMETERS}/{stack.parameters['Stage']}/butter"

    assert rights(stack, "ResolveRole") == {
        "WriteLogs": (LOGS, {"${ResolveLogGroup.Arn}"}),
        "Trace": TRACE,
        "TakeChanges": (CONSUME | {"sqs:SendMessage"}, {"${ResolveQueue.Arn}"}),
        "GiveUp": ({"sqs:SendMessage"}, {"${ResolveDeadLetterQueue.Arn}"}),
        "PublishDocuments": ({"sns:Publish"}, {"${Topic}"}),
        "KeepContent": (
            {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
            {"${ContentTable.Arn}"},
        ),
        "KeepDocuments": ({"s3:GetObject", "s3:PutObject"}, {"${ArchiveBucket.Arn}/*"}),
        "ReadSettings": ({"ssm:GetParameters"}, {f"{butter}/read_token", f"{butter}/endpoint"}),
    }


def test_a_target_has_its_own_queues_its_own_settings_and_may_only_read_what_is_shared(stack: Expanded) -> None:
    for target in stack.targets:
        settings = f"{PARAMETERS}/{stack.parameters['Stage']}/{target}"
        in_a_vpc = {"JoinTheVpc": (JOIN, {"*"})} if "VpcConfig" in stack.properties(f"{target}Function") else {}
        domain = stack.parameters["OpenSearchArn"] if target == "opensearch" else ""
        search = {"CallOpenSearch": (SEARCH, {domain, f"{domain}/*"})} if domain else {}

        assert rights(stack, f"{target}Role") == in_a_vpc | search | {
            "LeaveTheVpc": (LEAVE, {"*"}),
            "WriteLogs": (LOGS, {f"${{{target}LogGroup.Arn}}"}),
            "Trace": TRACE,
            "TakeDocuments": (CONSUME, {f"${{{target}Queue.Arn}}"}),
            "GiveUp": ({"sqs:SendMessage"}, {f"${{{target}DeadLetterQueue.Arn}}"}),
            "KeepDeliveries": (
                {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"},
                {"${DeliveryTable.Arn}"},
            ),
            "SeeContent": ({"dynamodb:GetItem"}, {"${ContentTable.Arn}"}),
            "FetchDocuments": ({"s3:GetObject"}, {"${ArchiveBucket.Arn}/*"}),
            "ReadSettings": ({"ssm:GetParametersByPath"}, {settings, f"{settings}/*"}),
        }


def test_opensearch_alone_signs_requests_to_the_search_domain(stack: Expanded) -> None:
    domain = stack.parameters["OpenSearchArn"]
    effects = {
        role.removesuffix("Role"): it["Effect"]
        for role, it in statements(stack)
        if domain and domain in listed(it["Resource"])
    }

    others = dict.fromkeys(stack.targets, "Deny") if domain else {}
    assert effects == others | ({"opensearch": "Allow"} if domain else {})


def test_a_target_that_left_the_vpc_can_still_have_its_network_interfaces_taken_away(stack: Expanded) -> None:
    for target in stack.targets:
        of_ec2 = [it for role, it in statements(stack) if role == f"{target}Role" and it["Sid"].endswith("TheVpc")]
        allowed = {action for it in of_ec2 if it["Effect"] == "Allow" for action in it["Action"]}

        assert allowed >= LEAVE, target
        assert not [it["Sid"] for it in of_ec2 if it["Effect"] == "Deny"], target


def test_a_target_reaches_its_own_partition_of_the_delivery_table_alone(stack: Expanded) -> None:
    on_the_table = [(role, it) for role, it in statements(stack) if "${DeliveryTable.Arn}" in listed(it["Resource"])]

    assert {role for role, _ in on_the_table} == {f"{target}Role" for target in stack.targets}
    for role, statement in on_the_table:
        leading = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [role.removesuffix("Role")]}}
        assert statement["Condition"] == leading


def test_a_statement_names_everything_only_where_aws_has_no_other_way(stack: Expanded) -> None:
    for role, statement in statements(stack):
        resources = listed(statement["Resource"])
        assert "*" not in resources or statement["Sid"] in EVERYTHING, (role, statement["Sid"])
        assert not any("*" in action for action in listed(statement["Action"])), (role, statement["Sid"])


def test_every_function_has_a_role_of_its_own_and_no_managed_policy(stack: Expanded) -> None:
    functions = stack.of_type("AWS::Serverless::Function")
    roles = {name: function["Role"] for name, function in functions.items()}

    assert len(set(roles.values())) == len(roles)
    for name, role in roles.items():
        properties = stack.properties(role.removeprefix("${").removesuffix(".Arn}"))
        assert "ManagedPolicyArns" not in properties, name
        assert "Policies" not in functions[name], name


def test_only_lambda_takes_the_roles_of_functions_and_only_api_gateway_the_one_for_its_logs(stack: Expanded) -> None:
    for name, role in stack.of_type("AWS::IAM::Role").items():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        service = "apigateway" if name == "ApiGatewayRole" else "lambda"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}, name


def policies_of_resources(stack: Expanded) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"):
        for name, policy in stack.of_type(kind).items():
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def test_only_ingest_and_resolve_are_admitted_by_the_topic(stack: Expanded) -> None:
    [admitted] = [it for name, it in policies_of_resources(stack) if name == "TopicPolicy" and it["Effect"] == "Allow"]

    assert admitted["Principal"] == {"AWS": ["${IngestRole.Arn}", "${ResolveRole.Arn}"]}
    assert admitted["Action"] == "sns:Publish"
    assert stack.properties("TopicPolicy")["Topics"] == ["${Topic}"]


def test_every_queue_admits_the_topic_and_nobody_else(stack: Expanded) -> None:
    policies = stack.of_type("AWS::SQS::QueuePolicy")

    for queue in stack.of_type("AWS::SQS::Queue"):
        [policy] = [policy for policy in policies.values() if policy["Queues"] == [f"${{{queue}}}"]]
        [admitted] = [it for it in policy["PolicyDocument"]["Statement"] if it["Effect"] == "Allow"]
        assert admitted["Principal"] == {"Service": "sns.amazonaws.com"}
        assert admitted["Action"] == "sqs:SendMessage"
        assert admitted["Resource"] == f"${{{queue}.Arn}}"
        assert admitted["Condition"] == {"ArnEquals": {"aws:SourceArn": "${Topic}"}}


def test_alarms_of_this_account_alone_reach_the_alarm_topic(stack: Expanded) -> None:
    [admitted] = [it for name, it in policies_of_resources(stack) if name == "AlarmTopicPolicy"]

    assert admitted["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert admitted["Condition"]["StringEquals"] == {"aws:SourceAccount": "${AWS::AccountId}"}


def test_plain_http_is_refused_by_the_topic_the_queues_and_the_bucket(stack: Expanded) -> None:
    refusing = {
        name
        for name, statement in policies_of_resources(stack)
        if (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }

    queues = {f"{queue}Policy" for queue in stack.of_type("AWS::SQS::Queue")}
    assert refusing == queues | {"TopicPolicy", "ArchiveBucketPolicy"}


def test_the_bucket_is_closed_to_the_public(stack: Expanded) -> None:
    closed = stack.properties("ArchiveBucket")["PublicAccessBlockConfiguration"]

    assert len(closed) == 4
    assert all(closed.values())


def test_no_environment_variable_holds_or_names_a_secret(stack: Expanded) -> None:
    for name, function in stack.of_type("AWS::Serverless::Function").items():
        variables = function["Environment"]["Variables"] | stack.globals["Function"]["Environment"]["Variables"]
        for variable, value in variables.items():
            spelled = f"{variable}={value}".lower()
            assert not any(word in spelled for word in ("secret", "token", "password", "dsn", "resolve:ssm")), name
