"""Texts are shortened between words, never longer than asked for, and lose nothing but what no store holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersync.text import cut, storable

PROSE = st.text(st.sampled_from("abcdeü ,.\u2013\n"), max_size=200)
ROOM = st.integers(1, 120)


@given(PROSE, ROOM)
def test_a_cut_text_is_never_longer_than_asked_for(text: str, characters: int) -> None:
    assert len(cut(text, characters)) <= characters


@given(PROSE, ROOM)
def test_a_text_that_fits_stays_as_it_is(text: str, characters: int) -> None:
    assert (cut(text, characters) == text) == (len(text) <= characters)


@given(PROSE, ROOM)
def test_cutting_twice_is_cutting_once(text: str, characters: int) -> None:
    once = cut(text, characters)

    assert cut(once, characters) == once


@given(st.lists(st.text(st.sampled_from("abcdeü"), min_size=1, max_size=20), min_size=1), st.integers(42, 200))
def test_words_stay_whole_that_fill_less_than_half_of_the_room(words: list[str], characters: int) -> None:
    shortened = cut(" ".join(words), characters)

    kept = shortened.removesuffix("…").split()
    assert kept == words[: len(kept)]


@given(st.lists(st.text(st.sampled_from("abcdeü"), min_size=1, max_size=20), min_size=1), st.integers(42, 200))
def test_as_many_words_stay_as_there_is_room_for(words: list[str], characters: int) -> None:
    shortened = cut(" ".join(words), characters)

    next_word = words[len(shortened.split()) :][:1]
    assert not next_word or len(shortened) + 1 + len(next_word[0]) > characters


def test_a_single_long_word_fills_the_room() -> None:
    assert cut("See " + "a" * 50, 20) == "See " + "a" * 15 + "…"


@pytest.mark.parametrize("text", ["Two words, and more", "Two words \u2013 and more", "Two words (and more)"])
def test_no_comma_dash_or_bracket_dangles_before_the_ellipsis(text: str) -> None:
    assert cut(text, 13) == "Two words…"


def test_a_word_that_ends_where_the_room_ends_is_kept() -> None:
    assert cut("Two words more", 10) == "Two words…"


def test_without_room_nothing_is_left() -> None:
    assert cut("word", 0) == ""


@given(st.text(st.characters(exclude_categories=[]) | st.sampled_from("\0\ud83d\udc4b")))
def test_a_text_loses_nothing_but_what_stores_cannot_hold(text: str) -> None:
    kept = storable(text)

    assert kept == "".join(sign for sign in text if sign != "\0" and not 0xD800 <= ord(sign) <= 0xDFFF)
