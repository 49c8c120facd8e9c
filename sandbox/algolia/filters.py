"""Algolia's filters: ``type:post AND (tags:sea OR tags:"low tide") AND published_at > 1700000000``.

They are a conjunction of alternatives, as https://www.algolia.com/doc/api-reference/api-parameters/filters says.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.algolia.errors import Refusal
from sandbox.algolia.indices import Record, is_number

Matches = Callable[[Record], bool]

TOKEN = re.compile(
    r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<sign><=|>=|!=|[<>=():])"""
    r"""|(?P<word>[^\s"'<>=!():]+))"""
)
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class _Token:
    text: str
    col: int
    kind: str
    """sign, keyword, string or end."""

    def __str__(self) -> str:
        return f"string({self.text})" if self.kind == "string" else self.text


@dataclass(frozen=True)
class _Filter:
    kind: str
    """Filters of different kinds cannot be alternatives."""
    matches: Matches


Alternatives = Sequence[_Filter]


def filters(text: str, facets: frozenset[str]) -> Matches:
    """What the parameter ``filters`` lets through; raises Refusal (400).

    A value of an attribute that is no facet matches nothing, as at Algolia: without an error.
    """
    if not text.strip():
        return all_of([])
    parser = _Parser(_tokens(text), facets)
    alternatives = parser.conjunction()
    parser.expect_end()
    return all_of([any_of([one.matches for one in each]) for each in alternatives])


def facet_filters(value: str | Sequence[Any], facets: frozenset[str]) -> Matches:
    """What ``facetFilters`` lets through: a list is a conjunction, a list in it alternatives; raises Refusal (400)."""
    items = [value] if isinstance(value, str) else value
    return all_of([_facet_alternatives(item, facets) for item in items if item])


def _facet_alternatives(item: Any, facets: frozenset[str]) -> Matches:
    texts = item if isinstance(item, list) else [item]
    return any_of([_facet_filter(text, facets) for text in texts])


def _facet_filter(text: Any, facets: frozenset[str]) -> Matches:
    if not isinstance(text, str) or ":" not in text:
        raise Refusal(400, "facetFilters: expected attribute:value")
    attribute, _, value = text.partition(":")
    if value.startswith("-"):
        return _none_of(_by_value(attribute, value[1:], facets))
    return _by_value(attribute, value.removeprefix("\\"), facets)


# --- what they are made of ---


def all_of(matches: Sequence[Matches]) -> Matches:
    """All of them match."""
    return lambda record: all(one(record) for one in matches)


def any_of(matches: Sequence[Matches]) -> Matches:
    """At least one of them matches."""
    return lambda record: any(one(record) for one in matches)


def _none_of(matches: Matches) -> Matches:
    return lambda record: not matches(record)


def _by_value(attribute: str, value: str, facets: frozenset[str]) -> Matches:
    if attribute not in facets:
        return lambda _: False
    return lambda record: value in [_facet_text(one) for one in _listed(at(record, attribute))]


def _by_number(attribute: str, compares: Callable[[float], bool]) -> Matches:
    return lambda record: any(compares(one) for one in _listed(at(record, attribute)) if is_number(one))


def _facet_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def at(record: Record, path: str) -> Any:
    """The value of an attribute, ``seo.title`` if it lies deeper; None without one."""
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


# --- the grammar ---


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise Refusal(400, f"filters: Unexpected token incomplete string expected filter at col {position}")
        tokens.append(_token(match))
        position = match.end()
    return [*tokens, _Token("end of filter", len(text), "end")]


def _token(match: re.Match[str]) -> _Token:
    name = match.lastgroup or ""
    text, col = match[name], match.start(name)
    if name == "sign":
        return _Token(text, col, "sign")
    if name == "word":
        return _Token(text, col, "keyword" if text in ("AND", "OR", "NOT", "TO") else "string")
    return _Token(re.sub(r"\\(.)", r"\1", text), col - 1, "string")


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, tokens: Sequence[_Token], facets: frozenset[str]) -> None:
        self._tokens = list(tokens)
        self._facets = facets

    def conjunction(self) -> list[Alternatives]:
        """Alternatives AND alternatives AND …"""
        found = self._disjunction()
        while self._takes("AND"):
            found += self._disjunction()
        return found

    def expect_end(self) -> None:
        """Nothing may follow."""
        if self._tokens[0].kind != "end":
            raise self._unexpected("end of filter")

    def _disjunction(self) -> list[Alternatives]:
        """Terms with OR between them are one alternative of each; a conjunction in brackets stands alone."""
        found = self._term()
        while self._takes("OR"):
            more = self._term()
            if len(found) > 1 or len(more) > 1:
                raise Refusal(400, "filters: filter (X AND Y) OR Z is not allowed, only (X OR Y) AND Z is allowed")
            found = [[*found[0], *more[0]]]
            if len({one.kind for one in found[0]}) > 1:
                raise Refusal(400, "filters: Different types are not allowed in the same OR.")
        return found

    def _term(self) -> list[Alternatives]:
        if self._takes("("):
            found = self.conjunction()
            if not self._takes(")"):
                raise self._unexpected(")")
            return found
        negated = self._takes("NOT")
        found_one = self._filter()
        return [[_Filter(found_one.kind, _none_of(found_one.matches)) if negated else found_one]]

    def _filter(self) -> _Filter:
        name = self._string("filter")
        if self._takes(":"):
            return self._value(name)
        sign = self._tokens[0]
        if sign.text in COMPARISONS and sign.kind == "sign":
            compares, number = COMPARISONS[self._tokens.pop(0).text], self._number()
            return _Filter("numeric", _by_number(name, lambda value: compares(value, number)))
        return _Filter("tag", _by_value("_tags", name, self._facets))

    def _value(self, name: str) -> _Filter:
        """A value of a facet, or a range of numbers."""
        if any(token.text == "TO" and token.kind == "keyword" for token in self._tokens[1:2]):
            low, _, high = self._number(), self._tokens.pop(0), self._number()
            return _Filter("numeric", _by_number(name, lambda value: low <= value <= high))
        kind = "tag" if name == "_tags" else "facet"
        return _Filter(kind, _by_value(name, self._string("filter value"), self._facets))

    def _string(self, expected: str) -> str:
        if self._tokens[0].kind != "string":
            raise self._unexpected(expected)
        return self._tokens.pop(0).text

    def _number(self) -> float:
        try:
            number = float(self._tokens[0].text)
        except ValueError as error:
            raise self._unexpected("numeric") from error
        self._tokens.pop(0)
        return number

    def _takes(self, text: str) -> bool:
        if self._tokens[0].text != text or self._tokens[0].kind == "string":
            return False
        self._tokens.pop(0)
        return True

    def _unexpected(self, expected: str) -> Refusal:
        token = self._tokens[0]
        return Refusal(400, f"filters: Unexpected token {token} expected {expected} at col {token.col}")
