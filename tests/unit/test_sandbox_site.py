"""Every edit of the sandbox's site yields the webhook that ButterCMS documents for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.site import SINGLE_PAGES, Account, Site, SiteError, instant
from sandbox.webhooks import Webhook

NOON = datetime(2025, 6, 2, 12, 0, 0, 5, tzinfo=UTC)
LATER = datetime(2025, 7, 1, 7, tzinfo=UTC)


class Clock:
    """Stands still until it is set."""

    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(clock: Clock) -> Site:
    return Site(Account(locales=("en", "de")), clock)


def told(webhook: Webhook, *names: str) -> tuple[Any, ...]:
    return (webhook.event, *(webhook.data[name] for name in names))


# --- posts ---


def test_a_post_s_webhook_has_its_slug_and_its_number_and_nothing_else(site: Site) -> None:
    webhook = site.publish_post("hello", title="Hello")

    assert webhook.body("https://example.com/hook") == {
        "data": {"id": "hello", "_id": 1001},
        "webhook": {"event": "post.published", "target": "https://example.com/hook"},
    }
    assert site.publish_post("hello", title="Hello again") == webhook


def test_unpublishing_a_post_and_deleting_it_look_the_same(site: Site) -> None:
    for slug in ("a", "b"):
        site.publish_post(slug)

    unpublished, deleted = site.unpublish_post("a"), site.delete_post("b")

    assert told(unpublished, "id") == ("post.delete", "a")
    assert told(deleted, "id") == ("post.delete", "b")
    assert site.content.posts.keys() == {"a"}


def test_a_published_post_saved_as_a_draft_is_published_no_more(site: Site) -> None:
    site.publish_post("hello")

    webhook = site.save_draft_post("hello", title="Rewritten")

    assert webhook.event == "post.draft"
    assert site.content.posts["hello"].published is None


def test_the_translation_of_a_post_is_told_by_three_part_events(site: Site) -> None:
    site.publish_post("winter")

    webhooks = [
        site.save_draft_post("der-winter", locale="de", sibling_of="winter"),
        site.publish_post("der-winter"),
        site.delete_post("der-winter"),
    ]

    assert [webhook.event for webhook in webhooks] == [
        "post.localization.draft",
        "post.localization.published",
        "post.localization.delete",
    ]
    assert all(webhook.data == {"id": "der-winter", "_id": 1002, "locale": "de"} for webhook in webhooks)


def test_a_renamed_post_keeps_its_number_under_the_new_slug(site: Site) -> None:
    before = site.publish_post("old")

    after = site.rename_post("old", "new")

    assert (after.event, after.data["id"], after.number) == ("post.published", "new", before.number)
    assert site.content.posts.keys() == {"new"}
    assert site.content.posts["new"].updated > NOON


def test_an_edit_of_a_post_keeps_what_it_does_not_name(site: Site) -> None:
    site.publish_post("hello", title="Hello", summary="A word")

    site.publish_post("hello", title="Good day")

    post = site.content.posts["hello"]
    assert (post.content["title"], post.content["summary"]) == ("Good day", "A word")
    assert post.published == NOON


def test_republishing_an_untouched_post_moves_updated_unless_the_account_says_otherwise(site: Site) -> None:
    site.publish_post("hello", title="Hello")
    first = site.content.posts["hello"].updated

    site.publish_post("hello")
    second = site.content.posts["hello"].updated
    site.account.republishing_moves_updated = False
    site.publish_post("hello", title="Hello")
    third = site.content.posts["hello"].updated
    site.publish_post("hello", title="Hello!")

    assert first < second == third < site.content.posts["hello"].updated


def test_what_a_post_cannot_have_is_refused(site: Site) -> None:
    with pytest.raises(SiteError, match="a post has no titel"):
        site.publish_post("hello", titel="Hello")


# --- pages ---


def test_a_page_s_webhook_has_its_metadata(site: Site) -> None:
    webhook = site.publish_page("landing", "sale", {"headline": "Sale"}, name="Big sale")

    assert webhook.event == "page.published"
    assert webhook.data == {
        "id": "sale",
        "buttercms_id": 1001,
        "page_type": "landing",
        "editor": "Robin Example",
        "name": "Big sale",
        "timestamp": "2025-06-02T12:00:00",
        "locale": None,
        "status": "published",
        "updated": "2025-06-02T12:00:00.000005Z",
        "published": "2025-06-02T12:00:00.000005Z",
        "scheduled": None,
    }


def test_a_page_goes_from_draft_to_deleted_as_documented(site: Site) -> None:
    webhooks = [
        site.save_draft_page("landing", "sale", scheduled=LATER),
        site.publish_page("landing", "sale"),
        site.unpublish_page("landing", "sale"),
        site.publish_page("landing", "sale"),
        site.delete_page("landing", "sale"),
    ]

    first_published = "2025-06-02T12:00:00.000006Z"
    assert [told(webhook, "status", "published", "scheduled") for webhook in webhooks] == [
        ("page.draft", "draft", None, "2025-07-01T07:00:00.000000Z"),
        ("page.published", "published", first_published, None),
        ("page.unpublished", "draft", None, None),
        ("page.published", "published", first_published, None),
        ("page.delete", "deleted", first_published, None),
    ]
    assert site.content.pages == {}


def test_a_single_page_s_type_is_a_star(site: Site) -> None:
    assert site.publish_page(SINGLE_PAGES, "about").data["page_type"] == "*"


def test_a_draft_of_a_published_page_leaves_the_live_one_alone(site: Site) -> None:
    site.publish_page("landing", "sale", {"headline": "Live"})
    live = site.content.pages["landing", "sale", "en"].live

    site.save_draft_page("landing", "sale", {"headline": "Next"})
    kept = site.content.pages["landing", "sale", "en"].live
    site.publish_page("landing", "sale")
    published = site.content.pages["landing", "sale", "en"]

    assert live == kept
    assert published.live is not None
    assert (published.live.fields, published.draft) == ({"headline": "Next"}, None)


def test_a_page_has_one_number_in_all_its_locales_and_each_is_published_alone(site: Site) -> None:
    english, german = site.publish_page("landing", "sale"), site.publish_page("landing", "sale", locale="de")

    unpublished = site.unpublish_page("landing", "sale", locale="de")

    assert english.number == german.number
    assert (english.data["locale"], german.data["locale"], unpublished.data["locale"]) == (None, "de", "de")
    assert site.content.pages["landing", "sale", "en"].live


def test_the_default_locale_can_be_told_by_its_name(site: Site) -> None:
    site.account.default_locale_is_null = False

    assert site.publish_page("landing", "sale").data["locale"] == "en"
    assert site.publish_item("tools").data["locale"] == "en"


def test_a_renamed_page_takes_its_locales_along(site: Site) -> None:
    number = site.publish_page("landing", "old", {"headline": "Sale"}).number
    site.save_draft_page("landing", "old", locale="de")

    webhook = site.rename_page("landing", "old", "new")

    assert (webhook.event, webhook.data["id"], webhook.number) == ("page.published", "new", number)
    assert site.content.pages.keys() == {("landing", "new", "en"), ("landing", "new", "de")}
    assert site.rename_page("landing", "new", "newer", locale="de").event == "page.draft"


def test_republishing_an_untouched_page_moves_updated_unless_the_account_says_otherwise(site: Site) -> None:
    site.account.republishing_moves_updated = False
    first = site.publish_page("landing", "sale", {"a": 1})

    assert site.publish_page("landing", "sale").data["updated"] == first.data["updated"]
    assert site.publish_page("landing", "sale", {"a": 2}).data["updated"] > first.data["updated"]


# --- collection items ---


def test_an_item_s_webhook_has_its_number_in_a_uri(site: Site) -> None:
    webhook = site.publish_item("tools", {"name": "Fork"}, label="Hand fork")

    assert (webhook.event, webhook.number) == ("collectionitem.published", 1001)
    assert webhook.data == {
        "id": "tools",
        "itemid": "/v2/content/?keys=tools[_id=1001]",
        "label": "Hand fork",
        "editor": "Robin Example",
        "timestamp": "2025-06-02T12:00:00",
        "locale": None,
        "status": "published",
    }


def test_an_item_goes_from_draft_to_deleted_as_documented(site: Site) -> None:
    number = site.save_draft_item("tools", {"name": "Fork"}).number

    webhooks = [
        site.publish_item("tools", number=number),
        site.save_draft_item("tools", {"name": "Spade"}, number=number),
        site.unpublish_item("tools", number),
        site.delete_item("tools", number),
    ]

    assert [told(webhook, "status") for webhook in webhooks] == [
        ("collectionitem.published", "published"),
        ("collectionitem.draft", "draft"),
        ("collectionitem.unpublished", "draft"),
        ("collectionitem.delete", "deleted"),
    ]
    assert {webhook.number for webhook in webhooks} == {number}
    assert site.content.items == {}


def test_a_video_changes_nothing_but_is_told(site: Site) -> None:
    webhook = site.upload_video("bees.mp4")

    assert told(webhook, "id", "filename") == ("media.videouploaded", "bees", "bees.mp4")
    assert webhook.number == 1001


# --- what all share ---


def test_each_edit_is_later_than_the_one_before_even_if_the_clock_is_not(site: Site, clock: Clock) -> None:
    first = site.publish_page("landing", "a").data["updated"]
    clock.now = NOON - timedelta(hours=1)
    second = site.publish_page("landing", "b").data["updated"]
    clock.now = NOON + timedelta(hours=1)
    third = site.publish_page("landing", "c").data["updated"]

    assert (first, second, third) == (
        "2025-06-02T12:00:00.000005Z",
        "2025-06-02T12:00:00.000006Z",
        "2025-06-02T13:00:00.000005Z",
    )


def test_a_site_without_a_clock_of_its_own_tells_the_real_time() -> None:
    before = datetime.now(UTC)

    updated = Site().publish_page("landing", "a").data["updated"]

    assert instant(before) <= updated <= instant(datetime.now(UTC))


def test_what_a_test_does_to_its_fields_later_does_not_reach_the_site(site: Site) -> None:
    fields = {"list": ["a"]}
    site.publish_page("landing", "sale", fields)

    fields["list"].append("b")

    live = site.content.pages["landing", "sale", "en"].live
    assert live is not None
    assert live.fields == {"list": ["a"]}


IMPOSSIBLE: dict[str, Callable[[Site], object]] = {
    "unpublish what is not there": lambda site: site.unpublish_post("nowhere"),
    "delete a page that is not there": lambda site: site.delete_page("landing", "nowhere"),
    "delete a page in another locale": lambda site: site.delete_page("landing", "sale", locale="de"),
    "publish an item under a number of one's own": lambda site: site.publish_item("tools", number=7),
    "write in a locale that the account lacks": lambda site: site.publish_page("landing", "sale", locale="fr"),
    "move a post to another locale": lambda site: site.publish_post("winter", locale="de"),
    "translate a post twice": lambda site: site.publish_post("noch-einer", locale="de", sibling_of="winter"),
    "translate what is not there": lambda site: site.publish_post("der", locale="de", sibling_of="nowhere"),
    "take a post's slug": lambda site: site.rename_post("winter", "der-winter"),
    "take a page's slug": lambda site: site.rename_page("landing", "sale", "other"),
}


@pytest.mark.parametrize("edit", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_the_dashboard_would_not_allow_is_refused_and_changes_nothing(
    site: Site, edit: Callable[[Site], object]
) -> None:
    site.publish_post("winter")
    site.publish_post("der-winter", locale="de", sibling_of="winter")
    site.publish_page("landing", "sale")
    site.publish_page("landing", "other")
    before = site.content.copy()

    with pytest.raises(SiteError):
        edit(site)

    assert (site.content.posts, site.content.pages, site.content.items) == (before.posts, before.pages, before.items)
