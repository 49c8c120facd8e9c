"""What ButterCMS shows of posts, pages and collection items becomes the content of a document."""

import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.model import NO_ANNOUNCE, SUMMARY_CHARACTERS, TITLE_CHARACTERS, URL_CHARACTERS, Document, Identity
from cleaning import DEEPEST
from content_fields import IMAGE_NAMES, SUMMARY_NAMES, TITLE_NAMES
from documents import Content, Nonsense, UrlPatterns, instant, is_published, mapped, matches

POST = Identity("post", "", "ferry-times", "en")
PAGE = Identity("page", "landing", "harbour", "en")
SINGLE = Identity("page", "*", "imprint", "en")
ITEM = Identity("item", "boats", "4711", "en")
EVERY_KIND = [POST, PAGE, SINGLE, ITEM]

PATTERNS = UrlPatterns(
    post="https://example.com/blog/{slug}",
    page="https://example.com/{page_type}/{slug}",
    item="https://example.com/boats/{slug}",
)
PICTURE = "https://cdn.buttercms.com/k3Yd0sTfQmFerry"


def post(**changes: Any) -> dict[str, Any]:
    """A post as the detail shows it; None takes a key away."""
    detail = {
        "created": "2025-05-01T06:00:00.120000Z",
        "published": "2025-05-02T10:00:00.5+02:00",
        "updated": "2025-05-03T08:30:00.000001Z",
        "deleted": None,
        "scheduled": None,
        "status": "published",
        "url": None,
        "slug": "ferry-times",
        "title": "Ferry times &amp; fares",
        "body": "<p>The first ferry leaves at <b>six</b>.</p><p>Bring <i>coins</i>.</p>",
        "summary": "When the ferries leave.",
        "seo_title": "Ferry times | Example Harbour",
        "meta_description": "All ferries at a glance.",
        "featured_image": PICTURE,
        "featured_image_alt": "",
        "author": {
            "first_name": "Imke",
            "last_name": "Brandt",
            "email": "imke@harbour.example",
            "slug": "imke-brandt",
            "bio": "",
            "title": "Harbour master",
        },
        "tags": [{"name": "Ferry", "slug": "ferry"}, {"name": "Fares", "slug": "fares"}],
        "categories": [{"name": "Travel", "slug": "travel"}],
    }
    return detail | changes


def as_listed(detail: dict[str, Any]) -> dict[str, Any]:
    """The same post in a list: other order of keys, a url, neither `deleted` nor, on some accounts, `scheduled`."""
    listed = {key: detail[key] for key in reversed(detail) if key not in {"deleted", "scheduled"}}
    return listed | {"url": f"/{detail['slug']}"}


def page(fields: Any, **changes: Any) -> dict[str, Any]:
    shown = {
        "slug": "harbour",
        "name": "Harbour (2025)",
        "published": "2025-05-02T08:00:00.500000Z",
        "updated": "2025-05-03T08:30:00.000001Z",
        "page_type": "landing",
        "fields": fields,
    }
    return shown | changes


def item(**fields: Any) -> dict[str, Any]:
    return {"meta": {"id": 4711}, **fields}


def of_post(**changes: Any) -> Content:
    return mapped(POST, post(**changes), PATTERNS)


def of_page(**fields: Any) -> Content:
    return mapped(PAGE, page(fields), PATTERNS)


def of_item(**fields: Any) -> Content:
    return mapped(ITEM, item(**fields), PATTERNS)


# --- posts


def test_a_post_becomes_a_document() -> None:
    content = of_post()

    assert msgspec.structs.replace(content, fields={}) == Content(
        name="Ferry times & fares",
        title="Ferry times & fares",
        summary="When the ferries leave.",
        url="https://example.com/blog/ferry-times",
        image=PICTURE,
        author="Imke Brandt",
        categories=("Travel",),
        tags=("Ferry", "Fares"),
        published_at="2025-05-02T08:00:00.500000Z",
        updated_at="2025-05-03T08:30:00.000001Z",
        text="The first ferry leaves at six. Bring coins.",
        fields={},
    )


