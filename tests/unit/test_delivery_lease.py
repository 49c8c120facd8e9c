"""The lease: a store that cannot refuse an old write gets one worker's write at a time, the newest last."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.delivery import LEASE_SLACK
from buttersync.model import Document, Effect
from buttersync.outcomes import DONE, Failure, Misconfigured, Refused, Unavailable
from buttersync.works import Busy, Skipped
from tests.fakes.target import ENOUGH_MS, Killed, Target, document, ref, target

LEASE_SECONDS = ENOUGH_MS / 1000 + LEASE_SLACK
BUSY_SECONDS = 5


@pytest.fixture
def shop() -> Iterator[Target]:
    with target() as shop:
        shop.leased = True
        yield shop


def during_the_first_call(shop: Target, happens: Callable[[], object]) -> None:
    """While a worker waits for the vendor's answer, once."""

    def once() -> None:
        shop.vendor.before = lambda: None
        happens()

    shop.vendor.before = once


def applied(shop: Target) -> list[tuple[str, int]]:
    return [(one.identity.name, one.version) for call in shop.vendor.calls for one in call]


def lease(shop: Target) -> tuple[str, int]:
    row = shop.row()
    return row.get("lease", ""), row.get("leased_until", 0)


# Taken before the call, released after it


def test_the_call_is_made_under_a_lease_that_outlasts_the_worker_and_ends_with_it(shop: Target) -> None:
    seen: list[tuple[str, int]] = []
    shop.send(document())
    during_the_first_call(shop, lambda: seen.append(lease(shop)))

    shop.round()

    [(owner, until)] = seen
    assert owner
    assert until == (shop.cloud.clock.now + LEASE_SECONDS) * 1000
    assert lease(shop) == ("", 0)
    assert shop.row()["status"] == "done"


def test_each_item_of_a_batch_has_a_lease_of_its_own(shop: Target) -> None:
    for number in range(10):
        shop.send(document(f"post-{number}"))
    owners: list[str] = []
    during_the_first_call(shop, lambda: owners.extend(shop.row(f"post-{number}")["lease"] for number in range(10)))

    assert shop.round() == set()

    assert len(set(owners)) == 10
    assert len(shop.vendor.calls) == 1


def test_a_store_that_refuses_old_writes_itself_takes_no_lease(shop: Target) -> None:
    shop.leased = False
    seen: list[tuple[str, int]] = []
    shop.send(document())
    during_the_first_call(shop, lambda: seen.append(lease(shop)))

    shop.round()

    assert seen == [("", 0)]


@pytest.mark.parametrize(
    "outcome", [Unavailable("429", 30), Misconfigured("403"), Refused("too big"), Busy("full", 7), Skipped("no need")]
)
def test_whatever_the_answer_the_lease_ends(shop: Target, outcome: Failure) -> None:
    shop.vendor.outcomes = {ref("hello"): outcome}
    shop.send(document())

    shop.round()

    assert lease(shop) == ("", 0)


def test_a_worker_without_time_leaves_no_lease(shop: Target) -> None:
    shop.remaining = lambda: 1000
    shop.send(document())

    shop.round()

    assert shop.vendor.calls == []
    assert lease(shop) == ("", 0)


# Taken by another


@pytest.mark.parametrize("version", [4, 5, 6])
def test_while_one_worker_writes_another_leaves_the_item_alone(shop: Target, version: int) -> None:
    shop.send(document(version=5))

    def second_worker() -> None:
        shop.send(document(version=version, change="removed"))
        shop.round()

    during_the_first_call(shop, second_worker)
    shop.round()

    assert applied(shop) == [("hello", 5)]
    waits = [message.visible_at - shop.cloud.clock.now for message in shop.waiting]
    assert waits == ([BUSY_SECONDS] if version >= 5 else [])
    assert lease(shop) == ("", 0)


def test_a_removal_that_overtakes_a_stalled_write_is_applied_last(shop: Target) -> None:
    shop.send(document(version=5))

    def removed_meanwhile() -> None:
        shop.send(document(version=6, change="removed"))
        shop.round()

    during_the_first_call(shop, removed_meanwhile)
    shop.round()
    shop.live_on()

    assert applied(shop) == [("hello", 5), ("hello", 6)]
    assert (shop.row()["version"], shop.row()["status"]) == (6, "done")


