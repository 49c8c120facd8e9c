"""Example sites: a small one in two locales with something of everything, and a large one for backfills."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sandbox.site import SINGLE_PAGES, Account, Site, item_uri, media

FIRST_DAY = datetime(2024, 3, 1, 8, tzinfo=UTC)


def example_site(clock: Callable[[], datetime] | None = None) -> Site:
    """A garden shop: 4 posts (one of them a draft, one with a translation), 4 pages, 2 collections; in en and de."""
    site = Site(Account(locales=("en", "de")), clock)
    _add_posts(site)
    _add_items(site)
    return site


def _add_posts(site: Site) -> None:
    site.publish_post(
        "pruning-roses",
        published=FIRST_DAY,
        title="Pruning roses",
        summary="Where to cut, and when to leave the rose alone.",
        body="<p>Cut above an outward bud.</p>\n<h3>When</h3><p>Before the forsythia blooms &amp; never in frost.</p>",
        featured_image="https://cdn.example.com/roses.jpg",
        tags=["Roses", "Spring"],
        categories=["Garden"],
    )
    site.publish_post(
        "rosen-schneiden",
        locale="de" if "de" in site.account.locales else None,
        sibling_of="pruning-roses",
        published=FIRST_DAY,
        title="Rosen schneiden",
        body="<p>Über einer Knospe schneiden, die nach außen zeigt.</p>",
        tags=["Rosen"],
    )
    site.publish_post(
        "compost-in-a-small-yard",
        published=FIRST_DAY + timedelta(days=30),
        title="Compost in a small yard",
        body="<p>Two crates are enough: one fills while the other ripens.</p>",
        categories=["Garden"],
    )
    site.save_draft_post("frost-dates", title="Frost dates", body="<p>To be written.</p>")


def _add_items(site: Site) -> None:
    maker = site.publish_item("makers", {"name": "Hollow Oak Tools", "country": "Norway"}, label="Hollow Oak Tools")
    maker_uri = item_uri("makers", maker.number)
    shears = {"name": "Bypass shears", "price": 39, "photo": media("https://cdn.example.com/shears.jpg", "Red shears")}
    tool = site.publish_item("tools", {**shears, "maker": maker_uri}, label="Bypass shears")
    site.publish_item(
        "tools", {**shears, "name": "Gartenschere"}, number=tool.number, locale="de", label="Gartenschere"
    )
    site.publish_item("tools", {"name": "Hand fork", "price": 18, "maker": maker_uri}, label="Hand fork")
    _add_pages(site, item_uri("tools", tool.number))


def _add_pages(site: Site, tool: str) -> None:
    landing = {
        "seo": {"title": "Spring sale", "description": "Tools at half their price until April."},
        "headline": "Spring sale",
        "hero_image": media("https://cdn.example.com/spring.jpg", "A wheelbarrow of tulips"),
        "featured": tool,
        "sections": [
            {"type": "hero", "fields": {"headline": "Everything must grow", "button_url": "/shop"}},
            {"type": "quotes", "fields": {"quotes": [{"text": "They cut like new.", "name": "Ada Example"}]}},
        ],
    }
    german = {**landing, "headline": "Frühling"}
    about = {"headline": "About us", "body": "<p>Three gardeners.</p>"}
    site.publish_page("landing-page", "spring-sale", landing, name="Spring sale", published=FIRST_DAY)
    site.publish_page("landing-page", "spring-sale", german, name="Frühling", locale="de", published=FIRST_DAY)
    site.publish_page("landing-page", "autumn-sale", {"headline": "Autumn sale"}, published=FIRST_DAY)
    site.publish_page(SINGLE_PAGES, "about", about, name="About", published=FIRST_DAY)


def large_site(posts: int) -> Site:
    """A site with so many published posts, a minute between each and the next."""
    site = Site()
    for number in range(posts):
        published = FIRST_DAY + timedelta(minutes=number)
        body = f"<p>Number {number}.</p>"
        site.publish_post(f"post-{number:05}", title=f"Post {number}", body=body, published=published)
    return site
