"""Texts, made fit for readers and for stores."""

import re

ELLIPSIS = "…"

_LAST_WORD = re.compile(r"\s+\S*\Z")
_DANGLING = " \t\r\n,;:-\u2013\u2014("


def cut(text: str, characters: int) -> str:
    """The text in at most so many characters (code points), cut between two words and ended with an ellipsis if longer.

    Only a word that would leave less than half of the room filled is cut itself.
    """
    if len(text) <= characters:
        return text
    room = characters - len(ELLIPSIS)
    if room < 0:
        return ""
    whole = text[:room] if text[room].isspace() else _without_last_word(text[:room])
    head = whole if 2 * len(whole) >= room else text[:room]
    return head.rstrip(_DANGLING) + ELLIPSIS


def storable(text: str) -> str:
    """The text without NUL and halves of surrogate pairs, which PostgreSQL and many a reader of JSON cannot hold.

    https://www.postgresql.org/docs/current/datatype-character.html
    """
    sound = text if text.isascii() else text.encode(errors="ignore").decode()
    return sound.replace("\0", "")


def _without_last_word(text: str) -> str:
    return _LAST_WORD.sub("", text)
