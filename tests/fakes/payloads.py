"""Webhooks as ButterCMS sends them, and hypothesis's ideas of what else could arrive."""

from typing import Any

from hypothesis import strategies as st


def payload(event: str, **data: object) -> dict[str, Any]:
    """A webhook's JSON."""
    return {"data": data, "webhook": {"event": event, "target": "https://x.test"}}


POST = payload("post.published", id="autumn-recipes", _id=4711)
PAGE = payload("page.published", id="about", buttercms_id=88, page_type="*", locale=None, editor="Ida Example")
ITEM = payload(
    "collectionitem.published", id="recipes", itemid="/v2/content/?keys=recipes[_id=902]", locale="fr", label="Soup"
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
EVENTS = st.sampled_from(
    ["post.published", "post.localization.draft", "page.delete", "collectionitem.all", "page.draft"]
)
NEARLY_WEBHOOKS = st.fixed_dictionaries(
    {
        "webhook": JSON | st.fixed_dictionaries({"event": EVENTS | st.text()}),
        "data": JSON
        | st.fixed_dictionaries(
            {"id": st.text(st.characters(exclude_categories=()), max_size=300) | JSON},
            optional={
                "_id": JSON,
                "buttercms_id": JSON,
                "page_type": st.text(st.characters(exclude_categories=())) | JSON,
                "locale": st.sampled_from([None, "en", "pt-br"]) | JSON,
                "itemid": st.from_regex(r"\?keys=[a-z]*\[_id=[0-9]+\]") | JSON,
            },
        ),
    }
)
