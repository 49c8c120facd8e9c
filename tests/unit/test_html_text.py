"""Markup becomes the words that a reader sees, whole and apart, in a time that no markup can stretch."""

import html
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.html_text import plain_text

BYTES = 200_000
SECONDS = 1.0
"""A hundredfold of what each takes; what is read again and again takes minutes."""


class Piece(NamedTuple):
    """A piece of a page as it is written, and as it reads."""

    markup: str
    reads: str


def parts(pieces: list[Piece]) -> Piece:
    return Piece("".join(one.markup for one in pieces), "".join(one.reads for one in pieces))


def element(name: str, attributes: str, inside: Piece) -> Piece:
    gap = "" if name in {"b", "EM", "a", "span"} else " "
    return Piece(f"<{name}{attributes}>{inside.markup}</{name}>", f"{gap}{inside.reads}{gap}")


TEXT = st.text(st.sampled_from("ab ü<>&\"';#x&lt;\n"), max_size=12).map(lambda text: Piece(html.escape(text), text))
UNSEEN = st.sampled_from(
    [
        Piece("<!-- <p> a > b -->", ""),
        Piece("<!---->", ""),
        Piece("<br/>", " "),
        Piece('<img alt="a > b" src=x.png>', " "),
        Piece("<script>if (a<b) c('</p>')</script>", " "),
        Piece("<STYLE media='x'>p > a { color: red }</STYLE >", " "),
        Piece("<iframe src=//x>no frames</iframe>", " "),
    ]
)
ATTRIBUTES = st.sampled_from(["", ' class="a"', " title='1 > 0'", ' hidden data-x="<p>"', " href=/a?b=c", "\n id = x "])
NAMES = st.sampled_from(["b", "EM", "a", "span", "p", "DIV", "li", "h1", "td", "my-card"])
PAGES = st.recursive(
    TEXT | UNSEEN,
    lambda inner: st.builds(element, NAMES, ATTRIBUTES, st.lists(inner, max_size=4).map(parts)),
    max_leaves=12,
)


def words(text: str) -> str:
    return " ".join(text.split())


@given(st.lists(PAGES, max_size=4).map(parts))
@settings(deadline=None)
def test_every_word_is_kept_whole_and_apart_and_nothing_of_the_markup_is_left(page: Piece) -> None:
    assert plain_text(page.markup) == words(page.reads)


@given(st.text())
@settings(deadline=None)
def test_any_text_comes_out_printable_with_single_spaces(text: str) -> None:
    plain = plain_text(text)

    assert plain == words(plain)
    assert not set(plain) & {chr(code) for code in (*range(9), *range(14, 32), 127, 173)}


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="<&\u00ad")))
@settings(deadline=None)
def test_a_text_without_markup_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == words(text)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>w<b>or</b>d</p><p>next<br>line", "word next line"),
        ("Fish &amp; chips&nbsp;&euro;&#8239;5", "Fish & chips € 5"),
        ("&amp;lt; &amp;amp;", "&lt; &amp;"),
        ("&lt;script&gt; is a tag", "<script> is a tag"),
        ("Donau&shy;dampf", "Donaudampf"),
        ("a\x00b\x1bc", "abc"),
        ("<!DOCTYPE html><?xml version='1.0'?>words", "words"),
        ("<!-->words<!-- <b>never</b> ended", "words"),
        ("one</ b>two</>three", "onetwothree"),
        ("&#" + "9" * 5000 + ";", "\ufffd"),
    ],
)
def test_markup_reads_as_in_a_browser(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("I <3 you, she </3 me, a < b", "I <3 you, she </3 me, a < b"),
        ("Why i<j matters", "Why i<j matters"),
        ("How <script> tags <b>work</b>", "How tags work"),
        ('<a href="/x>here</a> and <b>there</b>', "here and there"),
    ],
)
def test_no_words_are_lost_where_the_markup_is_out_of_joint(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    "hostile",
    [
        *(
            "<!--",
            "<!-- >",
            "<",
            "</",
            "<!",
            "<?",
            "<a ",
            "<a =",
            '<a b="',
            "<a ='\"",
            "<a =\"'>",
            "<p>",
            "<b><p></b>",
            "<div>",
        ),
        *("<font a><p>", "<table><td>", "<script>", "<script <style ", "<script></script", "<style/>", "<![CDATA["),
        *("&", "&#", "&#x1", "&a", "\n", "\x00", "</p>", "x ", "<li><b>"),
    ],
)
def test_hostile_markup_costs_no_more_than_its_length(hostile: str) -> None:
    """html.parser took 25 s for 200 KB of ``<!--``, and minutes for ``<a ``."""
    markup = hostile * (BYTES // len(hostile))
    started = time.process_time()

    plain_text(markup)
    plain_text(f"<p>{markup}</p>")
    plain_text(f"<p {markup}")

    assert time.process_time() - started < SECONDS
