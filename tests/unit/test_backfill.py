"""The walk of the backfill, on strict doubles."""

from typing import Any

import msgspec
import pytest

from backfill import Lists, Walk, Walker
from buttersync.butter import Listing
from buttersync.model import Identity
from buttersync.outcomes import Unavailable
from tests.doubles import ButterDouble
from tests.unit.test_protocol import LOOKS, NOW, World, once, post

POSTS = Walk(run="r", kind="post", locale="en")


def walker(world: World, locales: tuple[str, ...] = ("en",)) -> Walker:
    lists = Lists(page_types=["landing"], collections=["products"], locales=locales)
    return Walker(world.resolver, world.butter, lists, world.table.add, world.sent)


def shown(butter: ButterDouble, *items: dict[str, Any], page: int = 1, next_page: int | None = None) -> None:
    butter.lists["post", "", page, None] = Listing(items, next_page)


@pytest.fixture
def world() -> World:
    return World()


def test_an_old_site_comes_into_the_stores_without_being_announced(world: World) -> None:
    world.table.began = NOW
    shown(world.butter, post("one", day=20), post("two", day=21))

    counts = walker(world).walk(POSTS)

    assert [(one.identity.name, one.change) for one in world.topic.documents] == [
        ("one", "updated"),
        ("two", "updated"),
    ]
    assert (counts["listed"], counts["updated"], counts["done"]) == (2, 2, 1)


def test_a_page_costs_two_readings_and_the_second_passes_every_cache(world: World) -> None:
    shown(world.butter, *(post(f"post-{number}") for number in range(100)))

    walker(world).walk(POSTS)

    assert [fresh for _, _, fresh in world.butter.asked] == [False, True]
    assert len(world.topic.documents) == 100


def test_a_page_sends_the_next_one_on_its_way(world: World) -> None:
    shown(world.butter, post(), next_page=2)

    counts = walker(world).walk(msgspec.structs.replace(POSTS, attempts=3))

    assert world.sent.messages == [(msgspec.structs.replace(POSTS, page=2), 0)]
    assert counts["done"] == 0


def test_a_page_walked_twice_publishes_and_counts_once(world: World) -> None:
    shown(world.butter, post())

    walker(world).walk(POSTS)
    again = walker(world).walk(POSTS)

    assert len(world.topic.documents) == 1
    assert again["unchanged"] == 1
    assert world.table.counts[POSTS.key] == {"listed": 1, "created": 1, "sent": 0, "done": 1, "page": 1}


def test_what_is_unchanged_is_recorded_and_not_looked_at_again(world: World) -> None:
    world.butter.items["post:hello:en"] = post()
    world.resolve(world.change())
    shown(world.butter, post() | {"url": "/hello"})

    counts = walker(world).walk(POSTS)

    assert (counts["unchanged"], world.sent.messages) == (1, [])
    assert world.row().readings == 2


def test_what_is_doubtful_goes_to_resolve_as_a_change(world: World) -> None:
    world.butter.items["post:hello:en"] = post(day=24)
    world.resolve(world.change())
    shown(world.butter, post(title="Older", day=23))

    walker(world).walk(POSTS)

    [change] = world.sent.changes
    assert (change.identity.ref, change.event, change.claims, change.look) == (
        world.row().ref,
        "backfill",
        "published",
        0,
    )
    assert len(world.topic.documents) == 1


def test_what_another_worker_writes_meanwhile_goes_to_resolve_as_a_change(world: World) -> None:
    shown(world.butter, post(title="From the list"))
    world.butter.items["post:hello:en"] = post(title="From a webhook", day=24)
    change = world.change()
    world.table.before_record = once(lambda: world.resolver.resolve(change))

    walker(world).walk(POSTS)

    assert [document.title for document in world.topic.documents] == ["From a webhook"]
    assert [change.event for change in world.sent.changes] == ["backfill"]


