"""The main job, played on this machine: a small site, its backfill, and a short story told through the webhook URL.

``python -m sandbox.demo`` exits with 0 only if every step did what it should.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sandbox.processes import SandboxError
from sandbox.stack import Stack
from sandbox.stores import Held, Holding, Search
from sandbox.tools import LOCAL, ROOT
from sandbox.webhooks import Delivery, Webhook, send

HOME = LOCAL / "demo"
PATIENCE = 30.0
"""Seconds that a step may take until the store shows what it should."""
QUIET = 1.0
"""So many seconds the queues must be empty before nothing more is expected."""

COLUMNS = ("what", "slug or number", "locale", "title")
LEGEND = "+ new   ~ changed   - gone   = as before"

END = """
All {steps} steps did what they should, in {seconds:.0f} s. Where to look next:

  make local                  the same stack, left running: its URLs, a curl line, psql
  sandbox/demo.py             this story
  template.yaml               the map: what is deployed, for this demo and on AWS
  docs/postgres.md            what the tables hold, and how to query them; also docs/opensearch.md, docs/algolia.md
  {logs}/            what every function logged just now
"""


class WentWrong(Exception):
    """A step did not do what it should; the text says what was expected and what there was."""


@dataclass(frozen=True)
class Change:
    """What a step should do to the stores: refs that appear or change, with their titles, and refs that go."""

    shows: Mapping[str, str]
    gone: tuple[str, ...] = ()


class Story:
    """Plays the steps and holds each against the stores."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.site = stack.sandbox.site
        self.steps = 0
        self._before = self.held()

    def begin(self, title: str, *lines: str) -> None:
        """The headline of a step, and what it is about."""
        self.steps += 1
        print(f"\n{self.steps}. {title}")
        for line in lines:
            print(f"   {line}")

    def send(self, webhook: Webhook, *, secret: str | None = None, status: int = 200) -> Delivery:
        """ButterCMS sends a webhook, once; raises WentWrong unless it is answered with `status`."""
        delivery = send(webhook, self.stack.webhook_url, secret or self.stack.webhook_secret)
        if delivery.status != status:
            answer = delivery.error or f"{delivery.status} {delivery.body}"
            raise WentWrong(f"{webhook.event} should be answered with {status}; the answer was {answer}")
        print(f"   {webhook.event} -> {delivery.status} in {delivery.milliseconds:.0f} ms")
        return delivery

    def shows(self, change: Change) -> None:
        """Waits until every store shows the change and nothing else has changed; raises WentWrong."""
        began = time.monotonic()
        expected = {ref: one.title for ref, one in self._known().items() if ref not in change.gone} | dict(change.shows)
        held = self._wait(expected)
        print(f"   in all {len(held)} stores {time.monotonic() - began:.1f} s later:\n")
        self._print(held)
        self._before = held

    def stays(self) -> None:
        """Waits until all queues are empty, and looks that nothing in any store has changed; raises WentWrong."""
        began = time.monotonic()
        self.settle()
        held = self.held()
        for name, holding in held.items():
            if holding != self._before[name]:
                raise WentWrong(f"{name} should be as before: {_difference(self._before[name], holding)}")
        print(f"   all queues empty {time.monotonic() - began:.1f} s later, and every store as before:\n")
        self._print(held)

    def settle(self) -> None:
        """Waits until nothing is on its way; raises WentWrong."""
        deadline, quiet = time.monotonic() + PATIENCE, time.monotonic() + QUIET
        while time.monotonic() < quiet:
            if messages := self.stack.on_the_way():
                quiet = time.monotonic() + QUIET
            if time.monotonic() > deadline:
                raise WentWrong(f"the queues should be empty after {PATIENCE:.0f} s, but {messages} messages are left")
            time.sleep(0.1)

    def held(self) -> Mapping[str, Holding]:
        """What the stores hold now, by their names."""
        return {store.name: store.read() for store in self.stack.stores}

    def delivery(self, ref: str) -> str:
        """What the delivery table says of a document at postgres."""
        key = {"target": {"S": "postgres"}, "key": {"S": ref}}
        answer = self.stack.client("dynamodb").get_item(TableName=self.stack.outputs["DeliveryTable"], Key=key)
        item = answer.get("Item", {})
        return f"{item['status']['S']}, {item['attempts']['N']} failed" if "status" in item else "not tried yet"

    def until(self, what: str, happened: Callable[[], object]) -> None:
        """Waits until something has happened; raises WentWrong."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                raise WentWrong(f"{what} should have happened within {PATIENCE:.0f} s")
            time.sleep(0.1)

    def found(self, search: Search, words: str, ref: str) -> Mapping[str, str]:
        """What a search finds for the words, once it finds the item; raises WentWrong."""
        self.until(f"a search that finds {ref}", lambda: ref in search(words))
        return search(words)

    def _known(self) -> Holding:
        return next(iter(self._before.values()))

    def _wait(self, expected: Mapping[str, str]) -> Mapping[str, Holding]:
        deadline = time.monotonic() + PATIENCE
        while True:
            held = self.held()
            differing = [name for name, holding in held.items() if _titles(holding) != expected]
            if not differing:
                return held
            if time.monotonic() > deadline:
                difference = _difference(expected, _titles(held[differing[0]]))
                raise WentWrong(f"after {PATIENCE:.0f} s {differing[0]} differs: {difference}")
            time.sleep(0.05)

    def _print(self, held: Mapping[str, Holding]) -> None:
        titles = _titles(self._known()) | _titles(next(iter(held.values())))
        rows = [
            (*_named(ref), title, *(_mark(self._before[name].get(ref), held[name].get(ref)) for name in held))
            for ref, title in titles.items()
        ]
        _print_table([(*COLUMNS, *held), *sorted(rows)])
        print()


def _titles(holding: Holding) -> dict[str, str]:
    return {ref: one.title for ref, one in holding.items()}


def _named(ref: str) -> tuple[str, str, str]:
    """What a ref names: what it is, its slug or number, its locale."""
    kind, *group, name, locale = map(unquote, ref.split(":"))
    what = {"page": "page {}", "item": "item of {}"}.get(kind, kind)
    return what.format(*group), name, locale


def _mark(before: Held | None, now: Held | None) -> str:
    if now is None:
        return "-"
    return "+" if before is None else "=" if before == now else "~"


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    missing = [ref for ref in expected if ref not in found]
    extra = [ref for ref in found if ref not in expected]
    pairs = {ref: (found[ref], expected[ref]) for ref in expected if ref in found}
    other = [f"{ref} is {now!r}, not {wanted!r}" for ref, (now, wanted) in pairs.items() if now != wanted]
    return f"missing {missing}, too many {extra}, other {other}"


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("     " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def backfill(story: Story) -> None:
    story.begin("Backfill", "The site exists already: all that it has published comes into the stores.")
    answer = story.stack.invoke("resolve", {"command": "backfill"})
    if not answer["ok"]:
        raise WentWrong(f"the backfill should begin: {answer}")
    story.until("the backfill", lambda: story.stack.invoke("resolve", answer["progress"])["done"])
    story.shows(
        Change(
            {
                "post:compost-in-a-small-yard:en": "Compost in a small yard",
                "post:pruning-roses:en": "Pruning roses",
                "post:rosen-schneiden:de": "Rosen schneiden",
                "page:*:about:en": "About us",
                "page:landing-page:autumn-sale:en": "Autumn sale",
                "page:landing-page:spring-sale:en": "Spring sale",
                "page:landing-page:spring-sale:de": "Frühling",
                "item:makers:1005:en": "Hollow Oak Tools",
                "item:tools:1006:en": "Bypass shears",
                "item:tools:1006:de": "Gartenschere",
                "item:tools:1007:en": "Hand fork",
            }
        )
    )


def publish(story: Story) -> None:
    story.begin("Publish a post, a page and a collection item")
    story.send(story.site.publish_post("tulips", title="Tulips", body="<p>Plant them in <b>autumn</b>.</p>"))
    story.send(story.site.publish_page("landing-page", "winter-sale", {"headline": "Winter sale"}))
    item = story.site.publish_item("tools", {"name": "Dibber"})
    story.send(item)
    pages = {"page:landing-page:winter-sale:en": "Winter sale", f"item:tools:{item.number}:en": "Dibber"}
    story.shows(Change({"post:tulips:en": "Tulips", **pages}))


def search(story: Story) -> None:
    story.begin(
        "A search", "Two words of the new post's body, asked of OpenSearch and of Algolia as a site's visitors would."
    )
    for store in story.stack.stores:
        if store.search is not None:
            hits = story.found(store.search, "plant autumn", "post:tulips:en")
            print(f"   {store.name} finds: " + ", ".join(f"{title} ({ref})" for ref, title in hits.items()))


def edit(story: Story) -> None:
    story.begin("Edit the post", "ButterCMS sends the same post.published as before; the versions in the stores rise.")
    story.send(story.site.publish_post("tulips", title="Tulips and daffodils"))
    story.shows(Change({"post:tulips:en": "Tulips and daffodils"}))


def duplicate(story: Story) -> None:
    story.begin("A duplicate", "The same webhook twice more: the post is read again, and nothing is written.")
    webhook = story.site.publish_post("tulips", title="Tulips, daffodils, crocuses")
    story.send(webhook)
    story.shows(Change({"post:tulips:en": "Tulips, daffodils, crocuses"}))
    story.send(webhook)
    story.send(webhook)
    story.stays()


def out_of_order(story: Story) -> None:
    story.begin("Out of order", "A page is edited, then unpublished; its two webhooks arrive the other way round.")
    edited = story.site.publish_page("landing-page", "autumn-sale", {"headline": "Autumn sale, last days"})
    unpublished = story.site.unpublish_page("landing-page", "autumn-sale")
    story.send(unpublished)
    story.send(edited)
    story.shows(Change({}, gone=("page:landing-page:autumn-sale:en",)))
    story.stays()


def rename(story: Story) -> None:
    story.begin("A rename", "The post gets another slug. No webhook tells the old one; its number finds it.")
    story.send(story.site.rename_post("tulips", "spring-bulbs"))
    story.shows(Change({"post:spring-bulbs:en": "Tulips, daffodils, crocuses"}, gone=("post:tulips:en",)))


def unpublish(story: Story) -> None:
    story.begin("Unpublish", "ButterCMS says post.delete, and goes on answering the post to those who ask: as a draft.")
    story.send(story.site.unpublish_post("spring-bulbs"))
    story.shows(Change({}, gone=("post:spring-bulbs:en",)))


def wrong_secret(story: Story) -> None:
    story.begin("A wrong secret", "Somebody who guessed the URL: turned away before the body is looked at.")
    story.send(story.site.publish_post("guessed", title="Guessed"), secret="a guess", status=401)  # noqa: S106 - no secret
    story.stays()


def outage(story: Story) -> None:
    ref = "post:frost-dates:en"
    story.begin("The database goes down and comes back", "The webhook is answered all the same, and nothing is lost.")
    story.stack.postgres.stop()
    story.send(story.site.publish_post("frost-dates", title="Frost dates"))
    story.until("a failed try", lambda: story.delivery(ref).startswith("unavailable"))
    print(f"   database down; the delivery table says: {story.delivery(ref)}")
    others = [store for store in story.stack.stores if store.target != "postgres"]
    story.until("delivery to the others", lambda: all(ref in store.read() for store in others))
    print(f"   {' and '.join(store.name for store in others)} have the post meanwhile")
    story.stack.postgres.restart()
    print("   database up again")
    story.shows(Change({ref: "Frost dates"}))


STORY: tuple[Callable[[Story], None], ...] = (
    backfill, publish, search, edit, duplicate, out_of_order, rename, unpublish, wrong_secret, outage,
)  # fmt: skip


def play(stack: Stack) -> int:
    """Plays all steps and returns how many there were; raises WentWrong at the first that went wrong."""
    print(f"\nWhat the stores hold is shown side by side after each step:  {LEGEND}")
    story = Story(stack)
    for part in STORY:
        part(story)
    return story.steps


def main() -> int:
    """Starts the stack, plays, stops what it started; 0 if all went well."""
    began = time.monotonic()
    print(
        "buttersync on this machine: the real template.yaml, AWS emulated, a real PostgreSQL, a real OpenSearch,\n"
        "ButterCMS and Algolia played.\n"
    )
    logs = Path("logs")
    try:
        with Stack.start(HOME) as stack:
            logs = stack.logs.relative_to(ROOT)
            steps = play(stack)
            seconds = time.monotonic() - began
    except WentWrong as wrong:
        print(f"\nThis went wrong: {wrong}\nThe logs of every function and server are in {logs}/", file=sys.stderr)
        return 1
    except SandboxError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    print(END.format(steps=steps, seconds=seconds, logs=logs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
