"""Reading ButterCMS: a thin client of the Read API that answers with an item, with nothing, or with an outcome.

https://buttercms.com/docs/api/concepts/http-status-codes-errors has the statuses. Only the status counts: the texts of
the API differ from page to page of its documentation.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from buttersync.model import LARGEST_NUMBER, Identity
from buttersync.outcomes import Misconfigured, Unavailable

ENDPOINT = "https://api.buttercms.com/v2"
PAGE_SIZE = 100
"""The most that the API gives: https://buttercms.com/docs/build-your-app/performance/pagination"""
TIMEOUT = (3.05, 10)
"""Seconds to connect and between two bytes."""

JsonObject = Mapping[str, Any]


class Listing(msgspec.Struct, frozen=True):
    """One page of a list."""

    items: Sequence[JsonObject]
    next_page: int | None
    count: int = 0
    """How many items the whole list has."""


class Butter:
    """The Read API with one site's token, sent in a header so that it stays out of URLs and logs."""

    def __init__(self, token: str, endpoint: str = ENDPOINT) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Token {token}"

    def item(self, identity: Identity, locale: str | None = None) -> JsonObject | None:
        """The item as it is, or None where there is none; a post may come as a draft.

        `locale` is sent if given. A throw-away parameter sees to it that no cached copy answers: an old one could not
        always be told by its content, and a 404 that we fetched early would stay in the cache.
        Raises Unavailable or Misconfigured.
        """
        answer = self._get(_path(identity), _parameters(locale, fresh=True))
        if answer is None:
            return None
        data = answer.get("data")
        found = _item_in(data, identity.group) if identity.kind == "item" else data
        if not isinstance(found, Mapping):
            raise Unavailable(f"ButterCMS answered {_path(identity)} without an item")
        return found

    def listing(
        self, kind: str, group: str, page: int, locale: str | None = None, fresh: bool = False, size: int = PAGE_SIZE
    ) -> Listing | None:
        """A page of the published posts, of the pages of one type, or of a collection; None where ButterCMS knows none.

        Raises Unavailable or Misconfigured.
        """
        path = _list_path(kind, group)
        answer = self._get(path, {"page": str(page), "page_size": str(size), **_parameters(locale, fresh)})
        if answer is None:
            return None
        data, meta = answer.get("data"), answer.get("meta")
        items = data.get(group) if kind == "item" and isinstance(data, Mapping) else data
        if not isinstance(items, list) or not isinstance(meta, Mapping):
            raise Unavailable(f"ButterCMS answered {path} without a list")
        next_page, count = _number(meta.get("next_page")), _number(meta.get("count"))
        if next_page is not None and next_page <= page:
            # Whoever follows it would walk in a circle.
            raise Unavailable(f"ButterCMS answered page {page} of {path} with an earlier one as the next")
        return Listing([item for item in items if isinstance(item, Mapping)], next_page, count or 0)

    def _get(self, path: str, parameters: Mapping[str, str]) -> JsonObject | None:
        try:
            response = self._session.get(
                self._endpoint + path, params=dict(parameters), timeout=TIMEOUT, allow_redirects=False
            )
        except (requests.exceptions.InvalidHeader, UnicodeError) as error:
            raise Misconfigured("butter/read_token or butter/endpoint holds what does not belong there") from error
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidSchema,
        ) as e:
            raise Misconfigured("butter/endpoint is not a URL") from e
        except requests.RequestException as error:
            raise Unavailable(f"ButterCMS did not answer {path}: {type(error).__name__}") from error
        return _answer(path, response)


def _answer(path: str, response: requests.Response) -> JsonObject | None:
    status = response.status_code
    if status == 404:
        return None
    if status == 429 or status >= 500:
        raise Unavailable(f"ButterCMS answered {path} with {status}", _seconds(response.headers.get("Retry-After")))
    if status != 200:
        raise Misconfigured(f"ButterCMS answered {path} with {status}: {_hint(status)}")
    try:
        answer = response.json()
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"ButterCMS answered {path} with something that is not JSON") from error
    if not isinstance(answer, Mapping):
        raise Unavailable(f"ButterCMS answered {path} with something that is not an object")
    return answer


def _hint(status: int) -> str:
    return {
        400: "it knows no such locale, or a parameter is wrong (see Locales and DefaultLocale)",
        401: "the token in butter/read_token is not valid",
        403: "the token in butter/read_token may not read this",
    }.get(status, "is butter/endpoint right?")


def _seconds(retry_after: str | None) -> float:
    # ButterCMS says seconds until the month's end; a date, which RFC 9110 allows too, counts as no delay named.
    try:
        return max(0.0, min(float(retry_after or 0), 366 * 86400))
    except ValueError:
        return 0.0


def _path(identity: Identity) -> str:
    name = quote(identity.name, safe="")
    if identity.kind == "post":
        return f"/posts/{name}/"
    return f"/{'pages' if identity.kind == 'page' else 'content'}/{quote(identity.group, safe='*')}/{name}/"


def _list_path(kind: str, group: str) -> str:
    return "/posts/" if kind == "post" else f"/{'pages' if kind == 'page' else 'content'}/{quote(group, safe='*')}/"


def _parameters(locale: str | None, fresh: bool) -> dict[str, str]:
    parameters = {"locale": locale} if locale else {}
    return {**parameters, "fresh": f"{time.time_ns()}{secrets.token_hex(4)}"} if fresh else parameters


def _item_in(data: Any, collection: str) -> Any:
    # The shape of a single item's answer is not documented: the item, or under its collection, alone or in a list.
    if isinstance(data, Mapping) and "meta" not in data and collection in data:
        data = data[collection]
    return data[0] if isinstance(data, list) and len(data) == 1 else data


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_NUMBER else None
