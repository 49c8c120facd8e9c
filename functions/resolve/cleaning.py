"""JSON as it came, made safe to store: whatever a person or a program has put into a CMS."""

import math
import re
from collections.abc import Mapping
from typing import Any

DEEPEST = 64
"""Levels of objects and lists. ButterCMS inlines references five levels deep, and its components nest a few more."""
LARGEST_BITS = 1023
"""Larger integers are no doubles; most stores refuse them, and Python does not print them."""

_ADDRESS_NAMES = frozenset({"email", "e_mail", "email_address"})
_AUTHOR_NAMES = frozenset({"author", "authors"})

_ADDRESS = re.compile(r"(?<![\w.+/-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Nonsense(ValueError):
    """Something that cannot be an item of ButterCMS; the text names the field."""


def clean(value: Any, field: str = "the item", depth: int = 0) -> Any:
    """The value without what UTF-8, JSON or PostgreSQL cannot hold.

    NUL is dropped, half a surrogate pair becomes U+FFFD, a number that is none becomes null. Raises Nonsense for what
    is nested deeper than 64 levels.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping | list | tuple):
        return _clean_container(value, field, depth)
    return value if _is_storable(value) else None


def clean_text(text: str) -> str:
    """The text without NUL and without halves of surrogate pairs."""
    return _SURROGATE.sub("\ufffd", text.replace("\0", ""))


def normal(name: str) -> str:
    """A field's name as this package compares it: ``Hero-Image`` is ``hero_image``."""
    return name.lower().replace("-", "_").replace(" ", "_")


def without_addresses(value: Any, of_author: bool = False) -> Any:
    """The value without fields called e-mail and without e-mail addresses inside of any ``author`` or ``authors``."""
    if isinstance(value, list):
        return [without_addresses(one, of_author) for one in value]
    if not isinstance(value, dict):
        return _ADDRESS.sub("", value) if of_author and isinstance(value, str) else value
    return {
        key: without_addresses(one, of_author or normal(key) in _AUTHOR_NAMES)
        for key, one in value.items()
        if not (of_author and normal(key) in _ADDRESS_NAMES)
    }


def _clean_container(value: Any, field: str, depth: int) -> Any:
    if depth == DEEPEST:
        raise Nonsense(f"{field} is nested deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        keys = ((clean_text(str(key)), one) for key, one in value.items())
        return {key: clean(one, field if depth else key, depth + 1) for key, one in keys}
    return [clean(one, field, depth + 1) for one in value]


def _is_storable(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and value.bit_length() <= LARGEST_BITS)
