"""The words in the fields of an item, which every site names and nests as it likes."""

import re
from collections.abc import Iterator
from typing import Any

from buttersync.html_text import plain_text

_NO_WORDS = re.compile(
    r"""
      (?:[a-z][a-z0-9+.-]*+:)?+//\S++                        # urls
    | (?:mailto|tel|sms|javascript|data):\S*+
    | www\.\S++
    | [a-z0-9-]++(?:\.[a-z0-9-]++)++/\S*+                    # urls without a scheme
    | \.{0,2}/\S*+                                           # paths, /v2/content/?keys=… of references too
    | \#\S*+                                                 # anchors and colours
    | (?:rgba?|hsla?|hwb|lab|lch|oklab|oklch)\([^()]*+\)
    | \d{4}-\d\d-\d\d (?:[T\ ]\d\d:\d\d (?::\d\d)?+ \S*+)?+  # dates
    | [^\s@]++@[^\s@.]++(?:\.[^\s@.]++)++                    # e-mail addresses
    """,
    re.VERBOSE | re.IGNORECASE,
)

_MACHINERY = frozenset({"slug", "id"})


def texts(value: Any) -> list[str]:
    """The words of every text, in the order of the fields, through components, repeaters, references and lists."""
    return list(filter(None, map(words, strings(value))))


def words(markup: str) -> str:
    """The plain text, or nothing if the whole of it is a url, a path, an address, an anchor, a colour or a date."""
    text = plain_text(markup)
    return "" if _NO_WORDS.fullmatch(text) else text


def strings(value: Any) -> Iterator[str]:
    """Every string in it, depth first, without slugs, ids and the types of components."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, dict):
        machinery = _MACHINERY | {"type"} if "fields" in value else _MACHINERY
        for key, one in value.items():
            if key not in machinery:
                yield from strings(one)
