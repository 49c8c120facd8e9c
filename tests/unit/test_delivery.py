"""The loop's rules, one by one: a batch of messages, a vendor that does as told, and each message's end."""

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from buttersync import delivery
from buttersync.model import Identity
from buttersync.outcomes import Failure, Misconfigured, Refused, Unavailable
from buttersync.queues import SCHEDULE
from buttersync.rows import ABSENT, Row
from buttersync.works import Busy, Skipped
from tests.fakes.cloud import DAY, QUEUE
from tests.fakes.target import ENOUGH_MS, PATH, WORST_CASE, Killed, Target, document, ref, target

FIRST_WAIT = (0.8 * SCHEDULE[0], SCHEDULE[0] + 1)


@pytest.fixture
def shop() -> Iterator[Target]:
    with target() as shop:
        yield shop


@pytest.fixture
def bare() -> Iterator[Target]:
    """A target for which nothing is stored in SSM."""
    with target() as bare:
        bare.cloud.ssm.parameters.clear()
        yield bare


def delivered(shop: Target) -> list[tuple[str, int]]:
    return [(one.identity.name, one.version) for call in shop.vendor.calls for one in call]


def metrics(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]


# Done


def test_a_document_that_was_applied_is_acknowledged_and_recorded(shop: Target) -> None:
    shop.send(document(version=5))

    failed = shop.round()

    row = shop.row()
    assert failed == set()
    assert (row["version"], row["status"], row["attempts"]) == (5, "done", 0)
    assert row["at"].endswith("+00:00")


def test_the_vendor_gets_the_whole_document_from_the_archive(shop: Target) -> None:
    shop.send(document(text="All the words", fields={"body": "<p>All the words</p>"}))

    shop.round()

    [[whole]] = shop.vendor.calls
    assert (whole.text, whole.fields) == ("All the words", {"body": "<p>All the words</p>"})
    assert shop.vendor.settings == {"key": "sesame"}


def test_what_the_message_says_a_document_is_wins_over_the_archive(shop: Target) -> None:
    shop.send(document(change="updated", text="All the words"))
    shop.cloud.sqs.queues[QUEUE].clear()
    shop.send(document(change="created"), archived=False)

    shop.round()

    [[whole]] = shop.vendor.calls
    assert (whole.change, whole.text) == ("created", "All the words")


def test_a_removed_document_is_not_looked_up_in_the_archive(shop: Target) -> None:
    shop.send(document(change="removed", archive_key=""), archived=False)

    assert shop.round() == set()
    assert delivered(shop) == [("hello", 5)]


def test_the_same_version_is_delivered_again_so_that_a_wiped_store_can_be_filled(shop: Target) -> None:
    for _ in range(2):
        shop.send(document(version=5))
        shop.round()

    assert delivered(shop) == [("hello", 5), ("hello", 5)]


# Malformed


def body(**changes: Any) -> str:
    return json.dumps({**json.loads(document().to_message()), **changes})


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("{", "truncated"),
        ("[" * 100_000, "got `array`"),
        (body().replace('"fields": {}', '"fields": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), "recursion"),
        (body(version="5"), "$.version"),
        (body(version=0), "$.version"),
        (body(version=2**63), "$.version"),
        (body(stage="change"), "$.stage"),
        (body(archive_key=""), "$.archive_key"),
        (body(identity={"kind": "post", "group": "", "name": "x" * 900, "locale": "en"}), "$.identity"),
        (body(identity={"kind": "post", "group": "", "name": "\N{TULIP}" * 250, "locale": "en"}), "900 bytes"),
        (body(title=None), "$.title"),
    ],
)
def test_a_malformed_message_is_dead_lettered_with_the_field_named(shop: Target, message: str, named: str) -> None:
    shop.send(message, kind="post")

    failed = shop.round()

    [letter] = shop.letters
    assert failed == set()
    assert letter.body == message
    assert letter.attributes["reason"].startswith("malformed: ")
    assert named in letter.attributes["reason"]
    assert (letter.attributes["attempts"], letter.attributes["kind"]) == ("0", "post")


def test_a_malformed_message_does_not_keep_its_batch_mates(shop: Target) -> None:
    shop.send("no JSON")
    shop.send(document())

    assert shop.round() == set()
    assert delivered(shop) == [("hello", 5)]
    assert len(shop.letters) == 1


def test_a_body_that_cannot_even_be_encoded_is_malformed(shop: Target) -> None:
    shop.send(document())
    [stored] = shop.cloud.sqs.receive()
    record = stored.record() | {"body": '"\ud800"'}

    answer = shop.invoke({"Records": [record]})

    assert answer == {"batchItemFailures": []}
    assert len(shop.letters) == 1


# Collapsing, and what is known already


