"""Finding title, summary, image, author, labels and words in fields that every site names and nests as it likes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from buttersync.html_text import plain_text
from buttersync.model import NO_ANNOUNCE, URL_CHARACTERS
from buttersync.words import strings, texts, words
from cleaning import normal

Fields = dict[str, Any]

TITLE_NAMES = ("title", "headline", "heading", "name", "page_title", "label", "question", "seo_title", "meta_title")
SUMMARY_NAMES = (
    *("summary", "excerpt", "description", "short_description", "intro", "introduction", "teaser", "lead"),
    *("subtitle", "subheadline", "subheading", "meta_description", "seo_description"),
)
IMAGE_NAMES = (
    *("image", "featured_image", "hero_image", "cover_image", "cover", "main_image", "header_image", "banner_image"),
    *("banner", "thumbnail", "photo", "picture", "og_image", "social_image"),
)

SHORT_CHARACTERS = 120
"""Of the texts without a usual name, only so short a one can be a title."""

_HTTP_URL = re.compile(r"https?://[^\s/?#][^\s\x00-\x1f\x7f<>\"]*", re.IGNORECASE)
_IMAGE_URL = re.compile(
    r"https?://(?:cdn\.buttercms\.com/[^\s?#.]++|[^\s/?#]++/[^\s?#]*\.(?:jpe?g|png|gif|webp|avif|svg))(?:[?#]\S*)?",
    re.IGNORECASE,
)
"""Media of ButterCMS have no extension, unless they are of another sort (``/video/teaser.mp4``)."""


def title_of(fields: Fields, name: str) -> str:
    """The first usual name with a text, then those of `seo`, then `name`, then the first short text."""
    return _named_text(fields, TITLE_NAMES) or name or next(_short_texts(fields), "")


def summary_of(fields: Fields, title: str, every_text: Iterable[str]) -> str:
    """The first usual name with a text, then those of `seo`, then every text but the title and those of `seo`."""
    elsewhere = {title, *texts(next(_usual(fields, ["seo"]), {}))}
    return _named_text(fields, SUMMARY_NAMES) or " ".join(text for text in every_text if text not in elsewhere)


def image_of(fields: Fields) -> str:
    """The first usual name with a url, then those of `seo`, then the first url that looks like an image."""
    usual = (media(value) for value in _usual(fields, IMAGE_NAMES))
    return next(filter(None, usual), "") or next(filter(_IMAGE_URL.fullmatch, map(media, strings(fields))), "")


def author_of(fields: Fields) -> str:
    """The name of the field `author` or of the first of `authors`."""
    return next(filter(None, (person(value) for value in _usual(fields, ("author", "authors")))), "")


def tags_of(fields: Fields) -> tuple[str, ...]:
    """The names in the field `tags` or `tag`."""
    return next(filter(None, map(labels, _usual(fields, ("tags", "tag")))), ())


def categories_of(fields: Fields) -> tuple[str, ...]:
    """The names in the field `categories` or `category`, where a dropdown's text counts too."""
    values = _usual(fields, ("categories", "category"))
    found = (labels([value] if isinstance(value, str) else value) for value in values)
    return next(filter(None, found), ())


def text_at(fields: Fields, name: str) -> str:
    """The plain text of the field; empty if there is none or it is no text."""
    value = fields.get(name)
    return plain_text(value) if isinstance(value, str) else ""


def media(value: Any) -> str:
    """The http(s) url of a media field, which is a string or ``{"url", "alt"}``; else empty."""
    if isinstance(value, list):
        return next(filter(None, map(media, value)), "")
    url = value.get("url") if isinstance(value, dict) else value
    url = url.strip() if isinstance(url, str) else ""
    return url if len(url) <= URL_CHARACTERS and _HTTP_URL.fullmatch(url) else ""


def person(value: Any) -> str:
    """The name of an author, who is an object, a text, or the first of a list; never an e-mail address."""
    if isinstance(value, list):
        return next(filter(None, map(person, value)), "")
    if isinstance(value, str):
        return "" if "@" in value else words(value)
    if not isinstance(value, dict):
        return ""
    both = [text_at(value, "first_name"), text_at(value, "last_name")]
    return " ".join(one for one in both if one and "@" not in one) or person(value.get("name", ""))


def labels(value: Any) -> tuple[str, ...]:
    """The names of tags or categories, each once: of an object or a list of objects and texts."""
    each: Sequence[Any] = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
    return tuple(dict.fromkeys(filter(None, map(_label, each))))


def _label(value: Any) -> str:
    if isinstance(value, str):
        name = words(value)
    elif isinstance(value, dict):
        name = next(filter(None, (text_at(value, key) for key in ("name", "title", "label"))), "")
        name = NO_ANNOUNCE if value.get("slug") == NO_ANNOUNCE else name
    else:
        name = ""
    return NO_ANNOUNCE if name.lower() == NO_ANNOUNCE else name


def _named_text(fields: Fields, names: Iterable[str]) -> str:
    found = (plain_text(value) for value in _usual(fields, names) if isinstance(value, str))
    return next(filter(None, found), "")


def _usual(fields: Fields, names: Iterable[str]) -> Iterator[Any]:
    """The values of the fields with these names, in the names' order; the same within `seo` after that."""
    by_name = {normal(key): value for key, value in fields.items()}
    yield from (by_name[name] for name in names if name in by_name)
    if "seo" in by_name:
        yield from _usual({key: one for key, one in _component(by_name["seo"]).items() if normal(key) != "seo"}, names)


def _component(value: Any) -> Fields:
    """The fields of a component, which may be alone or in a picker's list, with or without its type."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return {}
    inner = value.get("fields")
    return inner if isinstance(inner, dict) else value


def _short_texts(fields: Fields) -> Iterator[str]:
    short = (value for value in strings(fields) if len(value) <= SHORT_CHARACTERS and "<" not in value)
    return filter(None, map(words, short))
