"""What the editors of a busy site do, drawn with a seed, and the webhooks that come of it: repeated, late, disordered.

Posts, pages and items come, have a life and are let be: what a store holds of each in the end is the work of the last
webhooks about it, and of no later ones that would make up for a loss.
"""

import heapq
import threading
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, TypeAlias

from sandbox.site import SINGLE_PAGES, Account, Site
from sandbox.webhooks import Webhook

LOCALES = ("en", "de")
PAGE_TYPES = ("landing-page", SINGLE_PAGES)
COLLECTIONS = ("tools", "makers")

LIVES_AT_A_TIME = 60
LONGEST_LIFE = 12
"""So many acts at the most, after the first."""

ENDS = 0.1
"""How often an item is deleted in the end."""

TRANSLATED = 0.2
"""How often there is an item in the second locale too."""

STAYS = 0.5
"""How often the next edit is of the same item as the one before: editors work in bursts."""

VIDEOS = 0.02
"""How many of the webhooks tell of an upload that changes nothing."""

REPEATED = 0.05
"""How many webhooks come twice."""

SWAPPED = 0.1
"""How many come after one or two of those that were sent after them."""

DELAYED = 0.03
"""How many come when LONGEST_DELAY others have come since, at the most."""

LONGEST_DELAY = 500

NAMES = ("roses", "compost", "frost dates", "grüne-bohnen", "50%-off", "a:b", "tools+more")
"""Slugs with what has a meaning in refs, keys and addresses."""

CHANGE_NOTHING = ("page.draft", "media.videouploaded")
"""Events that ingest accepts and drops: nothing that is live can have changed."""

Life: TypeAlias = Iterator[Webhook]
"""The webhooks of one item, its next edit with each."""


def new_site() -> Site:
    """A site in two locales, with page types and collections, and nothing in them."""
    site = Site(Account(locales=LOCALES))
    for page_type in PAGE_TYPES:
        site.add_page_type(page_type)
    for collection in COLLECTIONS:
        site.add_collection(collection)
    return site


class Story:
    """So many webhooks of the site, whose edits are made as they are taken. Safe for threads."""

    def __init__(self, site: Site, webhooks: int, seed: int) -> None:
        self.webhooks = webhooks
        self._random = Random(seed)  # noqa: S311 - it draws a story, not secrets
        self._lives = _lives(site, self._random)
        self._lock = threading.Lock()
        self._taken = 0
        self._held: list[tuple[int, int, Webhook]] = []
        """What comes later: from which place on, a number that is never the same, and the webhook."""
        self._numbers = count()

    def take(self) -> Webhook | None:
        """The next webhook to send; None when all have been taken."""
        with self._lock:
            self._taken += 1
            while self._taken + len(self._held) <= self.webhooks:
                if self._held and self._held[0][0] <= self._taken:
                    break
                delay = self._delay()
                webhook = next(self._lives)
                if self._random.random() < REPEATED and self._taken + len(self._held) < self.webhooks:
                    self._hold(webhook, self._random.choice((0, 1, self._delay())))
                if not delay:
                    return webhook
                self._hold(webhook, delay)
            return heapq.heappop(self._held)[2] if self._held else None

    def again(self, webhook: Webhook) -> None:
        """It was turned away: it is told once more, as by the editor's next save, and does not count."""
        with self._lock:
            self._taken -= 1
            self._hold(webhook, 1)

    def _delay(self) -> int:
        """How many other webhooks come first."""
        drawn = self._random.random()
        if drawn < DELAYED:
            return self._random.randint(3, LONGEST_DELAY)
        return self._random.randint(1, 2) if drawn < DELAYED + SWAPPED else 0

    def _hold(self, webhook: Webhook, delay: int) -> None:
        heapq.heappush(self._held, (self._taken + delay, next(self._numbers), webhook))


def _lives(site: Site, random: Random) -> Life:
    """The edits of many items side by side, without an end."""
    kinds: dict[Callable[[Site, Random, str], _Being], int] = {_Post: 4, _Page: 5, _Item: 3}
    names = (f"{random.choice(NAMES)}-{number}" for number in count())
    lives: list[Life] = []
    at = 0
    while True:
        if random.random() < VIDEOS:
            yield site.upload_video("tour.mp4")
        if len(lives) < LIVES_AT_A_TIME:
            (kind,) = random.choices(list(kinds), list(kinds.values()))
            lives.append(kind(site, random, next(names)).life())
        at = at if at < len(lives) and random.random() < STAYS else random.randrange(len(lives))
        webhook = next(lives[at], None)
        if webhook is None:
            lives.pop(at)
        else:
            yield webhook