def test_of_one_items_versions_in_a_batch_only_the_newest_is_delivered(shop: Target) -> None:
    for version in (6, 8, 7):
        shop.send(document(version=version))

    assert shop.round() == set()
    assert delivered(shop) == [("hello", 8)]


def test_a_removal_that_a_newer_version_overtook_is_not_delivered(shop: Target) -> None:
    shop.send(document(version=9))
    shop.send(document(version=8, change="removed"))

    shop.round()

    assert delivered(shop) == [("hello", 9)]


def test_two_messages_of_one_version_are_acknowledged_together(shop: Target) -> None:
    shop.send(document())
    shop.send(document())

    assert shop.round() == set()
    assert delivered(shop) == [("hello", 5)]


def test_two_messages_of_one_version_come_back_together(shop: Target) -> None:
    ids = {shop.send(document()), shop.send(document())}
    shop.vendor.always = Unavailable("503")

    assert shop.round() == ids
    assert all(FIRST_WAIT[0] <= shop.visible_in(one) <= FIRST_WAIT[1] for one in ids)


def test_two_messages_of_one_version_are_one_dead_letter(shop: Target) -> None:
    shop.send(document())
    shop.send(document())
    shop.vendor.always = Refused("no")

    assert shop.round() == set()
    assert len(shop.letters) == 1


def test_a_version_is_not_given_up_for_an_old_message_while_it_has_a_new_one(shop: Target) -> None:
    old = shop.send(document())
    shop.cloud.clock.now += 10 * DAY
    new = shop.send(document())
    shop.vendor.always = Unavailable("503")

    assert shop.round() == {old, new}
    assert shop.letters == []


def test_one_message_twice_in_a_batch_has_one_end(shop: Target) -> None:
    shop.send(document())
    [stored] = shop.cloud.sqs.receive()

    answer = shop.invoke({"Records": [stored.record(), stored.record()]})

    assert answer == {"batchItemFailures": []}
    assert delivered(shop) == [("hello", 5)]


def test_a_version_older_than_the_row_is_skipped(shop: Target) -> None:
    shop.send(document(version=8))
    shop.round()
    shop.send(document(version=7, change="removed"))

    assert shop.round() == set()
    assert delivered(shop) == [("hello", 8)]
    assert shop.row()["version"] == 8


def test_a_version_that_another_worker_overtook_during_the_delivery_is_skipped(shop: Target) -> None:
    shop.send(document(version=5))
    shop.vendor.before = lambda: shop.loop.table.write(ref("hello"), ABSENT, Row(6, "done"))

    assert shop.round() == set()
    assert shop.row()["version"] == 6
    assert len(shop.logged("skipped")) == 1


def test_rows_that_dynamodb_left_out_at_first_are_asked_for_again(shop: Target) -> None:
    for slug in ("a", "b", "c"):
        shop.send(document(slug, version=8))
    shop.round()
    for slug in ("a", "b", "c"):
        shop.send(document(slug, version=7))
    shop.cloud.dynamodb.left_out = 2

    shop.round()

    assert len(delivered(shop)) == 3
    assert shop.cloud.dynamodb.left_out == 0


def test_rows_that_dynamodb_keeps_leaving_out_bring_the_batch_back(shop: Target) -> None:
    ids = {shop.send(document(slug)) for slug in ("a", "b", "c", "d", "e", "f", "g")}
    shop.cloud.dynamodb.left_out = 100

    assert shop.round() == ids
    assert delivered(shop) == []


def test_more_rows_are_read_than_one_request_takes(shop: Target) -> None:
    for number in range(120):
        shop.send(document(f"post-{number}"))

    assert shop.round(most=120) == set()
    assert len(delivered(shop)) == 120


# Unavailable


