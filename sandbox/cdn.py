"""The CDN before ButterCMS's Read API, whose copies can be old.

https://buttercms.com/docs/build-your-app/performance/cdn-global-delivery
"""

import time
from dataclasses import dataclass
from urllib.parse import urlencode

from sandbox.read_api import KNOWN, ReadApi
from sandbox.site import Content, Site
from sandbox.wire import Request, Response


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

    def absent(self, path: str | None = None) -> None:
        """Serves a cached 404 for `path` (without one, an empty site)."""
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
