"""The table of what became of an item, row by row, and the readings that are not believed at once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import decisions
from buttersync.model import Change, Claim, Identity
from decisions import Pointer, Reading, Row, Site
from documents import Content, UrlPatterns, mapped

POST = Identity("post", "", "hello", "en")
DAY = 86_400_000
NOW = 1_763_900_000_000
LIVE = Site(live_since=NOW - DAY, announce_window=3 * DAY)
FRESH_DATE = "2025-11-23T12:00:00.000000Z"
OLD_DATE = "2019-05-01T08:00:00.000000Z"


def change(claims: Claim = "published", received_at: int = NOW - 100, numeric_id: int | None = 7) -> Change:
    return Change(identity=POST, event="post.published", claims=claims, received_at=received_at, numeric_id=numeric_id)


def content(
    title: str = "Hello", published_at: str | None = FRESH_DATE, updated_at: str | None = FRESH_DATE
) -> Content:
    item = {"slug": "hello", "title": title, "published": published_at, "updated": updated_at, "status": "published"}
    return mapped(POST, item, UrlPatterns("https://example.com/{slug}"))


def published_row(of: Content, **changes: object) -> Row:
    row = Row(
        ref=POST.ref,
        status="published",
        version=NOW - 5000,
        hash=of.hash,
        updated=of.updated_at or "",
        announce_key="post:7",
        numeric_id=7,
        read_at=NOW - 5000,
        readings=1,
    )
    return msgspec.structs.replace(row, **changes)


NEW = Row(ref=POST.ref)
REMOVED = published_row(content(), status="removed", hash="")
DRAFT = Reading(NOW, None)


@pytest.mark.parametrize("row", [NEW, REMOVED, msgspec.structs.replace(NEW, readings=3)])
def test_what_is_published_now_and_was_not_is_created_if_it_is_news(row: Row) -> None:
    assert decisions.effect_of(row, change(), Reading(NOW, content()), LIVE) == "created"


def test_an_old_sites_posts_are_updated_so_that_nobody_is_told_of_them() -> None:
    assert decisions.effect_of(NEW, change(), Reading(NOW, content(published_at=OLD_DATE)), LIVE) == "updated"


def test_a_post_from_before_the_backfill_is_no_news() -> None:
    late = Site(live_since=NOW, announce_window=3 * DAY)

    assert decisions.effect_of(NEW, change(), Reading(NOW, content()), late) == "updated"


def test_before_any_backfill_nothing_is_created() -> None:
    never = Site(live_since=None, announce_window=3 * DAY)

    assert decisions.effect_of(NEW, change(), Reading(NOW, content()), never) == "updated"


def test_what_has_no_date_of_publication_is_updated() -> None:
    assert decisions.effect_of(NEW, change(), Reading(NOW, content(published_at=None)), LIVE) == "updated"


def test_past_the_announce_window_nothing_is_news() -> None:
    since_ever = Site(live_since=0, announce_window=3 * DAY)
    later = Reading(NOW + 4 * DAY, content())

    assert decisions.effect_of(NEW, change(), later, since_ever) == "updated"


def test_an_edit_of_what_is_published_is_updated() -> None:
    row = published_row(content("Before"))

    assert decisions.effect_of(row, change(), Reading(NOW, content("After")), LIVE) == "updated"


def test_an_edit_inherits_a_created_that_is_still_pending() -> None:
    row = published_row(content("Before"), pending="created")

    assert decisions.effect_of(row, change(), Reading(NOW, content("After")), LIVE) == "created"


def test_the_same_again_is_nothing() -> None:
    row = published_row(content())

    assert decisions.effect_of(row, change(), Reading(NOW, content()), LIVE) is None


def test_another_item_under_a_reused_slug_is_as_if_not_published_before() -> None:
    row = published_row(content())

    assert decisions.effect_of(row, change(numeric_id=8), Reading(NOW, content()), LIVE) == "created"


@pytest.mark.parametrize("claims", ["published", "removed", "draft", "any"])
def test_what_was_published_and_is_no_more_is_removed(claims: Claim) -> None:
    assert decisions.effect_of(published_row(content()), change(claims), DRAFT, LIVE) == "removed"


def test_an_unknown_ref_is_removed_when_the_event_says_so_for_a_store_may_hold_it_from_earlier() -> None:
    assert decisions.effect_of(NEW, change("removed"), DRAFT, LIVE) == "removed"


@pytest.mark.parametrize("claims", ["published", "draft", "any"])
def test_an_unknown_ref_is_not_removed_without_the_events_word(claims: Claim) -> None:
    assert decisions.effect_of(NEW, change(claims), DRAFT, LIVE) is None


def test_what_is_removed_already_is_not_removed_again() -> None:
    assert decisions.effect_of(REMOVED, change("removed"), DRAFT, LIVE) is None


@pytest.mark.parametrize(
    ("row", "claims", "reading", "reason"),
    [
        (NEW, "published", DRAFT, "not published, though"),
        (published_row(content("Before")), "removed", Reading(NOW, content("After")), "published, though"),
        (published_row(content()), "published", Reading(NOW, content()), "nothing new"),
        (REMOVED, "removed", DRAFT, "nothing new"),
        (NEW, "removed", DRAFT, "nothing new"),
        (REMOVED, "published", Reading(NOW, content()), "not newer"),
        (published_row(content()), "published", Reading(NOW, content("x", updated_at=OLD_DATE)), "not newer"),
        (published_row(content(), read_at=NOW - 100), "removed", DRAFT, "since the event arrived"),
    ],
)
def test_a_doubtful_reading_says_why(row: Row, claims: Claim, reading: Reading, reason: str) -> None:
    assert reason in decisions.doubt(row, change(claims), reading)


@pytest.mark.parametrize(
    ("row", "claims", "reading"),
    [
        (NEW, "published", Reading(NOW, content())),
        (
            published_row(content("a")),
            "published",
            Reading(NOW, content("b", updated_at="2025-11-23T13:00:00.000000Z")),
        ),
        (published_row(content()), "removed", DRAFT),
        (published_row(content()), "draft", DRAFT),
        (published_row(content()), "any", DRAFT),
        (published_row(content(updated_at=None)), "any", Reading(NOW, content("b", updated_at=None))),
    ],
)
def test_a_reading_that_only_a_fresh_copy_can_show_is_believed(row: Row, claims: Claim, reading: Reading) -> None:
    assert decisions.doubt(row, change(claims), reading) == ""


def test_a_row_is_recorded_with_a_new_version_and_the_change_pending() -> None:
    before = published_row(content("Before"), version=NOW + 50)
    after = content("After", updated_at="2025-11-23T14:00:00.000000Z")

    row = decisions.recorded(before, change(), None, Reading(NOW, after), "updated")

    assert (row.version, row.pending, row.readings) == (NOW + 51, "updated", 2)
    assert row.archive_key == f"{POST.ref}/{NOW + 51}-{after.hash}"
    assert row.updated == "2025-11-23T14:00:00.000000Z"


@pytest.mark.parametrize(("known", "told", "kept"), [(None, 7, 7), (7, None, 7), (7, 8, 8), (None, None, None)])
def test_a_numeric_id_is_learned_and_not_forgotten(known: int | None, told: int | None, kept: int | None) -> None:
    row = decisions.recorded(
        published_row(content(), numeric_id=known), change(numeric_id=told), None, Reading(NOW, content()), None
    )

    assert row.numeric_id == kept


def test_the_version_is_the_time_of_the_reading_so_that_it_outlives_a_lost_table() -> None:
    row = decisions.recorded(NEW, change(), None, Reading(NOW, content()), "created")

    assert row.version == NOW


def test_a_reading_that_found_nothing_new_is_recorded_without_a_new_version() -> None:
    before = published_row(content())

    row = decisions.recorded(before, change(), None, Reading(NOW, content()), None)

    assert (row.version, row.readings, row.read_at) == (before.version, 2, NOW)


def test_the_highest_updated_is_kept_through_a_removal() -> None:
    row = decisions.recorded(published_row(content()), change("removed"), None, DRAFT, "removed")

    assert (row.status, row.hash, row.updated, row.url) == ("removed", "", FRESH_DATE, "")


@pytest.mark.parametrize(
    ("row", "numeric_id", "pointer", "key"),
    [
        (NEW, 7, None, "post:7"),
        (NEW, None, None, POST.ref),
        (NEW, 7, Pointer(ref="pointer:post:7:en", announce_key="post:old:en"), "post:old:en"),
        (published_row(content(), announce_key=POST.ref, numeric_id=None), 7, None, POST.ref),
        (published_row(content()), 8, None, "post:8"),
        (published_row(content()), None, None, "post:7"),
    ],
)
def test_the_announce_key_is_fixed_with_the_first_version(
    row: Row, numeric_id: int | None, pointer: Pointer | None, key: str
) -> None:
    new = decisions.recorded(row, change(numeric_id=numeric_id), pointer, Reading(NOW, content("New")), "created")

    assert new.announce_key == key


def test_a_pages_announce_key_has_its_locale_and_an_items_is_its_ref() -> None:
    page, item = Identity("page", "landing", "hello", "de"), Identity("item", "products", "5", "en")

    def key(identity: Identity) -> str:
        of = msgspec.structs.replace(change(), identity=identity)
        return decisions.recorded(Row(ref=identity.ref), of, None, Reading(NOW, content()), "created").announce_key

    assert (key(page), key(item)) == ("page:7:de", "item:products:5:en")


def test_pointers_are_for_posts_and_pages_with_a_numeric_id() -> None:
    assert decisions.pointer_key(change()) == "pointer:post:7:en"
    assert decisions.pointer_key(change(numeric_id=None)) == ""
    item = msgspec.structs.replace(change(), identity=Identity("item", "products", "5", "en"))
    assert decisions.pointer_key(item) == ""


readings = st.one_of(
    st.just(Reading(NOW, None)),
    st.builds(lambda title, at: Reading(at, content(title)), st.sampled_from("abc"), st.integers(1, 2 * NOW)),
)


@given(st.lists(st.tuples(readings, st.sampled_from(["published", "removed", "draft", "any"])), max_size=8))
def test_a_version_never_falls_and_readings_are_counted(steps: list[tuple[Reading, Claim]]) -> None:
    row = NEW
    for reading, claims in steps:
        effect = decisions.effect_of(row, change(claims), reading, LIVE)
        after = decisions.recorded(row, change(claims), None, reading, effect)

        assert after.version > row.version if effect else after.version == row.version
        assert after.readings == row.readings + 1
        assert after.updated >= row.updated
        assert after.published == (reading.content is not None)
        row = after
