"""ButterCMS's Read API over a site that a test can edit, with the CDN that stands before it.

What the project never calls (search, authors, feeds, the write API) is not here and answers 404. Rules and where they
are documented: https://buttercms.com/docs/api/concepts/rest-endpoints-urls and the pages below it.
"""

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import Any, get_type_hints
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from sandbox.site import SINGLE_PAGES, Account, Content, Entry, Post, Site, SiteError, instant
from sandbox.webhooks import Webhook, send
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


# --- the CDN ---


@dataclass(frozen=True)
class _Copy:
    response: Response
    stored: float
    revision: int


class Cdn:
    """The cache before the Read API: it keeps 200s and 404s, by the whole URL, until an edit purges it.

    `purges` = False leaves what was read before an edit in place, as when the purge comes late. `freeze` serves a path
    as it is now, whoever asks and whatever is edited, and `absent` serves a 404 for it. A request with a parameter that
    the API does not know passes them all by.

    https://buttercms.com/docs/build-your-app/performance/cdn-global-delivery
    """

    def __init__(self, site: Site) -> None:
        self.purges = True
        self._site = site
        self._copies: dict[str, _Copy] = {}
        self._frozen: dict[str | None, tuple[Content, float]] = {}

    def freeze(self, path: str | None = None) -> None:
        """Serves `path`, such as ``/v2/posts/hello/`` (without one, every path), as it is at this moment."""
        with self._site.lock:
            self._frozen[path] = (self._site.content.copy(), time.monotonic())

    def absent(self, path: str) -> None:
        """Serves a cached 404 for `path`."""
        with self._site.lock:
            self._frozen[path] = (Content(), time.monotonic())

    def thaw(self, path: str | None = None) -> None:
        """Ends `freeze` and `absent` for `path`, or for all; what was cached is purged."""
        with self._site.lock:
            self._copies.clear()
            if path is None:
                self._frozen.clear()
            self._frozen.pop(path, None)

    def answer(self, request: Request) -> Response:
        """A cached copy with ``X-Cache: HIT`` and its ``Age`` in seconds, or what the origin says."""
        with self._site.lock:
            url, thrown = _cache_key(request)
            frozen = self._frozen.get(request.path) or self._frozen.get(None)
            if frozen is not None and not thrown:
                content, since = frozen
                return _hit(ReadApi(self._site, content).answer(request), since)
            copy = self._copies.get(url)
            if copy is not None and (copy.revision == self._site.revision or not self.purges):
                return _hit(copy.response, copy.stored)
            return self._miss(url, request)

    def _miss(self, url: str, request: Request) -> Response:
        response = ReadApi(self._site, self._site.content).answer(request)
        if response.status in (200, 404):
            self._copies[url] = _Copy(response, time.monotonic(), self._site.revision)
        return response.with_headers(X_Cache="MISS, MISS", X_Cache_Hits="0, 0", Age="0")


def _cache_key(request: Request) -> tuple[str, bool]:
    query = [(name, value) for name, value in request.query if name != "auth_token"]
    thrown = any(name not in KNOWN and not name.startswith("fields.") for name, _ in query)
    return f"{request.method} {request.path}?{urlencode(query)}", thrown


def _hit(response: Response, since: float) -> Response:
    return response.with_headers(X_Cache="MISS, HIT", X_Cache_Hits="0, 1", Age=str(int(time.monotonic() - since)))


# --- the vendor ---


