"""A ButterCMS site whose content a test can edit; every edit returns the webhook that ButterCMS would send for it.

Posts, pages and collection items live by different rules, which the edits follow:

- A post has one state. Saving a published post as a draft takes it offline, and so does unpublishing, for which
  ButterCMS sends ``post.delete``. A translation is a post of its own, with its own slug and number.
- A page or an item has a live version and a draft beside it, for each locale. Saving a draft changes nothing live.
- Numbers belong to the item and survive a rename; webhooks carry them, the Read API gives them for items only.

https://buttercms.com/docs/build-your-app/webhooks-events/webhook-event-types
"""

import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from sandbox.webhooks import Webhook

SINGLE_PAGES = "*"
"""The page type of single pages in webhooks and paths; the Read API answers null for them."""

EDITOR = "Robin Example"

AUTHOR = {
    "first_name": "Maja",
    "last_name": "Lindqvist",
    "email": "maja@example.com",
    "slug": "maja-lindqvist",
    "bio": "",
    "title": "Gardener",
    "linkedin_url": "",
    "facebook_url": "",
    "instagram_url": "",
    "pinterest_url": "",
    "twitter_handle": "",
    "profile_image": "",
}

BLANK_POST: Mapping[str, Any] = {
    "title": "",
    "body": "",
    "summary": "",
    "seo_title": "",
    "meta_description": "",
    "featured_image": None,
    "featured_image_alt": "",
    "author": AUTHOR,
    "tags": [],
    "categories": [],
}
"""What a post can have, and has unless told: texts are empty rather than null, as ButterCMS answers them."""

Status = Literal["published", "draft", "scheduled"]
Fields: TypeAlias = Mapping[str, Any]
Key: TypeAlias = tuple[str, str, str]


class SiteError(ValueError):
    """An edit that ButterCMS's dashboard would not allow; the text says why."""


@dataclass
class Account:
    """The settings of an account that change what its site answers; a test may change them at any time."""

    token: str = "sandbox-read-token"  # noqa: S105 - opens nothing but the sandbox
    default_locale: str = "en"
    locales: tuple[str, ...] = ("en",)
    time_zone: str = "UTC"
    """Switches `updated` and `published` to that zone's offset, as the setting of that name does."""
    statuses: bool = True
    """False: pages have no `status` and `scheduled`, posts no `scheduled`, as before October 2024."""
    republishing_moves_updated: bool = True
    """False: publishing an untouched published post or page again leaves `updated` as it was."""
    default_locale_is_null: bool = True
    """False: webhooks name the default locale by its slug instead of null."""
    calls_left: int | None = None
    """How many calls the month's quota still allows; then 429. None: no limit."""


@dataclass(frozen=True)
class Post:
    """One post in one locale. Posts of one `group` are translations of each other."""

    id: int
    slug: str
    locale: str
    group: int
    status: Status
    created: datetime
    updated: datetime
    first_published: datetime | None
    scheduled: datetime | None
    content: Fields

    @property
    def published(self) -> datetime | None:
        """The date of publication, which only a published post shows."""
        return self.first_published if self.status == "published" else None


@dataclass(frozen=True)
class Version:
    """A page or an item as it was saved: `name` is a page's name, an item's label."""

    name: str
    fields: Fields
    updated: datetime
    scheduled: datetime | None = None


@dataclass(frozen=True)
class Entry:
    """In one locale a page (group: its type, name: its slug) or an item (group: its collection, name: its number)."""

    id: int
    group: str
    name: str
    locale: str
    live: Version | None = None
    draft: Version | None = None
    first_published: datetime | None = None

    @property
    def latest(self) -> Version:
        """What the dashboard shows: the draft, else the live version."""
        version = self.draft or self.live
        if version is None:
            raise SiteError(f"nothing of {self.name!r} was ever saved")
        return version