def test_the_full_fields_are_kept_but_for_the_e_mail_address_and_what_only_some_readings_carry() -> None:
    whole = post(custom={"any": ["thing", 1, 1.5, True]})

    kept = mapped(POST, whole, PATTERNS).fields

    author = {key: value for key, value in whole["author"].items() if key != "email"}
    left_out = {"url", "deleted", "scheduled"}
    assert kept == {key: value for key, value in whole.items() if key not in left_out} | {"author": author}


@pytest.mark.parametrize(
    ("missing", "summary"),
    [
        ({}, "When the ferries leave."),
        ({"summary": ""}, "All ferries at a glance."),
        ({"summary": "<p>&nbsp;</p>", "meta_description": None}, "The first ferry leaves at six. Bring coins."),
        ({"summary": 7, "meta_description": [], "body": {}}, ""),
    ],
)
def test_the_summary_of_a_post_is_the_first_of_summary_description_and_text(
    missing: dict[str, Any], summary: str
) -> None:
    assert of_post(**missing).summary == summary


def test_a_post_without_a_title_has_the_one_for_search_engines() -> None:
    assert of_post(title="").title == "Ferry times | Example Harbour"


def test_long_titles_and_summaries_are_cut_at_a_word() -> None:
    content = of_post(title="ferry " * 100, summary="<p>" + "harbour " * 100 + "</p>")

    assert content.title == " ".join(["ferry"] * 50) + "…"
    assert content.summary == " ".join(["harbour"] * 37) + "…"
    assert len(content.title) <= TITLE_CHARACTERS
    assert len(content.summary) <= SUMMARY_CHARACTERS


def test_the_lists_and_the_detail_of_a_post_give_the_same_content() -> None:
    detail = post()

    listed = mapped(POST, as_listed(detail), PATTERNS)
    found = mapped(POST, detail | {"rank": 0.31}, PATTERNS)

    assert listed == mapped(POST, detail, PATTERNS) == found
    assert listed.hash == mapped(POST, detail, PATTERNS).hash == found.hash


@pytest.mark.parametrize(
    "edit",
    [
        {"title": "Other"},
        {"updated": "2025-05-03T08:30:00.000002Z"},
        {"featured_image_alt": "A ferry"},
        {"author": {"first_name": "Imke", "last_name": "Brandt", "bio": "Sails."}},
        {"tags": [{"name": "Fares", "slug": "fares"}, {"name": "Ferry", "slug": "ferry"}]},
        {"new_field": False},
    ],
)
def test_every_edit_changes_the_hash(edit: dict[str, Any]) -> None:
    assert of_post(**edit).hash != of_post().hash


def test_another_address_of_the_site_changes_the_hash() -> None:
    moved = mapped(POST, post(), UrlPatterns(post="https://new.example.com/{slug}"))

    assert moved.hash != of_post().hash


# --- authors, tags, categories


@pytest.mark.parametrize(
    ("author", "name"),
    [
        ({"first_name": "Imke", "last_name": ""}, "Imke"),
        ({"first_name": None, "last_name": "Brandt"}, "Brandt"),
        ({"name": "Imke Brandt"}, "Imke Brandt"),
        ([{"first_name": "Imke", "last_name": "Brandt"}, {"first_name": "Ole"}], "Imke Brandt"),
        ("Imke Brandt", "Imke Brandt"),
        ({"first_name": "imke@harbour.example", "last_name": "Brandt"}, "Brandt"),
        ({"first_name": "imke@harbour.example", "last_name": "imke@intranet"}, ""),
        ("Imke Brandt, imke@intranet", ""),
        ("imke@harbour.example", ""),
        ("/v2/content/?keys=authors[_id=9]", ""),
        (12, ""),
        (None, ""),
    ],
)
def test_the_author_is_a_name_for_posts_and_pages_alike(author: Any, name: str) -> None:
    assert of_post(author=author).author == name
    assert of_page(author=author).author == name