def test_waiting_for_a_lease_costs_no_attempt_and_makes_nobody_suspect(shop: Target) -> None:
    shop.send(document(version=5))

    def second_worker() -> None:
        shop.send(document(version=6))
        for _ in range(6):
            shop.round()
            shop.cloud.clock.now += BUSY_SECONDS

    during_the_first_call(shop, second_worker)
    shop.round()

    assert (shop.row()["attempts"], shop.row()["marks"], shop.row()["ends"]) == (0, 0, 6)


def test_the_lease_of_a_dead_worker_is_taken_when_it_has_run_out_and_not_before(shop: Target) -> None:
    shop.vendor.raises = {ref("hello"): Killed()}
    shop.send(document(version=5))
    shop.round()
    shop.vendor.raises = {}
    shop.send(document(version=6))
    began = shop.cloud.clock.now

    while applied(shop)[-1] != ("hello", 6):
        shop.cloud.clock.now += BUSY_SECONDS
        shop.round(most=1)

    assert LEASE_SECONDS < shop.cloud.clock.now - began <= LEASE_SECONDS + BUSY_SECONDS


# The vendor may still act


def unsure(failure: Failure) -> Failure:
    failure.unsure = True
    return failure


@pytest.mark.parametrize("outcome", [unsure(Misconfigured("403")), unsure(Refused("400")), KeyError("odd")])
def test_whatever_else_was_said_a_write_that_may_still_be_acted_on_keeps_its_lease(
    shop: Target, outcome: Exception
) -> None:
    shop.vendor.raises = {ref("hello"): outcome}
    shop.send(document())

    shop.round()

    assert lease(shop)[0]


def test_what_is_done_alone_after_a_call_for_several_broke_off_keeps_its_lease_too(shop: Target) -> None:
    def broken_off() -> None:
        raise KeyError("odd")

    for slug in ("a", "b"):
        shop.send(document(slug))
    during_the_first_call(shop, broken_off)

    assert shop.round() == set()

    assert [shop.row(slug)["status"] for slug in ("a", "b")] == ["done", "done"]
    assert all(shop.row(slug).get("lease") for slug in ("a", "b"))


@pytest.mark.parametrize("change", ["updated", "removed"])
def test_after_an_unanswered_write_nobody_writes_until_the_lease_has_run_out(shop: Target, change: Effect) -> None:
    shop.vendor.outcomes = {ref("hello"): Unavailable("timed out", unsure=True)}
    shop.send(document(version=5))
    shop.round()
    shop.vendor.outcomes = {}
    began = shop.cloud.clock.now

    shop.send(document(version=6, change=change))
    shop.live_on()

    assert applied(shop) == [("hello", 5), ("hello", 6)]
    assert shop.cloud.clock.now - began > LEASE_SECONDS


def test_a_document_given_up_after_an_unanswered_write_keeps_its_lease_too(shop: Target) -> None:
    shop.send(document())
    shop.waiting[0].sent_at -= 11 * 86_400
    shop.vendor.outcomes = {ref("hello"): Unavailable("timed out", unsure=True)}

    shop.round()

    assert len(shop.letters) == 1
    assert lease(shop)[0]


# The table fails


def test_without_the_table_nothing_is_written_and_nothing_lost(shop: Target) -> None:
    shop.send(document())
    shop.cloud.dynamodb.down = {"update_item"}

    shop.round()

    assert shop.vendor.calls == []
    assert len(shop.waiting) == 1


def test_a_lease_that_cannot_be_released_runs_out(shop: Target, caplog: pytest.LogCaptureFixture) -> None:
    shop.vendor.outcomes = {ref("hello"): Skipped("no need")}
    shop.send(document())
    during_the_first_call(shop, lambda: shop.cloud.dynamodb.down.add("update_item"))

    assert shop.round() == set()

    assert lease(shop)[0]
    assert "the lease runs out by itself" in [record.getMessage() for record in shop.records] + caplog.messages


