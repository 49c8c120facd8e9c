"""The protocol of one reading, step by step, on strict doubles."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from buttersync.model import Change, Claim, Identity
from buttersync.outcomes import Unavailable
from decisions import Row
from documents import UrlPatterns
from protocol import STARTS, Resolver, Rules
from tests.doubles import ArchiveDouble, ButterDouble, Sent, TableDouble, TopicDouble

POST = Identity("post", "", "hello", "en")
OLD_POST = Identity("post", "", "hallo", "en")
NOW = 1_763_900_000_000
DAY = 86_400_000
LOOKS = [5, 60, 900, 3600]


def post(slug: str = "hello", title: str = "Hello", day: int = 23, status: str = "published") -> dict[str, Any]:
    date = f"2025-11-{day}T12:00:00.000000Z"
    return {"slug": slug, "title": title, "status": status, "published": date, "updated": date, "body": "<p>Hi</p>"}


class World:
    """resolve on doubles, with a clock that a test moves."""

    def __init__(self) -> None:
        self.table, self.archive, self.topic = TableDouble(), ArchiveDouble(), TopicDouble()
        self.butter, self.sent, self.time = ButterDouble(), Sent(), NOW
        self.table.began = NOW - 3 * DAY
        rules = Rules("en", LOOKS, 3 * DAY, UrlPatterns("https://example.com/{slug}", "", ""))
        self.resolver = Resolver(self.table, self.butter, self.archive, self.topic, self.sent, rules, now=self.now)

    def now(self) -> int:
        self.time += 1
        return self.time

    def change(self, claims: Claim = "published", identity: Identity = POST, **more: Any) -> Change:
        return Change(identity=identity, event=f"post.{claims}", claims=claims, received_at=self.now(), **more)

    def resolve(self, change: Change) -> str:
        self.time += 1000
        return self.resolver.resolve(change)

    def rename(self, status: str = "published") -> None:
        """The post at the old slug gets the new one, and its state, in one edit."""
        del self.butter.items[OLD_POST.ref]
        self.butter.items[POST.ref] = post("hello", day=24, status=status)

    def drain(self) -> None:
        """Handle what resolve has sent to its own queue, each when it is due, until nothing is left."""
        while self.sent.messages:
            change, seconds = self.sent.messages.pop(0)
            self.time += int(seconds * 1000)
            self.resolve(change)

    def row(self, identity: Identity = POST) -> Row:
        return self.table.row(identity.ref)


@pytest.fixture
def world() -> World:
    return World()


def once(action: Callable[[], object]) -> Callable[[], object]:
    """The action at the first call, nothing at the others."""
    left = [action]
    return lambda: left.pop()() if left else None


def test_a_published_post_is_archived_recorded_and_published(world: World) -> None:
    world.butter.items[POST.ref] = post()

    result = world.resolve(world.change(numeric_id=7))

    [document] = world.topic.documents
    assert result == document.change == "created"
    assert (document.title, document.url, document.announce_key) == ("Hello", "https://example.com/hello", "post:7")
    whole = world.archive.objects[document.archive_key]
    assert (whole.text, whole.fields["body"]) == ("Hi", "<p>Hi</p>")
    assert (document.text, document.fields) == ("", {})
    assert (world.row().version, world.row().pending) == (document.version, "")


def test_an_edit_is_updated_and_an_unpublish_removed(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.resolve(world.change())
    world.butter.items[POST.ref] = post(title="Hello again", day=24)
    world.resolve(world.change())
    world.butter.items[POST.ref] = post(status="draft")

    world.resolve(world.change("removed"))

    assert [document.change for document in world.topic.documents] == ["created", "updated", "removed"]
    assert world.topic.documents[-1].url == "https://example.com/hello"
    versions = [document.version for document in world.topic.documents]
    assert versions == sorted(set(versions))


def test_a_doubtful_reading_is_looked_at_again(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.butter.cached[POST.ref] = None

    result = world.resolve(change := world.change(numeric_id=7, attempts=3))

    [(look, seconds)] = world.sent.messages
    assert result.startswith("doubtful")
    assert seconds == 5
    assert (look.look, look.received_at, look.numeric_id, look.attempts) == (1, change.received_at, 7, 0)
    assert look.not_before == pytest.approx(world.time + 5000, abs=10)
    assert world.row() == Row(ref=POST.ref)

    world.butter.cached.clear()
    assert world.resolve(look) == "created"
    assert len(world.butter.asked) == 2


def test_the_looks_follow_the_schedule_and_the_last_is_believed(world: World) -> None:
    change = world.change("published")
    waits = []
    for _ in LOOKS:
        world.resolve(change)
        change, seconds = world.sent.messages.pop()
        waits.append(seconds)

    world.resolve(change)

    assert waits == LOOKS
    assert world.sent.messages == []
    assert (world.row().status, world.row().readings) == ("absent", 1)


def test_a_removal_is_believed_and_looked_at_once_more_for_its_webhook_may_be_late(world: World) -> None:
    """It is published again, untouched, and that is read before the removal's webhook comes, with an old reading."""
    world.butter.items[POST.ref] = post()
    world.resolve(world.change("published"))
    world.butter.cached[POST.ref] = None
    world.resolve(world.change("removed"))
    assert world.row().status == "removed"
    [(look, seconds)] = world.sent.messages
    assert (look.look, seconds) == (len(LOOKS), LOOKS[-1])
    world.butter.cached.clear()

    world.resolve(look)

    assert world.row().status == "published"