@given(
    st.sampled_from(["author", "Author", "authors"]), st.sampled_from(["email", "E-Mail", "contact", "email_address"])
)
def test_no_e_mail_address_of_an_author_is_in_the_document(author: str, key: str) -> None:
    address = "imke@harbour.example"
    people = [
        {"name": "Imke", key: address, "company": {key: address}, "bio": f"Write to <{address}>, or mailto:{address}."}
    ]

    for content in (of_post(**{author: people}), of_page(hero=[{"type": "by", "fields": {author: people}}])):
        assert address not in msgspec.json.encode(content).decode()
        assert "Imke" in msgspec.json.encode(content).decode()


def test_the_rest_of_what_an_author_says_is_kept() -> None:
    author = {"name": "Imke", "website": "https://social.example/@imke", "twitter_handle": "@imke", "bio": "5 @ noon"}

    assert of_post(author=author).fields["author"] == author


def test_other_e_mail_addresses_are_content() -> None:
    assert of_page(contact={"email": "office@harbour.example"}).fields == {
        "contact": {"email": "office@harbour.example"}
    }


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([{"name": "Ferry"}, {"name": "Fares"}, {"name": "Ferry"}], ("Ferry", "Fares")),
        ([{"title": "Ferry"}, {"label": " <b>Fares</b> "}, {"slug": "nameless"}], ("Ferry", "Fares")),
        (["Ferry", "", 3, None, ["Fares"], "/v2/content/?keys=tags[_id=3]"], ("Ferry",)),
        ({"name": "Ferry"}, ("Ferry",)),
        ("Ferry, Fares", ()),
        (5, ()),
        (None, ()),
    ],
)
def test_tags_are_names_for_posts_and_pages_alike(value: Any, names: tuple[str, ...]) -> None:
    assert of_post(tags=value).tags == names
    assert of_page(tags=value).tags == names
    assert of_item(tag=value).tags == names


def test_the_category_of_a_page_may_be_a_dropdown() -> None:
    assert of_page(category="Travel").categories == ("Travel",)
    assert of_page(categories=[{"name": "Travel"}], category="Other").categories == ("Travel",)


@pytest.mark.parametrize("tag", [{"name": "Quiet!", "slug": NO_ANNOUNCE}, {"name": "No-Announce"}, "no-announce"])
def test_the_tag_that_forbids_announcing_is_known_by_its_name_or_slug(tag: Any) -> None:
    assert of_post(tags=[{"name": "Ferry"}, tag]).tags == ("Ferry", NO_ANNOUNCE)


# --- pages and collection items


@pytest.mark.parametrize(
    ("part", "names"), [("title", TITLE_NAMES), ("summary", SUMMARY_NAMES), ("image", IMAGE_NAMES)]
)
def test_the_usual_names_are_those_that_users_read_of(part: str, names: tuple[str, ...]) -> None:
    page_for_users = (Path(__file__).parents[2] / "docs/documents.md").read_text()
    _, usual_names = page_for_users.split("### Usual names")

    row = next(line for line in usual_names.splitlines() if line.startswith(f"| {part} |"))

    assert row == f"| {part} | " + ", ".join(f"`{name}`" for name in names) + " |"


SECTIONS = [
    {"type": "hero", "fields": {"headline": "All aboard", "background": "#0af", "button_url": "/tickets"}},
    {
        "type": "voices",
        "fields": {
            "quotes": [{"quote": "<p>Never late&hellip;</p>", "name": "A. Kowalski", "stars": 5}],
            "harbour": {"meta": {"id": 12}, "name": "North pier", "slug": "north-pier"},
            "next": "/v2/content/?keys=harbours[_id=13]",
        },
    },
]