class Butter:
    """ButterCMS: its Read API below ``/v2``, and routes of the sandbox to edit the site and to upset the CDN.

    `subscribe` tells where webhooks go for edits that come over HTTP; edits in Python return theirs, for `send`.
    """

    name = "butter"
    paths = "/v2/"

    def __init__(self, site: Site | None = None) -> None:
        self.site = site or Site()
        self.cdn = Cdn(self.site)
        self.send = send
        self._receiver: tuple[str, str | None] | None = None
        own = "/_sandbox/butter"
        self.controls = (
            Route("POST", f"{own}/webhook", self._subscribe, 'send webhooks to {"url", "secret"}; {} ends it'),
            Route("GET", f"{own}/account", self._account, "the account's settings, the token among them"),
            Route("POST", f"{own}/account", self._change_account, "change settings of the account"),
            Route(
                "POST",
                f"{own}/cdn",
                self._change_cdn,
                '{"freeze": path}, {"absent": path}, {"thaw": path}, {"purges": false}',
            ),
            Route("POST", f"{own}/(?P<operation>[a-z_]+)", self._edit, f"edit the site: {', '.join(EDITS)}"),
        )

    @property
    def token(self) -> str:
        """The read token that it accepts."""
        return self.site.account.token

    def answer(self, request: Request) -> Response:
        """The quota, which every call counts against, the slash and the token first, then the CDN."""
        with self.site.lock:
            refused = self._over_quota() or self._redirected(request) or self._unauthorized(request)
        return refused or self.cdn.answer(request)

    def subscribe(self, url: str | None, secret: str | None = None) -> None:
        """Where the webhooks of edits over HTTP are sent; None sends none."""
        self._receiver = (url, secret) if url else None

    def _redirected(self, request: Request) -> Response | None:
        if request.path.endswith("/"):
            return None
        query = f"?{urlencode(request.query)}" if request.query else ""
        return Response(301, headers={"Location": f"{request.path}/{query}"})

    def _over_quota(self) -> Response | None:
        left = self.site.account.calls_left
        if left is None:
            return None
        self.site.account.calls_left = max(left - 1, 0)
        if left > 0:
            return None
        return detail(429, "API Calls limit reached.", {"Retry-After": str(_seconds_of_month_left(datetime.now(UTC)))})

    def _unauthorized(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token if scheme == "Token" else request.parameter("auth_token")
        if given == self.token:
            return None
        text = "Invalid token." if given else "Authentication credentials were not provided."
        return detail(401, text, {"WWW-Authenticate": "Token"})

    def _edit(self, request: Request, operation: str) -> Response:
        if operation not in EDITS:
            return detail(404, f"no edit is called {operation}")
        edit = getattr(self.site, operation)
        webhook: Webhook | None = edit(**_arguments(edit, request.json_object()))
        return json_response(200, self._told(webhook) if webhook else {})

    def _told(self, webhook: Webhook) -> dict[str, Any]:
        if self._receiver is None:
            return {"webhook": webhook.body("")}
        url, secret = self._receiver
        return {"webhook": webhook.body(url), "delivery": asdict(send(webhook, url, secret))}

    def _subscribe(self, request: Request) -> Response:
        wanted = msgspec.json.decode(request.body, type=Subscription)
        self.subscribe(wanted.url, wanted.secret)
        return json_response(200, {"url": wanted.url})

    def _account(self, _: Request) -> Response:
        return json_response(200, asdict(self.site.account))

    def _change_account(self, request: Request) -> Response:
        settings = {**asdict(self.site.account), **request.json_object()}
        changed = msgspec.convert(settings, Account)
        if unknown := settings.keys() - asdict(changed).keys():
            return detail(400, f"an account has no {', '.join(sorted(unknown))}")
        self.site.account = changed
        return self._account(request)

    def _change_cdn(self, request: Request) -> Response:
        wanted = msgspec.json.decode(request.body, type=CdnChange)
        for act, path in (
            (self.cdn.freeze, wanted.freeze),
            (self.cdn.absent, wanted.absent),
            (self.cdn.thaw, wanted.thaw),
        ):
            if path is not None:
                act(path)
        self.cdn.purges = self.cdn.purges if wanted.purges is None else wanted.purges
        return json_response(200, {"purges": self.cdn.purges})


EDITS = (
    *("publish_post", "save_draft_post", "unpublish_post", "delete_post", "rename_post"),
    *("add_page_type", "publish_page", "save_draft_page", "unpublish_page", "delete_page", "rename_page"),
    *("add_collection", "publish_item", "save_draft_item", "unpublish_item", "delete_item", "upload_video"),
)
"""The methods of Site that a POST can call, with their arguments as a JSON object."""


class Subscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where webhooks go for edits over HTTP."""

    url: str | None = None
    secret: str | None = None


class CdnChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do to the CDN."""

    freeze: str | None = None
    absent: str | None = None
    thaw: str | None = None
    purges: bool | None = None


def _arguments(edit: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an edit, as the types it names (dates from ISO 8601); raises ValueError if they do not fit."""
    types = get_type_hints(edit)
    converted = {name: msgspec.convert(value, types.get(name, Any)) for name, value in given.items()}
    try:
        signature(edit).bind(**converted)
    except TypeError as error:
        raise SiteError(str(error)) from error
    return converted


def _seconds_of_month_left(now: datetime) -> int:
    following = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int((following - now).total_seconds())
