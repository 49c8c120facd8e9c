"""The batch loop against an emulated SQS, DynamoDB, S3 and SSM: the requests are such as AWS takes."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from buttersync import delivery
from buttersync.clients import client
from buttersync.model import Document, Identity
from buttersync.outcomes import DONE, Misconfigured, Outcome, Refused, Unavailable
from buttersync.rows import ABSENT, DeliveryTable, Row

pytestmark = pytest.mark.usefixtures("aws")

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
OUTCOMES: Mapping[str, Outcome] = {
    "done": DONE,
    "down": Unavailable("503"),
    "bad": Refused("22P05 \x00 in it"),
    "locked": Misconfigured("401"),
}


def document(slug: str, version: int = 5) -> Document:
    identity = Identity("post", "", slug, "en")
    key = f"{identity.ref}/{version}-abc"
    return Document(
        identity=identity, version=version, change="updated", announce_key=slug, archive_key=key, text="All"
    )


class Shop:
    """A target on the emulated AWS, its vendor's outcome by slug."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue = client("sqs").create_queue(QueueName=name)["QueueUrl"]
        self.dead_letters = client("sqs").create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        self.texts: dict[str, str] = {}
        self.environment = {
            "STAGE": name,
            "QUEUE_URL": self.queue,
            "DEAD_LETTER_QUEUE_URL": self.dead_letters,
            "DELIVERY_TABLE": f"{name}-deliveries",
            "CONTENT_TABLE": f"{name}-contents",
            "ARCHIVE_BUCKET": name,
        }
        for table, keys in {"deliveries": ["target", "key"], "contents": ["ref"]}.items():
            client("dynamodb").create_table(
                TableName=f"{name}-{table}",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ["HASH", "RANGE"], strict=False)
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        client("s3").create_bucket(Bucket=name)

    def store(self, setting: str) -> None:
        client("ssm").put_parameter(Name=f"/buttersync/{self.name}/shop/{setting}", Value="x", Type="SecureString")

    def handler(self) -> delivery.Handler:
        return delivery.handler(
            "shop",
            required=("key",),
            deliver=self.deliver,
            check=lambda _: "looks well",
            setup=lambda _: "is set up",
            reset=lambda: None,
            worst_case=5,
        )

    def deliver(self, _: Mapping[str, str], documents: Sequence[Document]) -> Sequence[Outcome]:
        self.texts |= {one.identity.name: one.text for one in documents}
        return [OUTCOMES[one.identity.name] for one in documents]

    def send(self, one: Document, archived: bool = True) -> None:
        if archived:
            client("s3").put_object(Bucket=self.name, Key=one.archive_key, Body=one.to_json().encode())
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in one.attributes().items()}
        client("sqs").send_message(QueueUrl=self.queue, MessageBody=one.to_message(), MessageAttributes=attributes)

    def receive(self, url: str, visibility: int = 60) -> list[dict[str, Any]]:
        """What is in the queue, as an event has it."""
        answer = client("sqs").receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
            VisibilityTimeout=visibility,
        )
        return [
            {
                "messageId": one["MessageId"],
                "receiptHandle": one["ReceiptHandle"],
                "body": one["Body"],
                "attributes": one["Attributes"],
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": "String"}
                    for name, value in one.get("MessageAttributes", {}).items()
                },
            }
            for one in answer.get("Messages", [])
        ]

    def row(self, slug: str) -> Row:
        return DeliveryTable("shop").read([f"post:{slug}:en"]).get(f"post:{slug}:en", ABSENT)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop(f"shop-{uuid.uuid4().hex[:12]}")
    with patch.dict(os.environ, shop.environment):
        yield shop


def test_each_outcome_ends_as_it_should(shop: Shop) -> None:
    shop.store("key")
    for slug in OUTCOMES:
        shop.send(document(slug))
    records = shop.receive(shop.queue)

    answer = shop.handler()({"Records": records}, CONTEXT)

    failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
    assert {
        record["messageId"] for record in records if '"down"' in record["body"] or '"locked"' in record["body"]
    } == (failed)
    assert {slug: shop.row(slug).status for slug in OUTCOMES} == {
        "done": "done",
        "down": "unavailable",
        "bad": "refused",
        "locked": "misconfigured",
    }
    assert shop.texts["done"] == "All"
    [letter] = shop.receive(shop.dead_letters)
    assert letter["messageAttributes"]["reason"]["stringValue"] == "22P05 \ufffd in it"


def test_a_message_that_was_put_off_is_hidden_until_its_step_is_over(shop: Shop) -> None:
    shop.store("key")
    shop.send(document("down"))
    records = shop.receive(shop.queue, visibility=1)

    shop.handler()({"Records": records}, CONTEXT)

    time.sleep(1.5)
    assert shop.receive(shop.queue) == []
    time.sleep(5)
    [back] = shop.receive(shop.queue)
    assert back["attributes"]["ApproximateReceiveCount"] == "2"


