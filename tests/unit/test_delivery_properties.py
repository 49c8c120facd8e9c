"""What holds for every batch: each message has exactly one end, its own, and no version ever goes back."""

import json
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.outcomes import Misconfigured, Outcome, Refused, Unavailable
from buttersync.queues import Message
from buttersync.works import collapsed
from tests.fakes.cloud import Stored
from tests.fakes.target import Target, document, ref, target

SLUGS = ("a", "b", "c", "d", "e")
MALFORMED = "no JSON"


@dataclass(frozen=True)
class Sent:
    """A message as drawn: `version` 0 is no document at all."""

    slug: str
    version: int
    removed: bool
    receives: int

    def put_into(self, shop: Target, number: int) -> None:
        """Into the queue, with its number to know it by in the dead-letter queue."""
        if self.version:
            one = document(self.slug, self.version, "removed" if self.removed else "updated")
            shop.send(one, number=str(number))
        else:
            shop.send(MALFORMED, number=str(number))
        shop.waiting[-1].receives = self.receives


OUTCOMES = st.sampled_from([None, Unavailable("503"), Unavailable("429", 999), Misconfigured("401"), Refused("no")])
RAISED = st.sampled_from([Refused("bad batch"), KeyError("x")])
SENT = st.builds(Sent, st.sampled_from(SLUGS), st.integers(0, 4), st.booleans(), st.sampled_from([0, 0, 0, 6]))
ROWS = st.dictionaries(st.sampled_from(SLUGS), st.integers(1, 4))


@dataclass(frozen=True)
class World:
    """Everything that a batch's ends depend on."""

    sent: tuple[Sent, ...]
    outcomes: dict[str, Outcome]
    raised: dict[str, Exception]
    rows: dict[str, int]
    lost: frozenset[str]
    """Slugs of which the archive has nothing."""

    def ends(self, slugs: set[str]) -> dict[int, str]:
        """The end of each message of these items by its number, when they are a batch."""
        with target() as shop:
            shop.vendor.outcomes = {ref(slug): outcome for slug, outcome in self.outcomes.items()}
            for slug, version in self.rows.items():
                shop.send(document(slug, version))
                shop.round()
            shop.vendor.raises = {ref(slug): error for slug, error in self.raised.items()}
            shop.waiting.clear()
            shop.letters.clear()
            numbers = {}
            for number, sent in enumerate(self.sent):
                if sent.slug in slugs:
                    sent.put_into(shop, number)
                    numbers[shop.waiting[-1].id] = number
            for slug in self.lost:
                for version in range(1, 5):
                    shop.cloud.s3.objects.pop(document(slug, version).archive_key, None)

            failed = shop.round(most=100)

            letters = [int(letter.attributes["number"]) for letter in shop.letters]
            assert all(count == 1 for count in Counter(letters).values())
            return {number: end(message in failed, number in letters) for message, number in numbers.items()}


def end(returned: bool, lettered: bool) -> str:
    assert not (returned and lettered)
    return "returned" if returned else "dead-lettered" if lettered else "acknowledged"


WORLDS = st.builds(
    World,
    st.lists(SENT, min_size=1, max_size=10).map(tuple),
    st.dictionaries(st.sampled_from(SLUGS), OUTCOMES),
    st.dictionaries(st.sampled_from(SLUGS), RAISED, max_size=2),
    ROWS,
    st.frozensets(st.sampled_from(SLUGS), max_size=2),
)


@settings(deadline=None, max_examples=80)
@given(WORLDS)
def test_every_message_has_one_end_and_it_is_the_same_without_its_neighbours(world: World) -> None:
    together = world.ends(set(SLUGS))

    alone = [world.ends({slug}) for slug in SLUGS]
    assert together == {number: end for ends in alone for number, end in ends.items()}
    assert len(together) == len(world.sent)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.lists(SENT, max_size=6), st.dictionaries(st.sampled_from(SLUGS), OUTCOMES)), max_size=5))
def test_whatever_comes_in_which_order_no_version_goes_back(
    batches: list[tuple[list[Sent], dict[str, Outcome]]],
) -> None:
    with target() as shop:
        highest = dict.fromkeys(SLUGS, 0)
        for sent, outcomes in batches:
            shop.vendor.outcomes = {ref(slug): outcome for slug, outcome in outcomes.items()}
            for number, one in enumerate(sent):
                one.put_into(shop, number)
            shop.cloud.clock.now += 400
            shop.round()
            for slug in SLUGS:
                version = shop.row(slug).get("version", 0)
                assert version >= highest[slug]
                highest[slug] = version

        applied = [(one.identity.name, one.version) for call in shop.vendor.calls for one in call]
        for slug in SLUGS:
            versions = [version for name, version in applied if name == slug]
            assert versions == sorted(versions)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(SENT, min_size=1, max_size=8),
    st.sets(st.sampled_from(["update_item", "batch_get_item", "get_item"])),
    st.sets(st.sampled_from(["send_message", "change_message_visibility"])),
    OUTCOMES,
)
def test_no_message_is_lost_whatever_of_aws_is_down(
    sent: list[Sent], tables: set[str], queues: set[str], outcome: Outcome
) -> None:
    with target() as shop:
        for number, one in enumerate(sent):
            one.put_into(shop, number)
        shop.vendor.outcomes = {ref(slug): outcome for slug in SLUGS}
        newest = {one.slug: max(other.version for other in sent if other.slug == one.slug) for one in sent}
        shop.cloud.dynamodb.down, shop.cloud.sqs.down = tables, queues
        wanted = {(slug, version) for slug, version in newest.items() if version}

        shop.round()

        kept, lettered = _versions(shop.waiting), _versions(shop.letters)
        done = {(slug, version) for slug, version in wanted if shop.row(slug).get("status") == "done"}
        assert wanted <= kept | lettered | done
        assert not kept & (lettered | done)


def _versions(messages: list[Stored]) -> set[tuple[str, int]]:
    bodies = [json.loads(one.body) for one in messages if one.body != MALFORMED]
    return {(body["identity"]["name"], body["version"]) for body in bodies}


@given(st.permutations([("a", 1), ("a", 3), ("b", 2), ("a", 3), ("b", 1)]))
def test_collapsing_keeps_every_message_whatever_their_order(order: list[tuple[str, int]]) -> None:
    pairs = [
        (Message(str(number), "", "", {}, 1, 0), document(slug, version))
        for number, (slug, version) in enumerate(order)
    ]

    newest, overtaken = collapsed(pairs)

    assert {(work.ref, work.version) for work in newest} == {(ref("a"), 3), (ref("b"), 2)}
    assert sorted(message.id for work in newest + overtaken for message in work.messages) == ["0", "1", "2", "3", "4"]
