"""What travels: identities, changes, documents."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersync.model import LOCALE, MESSAGE_LABELS, NO_ANNOUNCE, Change, Document, Identity, Malformed, usable

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


def identities(names: st.SearchStrategy[str], locales: st.SearchStrategy[str]) -> st.SearchStrategy[Identity]:
    return st.one_of(
        st.builds(Identity, st.just("post"), st.just(""), names, locales),
        st.builds(Identity, st.sampled_from(["page", "item"]), names, names, locales),
    )


ANY = identities(words, words)
USABLE = identities(words.filter(usable), st.from_regex(LOCALE, fullmatch=True))


def test_refs_of_ordinary_slugs_are_readable() -> None:
    assert Identity("post", "", "hello-world", "en").ref == "post:hello-world:en"
    assert Identity("page", "*", "about", "pt-br").ref == "page:*:about:pt-br"
    assert Identity("item", "products", "735745", "en").ref == "item:products:735745:en"


@given(ANY)
def test_a_ref_names_one_identity_and_fits_into_keys(identity: Identity) -> None:
    assert Identity.parse(identity.ref) == identity
    assert identity.ref.isascii()
    assert "/" not in identity.ref


@given(ANY, ANY)
def test_no_slug_can_forge_another_ref(one: Identity, other: Identity) -> None:
    assert (one.ref == other.ref) == (one == other)


@pytest.mark.parametrize("ref", ["", "post", "post:a", "post:a:b:c", "cat:a:b", "page:a:b", "post::en", "site"])
def test_what_is_no_ref_is_malformed(ref: str) -> None:
    with pytest.raises(Malformed):
        Identity.parse(ref)


@pytest.mark.parametrize(
    ("identity", "attribute"),
    [
        (Identity("post", "", "hello", "en"), "post"),
        (Identity("page", "landing", "hello", "en"), "page:landing"),
        (Identity("item", "products", "5", "en"), "item:products"),
    ],
)
def test_subscriptions_filter_by_a_composite_kind(identity: Identity, attribute: str) -> None:
    change = Change(identity=identity, event="e", claims="any", received_at=1)

    assert change.attributes["kind"] == identity.kind_attribute == attribute


@given(USABLE, st.sampled_from(["published", "removed", "draft", "any"]), st.integers(0, 2**53), st.integers(1, 2**53))
def test_a_change_survives_the_journey(identity: Identity, claims: Any, at: int, number: int) -> None:
    change = Change(identity=identity, event="post.published", claims=claims, received_at=at, numeric_id=number, look=2)

    assert Change.from_json(change.to_json()) == change


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"name": name} for name in ("", " ", ".", "..", "a/b", "a\0", "a\n", "x" * 256)],
        *[{"locale": locale} for locale in ("", "e n", "en\n", "../en", "x" * 36)],
        {"group": "landing"},
        {"kind": "page"},
        {"kind": "page", "group": ".."},
        {"kind": "cat"},
    ],
)
def test_an_identity_that_no_webhook_could_have_does_not_travel(wrong: dict[str, str]) -> None:
    identity = {"kind": "post", "group": "", "name": "hello", "locale": "en", **wrong}
    body = {"stage": "change", "identity": identity, "event": "e", "claims": "any", "received_at": 1}

    with pytest.raises(Malformed, match=r"\$\.identity"):
        Change.from_json(msgspec.json.encode(body))


@pytest.mark.parametrize("name", ["received_at", "numeric_id", "look", "attempts", "not_before"])
@pytest.mark.parametrize("number", [-1, 2**63, 10**400])
def test_a_number_that_nobody_counts_to_does_not_travel(name: str, number: int) -> None:
    change = Change(identity=Identity("post", "", "hello", "en"), event="e", claims="any", received_at=1)

    with pytest.raises(Malformed, match=rf"\$\.{name}"):
        Change.from_json(msgspec.json.encode({**json.loads(change.to_json()), name: number}))


def document(**more: Any) -> Document:
    values = {"identity": Identity("post", "", "hello", "en"), "version": 5, "change": "created"}
    return Document(**{**values, "announce_key": "post:7", "archive_key": "post:hello:en/5-abc", **more})


def test_the_archive_has_everything_and_the_message_what_an_announcement_needs() -> None:
    whole = document(title="Hello", text="All the words", fields={"body": "<p>"}, tags=("a",), published_at="2025")

    assert Document.from_json(whole.to_json()) == whole
    assert Document.from_json(whole.to_message()) == document(title="Hello", tags=("a",), published_at="2025")


@given(st.lists(st.text(max_size=300), max_size=400), st.booleans())
def test_a_message_stays_far_under_the_limit_and_keeps_the_opt_out(labels: list[str], opted_out: bool) -> None:
    tags = (*labels, NO_ANNOUNCE) if opted_out else tuple(labels)
    hostile = document(tags=tags * 20, categories=tuple(labels) * 20, title="😀" * 300, summary="\\" * 300)

    small = Document.from_json(hostile.to_message())

    assert len(hostile.to_message().encode()) < 256 * 1024
    assert len(small.tags) <= MESSAGE_LABELS
    assert (NO_ANNOUNCE in small.tags) == (NO_ANNOUNCE in tags)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"stage": "change"}', '{"stage": "document"}', '{"stage": "cat"}'])
def test_what_is_no_message_is_refused_with_a_reason(body: str) -> None:
    for read in (Change.from_json, Document.from_json):
        with pytest.raises(msgspec.DecodeError):
            read(body)
