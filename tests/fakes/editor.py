"""An editor of a small site, who is told what to do: of each kind of content there are two items, or none."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from sandbox.site import SINGLE_PAGES, Site
from sandbox.webhooks import Webhook

Verb = Literal["publish", "republish", "draft", "unpublish", "delete", "rename"]
Kind = Literal["post", "translation", "page", "single", "item", "localized"]

NAMES = {"post": "ant bee", "translation": "ameise biene", "page": "home about", "single": "terms imprint"}
"""The two slugs of a kind; items have numbers."""
PAGE_TYPES = {"page": "landing", "single": SINGLE_PAGES}
LOCALES = {"translation": "de", "localized": "de"}


@dataclass(frozen=True)
class Edit:
    """What is to be done to one of the two items of a kind."""

    verb: Verb
    kind: Kind = "post"
    second: bool = False


class Editor:
    """Edits the site; `number` is in every name, so that many sites fit into the same stores."""

    def __init__(self, site: Site, number: int) -> None:
        self.collection = f"products-{number}"
        """The key of the one collection."""
        self._site = site
        self._number = number
        self._edits = 0
        self._items: dict[bool, int] = {}
        self._deleted: set[str] = set()

    def edit(self, wanted: Edit) -> tuple[str, Webhook]:
        """Make the edit, or where it cannot be made, publish; what it comes to, and the webhook of it."""
        self._edits += 1
        edit = wanted if self._can(wanted) else replace(wanted, verb="publish")
        told, name = self._told(edit), self._name(edit)
        if edit.kind in PAGE_TYPES:
            webhook = self._of_page(edit)
        elif edit.kind in NAMES:
            webhook = self._of_post(edit)
        else:
            webhook = self._of_item(edit)
            self._items[edit.second] = webhook.number
        if edit.verb == "delete":
            self._deleted.add(name)
        return told, webhook

    def _can(self, edit: Edit) -> bool:
        if edit.verb in ("publish", "draft"):
            return True
        taken = edit.kind not in NAMES or self._is_there(replace(edit, second=not edit.second))
        return self._is_there(edit) and not (edit.verb == "rename" and taken)

    def _told(self, edit: Edit) -> str:
        if edit.verb != "publish":
            return edit.verb
        if self._is_there(edit):
            return "edit"
        return "recreate" if self._name(edit) in self._deleted else "publish"

    def _is_there(self, edit: Edit) -> bool:
        content, name = self._site.content, self._name(edit)
        if edit.kind in PAGE_TYPES:
            return (PAGE_TYPES[edit.kind], name, "en") in content.pages
        if edit.kind in NAMES:
            return name in content.posts
        return (self.collection, name, LOCALES.get(edit.kind, "en")) in content.items

    def _name(self, edit: Edit) -> str:
        if edit.kind in NAMES:
            return f"{NAMES[edit.kind].split()[edit.second]}-{self._number}"
        return str(self._items.get(edit.second))

    def _text(self) -> str:
        return f"Text {self._edits} of {self._number}"

    def _of_post(self, edit: Edit) -> Webhook:
        slug, other = self._name(edit), self._name(replace(edit, second=not edit.second))
        match edit.verb:
            case "publish":
                return self._site.publish_post(slug, **self._new(edit), title=self._text(), body=f"<p>{self._text()}")
            case "draft":
                return self._site.save_draft_post(slug, **self._new(edit), title=self._text())
            case "republish":
                return self._site.publish_post(slug)
            case "unpublish":
                return self._site.unpublish_post(slug)
            case "delete":
                return self._site.delete_post(slug)
        return self._site.rename_post(slug, other)

    def _new(self, edit: Edit) -> dict[str, Any]:
        """What else is to be said of a translation that there is not yet: of which post it is, if one has none."""
        if edit.kind != "translation" or self._is_there(edit):
            return {}
        posts = self._site.content.posts
        translated = {one.group for one in posts.values() if one.locale == "de"}
        sibling = posts.get(self._name(replace(edit, kind="post")))
        return {"locale": "de", "sibling_of": sibling.slug if sibling and sibling.group not in translated else None}

    def _of_page(self, edit: Edit) -> Webhook:
        slug, other = self._name(edit), self._name(replace(edit, second=not edit.second))
        page_type, text = PAGE_TYPES[edit.kind], self._text()
        match edit.verb:
            case "publish":
                return self._site.publish_page(page_type, slug, {"headline": text}, name=text)
            case "draft":
                return self._site.save_draft_page(page_type, slug, {"headline": text}, name=text)
            case "republish":
                return self._site.publish_page(page_type, slug)
            case "unpublish":
                return self._site.unpublish_page(page_type, slug)
            case "delete":
                return self._site.delete_page(page_type, slug)
        return self._site.rename_page(page_type, slug, other)

    def _of_item(self, edit: Edit) -> Webhook:
        locale, fields = LOCALES.get(edit.kind, "en"), {"title": self._text()}
        there = any(name == self._name(edit) for _, name, _ in self._site.content.items)
        # A number is not given twice: what is gone in every locale comes back as another item.
        number = self._items[edit.second] if there else None
        if edit.verb == "publish":
            return self._site.publish_item(self.collection, fields, number=number, locale=locale)
        if edit.verb == "draft" or number is None:
            return self._site.save_draft_item(self.collection, fields, number=number, locale=locale)
        if edit.verb == "republish":
            return self._site.publish_item(self.collection, number=number, locale=locale)
        if edit.verb == "unpublish":
            return self._site.unpublish_item(self.collection, number, locale=locale)
        return self._site.delete_item(self.collection, number, locale=locale)
