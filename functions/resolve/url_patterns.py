"""The public address of an item, from the patterns that the user set: ButterCMS does not know the site's addresses."""

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from buttersync.model import SINGLE_PAGES, URL_CHARACTERS, Identity
from buttersync.outcomes import Misconfigured

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ABSOLUTE = re.compile(r"https?://[^\s/]\S*", re.IGNORECASE)

_PLACEHOLDERS = {
    "PostUrl": ("slug", "locale"),
    "PageUrl": ("slug", "locale", "page_type"),
    "ItemUrl": ("slug", "locale", "collection", "id"),
}


class UrlPatterns(msgspec.Struct, frozen=True):
    """The parameters ``PostUrl``, ``PageUrl`` and ``ItemUrl``; an empty one gives no url.

    Raises Misconfigured, with the parameter and the placeholder, where a pattern cannot work.
    """

    post: str = ""
    page: str = ""
    item: str = ""

    def __post_init__(self) -> None:
        for parameter, pattern in zip(_PLACEHOLDERS, (self.post, self.page, self.item), strict=True):
            _check(parameter, pattern)

    def url(self, identity: Identity, item_slug: str = "") -> str:
        """The absolute url, each value percent-encoded; empty without a pattern, without a value, or if too long.

        `item_slug` is what a collection item has in its own field `slug`. Single pages have no page type: the
        placeholder goes with the slash behind it.
        """
        pattern = {"post": self.post, "page": self.page, "item": self.item}[identity.kind]
        if identity.group == SINGLE_PAGES:
            pattern = pattern.replace("{page_type}/", "").replace("{page_type}", "")
        values = _values(identity, item_slug)
        if not all(values[name] for name in _PLACEHOLDER.findall(pattern)):
            return ""
        url = _PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), pattern)
        return url if len(url) <= URL_CHARACTERS else ""


def _check(parameter: str, pattern: str) -> None:
    for name in _PLACEHOLDER.findall(pattern):
        if name not in _PLACEHOLDERS[parameter]:
            known = " ".join(f"{{{one}}}" for one in _PLACEHOLDERS[parameter])
            raise Misconfigured(f"{parameter} has the placeholder {{{name}}}; it may have {known}")
    rest = _PLACEHOLDER.sub("x", pattern)
    if "{" in rest or "}" in rest:
        raise Misconfigured(f"{parameter} has a brace without its pair: {pattern}")
    if pattern and not _ABSOLUTE.fullmatch(rest):
        raise Misconfigured(f"{parameter} is no absolute url (https://…) without spaces: {pattern}")


def _values(identity: Identity, item_slug: str) -> Mapping[str, str]:
    group, name = identity.group, identity.name
    by_kind = {
        "post": {"slug": name},
        "page": {"slug": name, "page_type": group},
        "item": {"slug": item_slug, "collection": group, "id": name},
    }
    return {"locale": identity.locale, **by_kind[identity.kind]}