def test_a_row_never_goes_back_to_an_older_version(shop: Shop) -> None:
    table = DeliveryTable("shop")
    assert table.write("post:x:en", ABSENT, Row(6, "done"))

    assert not table.write("post:x:en", ABSENT, Row(5, "refused", reason="late"))

    assert shop.row("x") == Row(6, "done")


def test_a_row_comes_back_as_it_was_written(shop: Shop) -> None:
    row = Row(2**53 + 1, "unavailable", 3, 1_764_000_000_123, "503", 7, 2)

    DeliveryTable("shop").write("post:x:en", ABSENT, row)

    assert shop.row("x") == row


@pytest.mark.usefixtures("shop")
def test_rows_are_read_by_the_hundred() -> None:
    table = DeliveryTable("shop")
    refs = [f"post:{number}:en" for number in range(120)]
    for ref in refs[::30]:
        table.write(ref, ABSENT, Row(1, "done"))

    assert set(table.read(refs)) == set(refs[::30])


def test_a_row_that_another_part_wrote_to_keeps_what_that_part_wrote(shop: Shop) -> None:
    key = {"target": {"S": "shop"}, "key": {"S": "post:x:en"}}
    name = shop.environment["DELIVERY_TABLE"]
    client("dynamodb").put_item(TableName=name, Item={**key, "permalink": {"S": "https://example.com/1"}})

    DeliveryTable("shop").write("post:x:en", ABSENT, Row(5, "done"))

    item = client("dynamodb").get_item(TableName=name, Key=key)["Item"]
    assert (item["permalink"]["S"], item["status"]["S"]) == ("https://example.com/1", "done")


def test_a_lease_is_one_worker_s_until_it_ends(shop: Shop) -> None:
    table, row, now = DeliveryTable("shop"), Row(5, "started"), 1_764_000_000_000
    assert table.take("post:x:en", ABSENT, row, "one", now, until=now + 1000)

    for worker, version, moment in (("two", 5, now + 1000), ("two", 6, now + 1000), ("three", 4, now + 5000)):
        assert not table.take("post:x:en", ABSENT, Row(version), worker, moment, until=moment + 1000)
    table.release("post:x:en", "two")
    assert not table.take("post:x:en", row, row, "two", now + 1000, until=now + 2000)

    assert table.take("post:x:en", row, row, "one", now, until=now + 1000)
    assert table.write_and_release("post:x:en", row, Row(5, "done"), "one")
    assert table.take("post:x:en", Row(5, "done"), Row(6, "started"), "two", now, until=now + 1000)
    assert not table.write_and_release("post:x:en", row, Row(5, "done"), "one")
    assert shop.row("x") == Row(6, "started")
    assert table.take("post:x:en", row, Row(6, "started"), "three", now + 1001, until=now + 2000)


def test_a_lease_ends_also_where_a_newer_version_waits_for_it(shop: Shop) -> None:
    table, now = DeliveryTable("shop"), 1_764_000_000_000
    table.take("post:x:en", ABSENT, Row(5, "started"), "one", now, until=now + 1000)
    table.write("post:x:en", ABSENT, Row(6, "busy"))

    assert not table.write_and_release("post:x:en", Row(5, "started"), Row(5, "done"), "one")

    assert table.take("post:x:en", Row(6, "busy"), Row(6, "busy"), "two", now, until=now + 1000)
    assert shop.row("x") == Row(6, "busy")


def test_a_document_that_is_gone_from_the_archive_is_refused_or_skipped(shop: Shop) -> None:
    shop.store("key")
    shop.send(document("done"), archived=False)
    shop.send(document("down"), archived=False)
    client("dynamodb").put_item(
        TableName=shop.environment["CONTENT_TABLE"], Item={"ref": {"S": "post:down:en"}, "version": {"N": "6"}}
    )

    answer = shop.handler()({"Records": shop.receive(shop.queue)}, CONTEXT)

    [letter] = shop.receive(shop.dead_letters)
    assert answer == {"batchItemFailures": []}
    assert "republish" in letter["messageAttributes"]["reason"]["stringValue"]
    assert '"done"' in letter["body"]


def test_a_target_is_dormant_until_it_has_settings_and_never_again_after_its_first_delivery(shop: Shop) -> None:
    handler = shop.handler()
    assert handler({"command": "check"}, CONTEXT)["settings"] == "dormant"
    shop.store("key")
    shop.send(document("done"))
    assert handler({"command": "check"}, CONTEXT)["message"] == "looks well"
    handler({"Records": shop.receive(shop.queue)}, CONTEXT)

    client("ssm").delete_parameter(Name=f"/buttersync/{shop.name}/shop/key")

    answer = shop.handler()({"command": "check"}, CONTEXT)
    assert (answer["ok"], answer["settings"]) == (False, "incomplete")
    assert answer["message"] == f"missing in SSM: /buttersync/{shop.name}/shop/key"
