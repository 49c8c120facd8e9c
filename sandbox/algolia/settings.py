"""The settings of an Algolia index: their names, their types, what a fresh index has.

https://www.algolia.com/doc/api-reference/settings-api-parameters/
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

Whole = Annotated[int, msgspec.Meta(ge=0)]

TYPES: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            *("attributesForFaceting", "attributesToHighlight", "attributesToRetrieve", "attributesToSnippet"),
            *("attributesToTransliterate", "camelCaseAttributes", "customRanking", "disableExactOnAttributes"),
            *("disablePrefixOnAttributes", "disableTypoToleranceOnAttributes", "disableTypoToleranceOnWords"),
            *("indexLanguages", "numericAttributesForFiltering", "queryLanguages", "ranking", "replicas"),
            *("responseFields", "searchableAttributes", "unretrievableAttributes"),
        ),
        list[str],
    ),
    **dict.fromkeys(
        (
            *("advancedSyntax", "allowCompressionOfIntegerArray", "allowTyposOnNumericTokens"),
            *("attributeCriteriaComputedByMinProximity", "decompoundQuery", "enablePersonalization", "enableReRanking"),
            *("enableRules", "replaceSynonymsInHighlight", "restrictHighlightAndSnippetArrays"),
        ),
        bool,
    ),
    **dict.fromkeys(
        (
            *("attributeForDistinct", "highlightPostTag", "highlightPreTag", "keepDiacriticsOnCharacters"),
            *("separatorsToIndex", "snippetEllipsisText"),
        ),
        str,
    ),
    **dict.fromkeys(("minWordSizefor1Typo", "minWordSizefor2Typos"), Whole),
    "advancedSyntaxFeatures": list[Literal["exactPhrase", "excludeWords"]],
    "alternativesAsExact": list[
        Literal["ignorePlurals", "singleWordSynonym", "multiWordsSynonym", "ignoreConjugations"]
    ],
    "customNormalization": dict[str, dict[str, str]],
    "decompoundedAttributes": dict[str, list[str]],
    "distinct": bool | Annotated[int, msgspec.Meta(ge=0, le=4)],
    "exactOnSingleWordQuery": Literal["attribute", "none", "word"],
    "hitsPerPage": Annotated[int, msgspec.Meta(ge=1, le=1000)],
    "ignorePlurals": bool | str | list[str],
    "maxFacetHits": Annotated[int, msgspec.Meta(ge=0, le=100)],
    "maxValuesPerFacet": Annotated[int, msgspec.Meta(ge=0, le=1000)],
    "minProximity": Annotated[int, msgspec.Meta(ge=1, le=7)],
    "mode": Literal["neuralSearch", "keywordSearch"],
    "optionalWords": str | list[str],
    "paginationLimitedTo": Annotated[int, msgspec.Meta(ge=0, le=20_000)],
    "queryType": Literal["prefixLast", "prefixAll", "prefixNone"],
    "reRankingApplyFilter": str | list[Any],
    "relevancyStrictness": Annotated[int, msgspec.Meta(ge=0, le=100)],
    "removeStopWords": bool | list[str],
    "removeWordsIfNoResults": Literal["none", "lastWords", "firstWords", "allOptional"],
    "renderingContent": dict[str, Any],
    "semanticSearch": dict[str, Any],
    "sortFacetValuesBy": Literal["count", "alpha"],
    "typoTolerance": bool | Literal["min", "strict", "true", "false"],
    "userData": Any,
}

ATTRIBUTE = r"[^()]+"
FORMS: Mapping[str, re.Pattern[str]] = {
    "attributesForFaceting": re.compile(
        rf"{ATTRIBUTE}|(?:filterOnly|searchable|afterDistinct)\((?:{ATTRIBUTE}|searchable\({ATTRIBUTE}\))\)"
    ),
    "customRanking": re.compile(rf"(?:asc|desc)\({ATTRIBUTE}\)"),
    "ranking": re.compile(
        rf"typo|geo|words|filters|proximity|attribute|exact|custom|(?:asc|desc)\({ATTRIBUTE}\)",
    ),
    "searchableAttributes": re.compile(rf"{ATTRIBUTE}|(?:un)?ordered\({ATTRIBUTE}\)"),
}
"""What the items of some lists must look like; ``customRanking`` takes no bare names."""

FRESH: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            *("attributeForDistinct", "attributesForFaceting", "attributesToHighlight", "attributesToRetrieve"),
            *("attributesToSnippet", "customRanking", "numericAttributesToIndex", "optionalWords"),
            *("searchableAttributes", "unretrievableAttributes"),
        ),
    ),
    "alternativesAsExact": ["ignorePlurals", "singleWordSynonym"],
    "exactOnSingleWordQuery": "attribute",
    "highlightPostTag": "</em>",
    "highlightPreTag": "<em>",
    "hitsPerPage": 20,
    "maxValuesPerFacet": 100,
    "minWordSizefor1Typo": 4,
    "minWordSizefor2Typos": 8,
    "paginationLimitedTo": 1000,
    "queryType": "prefixLast",
    "ranking": ["typo", "geo", "words", "filters", "proximity", "attribute", "exact", "custom"],
    "removeWordsIfNoResults": "none",
    "separatorsToIndex": "",
    "snippetEllipsisText": "",
}
"""What an index shows in which nobody set anything; other settings show only once they are set.

https://www.algolia.com/doc/api-reference/api-methods/get-settings/
"""


def shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What reading the settings answers: what was set, over what a fresh index has."""
    return {**FRESH, **settings}


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings after a change: what it does not name stays, what it names as null is as in a fresh index."""
    return {name: value for name, value in {**settings, **changes}.items() if value is not None}


def fault(name: str, value: Any) -> str | None:
    """Why a known setting cannot have this value; None: it can."""
    if value is None:
        return None
    try:
        msgspec.convert(value, TYPES[name])
    except msgspec.ValidationError as error:
        return f"Invalid value for the setting {name}: {error}"
    wrong = [item for item in value if not FORMS[name].fullmatch(item)] if name in FORMS else []
    return f"Invalid item in the setting {name}: {wrong[0]}" if wrong else None


def attribute_of(item: str) -> str:
    """What an item of a list names without its modifiers: ``desc(price)`` names price."""
    return item.rpartition("(")[2].rstrip(")")


def facets_of(settings: Mapping[str, Any]) -> frozenset[str]:
    """The attributes that a filter by value can name."""
    return frozenset({"objectID", "_tags", *map(attribute_of, settings.get("attributesForFaceting", []))})