class _Being:
    """One item, which is edited until nobody cares for it any more."""

    def __init__(self, site: Site, random: Random, name: str) -> None:
        self.site, self.random, self.name = site, random, name
        self.locales = LOCALES if random.random() < TRANSLATED else LOCALES[:1]
        self.locale = self.locales[0]

    def life(self) -> Life:
        yield from self.begin()
        acts = self.acts()
        for _ in range(self.random.randint(0, LONGEST_LIFE)):
            self.locale = self.random.choice(self.locales)
            (act,) = self.random.choices(list(acts), list(acts.values()))
            yield from act()
        if self.random.random() < ENDS:
            yield from self.end()

    def begin(self) -> Life:
        raise NotImplementedError

    def acts(self) -> dict[Callable[[], Life], int]:
        """What may be done to it, and how often in proportion; after each of them it is there as before."""
        raise NotImplementedError

    def end(self) -> Life:
        raise NotImplementedError

    def words(self) -> tuple[str, str]:
        """A title and a text that no other edit has."""
        edition = self.site.revision
        return f"Edition {edition}", f"All that edition {edition} says."


class _Post(_Being):
    def begin(self) -> Life:
        yield from self.edit()
        for locale in self.locales[1:]:
            # A translation is a post of its own.
            yield self.site.publish_post(f"{self.name}-{locale}", locale=locale, sibling_of=self.name, **self.content())

    def acts(self) -> dict[Callable[[], Life], int]:
        return {
            self.edit: 8, self.republish: 1, self.draft: 1, self.unpublish: 1, self.recreate: 1, self.rename: 1,
        }  # fmt: skip

    def edit(self) -> Life:
        yield self.site.publish_post(self.name, **self.content())

    def republish(self) -> Life:
        yield self.site.publish_post(self.name)

    def draft(self) -> Life:
        yield self.site.save_draft_post(self.name, **self.content())

    def unpublish(self) -> Life:
        yield self.site.unpublish_post(self.name)

    def recreate(self) -> Life:
        yield from self.end()
        yield from self.edit()

    def rename(self) -> Life:
        old, self.name = self.name, f"{self.name}-{self.site.revision}"
        yield self.site.rename_post(old, self.name)
        if self.random.random() < 0.5:
            # Another post takes the slug.
            yield self.site.publish_post(old, **self.content())

    def end(self) -> Life:
        yield self.site.delete_post(self.name)

    def content(self) -> dict[str, Any]:
        title, text = self.words()
        return {"title": title, "body": f"<p>{text}</p>"}


class _Page(_Being):
    def __init__(self, site: Site, random: Random, name: str) -> None:
        super().__init__(site, random, name)
        self.page_type = random.choice(PAGE_TYPES)

    def begin(self) -> Life:
        for locale in self.locales:
            yield self.site.publish_page(self.page_type, self.name, self.fields(), locale=locale)

    def acts(self) -> dict[Callable[[], Life], int]:
        acts = {self.drafts: 12, self.edit: 8, self.republish: 1, self.unpublish: 1, self.recreate: 1}
        # A rename is one in all locales, and its webhook tells of one.
        return acts if self.locales[1:] else {**acts, self.rename: 1}

    def drafts(self) -> Life:
        for _ in range(self.random.randint(2, 14)):
            yield self.site.save_draft_page(self.page_type, self.name, self.fields(), locale=self.locale)

    def edit(self) -> Life:
        yield self.site.publish_page(self.page_type, self.name, self.fields(), locale=self.locale)

    def republish(self) -> Life:
        yield self.site.publish_page(self.page_type, self.name, locale=self.locale)

    def unpublish(self) -> Life:
        yield self.site.unpublish_page(self.page_type, self.name, locale=self.locale)

    def recreate(self) -> Life:
        yield from self.end()
        yield from self.edit()

    def rename(self) -> Life:
        old, self.name = self.name, f"{self.name}-{self.site.revision}"
        yield self.site.rename_page(self.page_type, old, self.name)

    def end(self) -> Life:
        yield self.site.delete_page(self.page_type, self.name, locale=self.locale)

    def fields(self) -> dict[str, Any]:
        title, text = self.words()
        return {"headline": title, "text": text}


class _Item(_Being):
    def __init__(self, site: Site, random: Random, name: str) -> None:
        super().__init__(site, random, name)
        self.collection = random.choice(COLLECTIONS)
        self.number = 0

    def begin(self) -> Life:
        webhook = self.site.publish_item(self.collection, self.fields())
        self.number = webhook.number
        yield webhook
        for locale in self.locales[1:]:
            yield self.site.publish_item(self.collection, self.fields(), number=self.number, locale=locale)

    def acts(self) -> dict[Callable[[], Life], int]:
        return {self.edit: 8, self.republish: 1, self.draft: 1, self.unpublish: 1}

    def edit(self) -> Life:
        yield self.site.publish_item(self.collection, self.fields(), number=self.number, locale=self.locale)

    def republish(self) -> Life:
        yield self.site.publish_item(self.collection, number=self.number, locale=self.locale)

    def draft(self) -> Life:
        yield self.site.save_draft_item(self.collection, self.fields(), number=self.number, locale=self.locale)

    def unpublish(self) -> Life:
        yield self.site.unpublish_item(self.collection, self.number, locale=self.locale)

    def end(self) -> Life:
        yield self.site.delete_item(self.collection, self.number, locale=self.locale)

    def fields(self) -> dict[str, Any]:
        title, text = self.words()
        return {"name": title, "slug": self.name, "text": text}