def test_what_only_one_of_the_two_readings_shows_goes_to_resolve_as_a_change(world: World) -> None:
    shows = [[post("gone")], [post("new")]]
    lister = ButterDouble()
    lister.listing = lambda *_, **__: Listing(shows.pop(0), None)  # type: ignore[method-assign]
    lists = Lists([], [], ["en"])

    counts = Walker(world.resolver, lister, lists, world.table.add, world.sent).walk(POSTS)

    assert {(change.identity.name, change.claims) for change in world.sent.changes} == {
        ("new", "published"),
        ("gone", "any"),
    }
    assert counts["sent"] == 2


def test_a_pending_version_met_on_the_walk_is_published(world: World) -> None:
    world.butter.items["post:hello:en"] = post()
    world.topic.failure = TimeoutError()
    with pytest.raises(TimeoutError):
        world.resolve(world.change())
    world.topic.failure = None
    shown(world.butter, post())

    walker(world).walk(POSTS)

    assert [document.change for document in world.topic.documents] == ["created"]
    assert world.row().pending == ""


def test_one_item_of_nonsense_holds_up_no_other(world: World) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"x": deep}
    shown(world.butter, post("bad") | {"seo": deep}, post("good"))

    counts = walker(world).walk(POSTS)

    assert [document.identity.name for document in world.topic.documents] == ["good"]
    assert counts["sent"] == 1


def test_items_without_a_usable_name_are_passed_over(world: World) -> None:
    shown(world.butter, {"title": "no slug"}, post("x" * 2000), post("\ud800"), post("good"))

    counts = walker(world).walk(POSTS)

    assert (counts["listed"], counts["created"]) == (4, 1)


def test_a_list_that_butter_does_not_know_is_counted_as_unknown(world: World) -> None:
    walk = Walk(run="r", kind="page", group="misspelt", locale="en")

    assert walker(world).walk(walk) == {"unknown": 1, "done": 1}
    assert world.table.counts[walk.key]["unknown"] == 1


def test_a_failing_reading_leaves_the_page_to_be_walked_again(world: World) -> None:
    def fail(*_: Any, **__: Any) -> Listing:
        raise Unavailable("down")

    world.butter.listing = fail  # type: ignore[method-assign]

    with pytest.raises(Unavailable):
        walker(world).walk(POSTS)
    assert world.table.counts == {}


def test_items_of_a_collection_are_named_by_their_number(world: World) -> None:
    world.butter.lists["item", "products", 1, None] = Listing(
        [{"meta": {"id": 5}, "name": "Lamp"}, {"name": "?"}], None
    )

    walker(world).walk(Walk(run="r", kind="item", group="products", locale="en"))

    assert [document.identity.ref for document in world.topic.documents] == ["item:products:5:en"]


def test_a_posts_translations_are_read_one_by_one_at_their_last_look(world: World) -> None:
    shown(world.butter, post())

    walker(world, locales=("en", "de", "fr")).walk(POSTS)

    assert [(change.identity, change.claims, change.look) for change in world.sent.changes] == [
        (Identity("post", "", "hello", "de"), "any", len(LOOKS)),
        (Identity("post", "", "hello", "fr"), "any", len(LOOKS)),
    ]


def test_a_translation_with_a_slug_of_its_own_comes_into_the_stores(world: World) -> None:
    shown(world.butter, post())
    world.butter.items["post:hello:de"] = world.butter.items["post:hallo:de"] = post("hallo")

    walker(world, locales=("en", "de")).walk(POSTS)
    while world.sent.messages:
        world.resolve(world.sent.messages.pop()[0])

    assert [document.identity.ref for document in world.topic.documents] == ["post:hello:en", "post:hallo:de"]


