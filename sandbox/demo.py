"""The main job, played on this machine: a small site, its backfill, and a short story told through the webhook URL.

``python -m sandbox.demo`` exits with 0 only if every step did what it should.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psycopg2

from sandbox.processes import SandboxError
from sandbox.stack import Stack
from sandbox.tools import LOCAL, ROOT
from sandbox.webhooks import Delivery, Webhook, send

HOME = LOCAL / "demo"
PATIENCE = 30.0
"""Seconds that a step may take until the store shows what it should."""
QUIET = 1.0
"""So many seconds the queues must be empty before nothing more is expected."""

Rows: TypeAlias = Mapping[str, tuple[str, ...]]
"""What the store holds: ref to the columns."""

ROWS = """
SELECT ref, 'post', slug, locale, title, to_char(to_timestamp(version / 1000.0), 'HH24:MI:SS.MS') FROM posts
UNION ALL SELECT ref, 'page ' || page_type, slug, locale, title,
  to_char(to_timestamp(version / 1000.0), 'HH24:MI:SS.MS') FROM pages
UNION ALL SELECT ref, 'item of ' || collection, item_id::text, locale, title,
  to_char(to_timestamp(version / 1000.0), 'HH24:MI:SS.MS') FROM collection_items
ORDER BY 2, 3, 4"""
COLUMNS = ("what", "slug or number", "locale", "title", "version of")
LEGEND = "+ new   ~ changed   - gone   (a version is named by the time at which ButterCMS was read)"

END = """
All {steps} steps did what they should, in {seconds:.0f} s. Where to look next:

  make local                  the same stack, left running: its URLs, a curl line, psql
  sandbox/demo.py             this story
  template.yaml               the map: what is deployed, for this demo and on AWS
  docs/postgres.md            what the tables hold, and how to query them
  {logs}/            what every function logged just now
"""


class WentWrong(Exception):
    """A step did not do what it should; the text says what was expected and what there was."""


@dataclass(frozen=True)
class Change:
    """What a step should do to the store: refs that appear or change, with their titles, and refs that go."""

    shows: Mapping[str, str]
    gone: tuple[str, ...] = ()


class Story:
    """Plays the steps and holds each against the store."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.site = stack.sandbox.site
        self.steps = 0
        self._before = self.rows()

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
        """Waits until the store shows the change and nothing else has changed; raises WentWrong."""
        began = time.monotonic()
        expected = {ref: row[3] for ref, row in self._before.items() if ref not in change.gone}
        expected |= dict(change.shows)
        rows = self._wait(lambda rows: {ref: row[3] for ref, row in rows.items()} == expected, expected)
        self._print(rows, f"in the store {time.monotonic() - began:.1f} s later")

    def stays(self) -> None:
        """Waits until all queues are empty, and looks that nothing in the store has changed; raises WentWrong."""
        began = time.monotonic()
        self.settle()
        rows = self.rows()
        if rows != self._before:
            raise WentWrong(f"the store should be as before: {_difference(self._before, rows)}")
        print(f"   all queues empty {time.monotonic() - began:.1f} s later: the store holds the same {len(rows)} rows")

    def settle(self) -> None:
        """Waits until nothing is on its way; raises WentWrong."""
        deadline, quiet = time.monotonic() + PATIENCE, time.monotonic() + QUIET
        while time.monotonic() < quiet:
            if messages := self.stack.on_the_way():
                quiet = time.monotonic() + QUIET
            if time.monotonic() > deadline:
                raise WentWrong(f"the queues should be empty after {PATIENCE:.0f} s, but {messages} messages are left")
            time.sleep(0.1)

    def rows(self) -> Rows:
        """What the store holds now, versions included."""
        connection = psycopg2.connect(self.stack.postgres.dsn)
        try:
            with connection.cursor() as cursor:
                cursor.execute(ROWS)
                return {ref: tuple(str(value or "") for value in row) for ref, *row in cursor.fetchall()}
        finally:
            connection.close()

    def delivery(self, ref: str) -> str:
        """What the delivery table says of a document at postgres."""
        key = {"target": {"S": "postgres"}, "key": {"S": ref}}
        answer = self.stack.client("dynamodb").get_item(TableName=self.stack.outputs["DeliveryTable"], Key=key)
        item = answer.get("Item", {})
        return f"{item['status']['S']}, {item['attempts']['N']} failed" if "status" in item else "not tried yet"

    def until(self, what: str, happened: Callable[[], bool]) -> None:
        """Waits until something has happened; raises WentWrong."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                raise WentWrong(f"{what} should have happened within {PATIENCE:.0f} s")
            time.sleep(0.1)

    def _wait(self, good: Callable[[Rows], bool], expected: Mapping[str, str]) -> Rows:
        deadline = time.monotonic() + PATIENCE
        while not good(rows := self.rows()):
            if time.monotonic() > deadline:
                titles = {ref: row[3] for ref, row in rows.items()}
                raise WentWrong(f"after {PATIENCE:.0f} s the store differs: {_difference(expected, titles)}")
            time.sleep(0.05)
        return rows

    def _print(self, rows: Rows, when: str) -> None:
        marks = {ref: _mark(self._before.get(ref), row) for ref, row in rows.items()}
        gone = [("-", *self._before[ref]) for ref in self._before if ref not in rows]
        print(f"   {when}:\n")
        _print_table([("", *COLUMNS), *((marks[ref], *row) for ref, row in rows.items()), *gone])
        print()
        self._before = rows


def _mark(before: tuple[str, ...] | None, now: tuple[str, ...]) -> str:
    if before is None:
        return "+"
    return " " if before == now else "~"


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
    story.begin("Backfill", "The site exists already: all that it has published comes into the store.")
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


def edit(story: Story) -> None:
    story.begin("Edit the post", "ButterCMS sends the same post.published as before; the version in the store rises.")
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
    story.stack.postgres.restart()
    print("   database up again")
    story.shows(Change({ref: "Frost dates"}))


STORY: tuple[Callable[[Story], None], ...] = (
    backfill, publish, edit, duplicate, out_of_order, rename, unpublish, wrong_secret, outage,
)  # fmt: skip


def play(stack: Stack) -> int:
    """Plays all steps and returns how many there were; raises WentWrong at the first that went wrong."""
    print(f"\nWhat PostgreSQL holds is shown after each step:  {LEGEND}")
    story = Story(stack)
    for part in STORY:
        part(story)
    return story.steps


def main() -> int:
    """Starts the stack, plays, stops what it started; 0 if all went well."""
    began = time.monotonic()
    print("buttersync on this machine: the real template.yaml, AWS emulated, a real PostgreSQL, ButterCMS played.\n")
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