def test_a_page_becomes_a_document() -> None:
    fields = {
        "seo": {"title": "Harbour | Example", "description": "Ferries and <b>boats</b>."},
        "headline": "The harbour",
        "hero_image": {"url": PICTURE, "alt": "Boats at dawn"},
        "opens_at": "2025-06-01T09:00:00",
        "open": True,
        "sections": SECTIONS,
    }

    content = mapped(PAGE, page(fields), PATTERNS)

    assert content == Content(
        name="Harbour (2025)",
        title="The harbour",
        summary="Ferries and boats.",
        url="https://example.com/landing/harbour",
        image=PICTURE,
        author="",
        categories=(),
        tags=(),
        published_at="2025-05-02T08:00:00.500000Z",
        updated_at="2025-05-03T08:30:00.000001Z",
        text="Harbour | Example Ferries and boats. The harbour Boats at dawn"
        " All aboard Never late… A. Kowalski North pier",
        fields=fields,
    )


def test_a_collection_item_becomes_a_document() -> None:
    content = of_item(
        name="Skiff", slug="skiff", price=199, photo=PICTURE, about="<ul><li>Light</li><li>Fast</li></ul>"
    )

    assert content == Content(
        name="Skiff",
        title="Skiff",
        summary="Light Fast",
        url="https://example.com/boats/skiff",
        image=PICTURE,
        author="",
        categories=(),
        tags=(),
        published_at=None,
        updated_at=None,
        text="Skiff Light Fast",
        fields={
            "name": "Skiff",
            "slug": "skiff",
            "price": 199,
            "photo": PICTURE,
            "about": "<ul><li>Light</li><li>Fast</li></ul>",
        },
    )


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"name": "Third", "headline": "Second", "Title": "<i>First</i>"}, "First"),
        ({"title": "", "heading": ["no text"], "headline": {"text": "x"}, "name": "Named"}, "Named"),
        ({"body": "Short", "seo": {"title": "For search engines"}}, "For search engines"),
        ({"body": "Short", "seo": [{"type": "seo", "fields": {"meta_title": "In a picker"}}]}, "In a picker"),
        ({"body": "Short", "seo": ["odd"], "seo_title": "Beside"}, "Beside"),
        ({"body": "Short"}, "Harbour (2025)"),
    ],
)
def test_the_title_of_a_page_is_the_first_usual_name_then_seo_then_its_own(fields: dict[str, Any], title: str) -> None:
    assert of_page(**fields).title == title


@pytest.mark.parametrize(
    "unfit",
    [
        *(
            "https://example.com/a",
            "//cdn.example.com/a.png",
            "/boats",
            "./boats",
            "#crew",
            "#FFCC00",
            "rgba(0, 0, 0, .5)",
        ),
        *("mailto:office@harbour.example", "office@harbour.example", "2025-06-01", "2025-06-01T09:00:00+02:00"),
        *("www.example.com", "example.com/boats", "/v2/content/?keys=boats[_id=13]", "<p>A text</p>", "x" * 121),
        *("data:image/png;base64,iVBORw0KGgo=", "tel:+49123", "hsl(10 20% 30%)", ""),
        *(12, 1.5, True, None, [], {}),
    ],
)
def test_without_a_usual_name_the_first_short_text_is_the_title(unfit: Any) -> None:
    content = of_item(a=unfit, b=[{"type": "x", "fields": {"id": "boat-1", "slug": "boat", "c": "Found"}}], d="Later")

    assert content.title == "Found"


@pytest.mark.parametrize(
    "not_words",
    [
        *(
            "https://example.com/a?b=c",
            "ftp://x",
            "//cdn.example.com/a",
            "/boats/one",
            "../up",
            "#crew",
            "#fa0",
            "#FFAA0080",
        ),
        *(
            "rgb(1,2,3)",
            "RGBA(1, 2, 3, 0.5)",
            "hsl(120deg 75% 25%)",
            "mailto:a@b.example",
            "sms:123",
            "a.b@c.d.example",
        ),
        *("2025-06-01", "2025-06-01 09:00", "2025-06-01T09:00:00.123456Z", "/v2/content/?keys=boats[_id=13]"),
        *("<p>https://example.com</p>", 17, 0.5, True, False, None, {"meta": {"id": 5}}, {"slug": "x"}),
    ],
)
def test_urls_colours_dates_references_and_numbers_are_no_words(not_words: Any) -> None:
    assert of_page(a="one", b=not_words, c=[not_words, {"d": not_words}], e="two").text == "one two"


