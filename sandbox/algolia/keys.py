"""Algolia's API keys: what each may do, and to which indices.

https://www.algolia.com/doc/guides/security/api-keys
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

ADMIN = "admin"
ACLS = frozenset(
    {"addObject", "analytics", "browse", "deleteIndex", "deleteObject", "editSettings", "inference", "listIndexes"}
    | {"logs", "personalization", "recommendation", "search", "seeUnretrievableAttributes", "settings", "usage", ADMIN}
)


def _milliseconds() -> int:
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Key:
    """An API key."""

    value: str
    acl: frozenset[str]
    indexes: tuple[str, ...]
    """Names, or parts of them with ``*`` before or behind; none: all indices."""
    created_at: int = field(default_factory=_milliseconds)
    """In milliseconds since 1970."""

    @classmethod
    def made(cls, value: str, acl: Iterable[str], indexes: Iterable[str] = ()) -> "Key":
        """Raises ValueError for a right that there is not."""
        if unknown := set(acl) - ACLS:
            raise ValueError(f"an ACL has no {', '.join(sorted(unknown))}")
        return cls(value, frozenset(acl), tuple(indexes))

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything."""
        return ADMIN in self.acl

    def may(self, right: str) -> bool:
        """Whether it has an entry of the ACL."""
        return self.is_admin or right in self.acl

    def reaches(self, index: str) -> bool:
        """Whether it is good for an index."""
        return not self.indexes or any(_is_like(index, pattern) for pattern in self.indexes)

    def shown(self) -> dict[str, Any]:
        """What whoever has it can learn of it."""
        rights = {"value": self.value, "createdAt": self.created_at, "acl": sorted(self.acl)}
        return {**rights, "indexes": self.indexes, "description": "<redacted>", "validity": 0}


class KeyWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a new key is to be good for."""

    acl: list[str]
    indexes: list[str] = []


def _is_like(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None