def test_an_unknown_ref_that_an_event_removes_is_published_as_removed_at_the_last_look(world: World) -> None:
    world.resolve(world.change("removed", look=len(LOOKS)))

    assert [document.change for document in world.topic.documents] == ["removed"]


def test_a_draft_of_nothing_published_is_not_read_at_any_look(world: World) -> None:
    world.resolve(change := world.change("draft"))
    for _ in LOOKS:
        [change] = world.sent.changes
        world.sent.messages.clear()
        world.resolve(change)

    assert (world.butter.asked, world.sent.messages, change.look) == ([], [], len(LOOKS))


def test_a_draft_that_overtakes_its_publishing_is_not_forgotten(world: World) -> None:
    """Worker A reads the post while it is published; it is saved as a draft, whose event B handles; then A records."""
    world.butter.items[POST.ref] = post()

    def save_draft() -> None:
        world.butter.items[POST.ref] = post(status="draft")
        world.resolver.resolve(world.change("draft"))

    world.table.before_record = once(save_draft)
    world.resolve(world.change())
    world.drain()

    assert [document.change for document in world.topic.documents] == ["created", "removed"]


def test_a_draft_over_what_is_published_is_read_and_followed(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.resolve(world.change())
    world.butter.items[POST.ref] = post(status="draft")

    assert world.resolve(world.change("draft")) == "removed"


def test_nothing_is_recorded_that_the_archive_does_not_hold(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.archive.failure = TimeoutError()

    with pytest.raises(TimeoutError):
        world.resolve(world.change())

    assert world.row() == Row(ref=POST.ref)


def test_a_worker_that_died_before_publishing_loses_no_document(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.topic.failure = TimeoutError()
    with pytest.raises(TimeoutError):
        world.resolve(change := world.change())
    assert world.row().pending == "created"
    world.topic.failure = None

    world.resolve(change)

    [document] = world.topic.documents
    assert (document.change, document.title, document.version) == ("created", "Hello", world.row().version)
    assert world.row().pending == ""


def test_a_pending_created_is_handed_down_to_the_edit_that_follows(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.topic.failure = TimeoutError()
    with pytest.raises(TimeoutError):
        world.resolve(world.change())
    world.topic.failure = None
    world.butter.items[POST.ref] = post(title="Edited", day=24)

    world.resolve(world.change())

    assert [(one.change, one.title) for one in world.topic.documents] == [("created", "Hello"), ("created", "Edited")]


def test_a_pending_version_is_published_whatever_comes_of_the_reading(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.topic.failure = TimeoutError()
    with pytest.raises(TimeoutError):
        world.resolve(world.change())
    world.topic.failure = None
    world.butter.before_answer = once(lambda: (_ for _ in ()).throw(Unavailable("down")))

    with pytest.raises(Unavailable):
        world.resolve(world.change())

    assert [document.change for document in world.topic.documents] == ["created"]


def test_a_pending_version_that_the_archive_has_lost_is_made_anew_from_the_reading(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.topic.failure = TimeoutError()
    with pytest.raises(TimeoutError):
        world.resolve(change := world.change())
    world.topic.failure = None
    world.archive.objects.clear()

    world.resolve(msgspec.structs.replace(change, look=len(LOOKS)))

    [document] = world.topic.documents
    assert (document.change, document.title, document.version) == ("created", "Hello", world.row().version)


def test_a_pending_removal_needs_no_archive(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.resolve(world.change())
    del world.butter.items[POST.ref]
    world.topic.failure = TimeoutError()
    with pytest.raises(TimeoutError):
        world.resolve(change := world.change("removed"))
    world.topic.failure = None
    world.archive.objects.clear()

    world.resolve(change)

    assert [document.change for document in world.topic.documents] == ["created", "removed"]


def test_a_slow_old_reading_is_not_written_after_a_newer_one(world: World) -> None:
    """Worker A reads the old text; before it writes, B reads and records the new one. A must start again."""
    world.butter.items[POST.ref] = post()
    late, early = world.change(), world.change()

    def overtake() -> None:
        world.butter.items[POST.ref] = post(title="New", day=24)
        world.resolver.resolve(late)

    world.table.before_record = once(overtake)
    world.resolve(early)

    assert [document.title for document in world.topic.documents] == ["New"]
    assert world.row().hash == world.resolver.content_of(POST, post(title="New", day=24)).hash


def test_a_reading_that_found_nothing_new_fences_an_older_one_too(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.resolve(world.change())
    before = world.row().readings

    world.resolve(world.change(look=len(LOOKS)))

    assert world.row().readings == before + 1
    assert len(world.topic.documents) == 1


def test_a_worker_that_is_always_overtaken_gives_the_change_back(world: World) -> None:
    world.butter.items[POST.ref] = post()

    def overtake() -> None:
        row = world.row()
        world.table.items[POST.ref] = msgspec.structs.replace(row, readings=row.readings + 1)

    world.table.before_record = overtake

    with pytest.raises(Unavailable, match="keep writing"):
        world.resolve(world.change())
    assert len(world.butter.asked) == STARTS


def test_a_rename_removes_the_old_ref_and_keeps_the_announce_key(world: World) -> None:
    world.butter.items[OLD_POST.ref] = post("hallo")
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.rename()

    world.resolve(change := world.change(numeric_id=7))

    [old] = world.sent.changes
    assert (old.identity, old.event, old.claims) == (OLD_POST, "delete", "removed")
    assert (old.received_at, old.numeric_id) == (change.received_at, None)
    world.resolve(old)
    assert [(one.identity.name, one.change) for one in world.topic.documents] == [
        ("hallo", "created"),
        ("hello", "created"),
        ("hallo", "removed"),
    ]
    assert {document.announce_key for document in world.topic.documents} == {"post:7"}


def test_an_item_that_keeps_its_slug_sends_nothing_after_itself(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.resolve(world.change(numeric_id=7))
    world.butter.items[POST.ref] = post(title="Edited", day=24)

    world.resolve(world.change(numeric_id=7))

    assert world.sent.messages == []
    assert world.table.pointers["pointer:post:7:en"].writes == 2


def test_a_pointer_keeps_the_announce_key_of_its_item_wherever_the_item_goes(world: World) -> None:
    """A backfill saw the new slug before the rename's webhook came: that row has a key of its own."""
    world.butter.items[OLD_POST.ref] = post("hallo")
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.butter.items[POST.ref] = post("hello", day=24)
    world.resolve(world.change())

    world.resolve(world.change(numeric_id=7, look=len(LOOKS)))

    assert world.row().announce_key == POST.ref
    assert world.table.pointers["pointer:post:7:en"].announce_key == "post:7"


def test_an_event_for_a_slug_where_the_item_is_no_more_moves_no_pointer(world: World) -> None:
    world.butter.items[POST.ref] = post()
    world.resolve(world.change(numeric_id=7))

    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.drain()

    assert world.table.pointers["pointer:post:7:en"].item_ref == POST.ref
    assert world.row().published


@pytest.mark.parametrize("claims", ["removed", "draft"])
def test_a_rename_together_with_going_offline_leaves_nothing_behind(world: World, claims: Claim) -> None:
    """ButterCMS sends one event, with the new slug, where nothing is published; the old slug is what must go."""
    world.butter.items[OLD_POST.ref] = post("hallo")
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.rename(status="draft")

    world.resolve(world.change(claims, numeric_id=7))
    world.drain()

    assert not world.row(OLD_POST).published


def test_a_rename_that_goes_offline_while_the_old_slug_is_being_recorded_leaves_nothing_behind(world: World) -> None:
    """Worker A has read the old slug; the only event of the rename finds no pointer yet; then A records."""
    world.butter.items[OLD_POST.ref] = post("hallo")

    def go_offline() -> None:
        world.rename(status="draft")
        world.resolver.resolve(world.change("draft", numeric_id=7))

    world.table.before_record = once(go_offline)
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.drain()

    assert not world.row(OLD_POST).published


def test_a_rename_and_a_deletion_before_either_is_read_leave_nothing_behind(world: World) -> None:
    world.butter.items[OLD_POST.ref] = post("hallo")
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    del world.butter.items[OLD_POST.ref]

    world.resolve(world.change(numeric_id=7))
    world.resolve(world.change("removed", numeric_id=7))
    world.drain()

    assert not world.row(OLD_POST).published


def test_a_rename_whose_worker_died_after_recording_does_not_wait_for_the_last_look(world: World) -> None:
    world.butter.items[OLD_POST.ref] = post("hallo")
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.rename()
    world.table.before_move = once(lambda: (_ for _ in ()).throw(TimeoutError()))
    world.sent.messages.clear()
    with pytest.raises(TimeoutError):
        world.resolve(change := world.change(numeric_id=7))
    world.sent.messages.clear()

    world.resolve(change)

    first = world.sent.changes[0]
    assert (first.identity, first.event, first.look) == (OLD_POST, "delete", 0)


def test_an_item_that_is_not_where_its_event_says_is_looked_for_again_at_the_end(world: World) -> None:
    """Worker A has read the old slug; the item takes a slug whose former post is still recorded, as a draft."""
    world.butter.items[POST.ref] = post()
    world.resolve(world.change(numeric_id=8))
    world.butter.items[OLD_POST.ref] = post("hallo")

    def go_offline() -> None:
        world.rename(status="draft")
        world.resolver.resolve(world.change("draft", numeric_id=7))

    world.table.before_record = once(go_offline)
    world.resolve(world.change(identity=OLD_POST, numeric_id=7))
    world.drain()

    assert not world.row(OLD_POST).published
    assert not world.row(POST).published


def test_a_late_removal_by_the_former_owner_of_a_slug_changes_nothing(world: World) -> None:
    late = world.change("removed", numeric_id=7)
    world.butter.items[POST.ref] = post()
    world.resolve(world.change(numeric_id=8))

    world.resolve(late)
    world.drain()

    assert [(one.change, one.announce_key) for one in world.topic.documents] == [("created", "post:8")]
    assert world.row().numeric_id == 8


def test_two_renames_that_cross_start_again_with_the_pointer_that_was_written(world: World) -> None:
    world.butter.items[POST.ref] = post()
    key = "pointer:post:7:en"

    def cross() -> None:
        world.table.pointers[key] = msgspec.structs.replace(world.table.pointer(key), item_ref=OLD_POST.ref, writes=1)

    world.table.before_move = once(cross)
    world.resolve(world.change(numeric_id=7))

    assert OLD_POST in [change.identity for change in world.sent.changes]
    world.drain()
    assert world.table.pointers[key].item_ref == POST.ref


@pytest.mark.parametrize(("locale", "asked"), [("en", None), ("de", "de")])
def test_a_locale_is_sent_only_if_it_is_not_the_default_one(world: World, locale: str, asked: str | None) -> None:
    world.resolve(world.change(identity=Identity("post", "", "hello", locale)))

    assert world.butter.asked[0][1] == asked


def test_a_translation_with_another_slug_is_looked_at_under_its_own_ref(world: World) -> None:
    german = Identity("post", "", "hello", "de")
    own = Identity("post", "", "hallo", "de")
    world.butter.items[german.ref] = world.butter.items[own.ref] = post("hallo")

    world.resolve(world.change(identity=german, numeric_id=7))
    world.drain()

    assert [document.identity for document in world.topic.documents] == [own]


def test_a_translation_is_found_behind_a_cached_404_of_the_others_slug(world: World) -> None:
    german = Identity("post", "", "hello", "de")
    own = Identity("post", "", "hallo", "de")
    world.butter.items[german.ref] = world.butter.items[own.ref] = post("hallo")
    world.butter.cached[german.ref] = None

    world.resolve(world.change(identity=german, numeric_id=7))
    world.butter.cached.clear()
    world.drain()

    assert [document.identity for document in world.topic.documents] == [own]


def test_a_translation_that_is_deleted_under_the_others_slug_is_removed(world: World) -> None:
    german = Identity("post", "", "hello", "de")
    own = Identity("post", "", "hallo", "de")
    world.butter.items[german.ref] = world.butter.items[own.ref] = post("hallo")
    world.resolve(world.change(identity=german, numeric_id=7))
    world.drain()
    world.butter.items.clear()

    world.resolve(world.change("removed", identity=german, numeric_id=7))
    world.drain()

    assert not world.row(own).published


@pytest.mark.parametrize("slug", ["", "a/b", "..", "x" * 300, "\ud800", 5, None])
def test_a_post_that_answers_with_no_usable_slug_is_nonsense(world: World, slug: Any) -> None:
    world.butter.items[POST.ref] = post() | {"slug": slug}

    with pytest.raises(Unavailable, match="another item"):
        world.resolve(world.change())


def test_slugs_that_point_at_each_other_do_not_run_in_a_circle(world: World) -> None:
    world.butter.items[POST.ref] = post("other")

    world.resolve(msgspec.structs.replace(world.change(), event="sibling", look=len(LOOKS)))

    assert world.sent.messages == []


def test_a_typed_page_is_no_single_page(world: World) -> None:
    single = Identity("page", "*", "about", "en")
    world.butter.items[single.ref] = {"slug": "about", "page_type": "landing", "name": "About", "fields": {}}

    world.resolve(world.change(identity=single, look=len(LOOKS)))

    assert world.topic.documents == []


def test_a_single_page_has_no_page_type(world: World) -> None:
    single = Identity("page", "*", "about", "en")
    page: dict[str, Any] = {
        "slug": "about",
        "page_type": None,
        "name": "About",
        "fields": {},
        "published": "2025-11-23T12:00:00Z",
    }
    world.butter.items[single.ref] = page

    world.resolve(world.change(identity=single))

    assert [document.title for document in world.topic.documents] == ["About"]


def test_another_item_than_asked_for_is_nonsense_and_no_removal(world: World) -> None:
    item = Identity("item", "products", "5", "en")
    world.butter.items[item.ref] = {"meta": {"id": 6}, "name": "Lamp"}

    with pytest.raises(Unavailable, match="another item"):
        world.resolve(world.change(identity=item))


def test_an_item_of_a_collection_is_never_created(world: World) -> None:
    item = Identity("item", "products", "5", "en")
    world.butter.items[item.ref] = {"meta": {"id": 5}, "name": "Lamp"}

    assert world.resolve(world.change(identity=item)) == "updated"
    assert world.topic.documents[0].announce_key == item.ref


def test_before_the_backfill_has_begun_each_reading_asks_and_afterwards_none(world: World) -> None:
    world.table.began = None
    world.butter.items[POST.ref] = post()
    world.resolve(world.change())
    world.table.began = NOW - 3 * DAY
    world.butter.items[OLD_POST.ref] = post("hallo")
    world.resolve(world.change(identity=OLD_POST))

    assert [document.change for document in world.topic.documents] == ["updated", "created"]