@pytest.mark.parametrize(
    "text", ["and/or", "50 % off", "#1 in town", "C#", "12:30", "1.5", "rgb", "at 5 @ noon", "Ahoy: you"]
)
def test_what_only_resembles_a_url_or_a_colour_is_text(text: str) -> None:
    assert of_page(a=text).text == text


TREES = st.recursive(
    st.from_regex(r"[a-zü]{1,8}( [a-z]{1,8}){0,2}", fullmatch=True),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["body", "rows", "column", "cards"]), inner, max_size=3),
        st.builds(lambda fields: {"type": "grid", "fields": {"part": fields}}, inner),
        st.builds(lambda name: {"meta": {"id": 8}, "name": name, "slug": "a-slug"}, inner),
    ),
    max_leaves=15,
)


def leaves(tree: Any) -> list[str]:
    """The words of a tree, by another way than the one under test: the JSON's strings without what is no text."""
    if isinstance(tree, str):
        return tree.split()
    below = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [word for key, one in below if key not in {"type", "slug", "meta"} for word in leaves(one)]


@given(TREES)
@settings(deadline=None)
def test_the_text_has_every_word_in_order_through_components_repeaters_references_and_lists(tree: Any) -> None:
    assert of_page(content=tree).text.split() == leaves(tree)


def test_the_summary_of_a_page_is_a_usual_name_then_seo_then_its_words_without_the_title() -> None:
    seo = {"title": "Boats | Example", "meta_description": "All boats."}

    assert of_page(title="Boats", body="We rent.", seo=seo, intro="Come in.").summary == "Come in."
    assert of_page(title="Boats", body="We rent.", seo=seo).summary == "All boats."
    assert of_page(title="Boats", body="We rent.", seo={"title": "Boats | Example"}).summary == "We rent."


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ({"image": PICTURE}, PICTURE),
        ({"Hero-Image": {"url": PICTURE, "alt": "A boat"}, "logo": "https://example.com/logo.png"}, PICTURE),
        ({"cover": [{"url": ""}, {"url": PICTURE}]}, PICTURE),
        ({"seo": {"og_image": PICTURE}, "logo": "https://example.com/logo.png"}, PICTURE),
        ({"image": "https://example.com/render?id=7"}, "https://example.com/render?id=7"),
        ({"image": "", "link": "https://example.com/a", "parts": [{"icon": PICTURE}]}, PICTURE),
        (
            {"link": "https://example.com/a.html", "pic": "https://example.com/b.JPG?w=1"},
            "https://example.com/b.JPG?w=1",
        ),
        ({"clip": "https://cdn.buttercms.com/video/teaser.mp4", "link": "https://example.com/png"}, ""),
        ({"image": "/relative.png"}, ""),
        ({"image": "javascript:alert(1)//a.png"}, ""),
        ({"image": "data:image/png;base64,iVBORw0KGgo="}, ""),
        ({"image": 'https://example.com/"><b>.png'}, ""),
        ({"image": "https://example.com/" + "a" * URL_CHARACTERS}, ""),
        ({"image": 5, "photo": {"src": PICTURE}, "cover": {"url": 3}}, PICTURE),
    ],
)
def test_the_image_of_a_page_is_a_usual_name_then_the_first_url_of_an_image(fields: dict[str, Any], image: str) -> None:
    assert of_page(**fields).image == image


@pytest.mark.parametrize(
    ("value", "image"), [({"url": PICTURE, "alt": ""}, PICTURE), (None, ""), ("", ""), ("ftp://x/a.png", ""), (3, "")]
)
def test_the_image_of_a_post_is_its_featured_image(value: Any, image: str) -> None:
    assert of_post(featured_image=value).image == image


