"""The endpoints of ButterCMS's Read API: what they take, what they refuse, what content looks like.

What the project never calls (search, authors, feeds, the write API) is not here and answers 404. The rules are those of
https://buttercms.com/docs/api/concepts/rest-endpoints-urls and the pages below it.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.site import SINGLE_PAGES, Content, Entry, Post, Site, instant
from sandbox.wire import Request, Response, Route, detail, dispatch, json_response

KNOWN = frozenset(
    {"alt_media_text", "auth_token", "author_slug", "category_slug", "exclude_body", "levels", "limit", "locale"}
    | {"offset", "order", "page", "page_size", "preview", "tag_slug", "test"}
)
"""The parameters that the Read API knows; any other, ``fields.`` apart, is a throw-away one."""

PAGE_SIZE, MOST = 10, 100
REFERENCE = re.compile(r"/v2/content/\?keys=([^\[&]+)\[_id=(\d+)\]")


class Refusal(Exception):
    """A request that ButterCMS does not answer with content; carries what it answers instead."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.response = detail(status, text, headers)


# --- the parameters ---


@dataclass(frozen=True)
class Options:
    """The parameters that say how content is shown."""

    locale: str | None
    preview: bool
    levels: int
    alt_text: bool

    @classmethod
    def of(cls, site: Site, request: Request) -> "Options":
        """Raises Refusal (400) for an unknown locale and for levels other than 1 to 5."""
        locale = request.parameter("locale")
        if locale is not None and locale not in site.account.locales:
            raise Refusal(400, "Invalid locale parameter")
        return cls(locale, _is_preview(request), _levels(request), request.parameter("alt_media_text") == "1")


def _is_preview(request: Request) -> bool:
    return "1" in (request.parameter("preview"), request.parameter("test"))


def _levels(request: Request) -> int:
    levels = request.parameter("levels") or "2"
    if levels not in ("1", "2", "3", "4", "5"):
        raise Refusal(400, "levels query parameter should be an integer between 1 and 5 (inclusive)")
    return int(levels)


@dataclass(frozen=True)
class Window:
    """The part of a list that was asked for, in one of the two styles."""

    start: int
    size: int
    by_page: bool

    @classmethod
    def of(cls, request: Request) -> "Window":
        """https://buttercms.com/docs/build-your-app/performance/pagination; raises Refusal (400)."""
        given = {name for name, _ in request.query}
        if given & {"page", "page_size"} and given & {"limit", "offset"}:
            raise Refusal(400, "page/page_size and limit/offset are mutually exclusive")
        if given & {"limit", "offset"}:
            size = _integer(request, "limit", PAGE_SIZE, 1, MOST)
            return cls(_integer(request, "offset", 0, 0), size, by_page=False)
        size = _integer(request, "page_size", PAGE_SIZE, 1, MOST)
        return cls((_integer(request, "page", 1, 1) - 1) * size, size, by_page=True)

    def meta(self, count: int) -> dict[str, int | None]:
        """What stands beside the list."""
        after, before = self.start + self.size, self.start - self.size
        if not self.by_page:
            following = after if after < count else None
            return {"count": count, "next_offset": following, "previous_offset": max(before, 0) if self.start else None}
        page = self.start // self.size + 1
        return {
            "count": count,
            "next_page": page + 1 if after < count else None,
            "previous_page": page - 1 if page > 1 else None,
        }


