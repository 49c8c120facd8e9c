"""Algolia: published content as records of `pages`, `posts` and an index for each collection, for a site's own search.

Algolia takes whatever it is sent last: it can refuse neither an old record nor an old removal. So a document comes here
only while this worker holds the lease of its item. What Algolia has accepted is done: it will be carried out in the
order of acceptance.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from application import Account, Application, Client, Key, Settings
from buttersync import delivery
from buttersync.model import Document
from buttersync.outcomes import Failure, Misconfigured, Outcome, Refused, Unavailable
from hosts import CALL_SECONDS, CONNECT_SECONDS, Absent, NotAllowed, unsent
from records import COLLECTION, PAGES, POSTS, Request, index_of, request

client = Client()

# --------------------------------------------------------------------------------------------------- delivery

Part = tuple[str, dict[int, Request]]
"""An index, and what is asked of it, by the documents' numbers."""


def deliver(settings: Settings, documents: Sequence[Document]) -> list[Outcome]:
    """One call for each index; if Algolia refuses it, calls for its halves, down to the documents at fault."""
    account = Account.of(settings)
    parts: dict[str, dict[int, Request]] = {}
    outcomes: dict[int, Outcome] = {}
    for number, document in enumerate(documents):
        try:
            asked = request(document, account.record_bytes)
            parts.setdefault(index_of(document.identity, account.index_prefix), {})[number] = asked
        except Refused as refused:
            outcomes[number] = refused
    outcomes |= _written(client.application(account), list(parts.items()))
    return [outcomes[number] for number in range(len(documents))]


def _written(application: Application, parts: list[Part]) -> dict[int, Outcome]:
    """What became of each document."""
    outcomes: dict[int, Outcome] = {}
    doubts: dict[int, Failure] = {}
    while parts:
        index, asked = parts.pop()
        try:
            outcomes |= dict.fromkeys(asked, application.write(index, list(asked.values())))
        except Refused as refused:
            if refused.unsure:
                doubts |= dict.fromkeys(asked, refused)
            if len(asked) > 1:
                parts += [(index, half) for half in _halves(asked)]
            else:
                outcomes |= dict.fromkeys(asked, refused)
        except Misconfigured as failure:
            outcomes |= dict.fromkeys(asked, failure)
        except Unavailable as failure:
            # It holds for all that are left: no host answers, the key has used up its rate, or the time is over.
            outcomes |= dict.fromkeys((number for _, others in parts for number in others), unsent(failure))
            outcomes |= dict.fromkeys(asked, failure)
            break
    return outcomes | {number: _unsure(outcomes[number], doubt) for number, doubt in doubts.items()}


def _unsure(outcome: Outcome, doubt: Failure) -> Failure:
    """The outcome of a document that was in a batch which one host refused, but another may still act on."""
    if isinstance(outcome, Failure):
        failure = copy(outcome)  # others may have come to the same without a doubt
        failure.unsure = True
        return failure
    return Unavailable(f"accepted, but a silent host may act on what another refused: {doubt.reason}", unsure=True)


def _halves(asked: dict[int, Request]) -> list[dict[int, Request]]:
    numbers = list(asked)
    middle = len(numbers) // 2
    return [{number: asked[number] for number in half} for half in (numbers[middle:], numbers[:middle])]


# ---------------------------------------------------------------------------------------- the indices' settings

DATED: Mapping[str, Any] = {"customRanking": ["desc(published_at)"]}
"""Of results that match equally well the newest comes first. Items of collections have no date."""

COMMON: Mapping[str, Any] = {
    # The first that matches counts most; within long texts it does not matter where.
    "searchableAttributes": [
        *("unordered(title)", "unordered(summary)", "categories,tags", "author", "unordered(content)"),
    ],
    # A page of hits with all their contents highlighted would be longer than Algolia highlights (50,000 characters).
    "attributesToHighlight": ["title", "summary", "categories", "tags", "author"],
    "attributesToSnippet": ["content:30"],
}

FACETS = (
    *("type", "locale", "searchable(categories)", "searchable(tags)", "searchable(author)"),
    "filterOnly(slug)",  # to find one record by what stands in an address
)


def wanted(index: str) -> dict[str, Any]:
    """The settings that make an index, named without its prefix, a good search for what is in it."""
    if index == POSTS:
        return {**COMMON, **DATED, "attributesForFaceting": [*FACETS]}
    if index == PAGES:
        return {**COMMON, **DATED, "attributesForFaceting": [*FACETS, "page_type"]}
    return {**COMMON, "attributesForFaceting": [*FACETS, "collection"]}


