"""The sandbox's Read API refuses what ButterCMS refuses and answers in its shapes."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.butter import Butter
from sandbox.examples import example_site, large_site
from sandbox.site import SINGLE_PAGES, Account, Site, item_uri, media
from sandbox.wire import Request, Response

NOON = datetime(2025, 6, 2, 12, 0, 0, 123456, tzinfo=UTC)
AUTHOR_KEYS = {
    *("first_name", "last_name", "email", "slug", "bio", "title", "profile_image", "twitter_handle"),
    *("linkedin_url", "facebook_url", "instagram_url", "pinterest_url"),
}
POST_KEYS = {
    *("status", "created", "updated", "published", "scheduled", "slug", "title", "body", "summary", "url", "author"),
    *("seo_title", "meta_description", "featured_image", "featured_image_alt", "tags", "categories"),
}


def at_noon() -> datetime:
    return NOON


@pytest.fixture
def butter() -> Butter:
    return Butter(Site(Account(locales=("en", "de")), at_noon))


def ask(butter: Butter, target: str, **headers: str) -> Response:
    """What ButterCMS answers to a GET with its token, or with these headers instead."""
    url = urlsplit(target)
    sent = headers or {"authorization": f"Token {butter.token}"}
    return butter.answer(Request("GET", f"/v2{url.path}", tuple(parse_qsl(url.query, keep_blank_values=True)), sent))


def read(butter: Butter, target: str) -> Any:
    """The JSON of an answer that must be a 200."""
    response = ask(butter, target)
    assert response.status == 200, response
    return json.loads(response.body)


def error(butter: Butter, target: str, **headers: str) -> tuple[int, Any]:
    response = ask(butter, target, **headers)
    return response.status, json.loads(response.body).get("detail")


# --- who may ask, and how ---


def test_a_token_in_the_header_or_in_the_query_opens_the_api(butter: Butter) -> None:
    assert ask(butter, "/posts/").status == 200
    assert ask(butter, f"/posts/?auth_token={butter.token}", accept="*/*").status == 200


def test_a_wrong_token_is_a_401_that_names_the_scheme(butter: Butter) -> None:
    response = ask(butter, "/posts/", authorization="Token nobodys")

    assert (response.status, json.loads(response.body)) == (401, {"detail": "Invalid token."})
    assert response.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("authorization", ["", "Bearer sandbox-read-token", "sandbox-read-token"])
def test_without_the_word_token_nobody_is_known(butter: Butter, authorization: str) -> None:
    answer = error(butter, "/posts/", authorization=authorization)

    assert answer == (401, "Authentication credentials were not provided.")


def test_a_path_without_its_last_slash_is_redirected_token_or_not(butter: Butter) -> None:
    response = ask(butter, "/posts/hello?locale=de", accept="*/*")

    assert (response.status, response.headers["Location"]) == (301, "/v2/posts/hello/?locale=de")


def test_reading_is_all_one_can_do(butter: Butter) -> None:
    response = butter.answer(Request("POST", "/v2/posts/", (("auth_token", butter.token),)))

    assert response.status == 405


def test_a_path_of_no_endpoint_is_a_404(butter: Butter) -> None:
    assert error(butter, "/") == (404, "Not found.")
    assert error(butter, "/posts/a/b/c/") == (404, "Not found.")


def test_a_used_up_quota_is_a_429_until_the_month_ends(butter: Butter) -> None:
    butter.site.account.calls_left = 2

    statuses = [ask(butter, "/posts/").status for _ in range(3)]
    response = ask(butter, "/posts/")

    assert statuses == [200, 200, 429]
    assert json.loads(response.body) == {"detail": "API Calls limit reached."}
    assert 0 < int(response.headers["Retry-After"]) <= 31 * 86400


def test_the_redirect_for_a_missing_slash_is_not_free(butter: Butter) -> None:
    butter.site.account.calls_left = 1

    assert [ask(butter, "/posts").status, ask(butter, "/posts/").status] == [301, 429]


# --- parameters ---


@pytest.mark.parametrize("target", ["/posts/", "/posts/hello/", "/pages/*/", "/pages/*/about/", "/content/tools/"])
def test_a_locale_that_the_account_lacks_is_a_400_everywhere(butter: Butter, target: str) -> None:
    assert error(butter, f"{target}?locale=fr") == (400, "Invalid locale parameter")


@pytest.mark.parametrize("levels", ["0", "6", "-1", "two", "2.0"])
def test_levels_other_than_one_to_five_are_a_400(butter: Butter, levels: str) -> None:
    expected = "levels query parameter should be an integer between 1 and 5 (inclusive)"

    assert error(butter, f"/pages/*/?levels={levels}") == (400, expected)


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page_size=0", "page_size=101", "limit=0", "limit=101", "offset=-1"]
)
def test_a_window_out_of_bounds_is_a_400(butter: Butter, query: str) -> None:
    assert ask(butter, f"/posts/?{query}").status == 400


@pytest.mark.parametrize("query", ["page=1&limit=5", "page_size=5&offset=0"])
def test_the_two_styles_of_paging_exclude_each_other(butter: Butter, query: str) -> None:
    assert ask(butter, f"/posts/?{query}").status == 400


# --- paging ---


def test_a_list_has_ten_of_its_items_unless_told_otherwise() -> None:
    butter = Butter(large_site(25))

    first, last = read(butter, "/posts/"), read(butter, "/posts/?page=3")

    assert first["meta"] == {"count": 25, "next_page": 2, "previous_page": None}
    assert len(first["data"]) == 10
    assert last["meta"] == {"count": 25, "next_page": None, "previous_page": 2}
    assert len(last["data"]) == 5


def test_limit_and_offset_answer_with_offsets() -> None:
    butter = Butter(large_site(25))

    middle, last = read(butter, "/posts/?limit=10&offset=5"), read(butter, "/posts/?limit=20&offset=20")

    assert middle["meta"] == {"count": 25, "next_offset": 15, "previous_offset": 0}
    assert last["meta"] == {"count": 25, "next_offset": None, "previous_offset": 0}
    assert len(last["data"]) == 5


def test_a_page_behind_the_last_is_a_404_but_the_first_may_be_empty(butter: Butter) -> None:
    assert ask(butter, "/posts/?page=2").status == 404
    assert read(butter, "/posts/") == {"meta": {"count": 0, "next_page": None, "previous_page": None}, "data": []}


@settings(deadline=None)
@given(count=st.integers(0, 30), size=st.integers(1, 12))
def test_following_next_page_to_its_end_shows_every_post_once(count: int, size: int) -> None:
    butter, seen, page = Butter(large_site(count)), [], 1

    while page:
        listing = read(butter, f"/posts/?page={page}&page_size={size}")
        seen += [post["slug"] for post in listing["data"]]
        page = listing["meta"]["next_page"]

    assert sorted(seen) == [f"post-{number:05}" for number in range(count)]


# --- posts ---


def test_a_post_alone_has_a_null_url_and_deleted(butter: Butter) -> None:
    butter.site.publish_post("hello", title="Hello", tags=["Small Trees"], categories=["News"])

    post = read(butter, "/posts/hello/")["data"]

    assert post.keys() == POST_KEYS | {"deleted"}
    assert (post["url"], post["deleted"], post["scheduled"]) == (None, None, None)
    assert (post["title"], post["summary"], post["featured_image"]) == ("Hello", "", None)
    assert post["tags"] == [{"name": "Small Trees", "slug": "small-trees"}]
    assert post["categories"] == [{"name": "News", "slug": "news"}]
    assert post["author"].keys() == AUTHOR_KEYS
    assert post["updated"] == "2025-06-02T12:00:00.123456Z"


def test_a_post_in_a_list_has_a_url_and_no_deleted(butter: Butter) -> None:
    butter.site.publish_post("hello")

    (post,) = read(butter, "/posts/")["data"]

    assert post.keys() == POST_KEYS
    assert post["url"] == "/hello"


def test_a_post_is_answered_in_any_state(butter: Butter) -> None:
    butter.site.save_draft_post("draft")
    butter.site.save_draft_post("soon", scheduled=NOON)
    butter.site.publish_post("gone-offline")
    butter.site.unpublish_post("gone-offline")

    posts = [read(butter, f"/posts/{slug}/")["data"] for slug in ("draft", "soon", "gone-offline")]

    assert [post["status"] for post in posts] == ["draft", "scheduled", "draft"]
    assert [post["published"] for post in posts] == [None, None, None]
    assert posts[1]["scheduled"] == "2025-06-02T12:00:00.123456Z"


def test_a_list_of_posts_has_the_published_ones_the_newest_first(butter: Butter) -> None:
    butter.site.publish_post("old", published=datetime(2020, 1, 1, tzinfo=UTC))
    butter.site.publish_post("new", published=datetime(2024, 1, 1, tzinfo=UTC))
    butter.site.save_draft_post("draft")

    assert [post["slug"] for post in read(butter, "/posts/")["data"]] == ["new", "old"]
    assert {post["slug"] for post in read(butter, "/posts/?preview=1")["data"]} == {"new", "old", "draft"}


def test_a_post_names_its_neighbours_in_time(butter: Butter) -> None:
    for year in (2020, 2021, 2022):
        butter.site.publish_post(f"of-{year}", title=str(year), published=datetime(year, 1, 1, tzinfo=UTC))

    middle, last = read(butter, "/posts/of-2021/")["meta"], read(butter, "/posts/of-2022/")["meta"]

    assert middle["next_post"] == {"slug": "of-2022", "title": "2022", "featured_image": None}
    assert middle["previous_post"]["slug"] == "of-2020"
    assert last["next_post"] is None


def test_a_post_that_is_not_there_is_a_404_in_the_words_of_posts(butter: Butter) -> None:
    assert error(butter, "/posts/nowhere/") == (404, "Not found.")


def test_a_locale_leads_from_a_post_to_its_translation(butter: Butter) -> None:
    butter.site.publish_post("winter", title="Winter")
    butter.site.publish_post("der-winter", locale="de", sibling_of="winter", title="Der Winter")

    assert read(butter, "/posts/winter/?locale=de")["data"]["slug"] == "der-winter"
    assert read(butter, "/posts/der-winter/?locale=en")["data"]["slug"] == "winter"
    assert read(butter, "/posts/der-winter/")["data"]["title"] == "Der Winter"
    assert [post["slug"] for post in read(butter, "/posts/?locale=de")["data"]] == ["der-winter"]


def test_a_post_without_a_translation_is_a_404_in_that_locale(butter: Butter) -> None:
    butter.site.publish_post("winter")

    assert error(butter, "/posts/winter/?locale=de") == (404, "Not found.")


def test_posts_are_filtered_by_author_tag_and_category(butter: Butter) -> None:
    butter.site.publish_post("a", tags=["Oak"], categories=["Trees"])
    butter.site.publish_post("b", tags=["Rose"])

    def slugs(query: str) -> list[str]:
        return [post["slug"] for post in read(butter, f"/posts/?{query}")["data"]]

    assert slugs("tag_slug=oak") == ["a"]
    assert slugs("category_slug=trees") == ["a"]
    assert slugs("author_slug=maja-lindqvist") == ["b", "a"]
    assert slugs("author_slug=somebody") == []


def test_bodies_can_be_left_out(butter: Butter) -> None:
    butter.site.publish_post("a", body="<p>long</p>")

    (post,) = read(butter, "/posts/?exclude_body=true")["data"]

    assert post.keys() == POST_KEYS - {"body"}


# --- pages ---


def test_a_page_has_its_type_its_state_and_no_number(butter: Butter) -> None:
    butter.site.publish_page("landing", "sale", {"headline": "Sale"}, name="Big sale")

    assert read(butter, "/pages/landing/sale/")["data"] == {
        "slug": "sale",
        "name": "Big sale",
        "published": "2025-06-02T12:00:00.123456Z",
        "updated": "2025-06-02T12:00:00.123456Z",
        "scheduled": None,
        "status": "published",
        "page_type": "landing",
        "fields": {"headline": "Sale"},
    }


def test_a_single_page_has_a_null_type(butter: Butter) -> None:
    butter.site.publish_page(SINGLE_PAGES, "about")

    assert read(butter, "/pages/*/about/")["data"]["page_type"] is None


def test_the_star_finds_a_page_of_any_type_but_lists_single_pages_only(butter: Butter) -> None:
    butter.site.publish_page("landing", "sale")
    butter.site.publish_page(SINGLE_PAGES, "about")

    assert read(butter, "/pages/*/sale/")["data"]["page_type"] == "landing"
    assert read(butter, "/pages/%2A/sale/")["data"]["slug"] == "sale"
    assert [page["slug"] for page in read(butter, "/pages/*/")["data"]] == ["about"]


def test_a_page_that_is_not_published_is_a_404_unless_previewed(butter: Butter) -> None:
    butter.site.save_draft_page("landing", "sale", {"headline": "Soon"})

    assert error(butter, "/pages/landing/sale/") == (404, "Page not found.")
    assert read(butter, "/pages/landing/sale/?preview=1")["data"]["status"] == "draft"
    assert read(butter, "/pages/landing/")["data"] == []
    assert len(read(butter, "/pages/landing/?preview=1")["data"]) == 1


def test_a_draft_over_a_published_page_shows_in_the_preview_only(butter: Butter) -> None:
    butter.site.publish_page("landing", "sale", {"headline": "Live"})
    butter.site.save_draft_page("landing", "sale", {"headline": "Next"}, scheduled=NOON)

    live, preview = read(butter, "/pages/landing/sale/"), read(butter, "/pages/landing/sale/?preview=1")

    assert (live["data"]["fields"], live["data"]["status"]) == ({"headline": "Live"}, "published")
    assert (preview["data"]["fields"], preview["data"]["status"]) == ({"headline": "Next"}, "scheduled")


def test_a_page_is_found_under_its_own_type_and_locale_only(butter: Butter) -> None:
    butter.site.publish_page("landing", "sale", locale="de")

    assert error(butter, "/pages/landing/sale/") == (404, "Page not found.")
    assert error(butter, "/pages/other/sale/?locale=de") == (404, "Page not found.")
    assert ask(butter, "/pages/landing/sale/?locale=de").status == 200


def test_a_page_type_that_nobody_made_is_a_404_and_an_empty_one_is_not(butter: Butter) -> None:
    butter.site.add_page_type("landing")

    assert ask(butter, "/pages/unknown/").status == 404
    assert read(butter, "/pages/landing/")["meta"]["count"] == 0


def test_pages_of_a_type_can_be_filtered_and_ordered_but_single_pages_cannot(butter: Butter) -> None:
    for page_type in ("landing", SINGLE_PAGES):
        for slug, rank in (("a", 10), ("b", 9), ("c", 11)):
            fields = {"rank": rank, "seo": {"index": rank > 9}}
            butter.site.publish_page(page_type, slug, fields)

    def slugs(target: str) -> list[str]:
        return [page["slug"] for page in read(butter, target)["data"]]

    assert slugs("/pages/landing/?order=rank") == ["b", "a", "c"]
    assert slugs("/pages/landing/?order=-updated") == ["c", "b", "a"]
    assert slugs("/pages/landing/?fields.rank=9") == ["b"]
    assert slugs("/pages/landing/?fields.seo.index=true&order=-rank") == ["c", "a"]
    assert slugs("/pages/*/?order=rank&fields.rank=9") == ["a", "b", "c"]
    assert ask(butter, "/pages/landing/?order=colour").status == 400


def test_older_accounts_have_no_states(butter: Butter) -> None:
    butter.site.account.statuses = False
    butter.site.publish_page("landing", "sale")
    butter.site.publish_post("hello")

    assert not {"status", "scheduled"} & read(butter, "/pages/landing/sale/")["data"].keys()
    assert read(butter, "/posts/hello/")["data"].keys() == (POST_KEYS | {"deleted"}) - {"scheduled"}


def test_the_accounts_time_zone_moves_updated_and_published(butter: Butter) -> None:
    butter.site.account.time_zone = "Europe/Berlin"
    butter.site.publish_post("hello")

    post = read(butter, "/posts/hello/")["data"]

    assert post["updated"] == post["published"] == "2025-06-02T14:00:00.123456+02:00"
    assert post["created"] == "2025-06-02T12:00:00.123456Z"


# --- fields ---


def test_references_are_resolved_as_deep_as_levels_goes(butter: Butter) -> None:
    country = item_uri("countries", butter.site.publish_item("countries", {"name": "Norway"}).number)
    maker = item_uri("makers", butter.site.publish_item("makers", {"name": "Oak", "country": country}).number)
    butter.site.publish_page("landing", "sale", {"maker": maker, "makers": [maker]})

    def maker_at(levels: int) -> Any:
        return read(butter, f"/pages/landing/sale/?levels={levels}")["data"]["fields"]["maker"]

    assert maker_at(1) == maker == "/v2/content/?keys=makers[_id=1002]"
    assert maker_at(2) == {"meta": {"id": 1002}, "name": "Oak", "country": country}
    assert maker_at(3)["country"] == {"meta": {"id": 1001}, "name": "Norway"}
    default = read(butter, "/pages/landing/sale/")["data"]["fields"]
    assert default == {"maker": maker_at(2), "makers": [maker_at(2)]}


def test_items_that_refer_to_each_other_end_at_the_last_level(butter: Butter) -> None:
    number = butter.site.publish_item("people", {"name": "Ada"}).number
    butter.site.publish_item("people", {"friend": item_uri("people", number)}, number=number)

    person = read(butter, f"/content/people/{number}/?levels=5")["data"]

    assert json.dumps(person).count("Ada") == 5
    assert json.dumps(person).count("/v2/content/") == 1


def test_a_reference_to_what_is_not_live_is_null(butter: Butter) -> None:
    maker = butter.site.save_draft_item("makers", {"name": "Oak"}).number
    butter.site.publish_page("landing", "sale", {"maker": item_uri("makers", maker)})

    assert read(butter, "/pages/landing/sale/")["data"]["fields"] == {"maker": None}


def test_media_are_urls_or_come_with_their_alt_text(butter: Butter) -> None:
    photo = media("https://cdn.example.com/oak.jpg", "An oak")
    butter.site.publish_page(
        "landing", "sale", {"photo": photo, "sections": [{"type": "hero", "fields": {"p": photo}}]}
    )

    plain = read(butter, "/pages/landing/sale/")["data"]["fields"]
    detailed = read(butter, "/pages/landing/sale/?alt_media_text=1")["data"]["fields"]

    assert plain["photo"] == plain["sections"][0]["fields"]["p"] == "https://cdn.example.com/oak.jpg"
    assert detailed["photo"] == detailed["sections"][0]["fields"]["p"] == photo


# --- collection items ---


def test_an_item_has_its_number_and_its_fields_only(butter: Butter) -> None:
    number = butter.site.publish_item("tools", {"name": "Fork", "price": 18}, label="Hand fork").number

    item = {"meta": {"id": number}, "name": "Fork", "price": 18}

    assert read(butter, f"/content/tools/{number}/") == {"data": item}
    assert read(butter, "/content/tools/") == {
        "meta": {"count": 1, "next_page": None, "previous_page": None},
        "data": {"tools": [item]},
    }


def test_a_draft_item_shows_in_the_preview_only(butter: Butter) -> None:
    number = butter.site.publish_item("tools", {"name": "Fork"}).number
    butter.site.save_draft_item("tools", {"name": "Spade"}, number=number)
    other = butter.site.save_draft_item("tools", {"name": "Rake"}).number

    assert read(butter, f"/content/tools/{number}/")["data"]["name"] == "Fork"
    assert read(butter, f"/content/tools/{number}/?preview=1")["data"]["name"] == "Spade"
    assert error(butter, f"/content/tools/{other}/") == (404, "Not found.")
    assert [item["name"] for item in read(butter, "/content/tools/?test=1")["data"]["tools"]] == ["Spade", "Rake"]


def test_an_item_stands_in_each_locale_for_itself(butter: Butter) -> None:
    number = butter.site.publish_item("tools", {"name": "Fork"}).number

    assert ask(butter, f"/content/tools/{number}/?locale=de").status == 404
    butter.site.publish_item("tools", {"name": "Gabel"}, number=number, locale="de")
    assert read(butter, f"/content/tools/{number}/?locale=de")["data"] == {"meta": {"id": number}, "name": "Gabel"}
    assert read(butter, f"/content/tools/{number}/")["data"]["name"] == "Fork"


def test_a_collection_that_nobody_made_is_a_404(butter: Butter) -> None:
    butter.site.add_collection("tools")

    assert error(butter, "/content/unknown/") == (404, "Not found.")
    assert read(butter, "/content/tools/")["data"] == {"tools": []}


def test_items_are_filtered_and_ordered_by_their_fields_and_by_nothing_else(butter: Butter) -> None:
    for name, price in (("Fork", 18), ("Shears", 9)):
        butter.site.publish_item("tools", {"name": name, "price": price})

    assert [tool["name"] for tool in read(butter, "/content/tools/?order=price")["data"]["tools"]] == ["Shears", "Fork"]
    assert len(read(butter, "/content/tools/?fields.name=Fork")["data"]["tools"]) == 1
    assert ask(butter, "/content/tools/?fields.colour=red").status == 403
    assert ask(butter, "/content/tools/?order=updated").status == 403


# --- the example ---


def test_the_example_site_has_something_of_everything() -> None:
    butter = Butter(example_site())

    assert read(butter, "/posts/pruning-roses/?locale=de")["data"]["slug"] == "rosen-schneiden"
    assert read(butter, "/posts/frost-dates/")["data"]["status"] == "draft"
    page = read(butter, "/pages/landing-page/spring-sale/?levels=3")["data"]["fields"]
    assert page["featured"]["maker"]["name"] == "Hollow Oak Tools"
    assert read(butter, "/pages/landing-page/spring-sale/?locale=de")["data"]["name"] == "Frühling"
    assert [one["slug"] for one in read(butter, "/pages/*/")["data"]] == ["about"]