def test_republishing_reaches_translations_and_what_goes_its_own_way(world: World) -> None:
    shown(world.butter, post())
    world.butter.items["post:hello:en"] = post()
    world.butter.items["post:hello:de"] = world.butter.items["post:hallo:de"] = post("hallo")
    walker(world, locales=("en", "de")).walk(POSTS)
    world.drain()
    world.topic.documents.clear()
    world.topic.targets.clear()

    def bump() -> None:
        row = world.row()
        world.table.items[row.ref] = msgspec.structs.replace(row, readings=row.readings + 1)

    world.table.before_record = once(bump)
    walk = msgspec.structs.replace(POSTS, run="again", republish="postgres")
    walker(world, locales=("en", "de")).walk(walk)
    world.drain()

    assert sorted(document.identity.ref for document in world.topic.documents) == ["post:hallo:de", "post:hello:en"]
    assert set(world.topic.targets) == {"postgres"}


class Moving(ButterDouble):
    """A list of posts that becomes shorter while it is walked."""

    def __init__(self, posts: int) -> None:
        super().__init__()
        self.site = [post(f"post-{number:03}") for number in range(posts)]

    def listing(self, *where: Any, **_: Any) -> Listing:
        page: int = where[2]
        items = self.site[(page - 1) * 100 : page * 100]
        return Listing(items, page + 1 if len(self.site) > page * 100 else None, len(self.site))


def test_what_moves_to_an_earlier_page_while_the_list_is_walked_is_not_missed(world: World) -> None:
    butter = Moving(posts=250)
    lists = Lists([], [], ["en"])
    walks = [POSTS]
    while walks:
        Walker(world.resolver, butter, lists, world.table.add, world.sent).walk(walks.pop())
        del butter.site[3:30]
        walks = [message for message, _ in world.sent.messages if isinstance(message, Walk)]
        world.sent.messages.clear()

    assert {item["slug"] for item in butter.site} <= {one.identity.name for one in world.topic.documents}


class Cached404(ButterDouble):
    """A list whose plain URL is answered from the time before there was one."""

    def listing(self, *where: Any, **_: Any) -> Listing | None:
        return Listing([post()], None, 1) if where[4] else None


def test_a_cached_404_of_a_list_is_not_believed(world: World) -> None:
    Walker(world.resolver, Cached404(), Lists([], [], ["en"]), world.table.add, world.sent).walk(POSTS)

    assert len(world.topic.documents) == 1


def test_a_later_page_that_has_gone_is_no_misspelt_list(world: World) -> None:
    assert walker(world).walk(msgspec.structs.replace(POSTS, page=3)) == {"unknown": 0, "done": 1}


def test_typed_pages_among_the_single_ones_are_passed_over(world: World) -> None:
    typed = {"slug": "about", "page_type": "landing", "name": "A", "fields": {}, "published": "2025-11-23T12:00:00Z"}
    world.butter.lists["page", "*", 1, None] = Listing([typed, typed | {"slug": "us", "page_type": None}], None)

    walker(world).walk(Walk(run="r", kind="page", group="*", locale="en"))

    assert [document.identity.ref for document in world.topic.documents] == ["page:*:us:en"]


def test_every_list_of_the_site_is_walked() -> None:
    lists = Lists(page_types=["landing", "*"], collections=["products"], locales=["en", "de"])

    walks = [(walk.kind, walk.group, walk.locale) for walk in lists.walks("r", "")]

    assert walks == [
        ("post", "", "en"),
        ("page", "*", "en"),
        ("page", "landing", "en"),
        ("item", "products", "en"),
        ("page", "*", "de"),
        ("page", "landing", "de"),
        ("item", "products", "de"),
    ]


@pytest.mark.parametrize("target", ["all", "postgres"])
def test_a_store_that_was_wiped_hears_unchanged_items_again(world: World, target: str) -> None:
    shown(world.butter, post())
    walker(world).walk(POSTS)
    version = world.row().version
    world.archive.objects.clear()

    walker(world).walk(msgspec.structs.replace(POSTS, run="again", republish=target))

    again = world.topic.documents[-1]
    assert (again.version, again.change, world.topic.targets[-1]) == (version, "updated", target)
    assert list(world.archive.objects) == [again.archive_key]
