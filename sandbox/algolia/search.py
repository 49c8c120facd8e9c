"""Searching an Algolia index, as far as that can be played honestly: words, prefixes, filters, custom ranking, pages.

There are no typos, synonyms, highlights or facet counts, and of the ranking there is the custom one only: whoever asks
for more is told so by a 501.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec

from sandbox.algolia.errors import Refusal
from sandbox.algolia.filters import Matches, all_of, at, facet_filters, filters
from sandbox.algolia.indices import Index, Record, is_number
from sandbox.algolia.settings import attribute_of, facets_of, shown

QUERY_BYTES = 512
PLAYED: Mapping[str, Any] = {
    "query": str,
    "filters": str,
    "facetFilters": str | list[Any],
    "page": Annotated[int, msgspec.Meta(ge=0)],
    "hitsPerPage": Annotated[int, msgspec.Meta(ge=1, le=1000)],
    "attributesToRetrieve": list[str],
}
DELETION_FILTERS = frozenset(
    {"aroundLatLng", "aroundRadius", "facetFilters", "filters", "insideBoundingBox", "insidePolygon"}
    | {"numericFilters", "tagFilters"}
)


def search(index: Index, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a search, hits as they are stored; raises Refusal (400, 501)."""
    _check(parameters)
    settings = shown(index.settings)
    matches = all_of([*_filters(parameters, index), _query(parameters.get("query", ""), settings)])
    found = [record for record in index.records.values() if matches(record)]
    page, size = parameters.get("page", 0), parameters.get("hitsPerPage", settings["hitsPerPage"])
    reachable = _ranked(found, settings["customRanking"] or [])[: settings["paginationLimitedTo"]]
    hits = [_retrieved(hit, parameters.get("attributesToRetrieve")) for hit in reachable[page * size :][:size]]
    return {
        "hits": hits,
        "nbHits": len(found),
        "page": page,
        "nbPages": math.ceil(len(reachable) / size),
        "hitsPerPage": size,
        "exhaustiveNbHits": True,
        "query": parameters.get("query", ""),
        "params": urlencode(parameters),
        "processingTimeMS": 1,
    }


def deletion(parameters: Mapping[str, Any]) -> Callable[[Index], Matches]:
    """Which records a deletion by filters is about; raises Refusal (400, 501)."""
    if parameters.keys() - DELETION_FILTERS:
        message = "DeleteByQuery endpoint only supports tagFilters, facetFilters, numericFilters and geoQuery condition"
        raise Refusal(400, message)
    if not any(parameters.values()):
        raise Refusal(400, "Invalid filters: they must not be empty")
    _check(parameters)
    _filters(parameters, Index())
    return lambda index: all_of(_filters(parameters, index))


def _check(parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        if name not in PLAYED:
            raise Refusal(501, f"the sandbox does not play the parameter {name}")
        try:
            msgspec.convert(value, PLAYED[name])
        except msgspec.ValidationError as error:
            raise Refusal(400, f'Invalid value for "{name}" parameter, {error}') from error
    if len(parameters.get("query", "").encode()) > QUERY_BYTES:
        text = f'Invalid value for "query" parameter, expected string shorter than {QUERY_BYTES} bytes'
        raise Refusal(400, text)


def _filters(parameters: Mapping[str, Any], index: Index) -> list[Matches]:
    facets = facets_of(index.settings)
    return [filters(parameters.get("filters", ""), facets), facet_filters(parameters.get("facetFilters", []), facets)]


# --- words ---


def _query(text: str, settings: Mapping[str, Any]) -> Matches:
    """Every word of a query occurs in a searchable attribute, the last one perhaps as the beginning of a word."""
    words, attributes = _words(text), settings["searchableAttributes"]
    last = words.pop() if words and settings["queryType"] != "prefixNone" else None

    def matches(record: Record) -> bool:
        there = {word for text in _texts(record, attributes) for word in _words(text)}
        return there.issuperset(words) and (last is None or any(word.startswith(last) for word in there))

    return matches


def _words(text: str) -> list[str]:
    """Words as Algolia compares them: no case, no accents."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return re.findall(r"[^\W_]+", plain.casefold())


def _texts(record: Record, attributes: Sequence[str] | None) -> Iterator[str]:
    if attributes is None:
        yield from _leaves({name: value for name, value in record.items() if name != "objectID"})
        return
    for names in attributes:
        for name in attribute_of(names).split(","):
            yield from _leaves(at(record, name.strip()))


def _leaves(value: Any) -> Iterator[str]:
    """The texts and numbers in a value, however deep."""
    if isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(part)
    elif value is not None:
        yield str(value)


# --- what is shown ---


def _ranked(records: Sequence[Record], ranking: Sequence[str]) -> list[Record]:
    """By the custom ranking, and then by id, so that the order is always the same; what lacks an attribute is last."""
    ordered = sorted(records, key=lambda record: str(record["objectID"]))
    for criterion in reversed(ranking):
        ranks = [(_rank(at(record, attribute_of(criterion))), record) for record in ordered]
        there = sorted(((rank, one) for rank, one in ranks if rank), key=itemgetter(0), reverse=criterion[0] == "d")
        ordered = [one for _, one in there] + [one for rank, one in ranks if not rank]
    return ordered


def _rank(value: Any) -> tuple[int, float, str] | None:
    """Numbers before texts; None for what cannot be ranked."""
    if is_number(value):
        return 0, value, ""
    return (1, 0, str(value)) if isinstance(value, str | bool) else None


def _retrieved(record: Record, attributes: Sequence[str] | None) -> Record:
    if attributes is None or "*" in attributes:
        return record
    return {name: value for name, value in record.items() if name in attributes or name == "objectID"}
