"""The sandbox's CDN keeps, purges and holds back as ButterCMS's does, and lets throw-away parameters pass."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from sandbox.butter import Butter
from sandbox.site import Account, Site
from sandbox.wire import Request, Response

HELLO = "/v2/posts/hello/"


@pytest.fixture
def butter() -> Butter:
    return Butter(Site(Account(locales=("en", "de"))))


def ask(butter: Butter, target: str = HELLO, token: str = "") -> Response:
    url = urlsplit(target)
    headers = {"authorization": f"Token {token or butter.token}"}
    return butter.answer(Request("GET", url.path, tuple(parse_qsl(url.query)), headers))


def title(butter: Butter, target: str = HELLO) -> str:
    return str(json.loads(ask(butter, target).body)["data"]["title"])


def test_a_second_reading_comes_from_the_cache_with_its_age(butter: Butter) -> None:
    butter.site.publish_post("hello")

    first, second = ask(butter), ask(butter)

    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS, MISS", "MISS, HIT")
    assert second.headers["Age"] == "0"
    assert first.body == second.body


def test_an_edit_purges_what_was_cached(butter: Butter) -> None:
    butter.site.publish_post("hello", title="Before")
    ask(butter)

    butter.site.publish_post("hello", title="After")

    assert title(butter) == "After"


def test_without_purges_a_url_that_was_read_stays_old_and_others_are_fresh(butter: Butter) -> None:
    butter.cdn.purges = False
    butter.site.publish_post("hello", title="Before")
    ask(butter)

    butter.site.publish_post("hello", title="After")

    assert title(butter) == "Before"
    assert title(butter, f"{HELLO}?locale=en") == "After"
    butter.cdn.thaw()
    assert title(butter) == "After"


def test_a_404_is_cached_as_well(butter: Butter) -> None:
    butter.cdn.purges = False
    ask(butter)

    butter.site.publish_post("hello")

    assert (ask(butter).status, ask(butter).headers["X-Cache"]) == (404, "MISS, HIT")
    assert ask(butter, f"{HELLO}?fresh=1").status == 200


def test_a_throw_away_parameter_is_answered_by_its_own_copy_the_second_time(butter: Butter) -> None:
    butter.cdn.purges = False
    butter.site.publish_post("hello", title="Before")
    assert title(butter, f"{HELLO}?fresh=1") == "Before"

    butter.site.publish_post("hello", title="After")

    assert title(butter, f"{HELLO}?fresh=1") == "Before"
    assert title(butter, f"{HELLO}?fresh=2") == "After"


def test_a_frozen_path_stays_as_it_was_for_all_known_parameters(butter: Butter) -> None:
    butter.site.publish_post("hello", title="Before")
    butter.site.publish_post("other", title="Before")

    butter.cdn.freeze(HELLO)
    butter.site.publish_post("hello", title="After")
    butter.site.publish_post("other", title="After")

    assert title(butter) == title(butter, f"{HELLO}?locale=en&levels=2") == "Before"
    assert ask(butter).headers["X-Cache"] == "MISS, HIT"
    assert title(butter, "/v2/posts/other/") == "After"
    assert title(butter, f"{HELLO}?fresh=1") == "After"


def test_a_frozen_path_without_content_is_a_cached_404(butter: Butter) -> None:
    butter.cdn.freeze(HELLO)
    butter.site.publish_post("hello")

    assert ask(butter).status == 404


def test_all_paths_can_be_frozen_lists_among_them(butter: Butter) -> None:
    butter.site.publish_post("hello", title="Before")

    butter.cdn.freeze()
    butter.site.publish_post("hello", title="After")

    assert title(butter) == "Before"
    assert json.loads(ask(butter, "/v2/posts/").body)["data"][0]["title"] == "Before"


def test_an_absent_path_is_a_404_though_there_is_content(butter: Butter) -> None:
    butter.site.publish_page("landing", "sale")

    butter.cdn.absent("/v2/pages/landing/sale/")
    response = ask(butter, "/v2/pages/landing/sale/")

    assert (response.status, json.loads(response.body)) == (404, {"detail": "Page not found."})
    assert ask(butter, "/v2/pages/landing/sale/?fresh=1").status == 200


def test_thawing_one_path_leaves_the_others_frozen(butter: Butter) -> None:
    for slug in ("hello", "other"):
        butter.site.publish_post(slug, title="Before")
        butter.cdn.freeze(f"/v2/posts/{slug}/")
        butter.site.publish_post(slug, title="After")

    butter.cdn.thaw(HELLO)

    assert title(butter) == "After"
    assert title(butter, "/v2/posts/other/") == "Before"


def test_a_cached_copy_opens_to_nobody_without_the_token(butter: Butter) -> None:
    butter.site.publish_post("hello")
    ask(butter)

    response = ask(butter, token="nobodys")

    assert (response.status, response.headers.get("Age")) == (401, None)


def test_the_preview_is_another_copy(butter: Butter) -> None:
    butter.cdn.purges = False
    butter.site.publish_post("hello", title="Before")
    ask(butter)

    butter.site.save_draft_post("hello", title="Draft")

    assert title(butter) == "Before"
    assert title(butter, f"{HELLO}?preview=1") == "Draft"
