"""What the stores should hold, from the site itself, and where they do not."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import documents
from buttersync.butter import Butter
from buttersync.model import Identity
from documents import UrlPatterns
from sandbox.processes import SandboxError
from sandbox.server import Sandbox
from sandbox.site import Site
from sandbox.stack import URLS
from sandbox.stores import MOST_HITS, Held, Store

PATTERNS = UrlPatterns(URLS["PostUrl"], URLS["PageUrl"], URLS["ItemUrl"])


@dataclass(frozen=True)
class Expected:
    """What tells one edition of an item from any other, and where the site has it."""

    title: str
    text: str
    url: str


Source: TypeAlias = Mapping[str, Expected]
"""What is published, by ref."""


@dataclass(frozen=True)
class Difference:
    """A ref that a store does not hold as it should; `found` is empty if it holds nothing, `expected` if it should."""

    store: str
    ref: str
    expected: str
    found: str

    @property
    def kind(self) -> str:
        """``missing``, ``too many`` or ``other``."""
        if not self.found:
            return "missing"
        return "other" if self.expected else "too many"


def published(sandbox: Sandbox) -> Source:
    """What the site has published, read by resolve's client and mapped by resolve's rules. Nothing may fail."""
    site = sandbox.site
    butter = Butter(sandbox.butter.token, sandbox.butter_endpoint)
    found = {}
    for identity in _identities(site):
        item = butter.item(identity, None if identity.locale == site.account.default_locale else identity.locale)
        if item and documents.matches(identity, item) and documents.is_published(identity, item):
            content = documents.mapped(identity, item, PATTERNS)
            found[identity.ref] = Expected(content.title, content.text, content.url)
    return found


def _identities(site: Site) -> Iterator[Identity]:
    for post in site.content.posts.values():
        yield Identity("post", "", post.slug, post.locale)
    for entry in site.content.pages.values():
        yield Identity("page", entry.group, entry.name, entry.locale)
    for entry in site.content.items.values():
        yield Identity("item", entry.group, entry.name, entry.locale)


def differences(stores: Iterable[Store], source: Source) -> Sequence[Difference]:
    """Where the stores are not as the source; raises SandboxError if a store holds more than can be read."""
    found = []
    for store in stores:
        held = store.read()
        if len(held) >= MOST_HITS:
            raise SandboxError(f"{store.name} holds {len(held)} items or more, which cannot be read at once")
        for ref in sorted(source.keys() | held.keys()):
            expected, there = source.get(ref), held.get(ref)
            if not _equal(expected, there):
                found.append(
                    Difference(store.name, ref, expected.title if expected else "", there.title if there else "")
                )
    return found


def _equal(expected: Expected | None, held: Held | None) -> bool:
    if expected is None or held is None:
        return expected is None and held is None
    words = (expected.text, expected.url)
    return held.title == expected.title and all(json.dumps(one)[1:-1] in held.everything for one in words)
