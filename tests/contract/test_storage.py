"""What resolve writes, against an emulated DynamoDB, S3, SNS and SQS."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from buttersync.archive import Gone
from buttersync.clients import client
from buttersync.model import Document, Identity
from decisions import Pointer, Row
from storage import Archive, Conflict, ContentTable, Topic

pytestmark = pytest.mark.usefixtures("aws")

POST = Identity("post", "", "hello", "en")
ROW = Row(ref=POST.ref, status="published", version=5, hash="abc", updated="2025-11-23T12:00:00.000000Z", numeric_id=7,
          read_at=1_763_900_000_000, readings=1, pending="created")  # fmt: skip


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def table(name: str) -> ContentTable:
    client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "ref", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "ref", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return ContentTable(name)


def after(row: Row, **changes: object) -> Row:
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    return Row(**{**values, "readings": row.readings + 1, **changes})


def test_a_row_that_nobody_wrote_has_its_defaults(table: ContentTable) -> None:
    assert table.row(POST.ref) == Row(ref=POST.ref)


def test_a_row_comes_back_as_it_was_written(table: ContentTable) -> None:
    table.record(ROW)

    assert table.row(POST.ref) == ROW
    assert table.rows([POST.ref, "post:other:en"]) == {POST.ref: ROW, "post:other:en": Row(ref="post:other:en")}


def test_a_reading_is_recorded_only_if_no_other_was_written_since(table: ContentTable) -> None:
    table.record(ROW)

    with pytest.raises(Conflict):
        table.record(ROW)
    table.record(newer := after(ROW, hash="def"))
    with pytest.raises(Conflict):
        table.record(after(ROW, hash="late"))

    assert table.row(POST.ref) == newer


def test_pending_is_cleared_only_for_the_version_that_was_published(table: ContentTable) -> None:
    table.record(ROW)
    table.record(newer := after(ROW, version=6))

    table.clear_pending(ROW)
    assert table.row(POST.ref).pending == "created"
    table.clear_pending(newer)
    assert table.row(POST.ref).pending == ""


def test_no_rows_are_read_without_asking(table: ContentTable) -> None:
    assert table.rows([]) == {}


def test_rows_are_read_by_the_hundred(table: ContentTable) -> None:
    refs = [f"post:{number}:en" for number in range(230)]
    for ref in refs[::50]:
        table.record(Row(ref=ref, version=1, readings=1))

    rows = table.rows(refs)

    assert list(rows) == refs
    assert [ref for ref, row in rows.items() if row.version] == refs[::50]


def test_a_pointer_moves_only_if_nobody_wrote_it_since(table: ContentTable) -> None:
    key = "pointer:post:7:en"
    assert table.pointer(key) == Pointer(ref=key)
    table.move(Pointer(ref=key, item_ref="a", announce_key="post:7", writes=1))

    with pytest.raises(Conflict):
        table.move(Pointer(ref=key, item_ref="b", writes=1))
    table.move(Pointer(ref=key, item_ref="c", announce_key="post:7", writes=2))

    assert table.pointer(key).item_ref == "c"


def test_the_first_backfill_sets_live_since_for_good(table: ContentTable) -> None:
    assert table.live_since() is None

    table.begin(100)
    table.begin(200)

    assert table.live_since() == 100


def test_a_page_of_a_walk_is_counted_once(table: ContentTable) -> None:
    table.add("walk:r:post::en", {"listed": 100, "done": 0}, 1)
    table.add("walk:r:post::en", {"listed": 100, "done": 0}, 1)
    table.add("walk:r:post::en", {"listed": 20, "done": 1}, 2)

    assert table.counters(["walk:r:post::en", "walk:r:page:*:en"]) == [{"listed": 120, "done": 1, "page": 2}, {}]


def test_other_errors_of_the_table_are_not_taken_for_conflicts() -> None:
    missing = ContentTable("no-such-table")

    with pytest.raises(ClientError, match="ResourceNotFound"):
        missing.record(ROW)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        missing.clear_pending(ROW)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        missing.add("walk:r:post::en", {"listed": 1}, 1)


def document(title: str = "Hello") -> Document:
    return Document(
        identity=POST, version=5, change="created", announce_key="post:7", archive_key="post:hello:en/5-abc",
        title=title, text="All the words", fields={"body": "<p>All the words</p>"},
    )  # fmt: skip


def test_nothing_in_the_archive_is_overwritten(name: str) -> None:
    client("s3").create_bucket(Bucket=name)
    archive = Archive(name)
    archive.put(document())

    archive.put(document("Another"))

    assert archive.get("post:hello:en/5-abc") == document()


def test_what_the_archive_has_not_is_gone(name: str) -> None:
    client("s3").create_bucket(Bucket=name)

    with pytest.raises(Gone):
        Archive(name).get("post:hello:en/6-abc")


@pytest.mark.parametrize("call", ["put", "get"])
def test_a_bucket_that_is_not_there_is_an_error_of_its_own(call: str) -> None:
    archive = Archive("no-such-bucket")

    with pytest.raises(ClientError, match="NoSuchBucket"):
        archive.put(document()) if call == "put" else archive.get("x")


def test_a_document_is_published_small_with_the_attributes_that_subscriptions_filter_by(name: str) -> None:
    topic = client("sns").create_topic(Name=name)["TopicArn"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
              "Action": "sqs:SendMessage", "Resource": "*"}]}  # fmt: skip
    queue = client("sqs").create_queue(QueueName=name, Attributes={"Policy": json.dumps(policy)})["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    Topic(topic).publish(document(), target="postgres")

    [message] = client("sqs").receive_message(QueueUrl=queue, MessageAttributeNames=["All"], WaitTimeSeconds=2)[
        "Messages"
    ]
    body = json.loads(message["Body"])
    assert (body["stage"], body["title"], body["text"], body["fields"]) == ("document", "Hello", "", {})
    assert {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} == {
        "stage": "document",
        "change": "created",
        "target": "postgres",
        "kind": "post",
        "locale": "en",
    }