def test_a_page_without_fields_keeps_its_name() -> None:
    nothing: list[Any] = [None, [], "text", 5]
    for fields in nothing:
        content = mapped(PAGE, page(fields, name="Harbour &amp; pier"), PATTERNS)

        assert (content.name, content.title, content.text, content.fields) == (
            "Harbour & pier",
            "Harbour & pier",
            "",
            {},
        )


def test_an_item_without_a_text_is_content_all_the_same() -> None:
    assert (
        msgspec.structs.asdict(of_item(price=3, published="2025-01-01")).items()
        >= {
            "title": "",
            "summary": "",
            "url": "",
            "published_at": None,
        }.items()
    )


# --- dates


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001 - the zone comes apart
    st.integers(-720, 720),
)
def test_every_offset_becomes_the_same_instant_in_utc(moment: datetime, minutes: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    utc = instant(local.isoformat())

    assert utc is not None
    assert datetime.fromisoformat(utc) == local
    assert (len(utc), utc[-1]) == (27, "Z")


MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9)), timezone(timedelta(hours=5.5))]))


@given(MOMENTS, MOMENTS)
def test_dates_are_ordered_as_their_texts_are(one: datetime, other: datetime) -> None:
    texts = [instant(one.isoformat()), instant(other.isoformat())]

    if None not in texts:
        assert (texts[0] < texts[1]) == (one < other)  # type: ignore[operator]  # neither is None


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("2025-05-02T08:00:00", "2025-05-02T08:00:00.000000Z"),
        ("2025-05-02T08:00:00Z", "2025-05-02T08:00:00.000000Z"),
        (" 2025-05-02T08:00:00.5+02:00 ", "2025-05-02T06:00:00.500000Z"),
        ("2025-05-02", "2025-05-02T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
        (1746172800, None),
        (None, None),
        ([], None),
    ],
)
def test_a_date_without_an_offset_is_utc_and_what_is_no_date_is_missing(value: Any, utc: str | None) -> None:
    assert instant(value) == utc
    assert of_post(updated=value).updated_at == utc


# --- identity and status


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        (POST, post()),
        (PAGE, page({})),
        (SINGLE, page({}, slug="imprint", page_type=None)),
        (ITEM, item()),
        (ITEM, {"meta": {"id": "4711"}}),
    ],
)
def test_the_item_that_was_asked_for_is_recognized(identity: Identity, shown: dict[str, Any]) -> None:
    assert matches(identity, shown)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        (POST, post(slug="other")),
        (POST, {"title": "no slug"}),
        (PAGE, page({}, slug="other")),
        (PAGE, page({}, page_type="event")),
        (PAGE, page({}, page_type=None)),
        (SINGLE, page({}, slug="imprint", page_type="landing")),
        (ITEM, {"meta": {"id": 4712}}),
        (ITEM, {"meta": [4711]}),
        (ITEM, {"id": 4711}),
    ],
)
def test_another_item_is_not_taken_for_it(identity: Identity, shown: dict[str, Any]) -> None:
    assert not matches(identity, shown)


@pytest.mark.parametrize(
    ("identity", "shown", "published"),
    [
        (POST, post(), True),
        (POST, post(status="draft"), False),
        (POST, post(status="scheduled"), False),
        (POST, post(status=None), False),
        (POST, post(status=["published"]), False),
        (POST, post(deleted="2025-05-04T00:00:00Z"), False),
        (PAGE, page({}), True),
        (PAGE, page({}, status="published"), True),
        (PAGE, page({}, status="draft"), False),
        (PAGE, page({}, published=None), False),
        (ITEM, item(status="draft", published=None), True),
    ],
)
def test_what_the_public_may_see_is_published(identity: Identity, shown: dict[str, Any], published: bool) -> None:
    assert is_published(identity, shown) is published


# --- whatever comes

