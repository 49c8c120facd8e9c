"""What a webhook of ButterCMS says, read without looking anything up: which item, and what is claimed about it.

The payloads: https://buttercms.com/docs/build-your-app/webhooks-events/webhook-payloads-data
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from buttersync.model import EVENT_CHARACTERS, LARGEST_NUMBER, LOCALE, REF_BYTES, Change, Claim, Identity, usable


class Unusable(ValueError):
    """The payload has not the shape of a webhook, or names no item; the text says which field is wrong."""


class Ignored(NamedTuple):
    """An event that changes nothing that is live, or that nobody here knows; of a long name the beginning."""

    event: str
    name: str | None


# https://buttercms.com/docs/build-your-app/webhooks-events/webhook-event-types. A delete of a post may be a mere
# unpublishing; `.all` and `.*` name a subscription and do not say what happened. `page.draft` is left out: the live
# page stays as it is.
POST: Mapping[str, Claim] = {
    "published": "published",
    "draft": "draft",
    "delete": "removed",
    "all": "any",
    "*": "any",
}
PAGE: Mapping[str, Claim] = {
    "published": "published",
    "unpublished": "removed",
    "delete": "removed",
    "all": "any",
    "*": "any",
}
CLAIMS = {"post": POST, "post.localization": POST, "page": PAGE, "collectionitem": {**PAGE, "draft": "draft"}}

ITEM_NUMBER = re.compile(r"\[_id=([0-9]{1,19})\]")
ITEM_COLLECTION = re.compile(r"[?&]keys=([^\[&]*)")


def change_of(webhook: object, now: int, default_locale: str) -> Change | Ignored:
    """What the JSON of a webhook that arrived at `now` (ms) claims; raises Unusable with the wrong field."""
    event = _member(_object(webhook, "The body").get("webhook"), "webhook", "event")
    data = _object(webhook, "The body").get("data")
    family, _, action = event.rpartition(".")
    claims = CLAIMS.get(family, {}).get(action)
    if claims is None:
        return Ignored(event[:EVENT_CHARACTERS], _name_if_any(data))
    data = _object(data, "data")
    identity = _identity(family, data, default_locale)
    if len(identity.ref) > REF_BYTES:
        raise Unusable(f"data.id is too long: its key takes more than {REF_BYTES} bytes.")
    return Change(
        identity=identity, event=event, claims=claims, received_at=now, numeric_id=_numeric_id(identity.kind, data)
    )


def _identity(family: str, data: Mapping[str, Any], default_locale: str) -> Identity:
    locale = default_locale if data.get("locale") is None else _matching(LOCALE.fullmatch, data, "locale")
    name = _matching(usable, data, "id")
    if family == "page":
        return Identity("page", _matching(usable, data, "page_type"), name, locale)
    if family == "collectionitem":
        return Identity("item", name, _item_number(name, data.get("itemid")), locale)
    return Identity("post", "", name, locale)


def _item_number(collection: str, itemid: object) -> str:
    """The number in ``/v2/content/?keys=products[_id=5678]``, an address that cannot be called as it stands."""
    number = ITEM_NUMBER.search(itemid) if isinstance(itemid, str) else None
    if not isinstance(itemid, str) or not number:
        raise Unusable("data.itemid does not hold the item's number as [_id=<number>].")
    named = ITEM_COLLECTION.search(itemid)
    if named and named[1] != collection:
        raise Unusable("data.itemid names another collection than data.id.")
    return number[1]


def _numeric_id(kind: str, data: Mapping[str, Any]) -> int | None:
    """The number that outlives a rename; an item's is its name already. One that makes no sense is as good as none."""
    number = data.get({"post": "_id", "page": "buttercms_id"}.get(kind, ""))
    if isinstance(number, str) and re.fullmatch("[0-9]{1,19}", number):
        number = int(number)
    return number if type(number) is int and 0 < number <= LARGEST_NUMBER else None


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unusable(f"{field} is not a JSON object.")
    return value


def _member(value: object, parent: str, name: str) -> str:
    member = value.get(name) if isinstance(value, dict) else None
    if not isinstance(member, str) or not member:
        raise Unusable(f"{parent}.{name} is missing or not a text.")
    return member


def _matching(fits: Callable[[str], object], data: Mapping[str, Any], name: str) -> str:
    text = _member(data, "data", name)
    if not fits(text):
        raise Unusable(f"data.{name} is too long or holds what does not belong there.")
    return text


def _name_if_any(data: object) -> str | None:
    name = data.get("id") if isinstance(data, dict) else None
    return name if isinstance(name, str) and usable(name) else None
