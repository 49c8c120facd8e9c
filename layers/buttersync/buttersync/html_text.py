"""The words of a piece of HTML, in time that grows with its length whatever it holds.

One expression takes markup apart as a browser does (https://html.spec.whatwg.org/multipage/parsing.html#tokenization).
What never ends matches to the end of the text, so nothing is read again and again. The parsers at hand
fail here: html.parser and selectolax need minutes for 200 KB of hostile markup, and lxml loses what lies deeper than
2,046 elements.
"""

import html
import re

_INLINE = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"),
        *("ins", "kbd", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time"),
        *("tt", "u", "var", "wbr"),
    )
)
"""These do not part words: ``<b>w</b>ord`` is one. Every other tag does."""

_ATTRIBUTES = r"""(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+"""
"""A quotation mark without its pair is read past once in a text: it is the last of its kind."""
_MARKUP = re.compile(
    rf"""
      <!--(?:-?>|.*?(?:--!?>|\Z))                                   # a comment
    | <[!?][^>]*+(?:>|\Z)                                           # a document type, an instruction
    | </(?:[^<>a-z][^<>]*+)?+>                                      # an end of nothing
    | <(?P<raw>script|style|iframe|noembed|noframes)(?=[\s/>]){_ATTRIBUTES}
        (?:>.*?(?:</(?P=raw)(?=[\s/>])[^>]*+(?P<raw_end>>)|\Z)|\Z)  # an element whose content is no text
    | </?(?P<name>[a-z][^\s/>]*+){_ATTRIBUTES}(?P<end>>|\Z)         # any other tag
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE | re.ASCII,
)
_PLAIN_TAG = re.compile(r"</?[a-z][^<>]*+>", re.IGNORECASE | re.ASCII)
"""A tag where the rest of the text is out of joint."""

_ENDLESS_NUMBER = re.compile(r"&#x?[0-9a-f]{100,}+;?", re.IGNORECASE)
"""No character, and Python refuses to read a number of thousands of digits."""
_UNPRINTED = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad]")
"""Control characters, and the soft hyphen, which would part a word for a search."""


def plain_text(markup: str) -> str:
    """The words a reader sees: without tags, comments, scripts and styles, entities decoded once, space collapsed.

    Block elements and line breaks part words, inline elements do not. A ``<`` that begins no tag is text, and so is a
    tag or a script that never ends, for a title may well speak of ``i<j``.
    """
    text = _ENDLESS_NUMBER.sub("\ufffd", _MARKUP.sub(_instead, markup))
    return " ".join(_UNPRINTED.sub("", html.unescape(text)).split())


def _instead(match: re.Match[str]) -> str:
    if match["raw"]:
        return " " if match["raw_end"] else _PLAIN_TAG.sub(" ", match[0])
    if match["name"]:
        return _PLAIN_TAG.sub(" ", match[0]) if not match["end"] else "" if match["name"].lower() in _INLINE else " "
    return ""