@dataclass
class Content:
    """All there is, by slug or by (group, name, locale). The values never change, so that a copy costs little."""

    posts: dict[str, Post] = field(default_factory=dict)
    pages: dict[Key, Entry] = field(default_factory=dict)
    items: dict[Key, Entry] = field(default_factory=dict)
    page_types: set[str] = field(default_factory=lambda: {SINGLE_PAGES})
    collections: set[str] = field(default_factory=set)

    def copy(self) -> "Content":
        """The same content, which later edits do not touch."""
        return Content(
            dict(self.posts), dict(self.pages), dict(self.items), set(self.page_types), set(self.collections)
        )


class Site:
    """The content and its edits. Safe for threads; `clock` tells the time of an edit (UTC)."""

    def __init__(self, account: Account | None = None, clock: Callable[[], datetime] | None = None) -> None:
        self.account = account or Account()
        self.content = Content()
        self.revision = 0
        """Counts the edits."""
        self.lock = threading.RLock()
        self._clock = clock or _now
        self._last = datetime.min.replace(tzinfo=UTC)
        self._next_id = 1000

    # --- posts ---

    def publish_post(
        self,
        slug: str,
        *,
        locale: str | None = None,
        sibling_of: str | None = None,
        published: datetime | None = None,
        **content: Any,
    ) -> Webhook:
        """Publishes a new post, an edit (what `content` names), or the post as it is.

        `sibling_of` makes a new one the translation of another post; `published` sets the date of publication.
        """
        with self.lock:
            now, post = self._edit(), self._post(slug, locale, sibling_of)
            edited = replace(post, status="published", scheduled=None, content=_post_content(post.content, content))
            edited = replace(edited, first_published=published or post.first_published or now)
            return self._store_post(self._stamped(post, edited, now), "published")

    def save_draft_post(
        self,
        slug: str,
        *,
        locale: str | None = None,
        sibling_of: str | None = None,
        scheduled: datetime | None = None,
        **content: Any,
    ) -> Webhook:
        """Saves a post as a draft, to be published at `scheduled` if given; a published one goes offline by it."""
        with self.lock:
            now, post = self._edit(), self._post(slug, locale, sibling_of)
            status: Status = "scheduled" if scheduled else "draft"
            content = _post_content(post.content, content)
            return self._store_post(
                replace(post, status=status, scheduled=scheduled, updated=now, content=content), "draft"
            )

    def unpublish_post(self, slug: str) -> Webhook:
        """Takes a post offline, which stays as a draft; ButterCMS says ``post.delete``."""
        with self.lock:
            now, post = self._edit(), self._existing_post(slug)
            return self._store_post(replace(post, status="draft", scheduled=None, updated=now), "delete")

    def delete_post(self, slug: str) -> Webhook:
        """Deletes a post for good."""
        with self.lock:
            self._edit()
            post = self._existing_post(slug)
            del self.content.posts[slug]
            return self._post_webhook(post, "delete")

    def rename_post(self, old: str, new: str) -> Webhook:
        """Gives a post another slug. The webhook has the new slug and the old number; nothing tells the old slug."""
        with self.lock:
            now, post = self._edit(), self._existing_post(old)
            if new in self.content.posts:
                raise SiteError(f"another post has the slug {new!r}")
            del self.content.posts[old]
            action = "published" if post.status == "published" else "draft"
            return self._store_post(replace(post, slug=new, updated=now), action)

    # --- pages ---

    def add_page_type(self, page_type: str) -> None:
        """Makes a page type known before it has pages."""
        with self.lock:
            self.content.page_types.add(page_type)

    def publish_page(
        self,
        page_type: str,
        slug: str,
        fields: Fields | None = None,
        *,
        name: str | None = None,
        locale: str | None = None,
        published: datetime | None = None,
    ) -> Webhook:
        """Publishes a new page, an edit (what `fields` and `name` say), or its draft, or the page as it is."""
        with self.lock:
            now, entry = self._edit(), self._page(page_type, slug, locale)
            entry = self._published(entry, name, fields, now, published)
            return self._store_page(entry, "published")

    def save_draft_page(
        self,
        page_type: str,
        slug: str,
        fields: Fields | None = None,
        *,
        name: str | None = None,
        locale: str | None = None,
        scheduled: datetime | None = None,
    ) -> Webhook:
        """Saves a draft beside what is live."""
        with self.lock:
            now, entry = self._edit(), self._page(page_type, slug, locale)
            return self._store_page(_drafted(entry, name, fields, now, scheduled), "draft")

    def unpublish_page(self, page_type: str, slug: str, *, locale: str | None = None) -> Webhook:
        """Takes a page offline in one locale; it stays as a draft."""
        with self.lock:
            now, entry = self._edit(), self._existing(self.content.pages, page_type, slug, locale)
            return self._store_page(_unpublished(entry, now), "unpublished")

    def delete_page(self, page_type: str, slug: str, *, locale: str | None = None) -> Webhook:
        """Deletes a page in one locale for good."""
        with self.lock:
            now, entry = self._edit(), self._existing(self.content.pages, page_type, slug, locale)
            del self.content.pages[entry.group, entry.name, entry.locale]
            return self._page_webhook(replace(entry, live=replace(entry.latest, updated=now), draft=None), "delete")

    def rename_page(self, page_type: str, old: str, new: str, *, locale: str | None = None) -> Webhook:
        """Gives a page another slug in all its locales; the webhook is that of `locale`."""
        with self.lock:
            now, named = self._edit(), self._existing(self.content.pages, page_type, old, locale)
            pages = self.content.pages
            if any((group, slug) == (page_type, new) for group, slug, _ in pages):
                raise SiteError(f"another page of type {page_type!r} has the slug {new!r}")
            for entry in [entry for entry in pages.values() if (entry.group, entry.name) == (page_type, old)]:
                del pages[page_type, old, entry.locale]
                pages[page_type, new, entry.locale] = _touched(replace(entry, name=new), now)
            entry = pages[page_type, new, named.locale]
            return self._page_webhook(entry, "published" if entry.live else "draft")

    # --- collection items ---

    def add_collection(self, collection: str) -> None:
        """Makes a collection known before it has items."""
        with self.lock:
            self.content.collections.add(collection)

    def publish_item(
        self,
        collection: str,
        fields: Fields | None = None,
        *,
        number: int | None = None,
        label: str | None = None,
        locale: str | None = None,
    ) -> Webhook:
        """Publishes a new item (without `number`; the webhook's tells it), an edit, its draft, or the item as it is."""
        with self.lock:
            now, entry = self._edit(), self._item(collection, number, locale)
            return self._store_item(self._published(entry, label, fields, now, None), "published")

    def save_draft_item(
        self,
        collection: str,
        fields: Fields | None = None,
        *,
        number: int | None = None,
        label: str | None = None,
        locale: str | None = None,
    ) -> Webhook:
        """Saves a draft beside what is live."""
        with self.lock:
            now, entry = self._edit(), self._item(collection, number, locale)
            return self._store_item(_drafted(entry, label, fields, now, None), "draft")

    def unpublish_item(self, collection: str, number: int, *, locale: str | None = None) -> Webhook:
        """Takes an item offline in one locale; it stays as a draft."""
        with self.lock:
            now, entry = self._edit(), self._existing(self.content.items, collection, str(number), locale)
            return self._store_item(_unpublished(entry, now), "unpublished")

    def delete_item(self, collection: str, number: int, *, locale: str | None = None) -> Webhook:
        """Deletes an item in one locale for good."""
        with self.lock:
            now, entry = self._edit(), self._existing(self.content.items, collection, str(number), locale)
            del self.content.items[entry.group, entry.name, entry.locale]
            return self._item_webhook(entry, "delete", now)

    # --- media ---

    def upload_video(self, filename: str) -> Webhook:
        """Uploads a video, which changes nothing that the Read API gives."""
        with self.lock:
            self._edit()
            slug, number = filename.rsplit(".", 1)[0], self._new_id()
            url = f"https://cdn.example.com/video/{filename}"
            data = {"id": slug, "media_id": number, "filename": filename, "size": 52_428_800, "url": url}
            return Webhook("media.videouploaded", data)

    # --- what the edits share ---

    def _edit(self) -> datetime:
        """Counts an edit; returns its time, later than that of every edit before."""
        self.revision += 1
        self._last = max(self._clock().astimezone(UTC), self._last + timedelta(microseconds=1))
        return self._last

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _locale(self, locale: str | None) -> str:
        locale = locale or self.account.default_locale
        if locale not in self.account.locales:
            raise SiteError(f"the account has no locale {locale!r}")
        return locale

    def _post(self, slug: str, locale: str | None, sibling_of: str | None) -> Post:
        """The post of that slug, or a new blank one."""
        if (post := self.content.posts.get(slug)) is not None:
            if locale not in (None, post.locale):
                raise SiteError(f"the post {slug!r} is in the locale {post.locale!r}; a translation has its own slug")
            return post
        number, chosen = self._new_id(), self._locale(locale)
        group = self._existing_post(sibling_of).group if sibling_of else number
        if any((post.group, post.locale) == (group, chosen) for post in self.content.posts.values() if sibling_of):
            raise SiteError(f"the post {sibling_of!r} has a translation in the locale {chosen!r} already")
        return Post(number, slug, chosen, group, "draft", self._last, self._last, None, None, BLANK_POST)

    def _existing_post(self, slug: str) -> Post:
        if (post := self.content.posts.get(slug)) is None:
            raise SiteError(f"there is no post {slug!r}")
        return post

    def _stamped(self, before: Post, after: Post, now: datetime) -> Post:
        untouched = replace(before, updated=now) == replace(after, updated=now)
        return after if untouched and not self.account.republishing_moves_updated else replace(after, updated=now)

    def _page(self, page_type: str, slug: str, locale: str | None) -> Entry:
        chosen = self._locale(locale)
        self.content.page_types.add(page_type)
        return self.content.pages.get((page_type, slug, chosen)) or Entry(
            self._number_of_page(page_type, slug), page_type, slug, chosen
        )

    def _number_of_page(self, page_type: str, slug: str) -> int:
        """A page has one number in all its locales."""
        for locale in self.account.locales:
            if entry := self.content.pages.get((page_type, slug, locale)):
                return entry.id
        return self._new_id()

    def _item(self, collection: str, number: int | None, locale: str | None) -> Entry:
        chosen = self._locale(locale)
        self.content.collections.add(collection)
        if number is None:
            number = self._new_id()
        elif not any((group, name) == (collection, str(number)) for group, name, _ in self.content.items):
            raise SiteError(f"there is no item {number} in {collection!r}; a new one gets its number")
        name = str(number)
        return self.content.items.get((collection, name, chosen)) or Entry(number, collection, name, chosen)

    def _existing(self, entries: Mapping[Key, Entry], group: str, name: str, locale: str | None) -> Entry:
        chosen = self._locale(locale)
        if (entry := entries.get((group, name, chosen))) is None:
            raise SiteError(f"there is no {name!r} of {group!r} in the locale {chosen!r}")
        return entry

    def _published(
        self, entry: Entry, name: str | None, fields: Fields | None, now: datetime, published: datetime | None
    ) -> Entry:
        live = _version(entry, name, fields, now)
        untouched = entry.live is not None and replace(live, updated=entry.live.updated) == entry.live
        if untouched and not self.account.republishing_moves_updated:
            live = replace(live, updated=entry.latest.updated)
        return replace(entry, live=live, draft=None, first_published=published or entry.first_published or now)

    def _store_post(self, post: Post, action: str) -> Webhook:
        self.content.posts[post.slug] = post
        return self._post_webhook(post, action)

    def _store_page(self, entry: Entry, action: str) -> Webhook:
        self.content.pages[entry.group, entry.name, entry.locale] = entry
        return self._page_webhook(entry, action)

    def _store_item(self, entry: Entry, action: str) -> Webhook:
        self.content.items[entry.group, entry.name, entry.locale] = entry
        return self._item_webhook(entry, action, entry.latest.updated)

    # --- the webhooks ---

    def _post_webhook(self, post: Post, action: str) -> Webhook:
        data = {"id": post.slug, "_id": post.id}
        if post.locale == self.account.default_locale:
            return Webhook(f"post.{action}", data)
        return Webhook(f"post.localization.{action}", {**data, "locale": post.locale})

    def _page_webhook(self, entry: Entry, action: str) -> Webhook:
        version, status = entry.latest, _status(action)
        dated = action in ("published", "delete") and entry.first_published is not None
        data = {
            "id": entry.name,
            "buttercms_id": entry.id,
            "page_type": entry.group,
            "editor": EDITOR,
            "name": version.name,
            "timestamp": _naive(version.updated),
            "locale": self._webhook_locale(entry.locale),
            "status": status,
            "updated": instant(version.updated),
            "published": instant(entry.first_published) if dated else None,
            "scheduled": instant(version.scheduled) if action == "draft" else None,
        }
        return Webhook(f"page.{action}", data)

    def _item_webhook(self, entry: Entry, action: str, now: datetime) -> Webhook:
        data = {
            "id": entry.group,
            "itemid": item_uri(entry.group, entry.id),
            "label": entry.latest.name,
            "editor": EDITOR,
            "timestamp": _naive(now),
            "locale": self._webhook_locale(entry.locale),
            "status": _status(action),
        }
        return Webhook(f"collectionitem.{action}", data)

    def _webhook_locale(self, locale: str) -> str | None:
        return None if self.account.default_locale_is_null and locale == self.account.default_locale else locale


