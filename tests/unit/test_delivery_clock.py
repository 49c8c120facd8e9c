"""Weeks on a virtual clock: the real loop between queues with visibility, receive counts and retention."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.outcomes import Misconfigured, Outcome, Unavailable
from buttersync.queues import SCHEDULE
from tests.fakes.cloud import DAY
from tests.fakes.target import PATH, Killed, Target, document, ref, target

HOUR = 3600


@pytest.fixture
def shop() -> Iterator[Target]:
    with target() as shop:
        yield shop


def since(start: float, shop: Target) -> float:
    return shop.cloud.clock.now - start


@pytest.mark.parametrize("_", range(5))
def test_a_vendor_that_never_answers_is_tried_for_more_than_a_day_and_then_given_up(shop: Target, _: int) -> None:
    start = shop.cloud.clock.now
    shop.send(document())
    shop.vendor.always = Unavailable("connection refused")

    shop.live_on()

    [letter] = shop.letters
    assert DAY < since(start, shop) < 2 * DAY
    assert letter.attributes["reason"] == "connection refused"
    assert letter.attributes["attempts"] == str(len(shop.vendor.calls)) == str(len(SCHEDULE) + 1)
    assert shop.row()["status"] == "dead"


def test_an_outage_of_a_night_heals_without_anybody(shop: Target) -> None:
    start = shop.cloud.clock.now
    for number in range(30):
        shop.send(document(f"post-{number}"))
    shop.vendor.always = Unavailable("connection refused")
    shop.vendor.before = lambda: setattr(
        shop.vendor, "always", None if since(start, shop) > 8 * HOUR else shop.vendor.always
    )

    shop.live_on()

    assert shop.letters == []
    assert {shop.row(f"post-{number}")["status"] for number in range(30)} == {"done"}


def test_a_key_that_is_mended_the_next_morning_heals_everything_that_waited(shop: Target) -> None:
    start = shop.cloud.clock.now
    for slug in ("a", "b"):
        shop.send(document(slug))
    del shop.cloud.ssm.parameters[PATH + "key"]
    shop.cloud.ssm.parameters[PATH + "other"] = "x"
    while since(start, shop) < 10 * HOUR:
        shop.cloud.clock.now = min(one.visible_at for one in shop.waiting)
        shop.round()

    shop.cloud.ssm.parameters[PATH + "key"] = "mended"
    shop.live_on()

    assert shop.letters == []
    assert (shop.row("a")["status"], shop.row("b")["status"]) == ("done", "done")
    assert shop.vendor.settings["key"] == "mended"


def test_a_retry_after_of_weeks_wakes_twice_a_day_and_asks_the_vendor_once(shop: Target) -> None:
    start = shop.cloud.clock.now
    shop.send(document())
    shop.vendor.always = Unavailable("429 monthly quota", retry_after=21 * DAY)

    shop.live_on(rounds=30)

    [letter] = shop.letters
    assert len(shop.vendor.calls) == 1
    assert 10 * DAY <= since(start, shop) < 10.5 * DAY
    assert letter.attributes["reason"] == "429 monthly quota"


def test_a_retry_after_of_days_is_kept_to_the_second(shop: Target) -> None:
    start = shop.cloud.clock.now
    shop.send(document())
    shop.vendor.always = Unavailable("429", retry_after=3 * DAY)
    shop.round()
    shop.vendor.always = None

    shop.live_on()

    assert 3 * DAY <= since(start, shop) < 3 * DAY + 2
    assert len(shop.vendor.calls) == 2


OUTCOMES = st.sampled_from([Unavailable("503"), Unavailable("429", retry_after=2 * DAY), Misconfigured("401")])


@settings(deadline=None, max_examples=50)
@given(st.lists(OUTCOMES, max_size=14), st.booleans())
def test_whatever_a_vendor_answers_a_document_is_delivered_or_dead_lettered_in_time(
    answers: list[Outcome], heals: bool
) -> None:
    with target() as shop:
        start = shop.cloud.clock.now
        shop.send(document())
        script = iter(answers)
        last = None if heals else Unavailable("503")
        shop.vendor.before = lambda: shop.vendor.outcomes.update({ref("hello"): next(script, last)})

        shop.live_on()

        assert since(start, shop) < 10.5 * DAY
        assert (shop.row()["status"] == "done") is (not shop.letters)
        assert shop.row()["status"] in ("done", "dead")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 10))
def test_what_kills_its_worker_is_given_up_and_its_batch_mates_survive(kills: list[bool], batch: int) -> None:
    with target() as shop:
        for number, killer in enumerate(kills):
            shop.send(document(f"post-{number}"))
            if killer:
                shop.vendor.raises[ref(f"post-{number}")] = Killed()

        shop.live_on(most=batch)

        statuses = [shop.row(f"post-{number}")["status"] for number in range(len(kills))]
        assert statuses == ["dead" if killer else "done" for killer in kills]
        assert len(shop.letters) == sum(kills)
        assert all(letter.attributes["reason"].startswith("kills its worker") for letter in shop.letters)


def test_a_worker_that_died_of_something_else_leaves_no_suspicion_behind(shop: Target) -> None:
    shop.send(document())
    shop.vendor.always = Killed()
    for _ in range(6):
        shop.round()
        shop.cloud.clock.now += shop.cloud.sqs.visibility
    assert shop.row()["marks"] == 2
    shop.vendor.always = None

    shop.live_on()

    assert (shop.row()["status"], shop.row()["marks"]) == ("done", 0)
    assert shop.letters == []
