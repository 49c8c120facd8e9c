"""What a webhook says: the item it names, what it claims, and that no JSON at all brings the reading down."""

from contextlib import suppress

import pytest
from hypothesis import example, given

from buttersync.model import REF_BYTES, Change, Identity
from tests.fakes.payloads import ITEM, JSON, NEARLY_WEBHOOKS, PAGE, POST, payload
from webhook import Ignored, Unusable, change_of

NOW = 1_767_225_600_000


@pytest.mark.parametrize(
    ("sent", "identity", "numeric_id"),
    [
        (POST, Identity("post", "", "autumn-recipes", "en"), 4711),
        (payload("post.localization.delete", id="sopa", _id="12", locale="es"), Identity("post", "", "sopa", "es"), 12),
        (PAGE, Identity("page", "*", "about", "en"), 88),
        (
            payload("page.delete", id="a", page_type="team page", locale="pt-br"),
            Identity("page", "team page", "a", "pt-br"),
            None,
        ),
        (ITEM, Identity("item", "recipes", "902", "fr"), None),
        (payload("collectionitem.all", id="r", itemid="elsewhere[_id=5]"), Identity("item", "r", "5", "en"), None),
    ],
)
def test_the_payload_names_the_item(sent: object, identity: Identity, numeric_id: int | None) -> None:
    change = change_of(sent, NOW, "en")

    assert isinstance(change, Change)
    assert (change.identity, change.numeric_id) == (identity, numeric_id)


@pytest.mark.parametrize("number", [0, -4, True, 4.0, "", "x", "\uff11\uff12", "9" * 20, 2**63, None, [], {}])
def test_a_numeric_id_that_makes_no_sense_is_as_good_as_none(number: object) -> None:
    change = change_of(payload("post.published", id="a", _id=number), NOW, "en")

    assert isinstance(change, Change)
    assert change.numeric_id is None


@pytest.mark.parametrize(
    ("event", "claims"),
    [
        ("post.published", "published"),
        ("post.draft", "draft"),
        ("post.delete", "removed"),
        ("post.all", "any"),
        ("post.*", "any"),
        ("post.localization.published", "published"),
        ("post.localization.draft", "draft"),
        ("post.localization.delete", "removed"),
        ("post.localization.all", "any"),
        ("post.localization.*", "any"),
        ("page.published", "published"),
        ("page.unpublished", "removed"),
        ("page.delete", "removed"),
        ("page.all", "any"),
        ("page.*", "any"),
        ("collectionitem.published", "published"),
        ("collectionitem.draft", "draft"),
        ("collectionitem.unpublished", "removed"),
        ("collectionitem.delete", "removed"),
        ("collectionitem.all", "any"),
        ("collectionitem.*", "any"),
    ],
)
def test_every_event_that_can_change_what_is_live_becomes_a_change(event: str, claims: str) -> None:
    data = {"id": "soup", "page_type": "recipe", "itemid": "/v2/content/?keys=soup[_id=7]", "locale": "de"}

    change = change_of(payload(event, **data), NOW, "en")

    assert isinstance(change, Change)
    assert (change.event, change.claims, change.received_at) == (event, claims, NOW)
    assert change.identity.locale == "de"


@given(NEARLY_WEBHOOKS | JSON)
@example({"webhook": {"event": "post.published"}, "data": {"id": "a", "_id": 10**300}})
@example({"webhook": {"event": "page.all"}, "data": {"id": "a", "page_type": "\ud800"}})
def test_any_json_is_a_change_that_can_travel_or_nothing_to_do_or_400(sent: object) -> None:
    with suppress(Unusable):
        change = change_of(sent, NOW, "en")
        if not isinstance(change, Ignored):
            assert Change.from_json(change.to_json()) == change
            assert Identity.parse(change.identity.ref) == change.identity
            assert len(change.identity.ref.encode()) <= REF_BYTES
