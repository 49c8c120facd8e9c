"""The pure part of algolia: from settings to an account, from a document to a record that the plan takes."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import hosts
from application import Account
from buttersync.model import Document, Identity, Kind
from buttersync.outcomes import Misconfigured, Refused
from records import LEAST_BYTES, Record, index_of, record, request
from tests.fakes.documents import HELLO

PLENTY = 100_000
SECONDS = 5

DOCUMENT = msgspec.structs.replace(HELLO, updated_at="2026-03-02T09:30:00.750000Z")


def document(kind: Kind = "page", group: str = "landing", name: str = "spring", **more: Any) -> Document:
    identity = Identity(kind, group, name, "en")
    return Document(identity=identity, version=1, change="updated", announce_key="a", archive_key="b", **more)


def size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


# Settings


def account(**changed: str) -> Account:
    return Account.of({"app_id": "LATENCY", "api_key": "5ecret", **changed})


def test_two_settings_are_enough() -> None:
    assert account() == Account("LATENCY", "5ecret", "", (), 10_000)


def test_every_setting_is_heard() -> None:
    endpoint = "https://search.example.com, http://127.0.0.1:8900,http://[::1]:80,http://localhost/,http://host.docker.internal:1"
    changed = account(index_prefix="prod_", endpoint=endpoint, record_bytes=" 100000 ")

    assert changed.index_prefix == "prod_"
    assert changed.endpoint == tuple(endpoint.replace(" ", "").split(","))
    assert changed.record_bytes == 100_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app_id", "evil.example.com/"),
        ("app_id", "LATENCY\n"),
        ("app_id", "L" * 60),
        ("api_key", "5ecret\n"),
        ("api_key", "5e cret"),
        ("api_key", "5ecr\u00e9t"),
        ("index_prefix", "prod/"),
        ("index_prefix", "prod_\n"),
        ("record_bytes", "10 KB"),
        ("record_bytes", "10"),
        ("record_bytes", "100001"),
        ("record_bytes", "-20000"),
        ("record_bytes", "1e4"),
        ("record_bytes", "9" * 5000),
        ("endpoint", "search.example.com"),
        ("endpoint", "ftp://search.example.com"),
        ("endpoint", "https://"),
        ("endpoint", "https://search.example.com/1/indexes"),
        ("endpoint", "https://5ecret@search.example.com"),
        ("endpoint", "https://search.example.com:99999"),
        ("endpoint", "https://search.example.com:0"),
        ("endpoint", "https://[::g]"),
        ("endpoint", "https://[1:2]"),
        ("endpoint", f"https://{'a' * 64}.example.com"),
        ("endpoint", "https://search.example.com,nowhere"),
        ("endpoint", "http://search.example.com"),
        ("endpoint", "http://10.0.0.1:8900"),
        ("endpoint", "http://127.0.0.1.example.com"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_not_quoted(name: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=f"the setting {name}: ") as failure:
        account(**{name: value})
    assert "5e" not in failure.value.reason


def test_an_account_does_not_show_its_key() -> None:
    assert "5ecret" not in repr(account())


# What a record holds


def test_a_post_becomes_a_record_without_its_fields() -> None:
    assert record(DOCUMENT, PLENTY) == {
        "objectID": "post:hello:en",
        "type": "post",
        "title": "Hello there",
        "slug": "hello",
        "locale": "en",
        "url": "https://www.example.com/blog/hello",
        "summary": "A greeting.",
        "image": "https://cdn.example.com/hello.png",
        "author": "Ada Example",
        "categories": ["Letters", "Notes"],
        "tags": ["first", "short"],
        "published_at": 1_772_352_000,
        "updated_at": 1_772_443_800,
        "content": "Hello there, reader.",
    }


def test_a_page_has_its_type_and_its_fields() -> None:
    page = document(title="Spring", text="Spring Sale", fields={"headline": "Spring <b>Sale</b>", "discount": 20})

    assert record(page, PLENTY) == {
        "objectID": "page:landing:spring:en",
        "type": "page",
        "title": "Spring",
        "slug": "spring",
        "page_type": "landing",
        "locale": "en",
        "summary": "",
        "categories": [],
        "tags": [],
        "content": "Spring Sale",
        "headline": "Spring Sale",
        "discount": 20,
    }


@pytest.mark.parametrize(
    ("fields", "slug"),
    [({"slug": "lamp"}, {"slug": "lamp"}), ({"slug": 5}, {}), ({"slug": ["lamp"]}, {}), ({"slug": ""}, {}), ({}, {})],
)
def test_an_item_has_its_number_its_collection_and_the_slug_among_its_fields(
    fields: dict[str, Any], slug: dict[str, Any]
) -> None:
    assert record(document("item", "products", "41", fields=fields), PLENTY) == {
        "objectID": "item:products:41:en",
        "type": "item",
        "title": "",
        "collection": "products",
        "item_id": 41,
        "locale": "en",
        "summary": "",
        "categories": [],
        "tags": [],
        "content": "",
        **slug,
    }


def test_a_number_that_is_none_or_too_large_stays_text() -> None:
    assert record(document("item", "products", "4a"), PLENTY)["item_id"] == "4a"
    assert record(document("item", "products", "9" * 30), PLENTY)["item_id"] == "9" * 30


@pytest.mark.parametrize(
    ("instant", "seconds"),
    [
        ("2026-03-01T08:00:00.999999Z", 1_772_352_000),
        ("1969-12-31T23:59:58.500000Z", -2),
        ("0001-01-01T00:00:00.000000Z", -62_135_596_800),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_dates_are_whole_seconds(instant: str | None, seconds: int | None) -> None:
    assert record(document(published_at=instant), PLENTY).get("published_at") == seconds


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("plain", "plain"),
        ("<p>Salt &amp; <b>pep</b>per</p>", "Salt & pepper"),
        ("https://example.com/?a=1&copy=2", "https://example.com/?a=1&copy=2"),
        (" https://example.com/x \n", "https://example.com/x"),
        ("see https://example.com/", "see https://example.com/"),
        (7, 7),
        (2.5, 2.5),
        (True, True),
        (False, False),
        (0, 0),
        (["a", "<i>b</i>", 3, None, ""], ["a", "b", 3]),
        ({"url": "https://cdn.example.com/a.png", "alt": "A"}, "https://cdn.example.com/a.png"),
        (
            [{"url": "https://cdn.example.com/a.png", "alt": "A"}, {"url": "https://cdn.example.com/b.png"}],
            ["https://cdn.example.com/a.png", "https://cdn.example.com/b.png"],
        ),
        ({"url": "/shop", "label": "Shop <b>now</b>"}, "Shop now"),
        ([{"type": "hero", "fields": {"headline": "Buy", "text": "<p>Now</p>"}}, {"name": "Ada"}], "Buy Now Ada"),
        (["a", {"name": "Ada"}, [["deep"]]], "a Ada deep"),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_a_field_becomes_an_attribute(field: object, attribute: object) -> None:
    made = record(document(fields={"own": field}), PLENTY)["own"]

    assert made == attribute
    assert type(made) is type(attribute)


@pytest.mark.parametrize(
    "field",
    [None, "", "<p></p>", [], [None, ""], {}, {"url": ""}, [[]], 2**63, -(2**63) - 1, float("inf"), float("nan")],
)
def test_a_field_that_says_nothing_has_no_attribute(field: object) -> None:
    assert "own" not in record(document(fields={"own": field}), PLENTY)


@pytest.mark.parametrize("kind", ["page", "item"])
def test_the_names_that_all_records_share_are_not_a_fields(kind: Kind) -> None:
    bare = record(document(kind, name="41"), PLENTY)
    names = {*record(DOCUMENT, PLENTY), *bare} - {"slug"}

    assert record(document(kind, name="41", fields=dict.fromkeys(names, "theirs")), PLENTY) == bare


@given(st.text(max_size=5))
def test_names_that_mean_something_to_algolia_never_come_from_content(name: str) -> None:
    fields = dict.fromkeys([f"_{name}", f"\0_{name}", "_tags", "_geoloc", "objectID", "\ud800objectID", ""], "theirs")

    assert record(document(fields=fields), PLENTY) == record(document(), PLENTY)


@given(st.from_regex(r"[^\0/]{1,12}", fullmatch=True), st.sampled_from(["", "prod_", "collection_"]))
@example("pages", "")
@example("posts", "collection_")
def test_no_collection_has_the_index_of_another_kind(collection: str, prefix: str) -> None:
    index = index_of(Identity("item", collection, "41", "en"), prefix)

    assert index.startswith(prefix)
    assert index not in {index_of(Identity(*one, "x", "en"), prefix) for one in (("page", "*"), ("post", ""))}
    assert index != index_of(Identity("item", collection + "s", "41", "en"), prefix)


def test_a_removal_deletes_the_record() -> None:
    identity = Identity("page", "*", "a/b", "en")
    removed = Document(identity=identity, version=2, change="removed", announce_key="a", archive_key="")

    assert request(removed, PLENTY) == {"action": "deleteObject", "body": {"objectID": "page:*:a%2Fb:en"}}


def test_anything_else_puts_the_whole_record_in_the_place_of_the_old_one() -> None:
    assert request(DOCUMENT, PLENTY) == {"action": "addObject", "body": record(DOCUMENT, PLENTY)}


# Whatever an answer holds

DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Sun", "x"]),
    *(st.integers(0, 40), st.sampled_from(["Nov", "x"]), st.integers(0, 99_999)),
    *(st.integers(0, 60), st.integers(0, 60), st.integers(0, 61)),
    st.sampled_from(["GMT", "-0000", "+0100", "+99999999999999999", ""]),
)


@given(st.text() | st.integers().map(str) | DATES)
@example("Sun, 06 Nov 1994 08:49:37 +99999999999999999")
@example("9" * 5_000)
def test_whatever_retry_after_says_is_a_wait_of_at_most_a_year(value: str) -> None:
    assert 0 <= hosts._seconds(value) <= hosts.LONGEST_RETRY_AFTER


# Whatever a CMS holds

ANY_TEXT = st.text(st.characters(exclude_categories=[]) | st.sampled_from('\0\ud83d\udc4b<&\\"'), max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT | st.just("url"), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(ANY_TEXT, ANYTHING, max_size=6), ANY_TEXT, st.lists(ANY_TEXT, max_size=3))
@settings(deadline=None)
def test_a_record_is_flat_and_sound_whatever_is_in_the_document(
    fields: dict[str, Any], text: str, labels: list[str]
) -> None:
    made = record(document(title=text, text=text, author=text, tags=tuple(labels), fields=fields), PLENTY)

    assert json.loads(json.dumps(made, allow_nan=False)) == made
    for value in made.values():
        for one in value if isinstance(value, list) else [value]:
            assert isinstance(one, str | int | float)
            assert "\0" not in one if isinstance(one, str) else isinstance(one, float) or -(2**63) <= one < 2**63


def test_a_field_that_is_nested_without_end_is_left_out() -> None:
    deep: Any = "deep"
    for _ in range(50_000):
        deep = [deep]

    made = record(document(fields={"deep": deep, "headline": "Hello"}), PLENTY)

    assert made["headline"] == "Hello"
    assert "deep" not in made


# Size

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0<&") | st.sampled_from(
    '"\\\n\x01\u00e9\u20ac\U0001f44b'
)
LONG_TEXTS = st.builds(
    lambda piece, times: piece * times, st.text(LETTERS, min_size=1, max_size=30), st.integers(0, 200)
)
FIELDS = st.dictionaries(
    st.sampled_from(["intro", "body", "notes", "legal"]),
    LONG_TEXTS | st.integers(-(10**9), 10**9) | st.lists(st.text(LETTERS, max_size=10), max_size=5),
    max_size=4,
)
LIMITS = st.integers(1_000, 9_000)


@given(LONG_TEXTS, FIELDS, LIMITS)
@settings(deadline=None)
def test_no_record_is_above_the_limit_and_nothing_is_cut_that_need_not_be(
    text: str, fields: dict[str, Any], limit: int
) -> None:
    whole = record(document(text=text, fields=fields), 10**9)
    try:
        made = record(document(text=text, fields=fields), limit)
    except Refused:
        assert size(least(whole)) > limit
        return

    assert size(made) <= limit
    assert made == whole or size(whole) > limit
    assert whole["content"].startswith(made["content"])
    if made["content"]:
        assert made == whole | {"content": made["content"]}
    for name in made.keys() - {"content"}:
        assert made[name] == whole[name] or is_cut(made[name], whole[name])


def least(whole: Record) -> Record:
    """What is left of a record when nothing more may be cut."""
    long = {name for name, value in whole.items() if isinstance(value, str) and size(value) > LEAST_BYTES}
    return whole | dict.fromkeys(long, "x" * (LEAST_BYTES - 2)) | {"content": ""}


def is_cut(text: str, whole: str) -> bool:
    """Whether it is the beginning, and no less than what fits into 500 bytes."""
    return whole.startswith(text) and size(whole[: len(text) + 1]) > LEAST_BYTES


@given(st.text(LETTERS, min_size=1_000, max_size=2_000), LIMITS)
@settings(deadline=None)
def test_as_much_of_the_content_stays_as_fits(text: str, limit: int) -> None:
    content = record(document(text=text), 10**9)["content"]
    assume(size(record(document(text=text), 10**9)) > limit)

    made = record(document(text=text), limit)

    longer = content[: len(made["content"]) + 1]
    assert content.startswith(made["content"])
    assert size(made | {"content": longer}) > limit


def test_the_content_goes_before_anything_of_the_items_own() -> None:
    page = document(text="words " * 400, fields={"body": "words " * 400})

    made = record(page, 3_000)

    assert made["body"] == ("words " * 400).strip()
    assert 0 < len(made["content"]) < 2_400
    assert size(made) == 3_000


def test_the_items_own_long_texts_are_cut_evenly() -> None:
    fields = {"first": "a" * 3_000, "second": "b" * 2_000, "short": "c" * 498, "link": "https://e.com/" + "d" * 1_600}

    made = record(document(text="words", fields=fields), 4_500)

    assert made["content"] == ""
    assert made["short"] == fields["short"]
    assert made["link"] == fields["link"]
    assert len(made["first"]) == len(made["second"])
    assert 4_499 <= size(made) <= 4_500


def test_each_long_text_keeps_its_first_500_bytes_and_short_ones_do_not_count() -> None:
    fields = {"first": "a" * 3_000, "second": "b" * 3_000, **{f"short_{number}": "c" for number in range(20)}}
    fitting = size(record(document(fields=fields | {"first": "a" * 498, "second": "b" * 498}), PLENTY))

    made = record(document(fields=fields), fitting)

    assert (made["first"], made["second"]) == ("a" * 498, "b" * 498)
    with pytest.raises(Refused):
        record(document(fields=fields), fitting - 1)


def test_what_is_shorter_than_the_even_part_stays_whole() -> None:
    made = record(document(fields={"long": "a" * 5_000, "middle": "b" * 700}), 3_000)

    assert made["middle"] == "b" * 700
    assert size(made) == 3_000


def test_a_record_that_no_cut_can_save_is_refused_with_its_size_and_the_limit() -> None:
    fields = {f"text_{number}": "a" * 2_000 for number in range(30)}
    page = document(text="words", fields=fields)

    with pytest.raises(Refused, match=f"{size(record(page, 10**9))} bytes, 10000 allowed by the setting record_bytes"):
        record(page, 10_000)


def test_many_tags_are_not_cut() -> None:
    with pytest.raises(Refused, match="too big"):
        record(document(tags=tuple(f"tag {number}" for number in range(10_000))), 10_000)


@pytest.mark.parametrize("piece", ["word ", "\u20ac", "\\", '"', "\U0001f44b", "\x01"])
def test_a_text_of_millions_of_letters_is_cut_in_no_time(piece: str) -> None:
    text = piece * (4_000_000 // len(piece))
    started = time.process_time()

    made = record(document(text=text, title="Long", fields={"body": text}), 100_000)

    assert time.process_time() - started < SECONDS
    assert size(made) <= 100_000
