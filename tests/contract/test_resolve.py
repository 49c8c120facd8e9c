"""resolve's handler: real queues, tables and topic of an emulated AWS, and the sandbox's ButterCMS."""

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

import resolve
from buttersync import queues
from buttersync.clients import client
from buttersync.model import Change, Document, Identity
from protocol import now
from sandbox.faults import Fault
from sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("aws")

POST = Identity("post", "", "hello", "en")
WEEKS = 3 * 7 * 86_400


class Context:
    """Lambda's context, with a settable time left."""

    def __init__(self, remaining_ms: int = 110_000) -> None:
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


class Stage:
    """One stage's resources, without its template."""

    def __init__(self, sandbox: Sandbox, environment: pytest.MonkeyPatch) -> None:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.sandbox = sandbox
        self.queue, self.dead, self.heard = (self._queue(f"{name}-{end}") for end in ("queue", "dead", "heard"))
        topic = client("sns").create_topic(Name=name)["TopicArn"]
        attributes = {"RawMessageDelivery": "true"}
        client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self._arn(self.heard), Attributes=attributes)
        client("s3").create_bucket(Bucket=name)
        client("dynamodb").create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "ref", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "ref", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.set("read_token", sandbox.butter.token)
        self.set("endpoint", sandbox.butter_endpoint)
        variables = {
            "QUEUE_URL": self.queue, "DEAD_LETTER_QUEUE_URL": self.dead, "CONTENT_TABLE": name, "ARCHIVE_BUCKET": name,
            "TOPIC_ARN": topic, "DEFAULT_LOCALE": "en", "LOCALES": "", "PAGE_TYPES": "landing",
            "COLLECTIONS": "products", "LOOK_SECONDS": "1,2", "POST_URL": "https://example.com/{slug}", "PAGE_URL": "",
            "TARGETS": "postgres", "ITEM_URL": "",
            "ANNOUNCE_WINDOW_HOURS": "72",
        }  # fmt: skip
        for variable, value in variables.items():
            environment.setenv(variable, value)

    def set(self, name: str, value: str) -> None:
        parameter = f"/buttersync/test/butter/{name}"
        client("ssm").put_parameter(Name=parameter, Value=value, Type="SecureString", Overwrite=True)
        resolve.settings.drop()

    def change(self, **more: Any) -> Change:
        values = {"identity": POST, "event": "post.published", "claims": "published", "received_at": now()}
        return Change(**{**values, **more})

    def handle(self, *messages: Any, receives: int = 1, context: Context | None = None) -> list[str]:
        """Invoke with these messages, as SQS would after so many receives; the bodies of those that stay."""
        for message in messages:
            body = message if isinstance(message, str) else message.to_json()
            client("sqs").send_message(QueueUrl=self.queue, MessageBody=body)
        records = [self._record(message, receives) for message in self.receive(self.queue)]
        answer = resolve.handler({"Records": records}, context or Context())
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in failed:
                with suppress(ClientError):  # resolve may have deleted it itself, which only the emulator minds
                    client("sqs").delete_message(QueueUrl=self.queue, ReceiptHandle=record["receiptHandle"])
        return [record["body"] for record in records if record["messageId"] in failed]

    def receive(self, queue: str) -> list[Any]:
        answer = client("sqs").receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
            WaitTimeSeconds=1,
        )
        return list(answer.get("Messages", []))

    def documents(self) -> list[Document]:
        return [Document.from_json(message["Body"]) for message in self.receive(self.heard)]

    def dead_letters(self) -> list[dict[str, str]]:
        messages = self.receive(self.dead)
        return [{name: value["StringValue"] for name, value in one["MessageAttributes"].items()} for one in messages]

    def hidden(self) -> int:
        names = ["ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible"]
        answer = client("sqs").get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def _record(self, message: Any, receives: int) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": {**message["Attributes"], "ApproximateReceiveCount": str(receives)},
            "messageAttributes": {},
        }

    def _queue(self, name: str) -> str:
        everybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
        return str(client("sqs").create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"])

    def _arn(self, queue: str) -> str:
        answer = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with Sandbox() as sandbox:
        resolve._resolver.cache_clear()
        yield Stage(sandbox, monkeypatch)


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The metrics that the last invocation wrote to its log."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    found = [line for line in lines if "_aws" in line]
    return found[-1] if found else {}


def test_a_change_becomes_a_document(stage: Stage) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")

    stays = stage.handle(stage.change())

    [document] = stage.documents()
    assert (stays, document.title, document.url) == ([], "Hello", "https://example.com/hello")


def test_a_message_that_is_no_change_is_dead_lettered_and_its_mates_go_on(stage: Stage) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")

    stays = stage.handle("not json", '{"stage": "change", "identity": {"kind": "cat"}}', stage.change())

    assert (stays, len(stage.documents())) == ([], 1)
    assert sorted(letter["reason"] for letter in stage.dead_letters()) == [
        "not a change: Invalid enum value 'cat' - at `$.identity.kind`",
        "not a change: JSON is malformed: invalid character (byte 4)",
    ]


def test_a_failing_read_goes_back_with_the_next_step_of_the_schedule(stage: Stage) -> None:
    stage.sandbox.faults.add(Fault(kind="status", status=503))
    change = stage.change(look=1)

    stays = stage.handle(change)

    assert (stays, stage.hidden()) == ([], 1)
    assert (stage.documents(), stage.dead_letters()) == ([], [])


def test_a_wrong_token_alarms_at_once_and_heals_when_it_is_mended(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")
    stage.set("read_token", "wrong")
    stage.handle(stage.change())

    line = metrics(capsys)
    definition = line["_aws"]["CloudWatchMetrics"][0]
    assert definition["Namespace"] == "buttersync"
    assert {"Name": "Misconfigured", "Unit": "Count"} in definition["Metrics"]
    assert sorted(definition["Dimensions"][0]) == ["service", "stage"]
    assert (line["service"], line["stage"]) == ("resolve", "test")

    client("ssm").put_parameter(
        Name="/buttersync/test/butter/read_token", Value=stage.sandbox.butter.token, Type="SecureString", Overwrite=True
    )
    stage.handle(stage.change())
    assert len(stage.documents()) == 1


@pytest.mark.usefixtures("stage")
def test_a_missing_token_is_named() -> None:
    client("ssm").delete_parameter(Name="/buttersync/test/butter/read_token")
    resolve.settings.drop()

    assert resolve.handler({"command": "check"}, None) == {
        "target": "butter",
        "ok": False,
        "status": "misconfigured",
        "message": "/buttersync/test/butter/read_token is not in SSM",
    }


def test_a_quota_used_up_for_weeks_parks_the_change_instead_of_asking_again(stage: Stage) -> None:
    stage.sandbox.faults.add(Fault(kind="throttle", seconds=WEEKS))

    stays = stage.handle(stage.change())

    [letter] = stage.dead_letters()
    assert "429" in letter["reason"]
    assert (stays, stage.hidden(), letter["target"], letter["attempts"]) == ([], 0, "resolve", "1")
    assert len(stage.sandbox.requests) == 1


def test_a_short_throttling_is_waited_for(stage: Stage) -> None:
    stage.sandbox.faults.add(Fault(kind="throttle", seconds=30))

    stage.handle(stage.change())

    assert (stage.dead_letters(), stage.hidden()) == ([], 1)


def test_at_the_end_of_the_schedule_the_change_is_dead_lettered_with_the_reason(stage: Stage) -> None:
    stage.sandbox.faults.add(Fault(kind="status", status=500))

    stage.handle(stage.change(attempts=len(queues.SCHEDULE)))

    [letter] = stage.dead_letters()
    assert letter["reason"] == "ButterCMS answered /posts/hello/ with 500"
    assert letter["attempts"] == str(len(queues.SCHEDULE) + 1)


def test_a_change_that_wakes_early_goes_back_to_sleep_unread(stage: Stage) -> None:
    change = stage.change(not_before=now() + 60_000)

    stays = stage.handle(change)

    assert stays == [change.to_json()]
    assert stage.sandbox.requests == []


def test_what_is_done_beside_a_suspect_is_deleted_before_the_suspect_can_kill_the_worker(stage: Stage) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")
    bodies = [stage.change(), stage.change(identity=msgspec.structs.replace(POST, name="killer"))]
    for body in bodies:
        client("sqs").send_message(QueueUrl=stage.queue, MessageBody=body.to_json())
    messages = stage.receive(stage.queue)
    killer = next(message for message in messages if "killer" in message["Body"])
    records = [stage._record(one, resolve.SUSPICIOUS_RECEIVES if one is killer else 1) for one in messages]
    stage.sandbox.faults.add(Fault(kind="delay", path="killer", seconds=0.5))

    class Killed(BaseException):
        pass

    class Deadly(Context):
        calls = 0

        def get_remaining_time_in_millis(self) -> int:
            raise Killed  # asked before the second message, which is the suspect

    with pytest.raises(Killed):
        resolve.handler({"Records": records}, Deadly())

    client("sqs").change_message_visibility(
        QueueUrl=stage.queue, ReceiptHandle=killer["ReceiptHandle"], VisibilityTimeout=0
    )
    assert [message["MessageId"] for message in stage.receive(stage.queue)] == [killer["MessageId"]]
    assert [document.title for document in stage.documents()] == ["Hello"]


def test_a_suspect_among_others_is_handled_too(stage: Stage) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")
    stage.sandbox.site.publish_post("other", title="Other")
    other = msgspec.structs.replace(POST, name="other")

    stays = stage.handle(stage.change(), stage.change(identity=other), receives=resolve.SUSPICIOUS_RECEIVES)

    assert (stays, len(stage.documents())) == ([], 2)


def test_a_message_that_kills_every_worker_is_dead_lettered(stage: Stage) -> None:
    stays = stage.handle(stage.change(), receives=resolve.KILLING_RECEIVES)

    [letter] = stage.dead_letters()
    assert (stays, letter["reason"]) == ([], "it was received 10 times and never ended")


def test_what_no_longer_fits_into_the_time_left_is_handed_back_as_a_new_message(stage: Stage) -> None:
    """A message that is only hidden again would be received more and more often, and be taken for a killer."""
    stage.sandbox.site.publish_post("hello", title="Hello")
    other = msgspec.structs.replace(POST, name="other")

    stays = stage.handle(stage.change(), stage.change(identity=other), context=Context(remaining_ms=5000))

    assert (stays, len(stage.documents()), stage.hidden()) == ([], 1, 1)


def test_a_change_that_is_sent_back_from_the_dead_letters_has_a_whole_schedule_again(stage: Stage) -> None:
    stage.sandbox.faults.add(Fault(kind="status", status=500))
    stage.handle(stage.change(attempts=len(queues.SCHEDULE), received_at=5))
    [letter] = stage.receive(stage.dead)

    stays = stage.handle(letter["Body"])

    assert (stays, stage.receive(stage.dead), stage.hidden()) == ([], [], 1)


@pytest.mark.parametrize(("minutes", "counted"), [(59, False), (61, True)])
def test_a_change_that_fails_for_an_hour_counts_as_behind(
    stage: Stage, capsys: pytest.CaptureFixture[str], minutes: int, counted: bool
) -> None:
    stage.sandbox.faults.add(Fault(kind="status", status=500))

    stage.handle(stage.change(received_at=now() - minutes * 60_000))

    assert ("Behind" in metrics(capsys)) == counted


def test_a_change_that_can_be_sent_nowhere_stays_in_the_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.sandbox.faults.add(Fault(kind="status", status=500))
    change = stage.change()
    client("sqs").send_message(QueueUrl=stage.queue, MessageBody=change.to_json())
    records = [stage._record(message, 1) for message in stage.receive(stage.queue)]
    monkeypatch.setenv("QUEUE_URL", stage.queue + "-gone")

    answer = resolve.handler({"Records": records}, Context())

    assert answer["batchItemFailures"] == [{"itemIdentifier": records[0]["messageId"]}]


def test_an_error_of_aws_is_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENT_TABLE", "no-such-table")

    stays = stage.handle(stage.change())

    assert (stays, stage.hidden()) == ([], 1)


def test_a_bug_that_one_message_meets_holds_up_no_other(stage: Stage) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")
    odd = '{"stage": "walk", "run": "r", "kind": "post", "locale": "en", "page": -99999999999999999999}'
    deep = '{"stage": "change", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"

    stays = stage.handle(odd, deep, stage.change())

    assert (stays, [document.title for document in stage.documents()]) == ([], ["Hello"])
    assert all(letter["reason"].startswith("not a change") for letter in stage.dead_letters())


def test_an_unexpected_error_is_tried_again_and_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNOUNCE_WINDOW_HOURS", "not a number")

    stays = stage.handle(stage.change(attempts=len(queues.SCHEDULE)))

    [letter] = stage.dead_letters()
    assert stays == []
    assert letter["reason"].startswith("unexpected ValueError at resolve.py:")


@pytest.mark.usefixtures("stage")
def test_a_command_that_aws_fails_has_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENT_TABLE", "no-such-table")

    answer = resolve.handler({"command": "check"}, None)

    assert (answer["ok"], "ResourceNotFound" in answer["message"]) == (False, True)


def test_check_hears_of_a_token_at_once(stage: Stage) -> None:
    client("ssm").put_parameter(
        Name="/buttersync/test/butter/read_token", Value="wrong", Type="SecureString", Overwrite=True
    )
    wrong = resolve.handler({"command": "check"}, None)
    client("ssm").put_parameter(
        Name="/buttersync/test/butter/read_token", Value=stage.sandbox.butter.token, Type="SecureString", Overwrite=True
    )

    assert (wrong["ok"], resolve.handler({"command": "check"}, None)["ok"]) == (False, True)


def test_check_says_whether_butter_accepts_the_token_and_whether_the_backfill_has_begun(stage: Stage) -> None:
    before = resolve.handler({"command": "check"}, None)
    stage.sandbox.site.publish_post("hello", title="Hello")
    resolve.handler({"command": "backfill"}, None)
    after = resolve.handler({"command": "check"}, None)

    assert (before["ok"], before["live"]) == (True, False)
    assert "has no posts" in before["message"]
    assert "backfill has not begun" in before["message"]
    assert (after["ok"], after["live"], after["message"]) == (
        True,
        True,
        "ButterCMS accepts the token and shows its posts",
    )


@pytest.mark.usefixtures("stage")
def test_check_reads_with_the_default_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_LOCALE", "xx")

    answer = resolve.handler({"command": "check"}, None)

    assert (answer["ok"], answer["status"]) == (False, "misconfigured")


@pytest.mark.usefixtures("stage")
def test_an_unknown_command_names_the_known_ones() -> None:
    answer = resolve.handler({"command": "bacfkill"}, None)

    assert answer["message"] == "unknown command 'bacfkill'; there are: check, backfill"


def test_a_backfill_brings_the_whole_site_and_says_how_far_it_is(stage: Stage) -> None:
    site = stage.sandbox.site
    for number in range(3):
        site.publish_post(f"post-{number}", title=f"Post {number}")
    site.publish_page("landing", "spring", {"headline": "Spring"})
    site.publish_page("*", "about", {"headline": "About"})
    site.publish_item("products", {"name": "Lamp"})
    site.save_draft_post("draft", title="Draft")

    begun = resolve.handler({"command": "backfill"}, None)
    halfway = resolve.handler(begun["progress"], None)
    stage.handle()
    done = resolve.handler(begun["progress"], None)

    assert (begun["ok"], begun["lists"], halfway["done"], done["done"]) == (True, 4, False, True)
    assert {name: one.get("listed") for name, one in done["lists"].items()} == {
        "post::en": 3,
        "page:*:en": 1,
        "page:landing:en": 1,
        "item:products:en": 1,
    }
    documents = stage.documents()
    assert {document.change for document in documents} == {"updated"}
    assert sorted(document.title for document in documents) == ["About", "Lamp", "Post 0", "Post 1", "Post 2", "Spring"]


def test_a_backfill_republishes_to_a_target_that_there_is(stage: Stage) -> None:
    stage.sandbox.site.publish_post("hello", title="Hello")
    resolve.handler({"command": "backfill"}, None)
    stage.handle()
    stage.documents()

    wrong = resolve.handler({"command": "backfill", "republish": "psotgres"}, None)
    right = resolve.handler({"command": "backfill", "republish": "postgres"}, None)
    stage.handle()

    assert wrong == {"ok": False, "message": "no target 'psotgres' to republish to; there are: all, postgres"}
    assert right["ok"]
    assert [document.title for document in stage.documents()] == ["Hello"]


def test_a_backfill_does_not_begin_with_a_wrong_token(stage: Stage) -> None:
    stage.set("read_token", "wrong")

    answer = resolve.handler({"command": "backfill"}, None)

    assert (answer["ok"], stage.receive(stage.queue)) == (False, [])