def item_uri(collection: str, number: int) -> str:
    """The URI that names an item in webhooks, and stands where a reference is not resolved.

    A field that holds it (or a list of them) is a reference, which the Read API resolves by `levels`.
    """
    return f"/v2/content/?keys={collection}[_id={number}]"


def media(url: str, alt: str = "") -> dict[str, str]:
    """A media field's value; the Read API answers its url alone unless ``alt_media_text=1``."""
    return {"url": url, "alt": alt}


def instant(moment: datetime | None, zone: Any = UTC) -> str | None:
    """ISO 8601 with microseconds, ``Z`` for UTC and an offset for other zones."""
    if moment is None:
        return None
    return moment.astimezone(zone).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _naive(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _now() -> datetime:
    return datetime.now(UTC)


def _status(action: str) -> str:
    return {"published": "published", "delete": "deleted"}.get(action, "draft")


def _post_content(before: Fields, edits: Fields) -> dict[str, Any]:
    if unknown := edits.keys() - BLANK_POST.keys():
        raise SiteError(f"a post has no {', '.join(sorted(unknown))}")
    return {**before, **deepcopy(dict(edits))}


def _version(entry: Entry, name: str | None, fields: Fields | None, now: datetime) -> Version:
    before, edits = entry.draft or entry.live, deepcopy(dict(fields or {}))
    if before is None:
        return Version(name or entry.name, edits, now)
    return Version(name or before.name, {**before.fields, **edits}, now)


def _drafted(entry: Entry, name: str | None, fields: Fields | None, now: datetime, scheduled: datetime | None) -> Entry:
    return replace(entry, draft=replace(_version(entry, name, fields, now), scheduled=scheduled))


def _unpublished(entry: Entry, now: datetime) -> Entry:
    return replace(entry, live=None, draft=replace(entry.latest, updated=now, scheduled=None))


def _touched(entry: Entry, now: datetime) -> Entry:
    live, draft = entry.live, entry.draft
    return replace(entry, live=live and replace(live, updated=now), draft=draft and replace(draft, updated=now))
