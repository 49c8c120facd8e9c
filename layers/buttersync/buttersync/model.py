"""What travels through the topic: a *change* from ingest to resolve, a *document* from resolve to the targets.

Both are frozen structs that msgspec reads and checks at the edge; a dict never crosses a border. Times are integers in
milliseconds since 1970 (UTC), or, where a person reads them, ISO 8601 strings with microseconds and ``Z``, which
compare as they are ordered.
"""

import re
from typing import Annotated, Any, Literal, Self, cast, get_args
from urllib.parse import quote, unquote

import msgspec

Kind = Literal["post", "page", "item"]
Claim = Literal["published", "removed", "draft", "any"]
Effect = Literal["created", "updated", "removed"]

SINGLE_PAGES = "*"
"""The page type of single pages in webhooks and paths; the Read API answers null for them."""

REF_BYTES = 900
"""The longest ref: an S3 key has room for 1,024 bytes, a DynamoDB sort key too, and a version follows."""

# What no message may hold, and the slash, which would reach for another path of the Read API.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_USABLE = re.compile(r"\A(?!\.{1,2}\Z|\s+\Z)[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff/]{1,255}\Z")
LOCALE = re.compile(r"\A[A-Za-z0-9_-]{1,35}\Z")

EVENT_CHARACTERS = 100
LARGEST_NUMBER = 2**63 - 1

Name = Annotated[str, msgspec.Meta(pattern=_USABLE.pattern)]
Group = Annotated[str, msgspec.Meta(pattern=rf"\A\Z|{_USABLE.pattern}")]
Locale = Annotated[str, msgspec.Meta(pattern=LOCALE.pattern)]
Number = Annotated[int, msgspec.Meta(gt=0, le=LARGEST_NUMBER)]
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_NUMBER)]
"""Of things, of tries, of milliseconds. A message that counts from below zero would be tried for ever."""

TITLE_CHARACTERS = 300
SUMMARY_CHARACTERS = 300
URL_CHARACTERS = 2048
MESSAGE_LABELS = 100
"""So many tags and categories travel in a message, ``no-announce`` first; the archive object has them all."""
LABEL_CHARACTERS = 100
NO_ANNOUNCE = "no-announce"

Malformed = msgspec.ValidationError
"""A message that is not one of ours; its text says which field is wrong."""

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""All that reading one can raise: Malformed and other JSON, what is no UTF-8, what is nested without end."""


def usable(name: str) -> bool:
    """Whether it may be a slug, a page type or a collection's key: 1 to 255 characters that can travel and be read."""
    return bool(_USABLE.search(name))


class Identity(msgspec.Struct, frozen=True):
    """Which item of the site: a post's slug, a page's type and slug, an item's collection and number; its locale."""

    kind: Kind
    group: Group
    """The page type (``*`` for single pages) or the collection's key; empty for posts."""
    name: Name
    """The slug, or an item's number."""
    locale: Locale
    """Never empty: a null locale has become `DefaultLocale`."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no ref could name: only posts have no group."""
        if (self.kind == "post") == bool(self.group):
            raise ValueError("a post has no group, everything else has one")

    @property
    def ref(self) -> str:
        """The key of everything: ``post:<slug>:<locale>``, percent-encoded so that no slug forges another's."""
        parts = [self.group, self.name, self.locale] if self.group else [self.name, self.locale]
        return ":".join([self.kind, *(quote(part, safe=SINGLE_PAGES) for part in parts)])

    @property
    def kind_attribute(self) -> str:
        """The message attribute ``kind``: ``post``, ``page:<type>`` or ``item:<collection>``."""
        return f"{self.kind}:{self.group}" if self.group else self.kind

    @classmethod
    def parse(cls, ref: str) -> Self:
        """The identity that `ref` names; raises Malformed for anything else."""
        kind, *parts = ref.split(":")
        if kind not in get_args(Kind) or len(parts) != (2 if kind == "post" else 3) or not all(parts):
            raise Malformed(f"not a ref: {ref!r}")
        *group, name, locale = map(unquote, parts)
        return cls(cast(Kind, kind), group[0] if group else "", name, locale)


class Change(msgspec.Struct, frozen=True, kw_only=True, tag_field="stage", tag="change"):
    """What a webhook claims, on its way to resolve; also a new look, an item of the backfill, an old slug."""

    identity: Identity
    event: Annotated[str, msgspec.Meta(max_length=EVENT_CHARACTERS)]
    """The event as ButterCMS named it, or the name of what made the change."""
    claims: Claim
    received_at: Count
    """When the webhook arrived at ingest (ms); it stays the same through every look."""
    numeric_id: Number | None = None
    look: Count = 0
    """How often a doubtful reading has been looked at again."""
    attempts: Count = 0
    """How often reading ButterCMS has failed."""
    not_before: Count = 0
    """Not to be handled before this time (ms)."""
    republish: str = ""
    """The target (or ``all``) that is to hear the item even if it is unchanged."""

    @property
    def attributes(self) -> dict[str, str]:
        """The message attributes that subscriptions filter by."""
        return {"stage": "change", "kind": self.identity.kind_attribute, "locale": self.identity.locale}

    def to_json(self) -> str:
        """The message's body."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, body: str | bytes) -> Self:
        """The change in a message's body; raises Malformed or msgspec.DecodeError, its base."""
        return msgspec.json.decode(body, type=cls)


class Document(msgspec.Struct, frozen=True, kw_only=True, tag_field="stage", tag="document"):
    """One version of one item, as the targets see it. A removed one has its identity, version and url only.

    In a message `text` and `fields` are empty and the lists are short; the archive object has everything.
    """

    identity: Identity
    version: Number
    """Never falls for one ref: the time of the reading (ms), or the version before plus 1."""
    change: Effect
    announce_key: str
    archive_key: str
    """Where the archive holds the whole of this version."""
    name: str = ""
    """The name in ButterCMS's dashboard, where the Read API has one; else the title."""
    title: str = ""
    summary: str = ""
    url: str = ""
    image: str = ""
    author: str = ""
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    published_at: str | None = None
    updated_at: str | None = None
    text: str = ""
    """All words of the item as plain text."""
    fields: dict[str, Any] = {}
    """The item as ButterCMS has it, without the author's e-mail address."""

    def attributes(self, target: str = "all") -> dict[str, str]:
        """The message attributes that subscriptions filter by; `target` names one target for a replay."""
        identity = self.identity
        return {
            "stage": "document",
            "change": self.change,
            "target": target,
            "kind": identity.kind_attribute,
            "locale": identity.locale,
        }

    def to_message(self) -> str:
        """The body of the small message: what an announcement needs, far under 256 KiB whatever the CMS holds."""
        small = msgspec.structs.replace(
            self, text="", fields={}, tags=_few(self.tags), categories=_few(self.categories)
        )
        return small.to_json()

    def to_json(self) -> str:
        """The archive object: everything."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, body: str | bytes) -> Self:
        """The document in a message's body or an archive object; raises Malformed or msgspec.DecodeError, its base."""
        return msgspec.json.decode(body, type=cls)


def _few(labels: tuple[str, ...]) -> tuple[str, ...]:
    first = sorted(labels, key=lambda label: label != NO_ANNOUNCE)[:MESSAGE_LABELS]
    return tuple(label[:LABEL_CHARACTERS] for label in first)