def setup(settings: Settings) -> str:
    """Give every index the settings that it has not; what is set stays as it is. Raises a Failure."""
    application = client.application(Account.of(settings))
    return "; ".join(_set_up(application, index) for index in _indices(application))


def _set_up(application: Application, index: str) -> str:
    lacking = _lacking(application, index)
    if lacking:
        application.set(index, lacking)
    kept = [name for name in wanted(_unprefixed(application, index)) if name not in lacking]
    parts = [f"{verb} {', '.join(names)}" for verb, names in (("set", [*lacking]), ("left", kept)) if names]
    return f"{index}: {' and '.join(parts)}"


def _lacking(application: Application, index: str) -> dict[str, Any]:
    """What nobody has set: null, or not there."""
    there = application.settings(index) or {}
    return {name: value for name, value in wanted(_unprefixed(application, index)).items() if there.get(name) is None}


def _indices(application: Application) -> list[str]:
    """Those of pages, posts and the collections named in `COLLECTIONS`, and of collections that have one already."""
    prefix = application.account.index_prefix
    collections = filter(None, map(str.strip, os.environ.get("COLLECTIONS", "").split(",")))
    named = [prefix + name for name in (PAGES, POSTS, *(COLLECTION + key for key in collections))]
    listed = _or_failure(application.indices)
    there = [] if isinstance(listed, Misconfigured) else listed
    return list(dict.fromkeys([*named, *(index for index in there if index.startswith(prefix + COLLECTION))]))


def _unprefixed(application: Application, index: str) -> str:
    return index.removeprefix(application.account.index_prefix)


Answer = TypeVar("Answer")


def _or_failure(ask: Callable[[], Answer]) -> Answer | Misconfigured:
    """For what a key need not be allowed."""
    try:
        return ask()
    except Misconfigured as failure:
        return failure


# ------------------------------------------------------------------------------------------------------ check

RIGHTS = ("addObject", "deleteObject")
RIGHTS_OF_SETUP = ("settings", "editSettings")
"""https://www.algolia.com/doc/guides/security/api-keys/#access-control-list-acl"""


def check(settings: Settings) -> str:
    """Whether documents could be delivered now, without writing anything; raises a Failure."""
    application = client.application(Account.of(settings))
    indices = _indices(application)
    key = _or_failure(application.key)
    lacking = _or_failure(lambda: {index: list(_lacking(application, index)) for index in indices})
    _require_algolia(key, lacking)
    return f"{_rights(key, indices)}; {_settings(lacking)}"


def _require_algolia(key: object, settings: object) -> None:
    """Raises Misconfigured if nobody has shown to be Algolia and to know the key.

    Whether a key that lacks ``search`` may read itself is said in both ways: in the words and in the ``x-acl`` of
    https://www.algolia.com/doc/rest-api/search. A good key is told at the least that it may not.
    """
    if isinstance(key, Absent):
        raise key
    if isinstance(key, Misconfigured) and isinstance(settings, Misconfigured):
        for failure in (key, settings):
            if not isinstance(failure, NotAllowed):
                raise failure


def _rights(key: Key | Misconfigured, indices: Sequence[str]) -> str:
    if isinstance(key, Misconfigured):
        return f"what the key may do cannot be read ({key.reason})"
    if missing := [right for right in RIGHTS if right not in key.acl]:
        raise Misconfigured(f"the key lacks {', '.join(missing)}")
    if barred := [index for index in indices if not _admits(key, index)]:
        raise Misconfigured(f"the key is for other indices than {', '.join(barred)}")
    may = f"the key may write to {', '.join(indices)}"
    missing = [right for right in RIGHTS_OF_SETUP if right not in key.acl]
    return f"{may}; for setup it lacks {', '.join(missing)}" if missing else may


def _admits(key: Key, index: str) -> bool:
    patterns = [re.escape(pattern).replace(r"\*", ".*") for pattern in key.indexes or ()]
    return not patterns or any(re.fullmatch(pattern, index) for pattern in patterns)


def _settings(lacking: Mapping[str, Sequence[str]] | Misconfigured) -> str:
    if isinstance(lacking, Misconfigured):
        return f"the indices' settings cannot be read ({lacking.reason})"
    gaps = [f"{index} lacks {', '.join(names)}" for index, names in lacking.items() if names]
    return f"run setup: {', '.join(gaps)}" if gaps else "all have their settings"


handler = delivery.handler(
    "algolia",
    required=("app_id", "api_key"),
    deliver=deliver,
    check=check,
    setup=setup,
    reset=client.close,
    # The last host may have been asked just before the time was over.
    worst_case=CALL_SECONDS + CONNECT_SECONDS,
    leased=lambda _: True,
)