def _integer(request: Request, name: str, default: int, least: int, most: int | None = None) -> int:
    text = request.parameter(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least or (most is not None and int(text) > most):
        upper = f" to {most}" if most is not None else " or more"
        raise Refusal(400, f"{name} must be an integer from {least}{upper}")
    return int(text)


# --- what content looks like ---


@dataclass(frozen=True)
class View:
    """Content as one request asked to see it."""

    site: Site
    content: Content
    options: Options

    @property
    def locale(self) -> str:
        """The locale asked for, or the account's default."""
        return self.options.locale or self.site.account.default_locale

    def dated(self, moment: datetime | None) -> str | None:
        """In the account's time zone, which `updated` and `published` follow."""
        name = self.site.account.time_zone
        return instant(moment, UTC if name == "UTC" else ZoneInfo(name))

    def shown(self, value: Any, levels: int) -> Any:
        """A field's value: references resolved as deep as `levels` goes, media as urls unless with alt texts."""
        if isinstance(value, str) and (reference := REFERENCE.fullmatch(value)):
            return self._referenced(value, reference[1], reference[2], levels)
        if isinstance(value, Mapping):
            if value.keys() == {"url", "alt"} and not self.options.alt_text:
                return value["url"]
            return {name: self.shown(inner, levels) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.shown(inner, levels) for inner in value]
        return value

    def _referenced(self, uri: str, collection: str, number: str, levels: int) -> Any:
        if levels == 1:
            return uri
        entry = self.content.items.get((collection, number, self.locale))
        return self.item(entry, levels - 1) if entry is not None and self.visible(entry) else None

    def visible(self, entry: Entry) -> bool:
        """Whether the request may see it: it is live, or a preview was asked for."""
        return entry.live is not None or self.options.preview

    def page(self, entry: Entry) -> dict[str, Any]:
        """A page, in lists and alone."""
        version = entry.latest if self.options.preview or entry.live is None else entry.live
        draft = version is not entry.live
        status = ("scheduled" if version.scheduled else "draft") if draft else "published"
        states = {"status": status, "scheduled": instant(version.scheduled)} if self.site.account.statuses else {}
        return {
            "slug": entry.name,
            "name": version.name,
            "published": self.dated(entry.first_published) if entry.live else None,
            "updated": self.dated(version.updated),
            **states,
            "page_type": None if entry.group == SINGLE_PAGES else entry.group,
            "fields": self.shown(version.fields, self.options.levels),
        }

    def item(self, entry: Entry, levels: int | None = None) -> dict[str, Any]:
        """An item: its number and its fields, no date, no status, no label."""
        version = entry.latest if self.options.preview or entry.live is None else entry.live
        return {"meta": {"id": entry.id}, **self.shown(version.fields, levels or self.options.levels)}

    def post(self, post: Post) -> dict[str, Any]:
        """What lists and details of posts have in common."""
        scheduled = {"scheduled": instant(post.scheduled)} if self.site.account.statuses else {}
        labels = {name: [_label(label) for label in post.content[name]] for name in ("tags", "categories")}
        return {
            "status": post.status,
            "created": instant(post.created),
            "updated": self.dated(post.updated),
            "published": self.dated(post.published),
            **scheduled,
            "slug": post.slug,
            **post.content,
            **labels,
        }

    def published_posts(self, locale: str) -> list[Post]:
        """The live posts of a locale, the newest first."""
        posts = [post for post in self.content.posts.values() if post.published and post.locale == locale]
        return sorted(posts, key=lambda post: (post.first_published, post.id), reverse=True)


def _label(label: str) -> dict[str, str]:
    return {"name": label, "slug": re.sub(r"\W+", "-", label.lower()).strip("-")}


# --- the endpoints ---


class ReadApi:
    """The endpoints, reading `content`: the site's own, or an older copy of it."""

    def __init__(self, site: Site, content: Content) -> None:
        self._site, self._content = site, content
        name = "[^/]+"
        self._routes = (
            Route("GET", f"/v2/posts/(?P<slug>{name})/", self._post),
            Route("GET", "/v2/posts/", self._posts),
            Route("GET", f"/v2/pages/(?P<page_type>{name})/(?P<slug>{name})/", self._page),
            Route("GET", f"/v2/pages/(?P<page_type>{name})/", self._pages),
            Route("GET", f"/v2/content/(?P<collection>{name})/(?P<number>{name})/", self._item),
            Route("GET", f"/v2/content/(?P<collection>{name})/", self._items),
        )

    def answer(self, request: Request) -> Response:
        """What the origin answers to a request with a valid token."""
        try:
            return dispatch(self._routes, request) or detail(404, "Not found.")
        except Refusal as refusal:
            return refusal.response

    def _view(self, request: Request) -> View:
        return View(self._site, self._content, Options.of(self._site, request))

    def _post(self, request: Request, slug: str) -> Response:
        """A post in any state; with `locale` its translation: buttercms.com/docs/api-reference/blog-posts."""
        view = self._view(request)
        post = _sibling(self._content, slug, view.options.locale)
        if post is None:
            raise Refusal(404, "Not found.")
        data = {**view.post(post), "url": None, "deleted": None}
        return json_response(200, {"meta": _neighbours(view.published_posts(post.locale), post), "data": data})

    def _posts(self, request: Request) -> Response:
        """Published posts, the newest first; all of them with ``preview=1``."""
        view, window = self._view(request), Window.of(request)
        posts = view.published_posts(view.locale)
        if view.options.preview:
            posts = [*(p for p in self._content.posts.values() if p.locale == view.locale and p not in posts), *posts]
        posts = [post for post in posts if _is_wanted(post, request)]
        hidden = {"body"} if request.parameter("exclude_body") in ("true", "1") else set()
        data = [{**view.post(post), "url": f"/{post.slug}"} for post in _part(posts, window)]
        data = [{name: value for name, value in post.items() if name not in hidden} for post in data]
        return json_response(200, {"meta": window.meta(len(posts)), "data": data})

    def _page(self, request: Request, page_type: str, slug: str) -> Response:
        """A page; ``*`` looks the slug up in all page types."""
        view = self._view(request)
        found = [
            entry
            for entry in self._content.pages.values()
            if page_type in (SINGLE_PAGES, entry.group)
            and (entry.name, entry.locale) == (slug, view.locale)
            and view.visible(entry)
        ]
        if not found:
            raise Refusal(404, "Page not found.")
        return json_response(200, {"data": view.page(min(found, key=lambda entry: entry.id))})

    def _pages(self, request: Request, page_type: str) -> Response:
        """The pages of one type; ``*`` stands for the single pages, which can be neither filtered nor ordered."""
        view, window = self._view(request), Window.of(request)
        if page_type not in self._content.page_types:
            raise Refusal(404, "Not found.")
        entries = _visible(view, self._content.pages.values(), page_type)
        pages = [view.page(entry) for entry in entries]
        if page_type != SINGLE_PAGES:
            pages = _ordered(_filtered(pages, request, _page_value, 400), request, _page_value, 400)
        return json_response(200, {"meta": window.meta(len(pages)), "data": _part(pages, window)})

    def _item(self, request: Request, collection: str, number: str) -> Response:
        """A published item; drafts with ``preview=1``."""
        view = self._view(request)
        entry = self._content.items.get((collection, number, view.locale))
        if entry is None or not view.visible(entry):
            raise Refusal(404, "Not found.")
        return json_response(200, {"data": view.item(entry)})

    def _items(self, request: Request, collection: str) -> Response:
        """The items of a collection, under its key."""
        view, window = self._view(request), Window.of(request)
        if collection not in self._content.collections:
            raise Refusal(404, "Not found.")
        items = [view.item(entry) for entry in _visible(view, self._content.items.values(), collection)]
        items = _ordered(_filtered(items, request, _item_value, 403), request, _item_value, 403)
        return json_response(200, {"meta": window.meta(len(items)), "data": {collection: _part(items, window)}})


def _visible(view: View, entries: Any, group: str) -> list[Entry]:
    of_group = [entry for entry in entries if (entry.group, entry.locale) == (group, view.locale)]
    return sorted(filter(view.visible, of_group), key=lambda entry: entry.id)


def _part(values: Sequence[Any], window: Window) -> list[Any]:
    if window.by_page and window.start and window.start >= len(values):
        raise Refusal(404, "Invalid page.")
    return list(values[window.start : window.start + window.size])


def _sibling(content: Content, slug: str, locale: str | None) -> Post | None:
    named = content.posts.get(slug)
    if named is None or locale in (None, named.locale):
        return named
    siblings = (post for post in content.posts.values() if (post.group, post.locale) == (named.group, locale))
    return next(siblings, None)


def _neighbours(posts: Sequence[Post], post: Post) -> dict[str, Any]:
    if post not in posts:
        return {"next_post": None, "previous_post": None}
    place = posts.index(post)
    newer = posts[place - 1] if place else None
    older = posts[place + 1] if place + 1 < len(posts) else None
    return {"next_post": newer and _mention(newer), "previous_post": older and _mention(older)}


def _mention(post: Post) -> dict[str, Any]:
    return {"slug": post.slug, "title": post.content["title"], "featured_image": post.content["featured_image"]}


def _is_wanted(post: Post, request: Request) -> bool:
    author, tag, category = (request.parameter(name) for name in ("author_slug", "tag_slug", "category_slug"))
    return (
        author in (None, post.content["author"]["slug"])
        and (tag is None or tag in [_label(name)["slug"] for name in post.content["tags"]])
        and (category is None or category in [_label(name)["slug"] for name in post.content["categories"]])
    )


ValueOf = Callable[[Mapping[str, Any], str], Any]


def _page_value(page: Mapping[str, Any], key: str) -> Any:
    return page[key] if key in ("published", "updated") else _dotted(page["fields"], key)


def _item_value(item: Mapping[str, Any], key: str) -> Any:
    return _dotted({name: value for name, value in item.items() if name != "meta"}, key)


def _dotted(fields: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(fields, Mapping):
            return None
        fields = fields.get(part)
    return fields


def _filtered(rows: list[Any], request: Request, value_of: ValueOf, refusal: int) -> list[Any]:
    for name, wanted in request.query:
        if name.startswith("fields."):
            key = name.removeprefix("fields.")
            _require(rows, key, value_of, refusal)
            rows = [row for row in rows if _text(value_of(row, key)) == wanted]
    return rows


def _ordered(rows: list[Any], request: Request, value_of: ValueOf, refusal: int) -> list[Any]:
    order = request.parameter("order")
    if not order:
        return rows
    key = order.removeprefix("-")
    _require(rows, key, value_of, refusal)
    return sorted(rows, key=lambda row: _sort_key(value_of(row, key)), reverse=order.startswith("-"))


def _require(rows: Sequence[Any], key: str, value_of: ValueOf, refusal: int) -> None:
    if rows and all(value_of(row, key) is None for row in rows):
        raise Refusal(refusal, f"Invalid field: {key}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _sort_key(value: Any) -> tuple[float, str]:
    """Numbers by their size, before everything else by its text."""
    is_number = isinstance(value, int | float)
    return (value, "") if is_number else (math.inf, _text(value))
