"""What nobody should send and somebody will: hostile texts, names and numbers, and valid things spoiled."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from sandbox.wire import Request, Response, Route

TEXTS = (
    "'); DROP TABLE posts; --",
    "\\'; DELETE FROM buttersync_versions; --",
    "$$; TRUNCATE posts; $$ %s %(title)s %% {0}",
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "{title} {{7*7}} ${jndi:ldap://x.test/a} <%= 7*7 %> #{7*7} *|MERGE|*",
    "a\0b",
    "half \ud83d of a pair, and \udc4b the other",
    "\u202egnirts a \u2066sdrawkcab\u2069 \u200f",
    "z\u200be\u200cr\u200do\ufeff w\u2060idth",
    "\x01\x08\x0b\x0c\x1b[31m\x7f\x80\x9f",
    "\ufffe \uffff \U0001fffe \U0010ffff",
    "line\u2028separator\u2029paragraph\x85next",
    '\r\n{"level": "ERROR", "message": "forged"}\r\n',
    '"}}\n{"delete": {"_index": "posts", "_id": "post:mate:en"}}\n',
    "HTTP/1.1 200 OK\r\nX-Injected: yes\r\n\r\n",
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd%00.html",
    "e\u0301\u0302\u0303" * 20,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\u0130\u0131\u017f\u1e9e \ufb03",
)
"""SQL, markup, templates, no characters, turned writing, what looks like the next line of a log or of a protocol."""

NAMES = (
    *(text for text in TEXTS if "/" not in text),
    *("", " ", ".", "..", "...", "a/b", "../posts", "%2e%2e", "%2F", "a%2Fb", "a:b", "a:en", "*", "a*", "_all", "_id"),
    *(
        "-",
        "_",
        "~",
        "+",
        "a b",
        " a",
        "a ",
        "?page=2",
        "#top",
        "a;b",
        "a,b",
        "a=b",
        "a&b",
        "a|b",
        "a\\b",
        "`a`",
        "$(a)",
    ),
    *("NUL", "con", "A", "\u00e5", "a\u030a", "\u212b", "\u6d77" * 90, "x" * 255, "x" * 256, "%" * 255, "1e400", "-1"),
)
"""Slugs, page types, keys of collections: of paths, urls, keys and indices they are parts."""

NUMBERS = (
    *(0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, -(10**9), 10**30, 10**400, -(10**400)),
    *(0.5, -0.0, 5e-324, 1.7e308),
)

DEEP = "<deep>"
"""Stands for what is nested deeper than `json.dumps` goes."""
ENDLESS = "<endless>"
"""Stands for an integer that Python does not print."""
LONG = "<long>"
"""Stands for a text of 5,000 letters."""
_RAW = {DEEP: "[" * 5_000 + "]" * 5_000, ENDLESS: "9" * 5_000, LONG: '"' + "x" * 5_000 + '"'}

ANY_CHARACTERS = st.characters(exclude_categories=())
ANY_TEXT = st.sampled_from(TEXTS) | st.sampled_from(NAMES) | st.text(ANY_CHARACTERS, max_size=20)
ANYTHING: st.SearchStrategy[Any] = (
    st.sampled_from([None, True, False, [], {}, [[]], {"a": {"b": []}}, DEEP, ENDLESS, LONG, LONG])
    | st.sampled_from(NUMBERS)
    | ANY_TEXT
)


def nested(levels: int, inside: Any) -> Any:
    """Objects and lists in each other, so many in all."""
    for level in range(levels):
        inside = [inside] if level % 2 else {"in": inside}
    return inside


VALUES = st.recursive(
    ANYTHING, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4), max_leaves=8
)
FIELDS = st.dictionaries(ANY_TEXT | st.sampled_from(["title", "tags", "image", "seo", "slug"]), VALUES, max_size=6)
"""What an item may hold in fields of its own."""


def to_json(value: Any) -> str:
    """The value as JSON in ASCII, which can hold more than Python can."""
    text = json.dumps(value)
    for sign, raw in _RAW.items():
        text = text.replace(json.dumps(sign), raw)
    return text


# ----------------------------------------------------------------------------------------------- valid things, spoiled

Path = tuple[Any, ...]


class Gone:
    """What is put in the place of something that is taken away."""


ANYTHING_OR_GONE = ANYTHING | st.just(Gone)


@st.composite
def spoiled(draw: st.DrawFn, valid: Any, steps: int = 3) -> list[Any]:
    """What is valid, with one thing in it overwritten or taken away; with a second one; and so on."""
    states = [valid]
    for _ in range(steps):
        inner = [path for path in paths(states[-1]) if path]
        new = draw(ANYTHING_OR_GONE)
        states.append(_replaced(states[-1], draw(st.sampled_from(inner)), new) if inner else {"data": None})
    return states[1:]


def paths(value: Any, so_far: Path = ()) -> Iterator[Path]:
    """The way to each thing in it, itself included."""
    yield so_far
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from paths(one, (*so_far, key))


def _replaced(value: Any, path: Path, new: Any) -> Any:
    copy, (key, *rest) = value.copy(), path
    if rest:
        copy[key] = _replaced(value[key], tuple(rest), new)
    elif new is Gone:
        del copy[key]
    else:
        copy[key] = new
    return copy


# --------------------------------------------------------------------------------------------------------------- bytes

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-7", "cp037")


@st.composite
def scrambled(draw: st.DrawFn, valid: bytes) -> bytes:
    """What is valid, cut somewhere, and with other bytes there."""
    at, length = draw(st.integers(0, len(valid))), draw(st.integers(0, 9))
    return valid[:at] + draw(st.binary(max_size=8)) + valid[at + length :]


@dataclass
class Anything:
    """A vendor that answers what it is told, whatever it is asked."""

    response: Response
    name: str = "butter"
    paths: str = ""
    controls: Sequence[Route] = ()

    def answer(self, request: Request) -> Response:
        """Always the same."""
        del request
        return self.response
