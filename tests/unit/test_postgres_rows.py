"""The pure part of postgres: from settings to libpq's options, from a document to a row."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buttersync.model import Document, Identity
from buttersync.outcomes import Misconfigured
from database import connection_options
from postgres import row

UNENCODED = st.sampled_from("@:/?#%[]' =")
WORDS = st.text("jkqvwxyz", min_size=6, max_size=9)
"""None that a message of libpq might have."""


def item(**fields: object) -> Document:
    identity = Identity("item", "products", "41", "en")
    return Document(identity=identity, version=1, change="created", announce_key="a", archive_key="b", fields=fields)


def test_a_dsn_without_an_sslmode_is_verified_in_full() -> None:
    options = connection_options("postgresql://writer:pw@db.example.com/site")

    assert options["sslmode"] == "verify-full"
    assert options["host"] == "db.example.com"


def test_what_the_dsn_says_goes_before_the_defaults() -> None:
    options = connection_options("host=db.example.com sslmode=require application_name=site keepalives_idle=7")

    assert (options["sslmode"], options["application_name"], options["keepalives_idle"]) == ("require", "site", "7")


@example(first="secret", sign="@", last="phrase")
@example(first="secret", sign="/", last="phrase")
@example(first="secret", sign="%", last="zz")
@example(first="secret", sign="%", last="aaaaaa")
@given(first=WORDS, sign=UNENCODED, last=WORDS)
def test_a_dsn_that_cannot_be_read_is_never_quoted(first: str, sign: str, last: str) -> None:
    dsns = (
        f"postgresql://writer:{first}{sign}{last}@db.example.com/site",
        f"host=db.example.com password={first} {last} dbname=site",
        f"host=db.example.com password='{first}{sign}{last} dbname=site",
    )

    said = " ".join(map(complaint, dsns))

    assert first not in said
    assert last not in said


def complaint(dsn: str) -> str:
    try:
        connection_options(dsn)
    except Misconfigured as failure:
        return failure.reason
    return ""


@pytest.mark.parametrize("sign", ["@", "/"])
def test_a_sign_in_the_password_that_ends_it_early_is_explained(sign: str) -> None:
    with pytest.raises(Misconfigured, match="percent-encode"):
        connection_options(f"postgresql://writer:5{sign}x@db.example.com/site")


def test_a_row_has_the_identity_of_each_kind() -> None:
    single = Identity("page", "*", "about", "de")
    page = Document(identity=single, version=7, change="updated", announce_key="a", archive_key="b")

    columns = row(page)

    assert (columns["page_type"], columns["slug"], columns["locale"]) == ("*", "about", "de")
    assert (columns["ref"], columns["version"]) == ("page:*:about:de", 7)


def test_an_item_has_the_slug_of_its_fields_if_they_have_one() -> None:
    assert row(item(slug="lamp"))["slug"] == "lamp"
    assert row(item(name="Lamp"))["slug"] is None
    assert row(item(slug=["no", "slug"]))["slug"] is None


def test_what_is_not_there_is_null_where_a_query_would_ask_for_it() -> None:
    columns = row(item())

    assert [columns[name] for name in ("url", "author", "image", "published_at")] == [None] * 4
    assert [columns[name] for name in ("title", "summary", "text")] == [""] * 3


PLAIN = st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs"]) | st.just("\0"))


NESTED = st.recursive(
    st.none() | st.integers() | PLAIN, lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner), max_leaves=8
)


@given(NESTED)
@settings(max_examples=50, deadline=None)
def test_fields_survive_as_they_are_but_for_nul(value: object) -> None:
    stored = row(item(value=value))["fields"]

    assert json.loads(str(stored)) == json.loads(json.dumps({"value": value}).replace(r"\u0000", ""))


def test_words_that_look_like_an_escaped_nul_stay() -> None:
    stored = row(item(path=r"c:\u0000", nul="\0"))["fields"]

    assert json.loads(str(stored)) == {"path": r"c:\u0000", "nul": ""}


def test_a_half_of_a_surrogate_pair_is_left_out_of_the_fields() -> None:
    stored = row(item(bad="a\ud800b", list=["\0", {"\ud800key": "\udfff"}], number=1))["fields"]

    assert json.loads(str(stored)) == {"bad": "ab", "list": ["", {"key": ""}], "number": 1}
