"""An item's public address comes from the user's patterns; a pattern that cannot work is refused by name."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersync.model import Identity
from buttersync.outcomes import Misconfigured
from url_patterns import UrlPatterns

POST = Identity("post", "", "hello", "en")
PAGE = Identity("page", "landing", "sale", "de")
SINGLE = Identity("page", "*", "about", "en")
ITEM = Identity("item", "lamps", "12", "en")


def test_each_kind_has_its_own_pattern() -> None:
    patterns = UrlPatterns(
        post="https://example.com/blog/{slug}",
        page="https://example.com/{locale}/{page_type}/{slug}/",
        item="https://example.com/{collection}/{id}#{slug}",
    )

    assert patterns.url(POST) == "https://example.com/blog/hello"
    assert patterns.url(PAGE) == "https://example.com/de/landing/sale/"
    assert patterns.url(ITEM, "desk-lamp") == "https://example.com/lamps/12#desk-lamp"


def test_without_a_pattern_there_is_no_url() -> None:
    assert [UrlPatterns().url(identity) for identity in (POST, PAGE, ITEM)] == ["", "", ""]


def test_a_single_page_leaves_no_gap_where_its_type_would_be() -> None:
    assert UrlPatterns(page="https://example.com/{page_type}/{slug}").url(SINGLE) == "https://example.com/about"
    assert UrlPatterns(page="https://example.com/{slug}?t={page_type}").url(SINGLE) == "https://example.com/about?t="


def test_an_item_without_the_slug_that_the_pattern_wants_has_no_url() -> None:
    patterns = UrlPatterns(item="https://example.com/{slug}")

    assert patterns.url(ITEM) == ""


def test_a_url_that_is_too_long_is_none() -> None:
    patterns = UrlPatterns(post="https://example.com/{slug}")

    assert patterns.url(Identity("post", "", "a" * 2028, "en")) != ""
    assert patterns.url(Identity("post", "", "a" * 2029, "en")) == ""


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_no_slug_leaves_its_place_in_the_path(slug: str) -> None:
    patterns = UrlPatterns(post="https://example.com/blog/{slug}?from={locale}")

    parts = urlsplit(patterns.url(Identity("post", "", slug, "en")))

    assert unquote(parts.path.removeprefix("/blog/")) == slug
    assert (parts.netloc, parts.path.count("/"), parts.query, parts.fragment) == ("example.com", 2, "from=en", "")


def test_a_slug_that_looks_like_a_placeholder_is_a_slug() -> None:
    patterns = UrlPatterns(post="https://example.com/{slug}/{locale}")

    assert patterns.url(Identity("post", "", "{locale}", "en")) == "https://example.com/%7Blocale%7D/en"


@pytest.mark.parametrize("placeholder", ["id", "Slug", "", "0", "slug.__class__", "slug[0]", "slug!r", "slug:>9"])
def test_an_unknown_placeholder_is_named_with_its_parameter(placeholder: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        UrlPatterns(post=f"https://example.com/{{{placeholder}}}")

    assert refused.value.reason.startswith(f"PostUrl has the placeholder {{{placeholder}}}; it may have {{slug}}")


@pytest.mark.parametrize(
    "pattern", ["https://example.com/{slug", "https://example.com/slug}", "https://x.com/{{slug}}"]
)
def test_a_brace_without_its_pair_is_named(pattern: str) -> None:
    with pytest.raises(Misconfigured, match="PageUrl has a brace without its pair"):
        UrlPatterns(page=pattern)


@pytest.mark.parametrize(
    "pattern", ["/blog/{slug}", "example.com/{slug}", "https:///{slug}", "https://a.de/{slug} x", " "]
)
def test_a_pattern_that_is_no_absolute_url_is_named(pattern: str) -> None:
    with pytest.raises(Misconfigured, match="ItemUrl is no absolute url"):
        UrlPatterns(item=pattern)