def test_an_unavailable_vendor_sees_the_document_again_on_the_schedule(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.always = Unavailable("503 Service Unavailable")

    failed = shop.round()

    row = shop.row()
    assert failed == {message}
    assert FIRST_WAIT[0] <= shop.visible_in(message) <= FIRST_WAIT[1]
    assert (row["status"], row["attempts"], row["reason"]) == ("unavailable", 1, "503 Service Unavailable")
    assert row["not_before"] > shop.cloud.clock.now * 1000


def test_a_vendor_that_says_when_to_come_back_is_not_asked_sooner(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.outcomes[ref("hello")] = Unavailable("429", retry_after=777)

    shop.round()

    assert shop.visible_in(message) == 777


def test_an_early_wake_goes_back_to_sleep_and_counts_as_no_attempt(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.always = Unavailable("429", retry_after=500)
    shop.round()
    [stored] = shop.waiting
    stored.visible_at = shop.cloud.clock.now = shop.cloud.clock.now + 100

    assert shop.round() == {message}
    assert shop.visible_in(message) == 400
    assert (shop.row()["attempts"], shop.row()["ends"]) == (1, 2)
    assert len(shop.vendor.calls) == 1


def test_a_new_version_does_not_wait_for_the_old_ones_schedule(shop: Target) -> None:
    shop.send(document(version=5))
    shop.vendor.always = Unavailable("429", retry_after=5000)
    shop.round()
    shop.send(document(version=6))
    shop.vendor.always = None

    assert shop.round() == set()
    assert delivered(shop)[-1] == ("hello", 6)


def test_a_healed_vendor_leaves_no_attempts_behind(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Unavailable("503")
    shop.round()
    shop.vendor.always = None
    shop.live_on()

    row = shop.row()
    assert (row["status"], row["attempts"], row["not_before"], row["reason"], row["ends"]) == ("done", 0, 0, "", 0)


def test_one_unavailable_document_does_not_bring_its_batch_mates_back(shop: Target) -> None:
    lost = shop.send(document("lost"))
    shop.send(document("found"))
    shop.vendor.outcomes[ref("lost")] = Unavailable("locked")

    assert shop.round() == {lost}
    assert shop.row("found")["status"] == "done"
    assert len(shop.vendor.calls) == 1


# Misconfigured


def test_a_missing_setting_is_named_by_its_path_and_alarms(shop: Target, capsys: pytest.CaptureFixture[str]) -> None:
    message = shop.send(document())
    shop.cloud.ssm.parameters = {PATH + "other": "x", PATH + "key": " "}

    assert shop.round() == {message}
    assert shop.row()["reason"] == f"missing in SSM: {PATH}key"
    assert shop.vendor.calls == []
    assert metrics(capsys)[0]["Misconfigured"] == [1.0]


def test_a_bad_key_is_tried_on_the_long_steps_only(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.always = Misconfigured("403 Invalid API key")

    assert shop.round() == {message}
    assert shop.visible_in(message) >= 900
    assert shop.row()["status"] == "misconfigured"


def test_after_a_bad_key_settings_and_clients_are_made_anew(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Misconfigured("403 Invalid API key")
    shop.round()
    assert shop.vendor.resets == 1

    shop.cloud.ssm.parameters[PATH + "key"] = "mended"
    shop.vendor.always = None
    shop.live_on()

    assert shop.vendor.settings == {"key": "mended"}
    assert shop.row()["status"] == "done"


def test_settings_that_cannot_be_read_make_the_target_unavailable(shop: Target) -> None:
    message = shop.send(document())
    shop.cloud.ssm.down = True

    assert shop.round() == {message}
    assert shop.row()["status"] == "unavailable"


# Refused


def test_a_refused_document_is_dead_lettered_and_its_batch_mates_go_on(shop: Target) -> None:
    shop.send(document("bad"))
    shop.send(document("good"))
    shop.vendor.outcomes[ref("bad")] = Refused("22P05 cannot hold it")

    assert shop.round() == set()
    [letter] = shop.letters
    assert json.loads(letter.body)["identity"]["name"] == "bad"
    assert (letter.attributes["reason"], letter.attributes["target"]) == ("22P05 cannot hold it", "shop")
    assert (letter.attributes["attempts"], letter.attributes["kind"]) == ("1", "post")
    assert (shop.row("bad")["status"], shop.row("good")["status"]) == ("refused", "done")


def test_a_letter_that_was_not_taken_leaves_the_message_in_the_queue(shop: Target) -> None:
    message = shop.send(document())
    malformed = shop.send("no JSON")
    shop.vendor.always = Refused("no")
    shop.cloud.sqs.down.add("send_message")

    assert shop.round() == {message, malformed}
    assert shop.row() == {}


def test_a_dead_letter_whose_end_was_not_recorded_is_dead_all_the_same(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Refused("no")
    shop.cloud.dynamodb.down.add("update_item")

    assert shop.round() == set()
    assert len(shop.letters) == 1


def test_a_dead_letter_is_written_once_even_if_its_worker_dies_afterwards(shop: Target) -> None:
    shop.send("no JSON")
    shop.send(document("killer"))
    kill(shop)

    shop.round()

    assert len(shop.letters) == 1
    assert [one.body for one in shop.waiting] == [document("killer").to_message()]


def test_a_dead_letter_whose_message_could_not_be_deleted_leaves_that_to_the_functions_answer(shop: Target) -> None:
    shop.send("no JSON")
    shop.cloud.sqs.down.add("delete_message")

    assert shop.round() == set()
    assert len(shop.letters) == 1


def test_a_redriven_letter_has_a_whole_schedule_again(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Unavailable("503")
    shop.live_on()
    assert shop.row()["status"] == "dead"

    shop.redrive()
    shop.round()
    assert shop.row()["attempts"] == 1
    shop.live_on()

    [letter] = shop.letters
    assert letter.attributes["attempts"] == str(len(SCHEDULE) + 1)
    assert len(shop.vendor.calls) == 2 * (len(SCHEDULE) + 1)


def test_a_redriven_letter_that_was_refused_heals_when_the_vendor_takes_it_now(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Refused("too long")
    shop.round()
    shop.vendor.always = None
    shop.redrive()

    assert shop.round() == set()
    assert shop.row()["status"] == "done"


def test_a_reason_that_dynamodb_and_sqs_cannot_hold_is_cleaned(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Refused("odd \ud800\x00 words")

    assert shop.round() == set()
    assert shop.row()["reason"] == shop.letters[0].attributes["reason"] == "odd \ufffd\ufffd words"


# A call for several


@pytest.mark.parametrize("fault", [Refused("the batch has a bad row"), KeyError("secret content")])
def test_a_fault_of_the_whole_call_is_laid_at_the_door_of_the_one_that_causes_it(
    shop: Target, fault: Exception
) -> None:
    shop.send(document("good"))
    bad = shop.send(document("bad"))
    shop.send(document("fine"))
    shop.vendor.raises[ref("bad")] = fault

    failed = shop.round()

    assert failed == (set() if isinstance(fault, Refused) else {bad})
    assert (shop.row("good")["status"], shop.row("fine")["status"]) == ("done", "done")
    assert shop.row("bad")["status"] == ("refused" if isinstance(fault, Refused) else "unavailable")
    assert [len(call) for call in shop.vendor.calls] == [3, 1, 1, 1]


@pytest.mark.parametrize("failure", [Unavailable("503"), Misconfigured("401"), Busy("a lease runs", 7)])
def test_a_failure_of_the_vendor_holds_for_every_document_of_the_call(shop: Target, failure: Failure) -> None:
    ids = {shop.send(document(slug)) for slug in ("a", "b", "c")}
    shop.vendor.always = failure

    assert shop.round() == ids
    assert len(shop.vendor.calls) == 1


def test_an_unexpected_error_is_described_without_its_text(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = ValueError("the title is Hello")

    shop.round()

    reason = shop.row()["reason"]
    assert reason.startswith("unexpected ValueError at target.py:")
    assert "Hello" not in reason
    assert "Hello" not in str([record.__dict__ for record in shop.records])


@pytest.mark.parametrize(
    "answer",
    [lambda outcomes: outcomes[:-1], lambda outcomes: [*outcomes, None], lambda outcomes: [True] * len(outcomes)],
)
def test_an_adapter_that_answers_for_another_number_of_documents_loses_none(shop: Target, answer: Any) -> None:
    ids = {shop.send(document(slug)) for slug in ("a", "b")}
    shop.vendor.answer = answer

    assert shop.round() == ids
    assert "unexpected TypeError" in shop.row("a")["reason"]


def test_a_failure_of_no_kind_counts_as_unavailable(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.always = Failure("of no kind")

    assert shop.round() == {message}
    assert shop.row()["status"] == "unavailable"


@pytest.mark.parametrize("ending", [Skipped("withdrawn"), Busy("a lease runs", 7)])
def test_an_adapter_may_say_skipped_or_busy_itself(shop: Target, ending: Failure) -> None:
    message = shop.send(document())
    shop.vendor.always = ending

    failed = shop.round()

    if isinstance(ending, Busy):
        assert shop.visible_in(message) == 7
        assert (shop.row()["status"], shop.row()["attempts"]) == ("busy", 0)
    else:
        assert failed == set()


# Dormant


def test_a_target_without_settings_that_never_delivered_is_dormant(
    bare: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.send(document("a"))
    bare.send(document("b"))

    assert bare.round() == set()
    assert bare.row("a") == {}
    assert bare.vendor.calls == []
    [line] = metrics(capsys)
    assert line["Dormant"] == [2.0]
    assert "Misconfigured" not in line


def test_a_dormant_target_hears_of_its_first_settings_at_once(bare: Target) -> None:
    bare.send(document("a"))
    bare.round()

    bare.cloud.ssm.parameters[PATH + "key"] = "open sesame"
    bare.send(document("b"))
    bare.round()

    assert [[one.identity.name for one in call] for call in bare.vendor.calls] == [["b"]]


@pytest.mark.parametrize(("minutes", "counted"), [(59, False), (61, True)])
def test_a_document_that_still_fails_after_an_hour_counts_as_behind(
    shop: Target, capsys: pytest.CaptureFixture[str], minutes: int, counted: bool
) -> None:
    shop.send(document())
    shop.vendor.always = Unavailable("503")
    shop.cloud.clock.now += minutes * 60

    shop.round()

    [line] = metrics(capsys)
    assert ("Behind" in line) == counted


@pytest.mark.parametrize("cold", [False, True])
def test_a_target_that_has_delivered_is_misconfigured_when_its_settings_are_gone(shop: Target, cold: bool) -> None:
    shop.send(document("before"))
    shop.round()
    shop.cloud.ssm.parameters.clear()
    if cold:
        shop.start_worker()
    else:
        shop.loop.forget()
    message = shop.send(document("after"))

    assert shop.round() == {message}
    assert shop.row("after")["reason"] == f"missing in SSM: {PATH}key"


def test_a_target_with_some_settings_is_not_dormant(bare: Target) -> None:
    bare.cloud.ssm.parameters[PATH + "other"] = "x"
    message = bare.send(document())

    assert bare.round() == {message}


def test_nobody_is_taken_for_dormant_while_the_table_is_down(bare: Target) -> None:
    message = bare.send(document())
    bare.cloud.dynamodb.down.add("get_item")

    assert bare.round() == {message}


def test_a_first_delivery_that_could_not_be_remembered_is_remembered_by_the_next(shop: Target) -> None:
    shop.send(document("a"))
    shop.cloud.dynamodb.down.add("update_item delivered")
    assert shop.round() == set()
    assert "shop|delivered" not in shop.cloud.dynamodb.tables["deliveries"]

    shop.cloud.dynamodb.down.clear()
    shop.send(document("b"))
    shop.round()

    assert "shop|delivered" in shop.cloud.dynamodb.tables["deliveries"]


# The archive


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied"])
def test_a_document_that_is_gone_from_the_archive_is_refused_with_the_command_that_brings_it_back(
    shop: Target, code: str
) -> None:
    shop.send(document(), archived=False)
    shop.cloud.s3.missing = code

    assert shop.round() == set()
    [letter] = shop.letters
    assert '{"command":"backfill","republish":"shop"}' in letter.attributes["reason"]
    assert shop.row()["status"] == "refused"


def test_a_document_that_is_gone_while_the_content_table_has_a_newer_one_is_skipped(shop: Target) -> None:
    shop.send(document(version=5), archived=False)
    shop.cloud.dynamodb.tables["contents"][ref("hello")] = {"version": {"N": "6"}}

    assert shop.round() == set()
    assert shop.letters == []


def test_a_document_that_is_gone_though_it_is_the_newest_is_refused(shop: Target) -> None:
    shop.send(document(version=5), archived=False)
    shop.cloud.dynamodb.tables["contents"][ref("hello")] = {"version": {"N": "5"}}

    shop.round()

    assert len(shop.letters) == 1


def test_a_document_that_is_gone_waits_for_a_content_table_that_is_down(shop: Target) -> None:
    message = shop.send(document(), archived=False)
    shop.send(document("other"))
    shop.cloud.dynamodb.down.add("get_item")

    assert shop.round() == {message}
    assert shop.row()["status"] == "unavailable"
    assert shop.row("other")["status"] == "done"


@pytest.mark.parametrize("error", ["NoSuchBucket", "SlowDown", ReadTimeoutError(endpoint_url="https://s3.test")])
def test_an_archive_that_fails_is_unavailable_and_keeps_no_batch_mate(shop: Target, error: str | Exception) -> None:
    lost = shop.send(document("lost"))
    shop.send(document("found"))
    shop.cloud.s3.errors[document("lost").archive_key] = error

    assert shop.round() == {lost}
    assert shop.row("lost")["status"] == "unavailable"
    assert shop.row("found")["status"] == "done"


def test_an_archive_object_that_is_no_document_is_refused(shop: Target) -> None:
    shop.send(document())
    shop.cloud.s3.objects[document().archive_key] = b'{"stage":"document"}'

    assert shop.round() == set()
    assert "malformed" in shop.letters[0].attributes["reason"]


# Time


def test_what_no_longer_fits_into_the_functions_time_is_handed_back(shop: Target) -> None:
    message = shop.send(document())
    shop.remaining = lambda: (WORST_CASE + delivery.MARGIN) * 1000 - 1

    assert shop.round() == {message}
    assert shop.vendor.calls == []
    assert shop.visible_in(message) == delivery.BUSY_SECONDS
    assert (shop.row()["status"], shop.row()["attempts"], shop.row()["ends"]) == ("busy", 0, 1)


def test_the_time_is_looked_at_again_before_each_single_try(shop: Target) -> None:
    shop.send(document("a"))
    late = {shop.send(document("b")), shop.send(document("c"))}
    left = iter([ENOUGH_MS, ENOUGH_MS, ENOUGH_MS, 0, 0])
    shop.remaining = lambda: next(left)
    shop.vendor.answer = lambda outcomes: [] if len(outcomes) > 1 else outcomes

    assert shop.round() == late
    assert shop.row("a")["status"] == "done"


def test_the_archive_is_no_longer_read_when_the_time_to_deliver_is_gone(shop: Target) -> None:
    ids = [shop.send(document(f"post-{number}")) for number in range(50)]
    shop.remaining = lambda: ENOUGH_MS - 2_000 * len(shop.cloud.s3.read)

    failed = shop.round(most=50)

    assert failed == set(ids)
    assert len(shop.cloud.s3.read) == 2 * delivery.LOADERS
    assert {shop.row(f"post-{number}")["status"] for number in range(50)} == {"busy"}


def test_a_batch_of_usual_articles_is_one_call(shop: Target) -> None:
    for number in range(50):
        shop.send(document(f"post-{number}", text="word " * 2_000, fields={"body": "<p>word</p>" * 2_000}))

    assert shop.round(most=50) == set()
    assert [len(call) for call in shop.vendor.calls] == [50]


def test_long_documents_are_delivered_in_several_calls_so_that_the_memory_holds_them(shop: Target) -> None:
    for number in range(6):
        shop.send(document(f"post-{number}", text="x" * (delivery.CALL_CHARACTERS // 2)))

    assert shop.round() == set()
    assert [len(call) for call in shop.vendor.calls] == [2, 2, 2]
    assert {shop.row(f"post-{number}")["status"] for number in range(6)} == {"done"}


def test_calls_that_no_longer_fit_are_handed_back_and_those_before_are_done(shop: Target) -> None:
    ids = [shop.send(document(f"post-{number}", text="x" * delivery.CALL_CHARACTERS)) for number in range(3)]
    shop.remaining = lambda: 0 if shop.vendor.calls else ENOUGH_MS

    assert shop.round() == set(ids[1:])
    assert [shop.row(f"post-{number}")["status"] for number in range(3)] == ["done", "busy", "busy"]


def test_a_message_that_never_fits_is_dead_lettered_after_ten_days(shop: Target) -> None:
    shop.send(document())
    shop.remaining = lambda: 0
    shop.round()
    shop.cloud.clock.now += 10 * DAY

    assert shop.round() == set()
    assert "did not fit" in shop.letters[0].attributes["reason"]


# The table fails


def test_while_the_table_is_down_messages_come_back_by_their_receive_count(shop: Target) -> None:
    message = shop.send(document())
    shop.cloud.dynamodb.down.add("batch_get_item")

    waits = []
    for _ in range(4):
        assert shop.round() == {message}
        waits.append(shop.visible_in(message))
        shop.cloud.clock.now += waits[-1]

    assert shop.vendor.calls == []
    assert waits == sorted(waits)
    assert waits[-1] >= 0.8 * SCHEDULE[3]


def test_what_was_applied_but_not_recorded_comes_back_and_is_applied_again(shop: Target) -> None:
    message = shop.send(document())
    shop.cloud.dynamodb.down.add("update_item")
    assert shop.round() == {message}

    shop.cloud.dynamodb.down.clear()
    shop.live_on()

    assert delivered(shop) == [("hello", 5), ("hello", 5)]
    assert shop.row()["status"] == "done"


def test_what_can_never_be_recorded_ends_in_the_dead_letter_queue_after_ten_days(shop: Target) -> None:
    shop.send(document())
    shop.cloud.dynamodb.down.add("update_item")

    shop.live_on()

    [letter] = shop.letters
    assert 10 * DAY <= letter.sent_at - 1_764_000_000 < 10.6 * DAY
    assert "the delivery table" in letter.attributes["reason"]


def test_a_table_out_of_reach_is_told_from_a_condition_that_failed(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.before = lambda: setattr(shop.cloud.dynamodb, "out_of_reach", True)

    assert shop.round() == {message}
    assert shop.logged("skipped") == []


# Our own faults


def test_a_fault_of_the_loop_itself_returns_every_message_that_has_no_end(shop: Target) -> None:
    shop.send("no JSON")
    ids = {shop.send(document(slug)) for slug in ("a", "b")}
    shop.cloud.dynamodb.batch_get_item = lambda **_: {}  # type: ignore[method-assign]

    assert shop.round() == ids
    assert any("unexpected KeyError" in record.getMessage() for record in shop.records)


def test_a_reset_that_fails_takes_nothing_back(shop: Target) -> None:
    message = shop.send(document())
    shop.vendor.always = Misconfigured("401")
    shop.loop.adapter.__dict__["reset"] = lambda: 1 / 0

    assert shop.round() == {message}
    assert shop.row()["status"] == "misconfigured"


# What is logged and counted


def test_every_end_is_counted_under_service_and_stage_alone(shop: Target, capsys: pytest.CaptureFixture[str]) -> None:
    shop.send("no JSON")
    for slug, outcome in {"u": Unavailable("503"), "m": Misconfigured("401"), "r": Refused("no"), "d": None}.items():
        shop.send(document(slug))
        shop.vendor.outcomes[ref(slug)] = outcome
    shop.send(document("d", version=4))

    shop.round()

    [line] = metrics(capsys)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "buttersync"
    assert sorted(directive["Dimensions"][0]) == ["service", "stage"]
    assert len(directive["Dimensions"]) == 1
    assert (line["service"], line["stage"]) == ("shop", "test")
    assert {metric["Name"]: (line[metric["Name"]], metric["Unit"]) for metric in directive["Metrics"]} == {
        "Delivered": ([1.0], "Count"),
        "Skipped": ([1.0], "Count"),
        "Unavailable": ([1.0], "Count"),
        "Misconfigured": ([1.0], "Count"),
        "Refused": ([2.0], "Count"),
        "DeadLettered": ([2.0], "Count"),
    }


def test_nothing_is_counted_when_nothing_happened(shop: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.invoke({"Records": []}) == {"batchItemFailures": []}
    assert metrics(capsys) == []


def test_the_log_names_the_document_and_never_what_is_in_it(shop: Target) -> None:
    shop.send(document(title="A secret title", text="Secret words"))

    shop.round()

    [record] = shop.logged("done")
    assert (record.__dict__["ref"], record.__dict__["version"]) == (ref("hello"), 5)
    everything = str([record.__dict__ for record in shop.records])
    assert "secret" not in everything.lower()
    assert "sesame" not in everything


# Commands


def test_check_looks_with_the_settings_of_this_moment(shop: Target) -> None:
    shop.invoke({"command": "check"})
    shop.cloud.ssm.parameters[PATH + "key"] = "new"

    answer = shop.invoke({"command": "check"})

    assert answer == {"target": "shop", "ok": True, "settings": "complete", "message": "new looks well"}


def test_setup_prepares_the_target(shop: Target) -> None:
    assert shop.invoke({"command": "setup"})["message"] == "sesame is set up"


def test_check_names_what_is_missing(shop: Target) -> None:
    shop.cloud.ssm.parameters = {PATH + "other": "x"}

    answer = shop.invoke({"command": "check"})

    assert (answer["ok"], answer["settings"]) == (False, "incomplete")
    assert answer["message"] == f"missing in SSM: {PATH}key"


def test_check_says_that_a_target_is_dormant(bare: Target) -> None:
    answer = bare.invoke({"command": "check"})

    assert (answer["ok"], answer["settings"]) == (False, "dormant")
    assert PATH in answer["message"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [(Misconfigured("401 Unauthorized"), "401 Unauthorized"), (ValueError("sesame"), "unexpected ValueError at ")],
)
def test_check_answers_whatever_the_vendor_does(shop: Target, fault: Exception, message: str) -> None:
    shop.vendor.always = fault

    answer = shop.invoke({"command": "check"})

    assert (answer["ok"], answer["settings"]) == (False, "complete")
    assert answer["message"].startswith(message)
    assert "sesame" not in answer["message"]


def test_check_answers_without_ssm(shop: Target) -> None:
    shop.cloud.ssm.down = True

    answer = shop.invoke({"command": "check"})

    assert (answer["ok"], answer["settings"]) == (False, "unread")


@pytest.mark.parametrize("event", [{"command": "chekc"}, {}])
def test_an_unknown_command_is_an_error_that_lists_the_commands(shop: Target, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="check, setup"):
        shop.invoke(event)


def test_a_function_reads_its_environment_at_its_first_event_and_keeps_its_loop(shop: Target) -> None:
    vendor = shop.vendor
    handler = delivery.handler(
        "shop",
        required=("key",),
        deliver=vendor.deliver,
        check=vendor.check,
        setup=vendor.setup,
        reset=vendor.reset,
        worst_case=WORST_CASE,
    )
    shop.cloud.clock.now = 0
    shop.send(document())
    [stored] = shop.cloud.sqs.receive()

    answer = handler({"Records": [stored.record()]}, SimpleNamespace(get_remaining_time_in_millis=lambda: ENOUGH_MS))

    assert answer == {"batchItemFailures": []}
    assert handler({"command": "check"}, None)["ok"]


# Killed workers


def kill(shop: Target, slug: str = "killer") -> None:
    shop.vendor.raises[ref(slug)] = Killed()


def receive(shop: Target, times: int) -> None:
    """As if that many workers had died with what is in the queue."""
    for _ in range(times):
        shop.cloud.sqs.receive()
        for stored in shop.waiting:
            stored.visible_at = shop.cloud.clock.now


def test_what_was_received_four_times_without_an_end_is_handled_alone_at_the_fifth(shop: Target) -> None:
    shop.send(document("a"))
    shop.send(document("b"))
    receive(shop, 4)
    shop.send(document("healthy"))

    assert shop.round() == set()
    assert [[one.identity.name for one in call] for call in shop.vendor.calls] == [["healthy"], ["a"], ["b"]]
    assert shop.row("a")["marks"] == 0


def test_a_suspect_stays_one_when_a_fresh_message_of_its_version_joins_it(shop: Target) -> None:
    shop.send(document())
    receive(shop, 4)
    shop.send(document())
    shop.send(document("healthy"))

    shop.round()

    assert [[one.identity.name for one in call] for call in shop.vendor.calls] == [["healthy"], ["hello"]]


def test_a_suspect_is_marked_before_it_starts_and_unmarked_after_any_end(shop: Target) -> None:
    shop.send(document())
    receive(shop, 4)
    shop.vendor.always = Unavailable("503")
    seen: list[dict[str, Any]] = []
    shop.vendor.before = lambda: seen.append(shop.row())

    shop.round()

    assert (seen[0]["status"], seen[0]["marks"]) == ("started", 1)
    assert (shop.row()["status"], shop.row()["marks"], shop.row()["ends"]) == ("unavailable", 0, 1)


def test_a_suspect_that_does_not_fit_into_the_time_is_not_marked(shop: Target) -> None:
    shop.send(document())
    receive(shop, 4)
    shop.remaining = lambda: 0

    shop.round()

    assert (shop.row()["status"], shop.row()["marks"]) == ("busy", 0)


def test_a_suspect_that_cannot_be_marked_is_not_started(shop: Target) -> None:
    message = shop.send(document())
    receive(shop, 4)
    shop.cloud.dynamodb.down.add("update_item")

    assert shop.round() == {message}
    assert shop.vendor.calls == []


def test_waits_and_early_wakes_raise_no_suspicion(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Unavailable("429", retry_after=900)
    for _ in range(9):
        shop.round()
        shop.cloud.clock.now += 60
        for stored in shop.waiting:
            stored.visible_at = shop.cloud.clock.now
    assert (shop.row()["ends"], shop.row()["marks"]) == (9, 0)
    shop.cloud.clock.now += 900
    shop.send(document("other"))

    shop.round()

    assert [len(call) for call in shop.vendor.calls] == [1, 2]


def test_a_suspect_that_is_busy_is_unmarked_too(shop: Target) -> None:
    shop.send(document())
    receive(shop, 4)
    shop.vendor.always = Busy("a lease runs", 7)

    shop.round()

    assert (shop.row()["status"], shop.row()["marks"], shop.row()["ends"]) == ("busy", 0, 1)


def test_of_several_suspects_the_one_that_was_never_begun_comes_first(shop: Target) -> None:
    shop.send(document("killer"))
    kill(shop)
    receive(shop, 4)
    shop.round()
    shop.send(document("mate"))
    shop.cloud.clock.now += shop.cloud.sqs.visibility
    receive(shop, 4)

    shop.round()

    assert [[one.identity.name for one in call] for call in shop.vendor.calls] == [["killer"], ["mate"], ["killer"]]


def test_found_marked_three_times_it_is_dead_lettered_as_a_killer(shop: Target) -> None:
    shop.send(document("killer"))
    kill(shop)

    shop.live_on()

    [letter] = shop.letters
    assert letter.attributes["reason"].startswith("kills its worker")
    assert (shop.row("killer")["status"], shop.row("killer")["marks"]) == ("dead", 0)
    assert len(shop.vendor.calls) == 4 + 3


def test_a_marked_one_is_handled_alone_whatever_its_receive_count(shop: Target) -> None:
    shop.send(document("killer"))
    kill(shop)
    receive(shop, 4)
    shop.round()
    shop.send(document("mate"))
    shop.send(document("killer"))
    for stored in shop.waiting:
        stored.receives = 0

    shop.round()

    assert [[one.identity.name for one in call] for call in shop.vendor.calls][1:] == [["mate"], ["killer"]]


def test_a_killer_that_was_mended_is_delivered_after_a_redrive(shop: Target) -> None:
    shop.send(document("killer"))
    kill(shop)
    shop.live_on()
    shop.vendor.raises.clear()
    shop.redrive()

    assert shop.round() == set()
    assert shop.row("killer")["status"] == "done"


def test_a_row_is_read_back_as_it_was_written(shop: Target) -> None:
    row = Row(9, "unavailable", 3, 1_764_000_000_123, "503", 7, 2)
    other = Identity("page", "landing", "home", "de").ref

    shop.loop.table.write(other, ABSENT, row)

    assert shop.loop.table.read([other]) == {other: row}


def test_two_workers_with_one_version_do_not_undo_each_others_writes(shop: Target) -> None:
    asleep = Row(5, "unavailable", 2, 1_764_000_000_000, "503", 2)
    shop.loop.table.write(ref("hello"), ABSENT, asleep)
    shop.loop.table.write(ref("hello"), asleep, Row(5, "done"))

    shop.loop.table.write(ref("hello"), asleep, replace(asleep, ends=3))

    assert (shop.row()["status"], shop.row()["ends"]) == ("done", 3)