def test_a_second_try_of_the_sdk_is_not_taken_for_another_worker(shop: Target) -> None:
    answered = shop.cloud.dynamodb.update_item

    def twice(**update: object) -> None:
        """The first answer was lost on the way."""
        answered(**update)  # type: ignore[arg-type]
        answered(**update)  # type: ignore[arg-type]

    shop.cloud.dynamodb.update_item = twice  # type: ignore[assignment]
    shop.vendor.outcomes = {ref("hello"): Unavailable("503")}
    shop.send(document())

    failed = shop.round()

    assert len(failed) == 1
    assert applied(shop) == [("hello", 5)]
    assert (shop.row()["status"], shop.row()["attempts"]) == ("unavailable", 1)
    assert lease(shop) == ("", 0)


# Whatever happens


@dataclass(frozen=True)
class Happening:
    """What befalls one call to the vendor."""

    rounds: int
    """So many batches go through other workers while this one waits."""
    pause: int
    """So many seconds pass before each."""
    takes_effect: bool
    late: int
    """So many seconds after the call what was sent takes effect, if it does and was not answered."""
    end: str


UNDISTURBED = Happening(rounds=0, pause=0, takes_effect=True, late=0, end="answered")


@dataclass
class Index:
    """A store without versions: the last write wins."""

    shop: Target
    happenings: list[Happening]
    writes: list[tuple[float, Document]] = field(default_factory=list)
    """What takes effect when; of a worker that others kept waiting, earlier than what they have written since."""

    def deliver(self, _: object, documents: list[Document]) -> list[Failure | None]:
        happening = self.happenings.pop() if self.happenings else UNDISTURBED
        clock, began = self.shop.cloud.clock, self.shop.cloud.clock.now
        for _round in range(happening.rounds):
            clock.now += happening.pause
            self.shop.round(most=2)
        # Lambda ends whom others kept waiting for longer than that.
        end = "killed" if clock.now - began > ENOUGH_MS / 1000 - 10 else happening.end
        if end == "answered":
            self.writes += [(clock.now, one) for one in documents]
            return [DONE] * len(documents)
        if end != "refused connection" and happening.takes_effect:
            self.writes += [(min(clock.now, began + ENOUGH_MS / 1000) + happening.late, one) for one in documents]
        if end == "killed":
            raise Killed
        if end == "odd":
            raise KeyError("what nobody has thought of")
        raise Unavailable(end, unsure=end == "unanswered")

    def settle(self) -> dict[str, int]:
        held: dict[str, int] = {}
        for _, one in sorted(self.writes, key=lambda write: write[0]):
            if one.change == "removed":
                held.pop(one.identity.name, None)
            else:
                held[one.identity.name] = one.version
        return held


HAPPENINGS = st.builds(
    Happening,
    st.integers(0, 3),
    st.integers(0, 30),
    st.booleans(),
    st.integers(0, LEASE_SLACK - 1),
    st.sampled_from(["answered", "answered", "killed", "odd", "unanswered", "refused connection"]),
)
SENT = st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 5), st.integers(0, 20))


def is_removal(slug: str, version: int) -> bool:
    """Of one version there is one document."""
    return (version + len(slug)) % 2 == 0


@settings(deadline=None, max_examples=300)
@given(st.lists(SENT, min_size=1, max_size=8), st.lists(HAPPENINGS, max_size=6))  # seven deaths make a dead letter
def test_whatever_stalls_dies_or_goes_unanswered_the_newest_version_is_written_last(
    sent: list[tuple[str, int, int]], happenings: list[Happening]
) -> None:
    with target() as shop:
        shop.leased = True
        index = Index(shop, happenings)
        shop.vendor.deliver = index.deliver  # type: ignore[assignment, method-assign]
        shop.start_worker()
        newest: dict[str, int] = {}
        for slug, version, pause in sent:
            shop.send(document(slug, version, "removed" if is_removal(slug, version) else "updated"))
            newest[slug] = max(newest.get(slug, 0), version)
            shop.waiting[-1].visible_at += pause

        shop.live_on(most=3)

        assert shop.letters == []
        assert index.settle() == {slug: version for slug, version in newest.items() if not is_removal(slug, version)}
