"""ButterCMS: its Read API over a site that a test can edit, with the CDN that stands before it.

`sandbox.site` has the content, `sandbox.read_api` the endpoints, `sandbox.cdn` the cache; here they are one vendor.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from inspect import Parameter, signature
from typing import Any, get_type_hints
from urllib.parse import urlencode

import msgspec

from sandbox.cdn import Cdn
from sandbox.site import BLANK_POST, Account, Site, SiteError
from sandbox.webhooks import Webhook, send
from sandbox.wire import Request, Response, Route, detail, json_response

EDITS = (
    *("publish_post", "save_draft_post", "unpublish_post", "delete_post", "rename_post"),
    *("add_page_type", "publish_page", "save_draft_page", "unpublish_page", "delete_page", "rename_page"),
    *("add_collection", "publish_item", "save_draft_item", "unpublish_item", "delete_item", "upload_video"),
)
"""The methods of Site that a POST can call, with their arguments as a JSON object."""

EVERY_PATH = "*"

ABOUT_WEBHOOK = 'where the webhooks of edits go: {"url": "http://...", "secret": "..."}; {} sends none'
ABOUT_CDN = (
    'serve old copies: {"freeze": path}, {"absent": path}, {"thaw": path}, "*" for every path; {"purges": false}'
)
ABOUT_EDITS = 'edit the site, for example publish_post with {"slug": "hello", "title": "Hello", "body": "<p>Hi</p>"}:'


class Butter:
    """ButterCMS: its Read API below ``/v2``, and routes of the sandbox to edit the site and to upset the CDN.

    `subscribe` tells where webhooks go for edits that come over HTTP; edits in Python return theirs, for `send`.
    """

    name = "butter"
    paths = "/v2/"

    def __init__(self, site: Site | None = None) -> None:
        self.site = site or Site()
        self.cdn = Cdn(self.site)
        self._receiver: tuple[str, str | None] | None = None
        own = "/_sandbox/butter"
        self.controls = (
            Route("POST", f"{own}/webhook", self._subscribe, ABOUT_WEBHOOK),
            Route("GET", f"{own}/account", self._account, "the account's settings, the token among them"),
            Route("POST", f"{own}/account", self._change_account, "change settings of the account"),
            Route("POST", f"{own}/cdn", self._change_cdn, ABOUT_CDN),
            Route("POST", f"{own}/(?P<operation>[a-z_]+)", self._edit, _about_edits()),
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
        for name in ("freeze", "absent", "thaw"):
            path = getattr(wanted, name)
            if path is not None:
                getattr(self.cdn, name)(None if path == EVERY_PATH else path)
        self.cdn.purges = self.cdn.purges if wanted.purges is None else wanted.purges
        return json_response(200, {"purges": self.cdn.purges})


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


def _about_edits() -> str:
    return "\n".join([ABOUT_EDITS, *(f"         {name}({_parameters(getattr(Site, name))})" for name in EDITS)])


def _parameters(edit: Callable[..., Any]) -> str:
    """The names of an edit's parameters, in brackets those that may be left out."""
    _, *parameters = signature(edit).parameters.values()
    content = [f"[{name}]" for name in BLANK_POST if parameters[-1].kind is Parameter.VAR_KEYWORD]
    named = [one for one in parameters if one.kind is not Parameter.VAR_KEYWORD]
    return ", ".join([one.name if one.default is one.empty else f"[{one.name}]" for one in named] + content)


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