ANY_TEXT = st.text(st.characters(exclude_categories=[])) | st.sampled_from(
    [
        "\ud83d",
        "\x00",
        "<",
        "&#",
        "{slug}",
        "https://",
        "https://[",
        "9999-12-31T23:59:59-14:00",
        "a@b.example",
        "#",
        "/",
    ]
)
KEYS = ANY_TEXT | st.sampled_from(
    [*post(), *page({}), "meta", "id", "seo", "type", "name", "image", "email", "category"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(EVERY_KIND), ANY_JSON | st.dictionaries(KEYS, ANY_JSON, max_size=8))
@settings(deadline=None, max_examples=400)
def test_any_json_is_content_or_nonsense(identity: Identity, anything: Any) -> None:
    try:
        content = mapped(identity, anything, PATTERNS)
    except Nonsense as nonsense:
        assert not isinstance(anything, dict)
        assert "item" in str(nonsense)  # noqa: PT017
        return

    document = document_of(identity, content)
    assert Document.from_json(document.to_json()) == document
    assert "\\u0000" not in document.to_json().replace("\\\\", "")
    assert len(document.to_message()) < 256 * 1024


def document_of(identity: Identity, content: Content) -> Document:
    mapping = msgspec.structs.asdict(content)
    return Document(identity=identity, version=1, change="updated", announce_key="k", archive_key="a", **mapping)


@given(st.dictionaries(st.sampled_from([*post()]), ANY_JSON, max_size=6))
@settings(deadline=None)
def test_a_post_of_any_sort_reads_alike_in_list_and_detail(changes: dict[str, Any]) -> None:
    detail = post(**changes)

    assert mapped(POST, as_listed(detail | {"scheduled": None}), PATTERNS).hash == (
        mapped(POST, detail | {"scheduled": None}, PATTERNS).hash
    )


@pytest.mark.parametrize("wrong", [[], {}, 7, 0.5, True, None, "text", ["text"], {"name": ["x"]}, [[]], [None]])
def test_a_field_of_the_wrong_type_counts_as_missing(wrong: Any) -> None:
    names = [name for name in post() if name not in {"tags", "categories"}]
    content = mapped(POST, {"slug": "ferry-times", **dict.fromkeys(names, wrong)}, PATTERNS)

    text = "text" if wrong == "text" else ""
    assert (content.title, content.summary, content.text) == (text, text, text)
    assert (content.image, content.published_at, content.updated_at) == ("", None, None)


@pytest.mark.parametrize("wrong", [[], None, 7, "text", True])
def test_what_is_no_object_is_nonsense(wrong: Any) -> None:
    with pytest.raises(Nonsense, match="the item is not an object"):
        mapped(POST, wrong, PATTERNS)


def nested(levels: int, kind: type) -> Any:
    value: Any = "word"
    for _ in range(levels):
        value = [value] if kind is list else {"body": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_deep_nesting_is_read_up_to_a_limit_and_named_beyond(kind: type) -> None:
    # the page and its fields are two levels
    assert of_page(body=nested(DEEPEST - 2, kind)).text == "word"

    with pytest.raises(Nonsense, match="fields is nested deeper than 64 levels"):
        of_page(body=nested(DEEPEST - 1, kind))
    with pytest.raises(Nonsense, match="body is nested deeper than 64 levels"):
        of_post(body=nested(100_000, kind))


def test_what_no_store_can_hold_is_replaced_in_every_place() -> None:
    fields: dict[str, Any] = {"ti\x00tle": "A\ud800B\x00C", "x": [float("nan"), float("inf"), 10**400, -(10**20)]}

    content = mapped(PAGE, page(fields), PATTERNS)

    assert content.title == "A\ufffdBC"
    assert content.fields == {"title": "A\ufffdBC", "x": [None, None, None, -(10**20)]}


def test_ten_thousand_tags_and_ten_megabytes_are_read_in_seconds() -> None:
    body = "<p>The <b>first</b> ferry &amp; the last.</p>\n" * 220_000
    started = time.process_time()

    content = of_post(body=body, tags=[{"name": f"tag {number}"} for number in range(10_000)])

    assert time.process_time() - started < 10
    assert len(content.text.split()) == 6 * 220_000
    assert len(content.tags) == 10_000
    assert len(document_of(POST, content).to_message()) < 20_000
