"""When a message comes back, when it is given up, and what a dead letter says."""

from collections.abc import Iterator

import pytest
from botocore.exceptions import BotoCoreError
from hypothesis import given
from hypothesis import strategies as st

from buttersync import queues
from buttersync.queues import GIVE_UP_AGE, LONG_STEP, LONGEST_STEP, SCHEDULE, Message, Queue, delay, exhausted
from tests.fakes.cloud import DEAD_LETTERS, QUEUE, Cloud

ATTEMPTS = st.integers(0, 50)
JITTER = st.floats(0, 1)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud().installed() as cloud:
        yield cloud


@pytest.fixture
def queue() -> Queue:
    return Queue(QUEUE, DEAD_LETTERS)


def least(attempts: int) -> float:
    return delay(attempts, random=lambda: 0.0)


def test_the_schedule_spans_more_than_a_day_even_with_the_least_jitter() -> None:
    assert sum(least(attempts) for attempts in range(1, len(SCHEDULE) + 1)) > 24 * 3600


def test_every_step_ends_before_sqs_would_show_the_message_again() -> None:
    assert max(SCHEDULE) <= LONGEST_STEP == 11.5 * 3600


def test_the_whole_schedule_ends_before_the_message_is_too_old() -> None:
    assert sum(max(step, LONG_STEP) for step in SCHEDULE) < GIVE_UP_AGE


@given(ATTEMPTS, JITTER)
def test_a_later_attempt_never_waits_less_than_the_least_of_an_earlier_one(attempts: int, jitter: float) -> None:
    assert delay(attempts + 1, random=lambda: jitter) >= least(attempts)


@given(ATTEMPTS, JITTER)
def test_a_wait_lies_between_four_fifths_of_its_step_and_the_whole(attempts: int, jitter: float) -> None:
    step = SCHEDULE[min(max(attempts, 1), len(SCHEDULE)) - 1]

    assert 0.8 * step <= delay(attempts, random=lambda: jitter) <= step


@given(ATTEMPTS, st.floats(0, 1e9), st.booleans(), JITTER)
def test_nobody_comes_back_before_the_vendor_said(attempts: int, after: float, wrong: bool, jitter: float) -> None:
    assert delay(attempts, after, misconfigured=wrong, random=lambda: jitter) >= after


@given(ATTEMPTS, JITTER)
def test_what_only_a_person_can_mend_is_tried_every_quarter_of_an_hour_at_most(attempts: int, jitter: float) -> None:
    assert delay(attempts, misconfigured=True, random=lambda: jitter) >= 900


@pytest.mark.parametrize("misconfigured", [False, True])
@given(ATTEMPTS)
def test_two_messages_that_failed_together_do_not_come_back_together(misconfigured: bool, attempts: int) -> None:
    assert len({delay(attempts, misconfigured=misconfigured) for _ in range(20)}) > 1


def test_every_step_is_waited_for_before_a_message_is_given_up() -> None:
    assert not exhausted(len(SCHEDULE), sent_at=0, now=0)
    assert exhausted(len(SCHEDULE) + 1, sent_at=0, now=0)


def test_a_message_of_ten_days_is_given_up_at_its_first_failure() -> None:
    ten_days = 10 * 86_400_000

    assert not exhausted(1, sent_at=1_000, now=1_000 + ten_days - 1)
    assert exhausted(1, sent_at=1_000, now=1_000 + ten_days)


def test_a_message_is_hidden_for_whole_seconds_rounded_up(cloud: Cloud, queue: Queue) -> None:
    queue.send("{}", {})
    [stored] = cloud.sqs.receive()

    queue.later(stored.receipt, 4.2)

    assert stored.visible_at == cloud.clock.now + 5


@pytest.mark.parametrize(("seconds", "hidden"), [(-3, 0), (3e6, LONGEST_STEP)])
def test_a_message_is_never_hidden_for_longer_than_sqs_allows(
    cloud: Cloud, queue: Queue, seconds: float, hidden: int
) -> None:
    queue.send("{}", {})
    [stored] = cloud.sqs.receive()

    queue.later(stored.receipt, seconds)

    assert stored.visible_at == cloud.clock.now + hidden


def test_a_visibility_that_cannot_be_changed_harms_nothing(cloud: Cloud, queue: Queue) -> None:
    queue.send("{}", {})
    [stored] = cloud.sqs.receive()
    cloud.sqs.down.add("change_message_visibility")

    queue.later(stored.receipt, 5)

    assert stored.visible_at == cloud.clock.now + cloud.sqs.visibility


def test_a_message_is_sent_with_its_attributes_after_at_most_a_quarter_of_an_hour(cloud: Cloud, queue: Queue) -> None:
    queue.send('{"a": 1}', {"stage": "change"}, delay=3600)

    [stored] = cloud.sqs.queues[QUEUE]
    assert (stored.body, stored.attributes) == ('{"a": 1}', {"stage": "change"})
    assert stored.visible_at == cloud.clock.now + 900


def test_a_dead_letter_says_why_for_whom_after_how_many_attempts_and_when(cloud: Cloud, queue: Queue) -> None:
    queue.dead_letter('{"a": 1}', {"stage": "document", "target": "all"}, "no such column", "postgres", 11)

    [letter] = cloud.sqs.queues[DEAD_LETTERS]
    time = letter.attributes.pop("time")
    assert letter.body == '{"a": 1}'
    assert letter.attributes == {
        "stage": "document",
        "target": "postgres",
        "reason": "no such column",
        "attempts": "11",
    }
    assert time.endswith("+00:00")


def test_a_letter_that_died_twice_has_the_reason_of_its_second_death(cloud: Cloud, queue: Queue) -> None:
    queue.dead_letter("{}", {"reason": "first", "attempts": "3", "time": "then", "kind": "post"}, "second", "shop", 1)

    [letter] = cloud.sqs.queues[DEAD_LETTERS]
    assert (letter.attributes["reason"], letter.attributes["attempts"], letter.attributes["kind"]) == (
        "second",
        "1",
        "post",
    )
    assert letter.attributes["time"] != "then"


def test_a_letter_that_died_twice_keeps_what_subscriptions_filter_by(cloud: Cloud, queue: Queue) -> None:
    end = {"attempts": "3", "reason": "first", "target": "shop", "time": "then"}
    own = {"change": "updated", "kind": "post", "locale": "en", "stage": "document"}

    queue.dead_letter("{}", {**end, **own}, "second", "shop", 1)

    [letter] = cloud.sqs.queues[DEAD_LETTERS]
    assert set(letter.attributes) == {*end, *own}


def test_a_letter_has_no_more_attributes_than_sqs_takes(cloud: Cloud, queue: Queue) -> None:
    queue.dead_letter("{}", {f"a{number}": "x" for number in range(10)}, "why", "shop", 1)

    [letter] = cloud.sqs.queues[DEAD_LETTERS]
    assert len(letter.attributes) == 10
    assert {"reason", "target", "attempts", "time"} < set(letter.attributes)


@given(st.text(st.characters(), max_size=400), st.text(st.characters(), max_size=400))
def test_whatever_characters_it_holds_a_message_can_be_dead_lettered(body: str, reason: str) -> None:
    with Cloud().installed() as cloud:
        Queue(QUEUE, DEAD_LETTERS).dead_letter(body, {"odd": "\x00"}, reason, "shop", 0)

        [letter] = cloud.sqs.queues[DEAD_LETTERS]
        assert len(letter.attributes["reason"]) <= 300


@given(st.text(st.characters(), min_size=1, max_size=400))
def test_whatever_characters_it_holds_a_message_can_be_sent(body: str) -> None:
    with Cloud().installed() as cloud:
        Queue(QUEUE, DEAD_LETTERS).send(body, {"odd": "\x00"})

        assert len(cloud.sqs.queues[QUEUE]) == 1


def test_a_character_that_sqs_refuses_is_replaced_in_a_message(cloud: Cloud, queue: Queue) -> None:
    queue.send('{"a": "x\ufffe\uffff"}', {})

    assert cloud.sqs.queues[QUEUE][0].body == '{"a": "x\ufffd\ufffd"}'


def test_a_letter_that_sqs_does_not_take_is_an_error_so_that_the_message_stays(cloud: Cloud, queue: Queue) -> None:
    cloud.sqs.down.add("send_message")

    with pytest.raises(BotoCoreError):
        queue.dead_letter("{}", {}, "why", "shop", 1)


def test_a_record_of_the_event_becomes_a_message() -> None:
    record = {
        "messageId": "id-1",
        "receiptHandle": "receipt-1",
        "body": "{}",
        "attributes": {"ApproximateReceiveCount": "3", "SentTimestamp": "1764000000123"},
        "messageAttributes": {
            "stage": {"stringValue": "document", "dataType": "String"},
            "picture": {"binaryValue": "aGk=", "dataType": "Binary"},
        },
    }

    message = Message.from_record(record)

    assert message == Message("id-1", "receipt-1", "{}", {"stage": "document"}, 3, 1_764_000_000_123)


@given(st.text())
def test_what_is_sendable_already_is_left_as_it_is(text: str) -> None:
    cleaned = queues.sendable(text)

    assert queues.sendable(cleaned) == cleaned
    assert len(cleaned) == len(text)


def test_every_character_that_sqs_takes_is_sendable_and_no_other() -> None:
    taken = [0x9, 0xA, 0xD, *range(0x20, 0xD800), *range(0xE000, 0xFFFE), *range(0x10000, 0x110000)]
    refused = sorted(set(range(0x110000)) - set(taken))

    assert queues.sendable("".join(map(chr, taken))) == "".join(map(chr, taken))
    assert queues.sendable("".join(map(chr, refused))) == "\ufffd" * len(refused)
