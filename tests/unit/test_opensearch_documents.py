"""The pure part of opensearch: from documents to the lines of a request, from an answer to outcomes."""

import json
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersync.model import Document, Effect, Identity, Kind
from buttersync.outcomes import DONE, Failure, Misconfigured, Refused, Unavailable
from cluster import Cluster
from mapping import ALIASES, MAPPINGS, PROPERTIES, index_template, lacking, seconds
from opensearch import BODY_BYTES, Action, Fault, Item, action, document_id, items_of, outcome_of, parts, source

VERSIONED = Cluster(host="127.0.0.1", port=9200, tls=False, serverless=False, prefix="site-")
SERVERLESS = Cluster(host="127.0.0.1", port=9200, tls=False, serverless=True)


def document(
    kind: Kind = "post", group: str = "", name: str = "hello", change: Effect = "updated", **more: Any
) -> Document:
    return Document(
        identity=Identity(kind, "" if kind == "post" else group, name, "en"),
        change=change,
        announce_key="a",
        archive_key="b",
        **{"version": 7} | more,
    )


def lines(one: Action) -> list[Any]:
    return [json.loads(line) for line in one.lines.decode().splitlines()]


# What a document becomes


def test_a_document_has_the_identity_of_each_kind() -> None:
    page = source(document("page", "*", "about"))
    item = source(document("item", "products", "41", fields={"slug": "lamp"}))
    post = source(document())

    assert (page["type"], page["page_type"], page["slug"], page["ref"]) == ("page", "*", "about", "page:*:about:en")
    assert (item["collection"], item["item_id"], item["slug"]) == ("products", "41", "lamp")
    assert (post["slug"], post["locale"], post["version"]) == ("hello", "en", 7)


def test_an_item_has_the_slug_of_its_fields_if_they_have_one() -> None:
    assert source(document("item", "products", "41"))["slug"] is None
    assert source(document("item", "products", "41", fields={"slug": ["no", "slug"]}))["slug"] is None


def test_what_is_not_there_is_null_where_a_query_would_ask_for_it() -> None:
    found = source(document())

    assert [found[name] for name in ("url", "image", "author", "published_at", "updated_at")] == [None] * 5


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_field_of_a_document_is_mapped(kind: Kind) -> None:
    assert lacking(dict.fromkeys(source(document(kind, "group")))) == [
        name for name in ("slug", "page_type", "collection", "item_id") if name not in source(document(kind, "group"))
    ]
    assert set(source(document(kind, "group"))) <= set(PROPERTIES)


def test_no_value_of_the_content_can_be_more_than_lucene_takes_or_be_turned_down_for_its_type() -> None:
    for name, field in PROPERTIES.items():
        kinds = [field, *field.get("fields", {}).values()]
        indexed = [one for one in kinds if one["type"] == "keyword" and one.get("index", True)]
        assert all(4 * one["ignore_above"] <= 32_766 for one in indexed), name
        assert field["type"] != "date" or field["ignore_malformed"], name
    assert MAPPINGS["dynamic"] is False
    assert PROPERTIES["fields"] == {"type": "object", "enabled": False}


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@given(group=NAMES, name=NAMES)
def test_an_id_is_the_ref_unless_it_is_longer_than_an_id_may_be(group: str, name: str) -> None:
    ref = Identity("page", group, name, "en").ref

    found = document_id(ref)

    assert ref.isascii()
    assert len(found) <= 512
    assert (found == ref) == (len(ref) <= 512)


def test_two_long_refs_have_two_ids() -> None:
    assert document_id("post:" + "a" * 600) != document_id("post:" + "a" * 601)


# What is sent


def test_a_document_is_written_with_its_version() -> None:
    one = action(document(), VERSIONED)

    where = {"_index": "site-posts", "_id": "post:hello:en", "version": 7, "version_type": "external_gte"}
    assert lines(one)[0] == {"index": where}
    assert lines(one)[1]["ref"] == "post:hello:en"
    assert one.items == 1


def test_a_removal_comes_with_a_write_that_cannot_succeed_lest_it_makes_an_index() -> None:
    one = action(document(change="removed"), VERSIONED)

    assert lines(one) == [
        {"index": {"_index": "site-posts", "_id": "buttersync", "if_seq_no": 0, "if_primary_term": 1}},
        {},
        {"delete": {"_index": "site-posts", "_id": "post:hello:en", "version": 7, "version_type": "external_gte"}},
    ]
    assert one.items == 2


def test_serverless_is_told_no_versions() -> None:
    assert lines(action(document(), SERVERLESS))[0] == {"index": {"_index": "posts", "_id": "post:hello:en"}}
    assert lines(action(document(change="removed"), SERVERLESS)) == [
        {"delete": {"_index": "posts", "_id": "post:hello:en"}}
    ]


TEXTS = st.text(st.characters(exclude_categories=[]) | st.sampled_from('\0\ud83d\udc4b\n\r\u2028\x85"\\'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=12,
)


@given(fields=st.dictionaries(TEXTS, VALUES), text=TEXTS, tags=st.lists(TEXTS))
@settings(deadline=None)
def test_whatever_the_content_it_is_one_line_of_json_that_every_parser_takes(
    fields: dict[str, Any], text: str, tags: list[str]
) -> None:
    one = action(document(title=text, text=text, tags=tuple(tags), fields=fields), VERSIONED)

    _, content, rest = one.lines.split(b"\n")
    found = json.loads(content.decode(), parse_constant=pytest.fail, object_pairs_hook=without_twins)
    assert rest == b""
    assert found["content"] == found["title"] == "".join("\ufffd" if 0xD800 <= ord(a) <= 0xDFFF else a for a in text)
    assert len(found["tags"]) == len(tags)


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Both servers turn down an object that has a key twice."""
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_two_keys_that_become_the_same_are_one() -> None:
    one = action(document(fields=dict(zip("\ud800\ud801", (1, 2), strict=True))), VERSIONED)

    assert lines(one)[1]["fields"] == {"\ufffd": 2}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("fields", [nested(100_000), {"\ud800": nested(100_000)}, {"\ud800": 10**5000}])
def test_what_no_json_can_hold_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="no JSON can hold this document: "):
        action(document(fields=fields), VERSIONED)


SIZES = st.lists(st.integers(1, 2 * BODY_BYTES) | st.sampled_from([1, BODY_BYTES // 2, BODY_BYTES]), max_size=12)


@given(SIZES)
@settings(max_examples=50, deadline=None)
def test_requests_have_all_actions_in_order_and_are_no_larger_than_they_must(sizes: list[int]) -> None:
    actions = [Action(bytes(size)) for size in sizes]

    cut = [[len(one.lines) for one in part] for part in parts(actions)]

    assert [size for part in cut for size in part] == sizes
    assert all(sum(part) <= BODY_BYTES or len(part) == 1 for part in cut)
    assert all(sum(part) + following[0] > BODY_BYTES for part, following in pairwise(cut))


# What an answer means


def fault(kind: str | None, reason: str | None = "", cause: Fault | None = None) -> Fault:
    return Fault(kind, reason, cause)


PREVIEW = "Preview of field's value: 'a secret headline'"

FAILURES = [
    # Of the document, in OpenSearch's words and in Elasticsearch's.
    (
        Item(
            400,
            error=fault(
                "mapper_parsing_exception",
                f"failed to parse field [price] of type [long] in document with id 'a'. {PREVIEW}",
                fault("illegal_argument_exception", 'For input string: "a secret headline"'),
            ),
        ),
        Refused,
        "400 mapper_parsing_exception (price, long): illegal_argument_exception",
    ),
    (
        Item(
            400,
            error=fault(
                "document_parsing_exception",
                f"[1:11] failed to parse field [fields.price] of type [long] in document with id 'a'. {PREVIEW}",
                fault("x_content_parse_exception", "a secret", fault("input_coercion_exception", "a secret")),
            ),
        ),
        Refused,
        "400 document_parsing_exception (fields.price, long): x_content_parse_exception: input_coercion_exception",
    ),
    (
        Item(
            400,
            error=fault(
                "illegal_argument_exception",
                'Document contains at least one immense term in field="title.raw" (whose UTF8 encoding is longer',
                fault("max_bytes_length_exceeded_exception"),
            ),
        ),
        Refused,
        "400 illegal_argument_exception (title.raw): max_bytes_length_exceeded_exception",
    ),
    (
        Item(
            400, error=fault("mapper_parsing_exception", "the title says: failed to parse field [secret] of type [x]")
        ),
        Refused,
        "400 mapper_parsing_exception",
    ),
    (
        Item(400, error=fault("strict_dynamic_mapping_exception", "introduction of [a secret] within [_doc]")),
        Refused,
        "400 strict_dynamic_mapping_exception",
    ),
    # A NullPointerException has no words.
    (
        Item(400, error=fault("mapper_parsing_exception", "failed to parse", fault("null_pointer_exception", None))),
        Refused,
        "400 mapper_parsing_exception: null_pointer_exception",
    ),
    (Item(400, error=fault("illegal_argument_exception", None)), Refused, "400 illegal_argument_exception"),
    (Item(500, error=fault(None, None)), Unavailable, "500 an error"),
    (Item(413, error=fault("document_too_large")), Refused, "413 document_too_large"),
    # Of the index.
    (
        Item(404, error=fault("index_not_found_exception", "no such index [posts]")),
        Misconfigured,
        "404 index_not_found_exception; there is no such alias: run setup",
    ),
    (
        Item(400, error=fault("illegal_argument_exception", "no write index is defined for alias [posts]. The write")),
        Misconfigured,
        "400 illegal_argument_exception; the alias leads to more than one index: say which is_write_index",
    ),
    (
        Item(
            400,
            error=fault(
                "illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"
            ),
        ),
        Misconfigured,
        "400 illegal_argument_exception; the alias leads to a data stream",
    ),
    (
        Item(400, error=fault("illegal_argument_exception", "Document ID is not supported in create/index operation")),
        Misconfigured,
        "400 illegal_argument_exception; the collection must be of the type SEARCH",
    ),
    (
        Item(400, error=fault("index_closed_exception", "closed")),
        Misconfigured,
        "400 index_closed_exception; open the index",
    ),
    (
        Item(400, error=fault("routing_missing_exception", "routing is required for [posts]/[a]")),
        Misconfigured,
        "400 routing_missing_exception; the index asks for a routing",
    ),
    (
        Item(403, error=fault("cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)];")),
        Misconfigured,
        "403 cluster_block_exception; the index takes no writes",
    ),
    (
        Item(429, error=fault("cluster_block_exception", "disk usage exceeded flood-stage watermark")),
        Misconfigured,
        "429 cluster_block_exception; the index takes no writes",
    ),
    (Item(403, error=fault("security_exception", "no permissions for")), Misconfigured, "403 security_exception"),
    # Of the moment.
    (Item(429, error=fault("es_rejected_execution_exception")), Unavailable, "429 es_rejected_execution_exception"),
    (Item(429, error=fault("rejected_execution_exception")), Unavailable, "429 rejected_execution_exception"),
    (Item(429, error=fault("circuit_breaking_exception")), Unavailable, "429 circuit_breaking_exception"),
    (Item(503, error=fault("unavailable_shards_exception")), Unavailable, "503 unavailable_shards_exception"),
    (
        Item(503, error=fault("cluster_block_exception", "no master")),
        Unavailable,
        "503 cluster_block_exception",
    ),
    (Item(500, error=fault("illegal_state_exception", "a secret")), Unavailable, "500 illegal_state_exception"),
    # No search server says that.
    (Item(500), Unavailable, "the server's answer is none of a search server"),
    (Item(404), Unavailable, "the server's answer is none of a search server"),
]


@pytest.mark.parametrize(("item", "kind", "reason"), FAILURES)
def test_what_failed_is_said_without_a_word_of_the_content(item: Item, kind: type[Failure], reason: str) -> None:
    outcome = outcome_of([item])

    assert type(outcome) is kind
    assert outcome.reason == reason


def test_an_error_without_words_does_not_spoil_the_answers_to_its_batch_mates() -> None:
    wordless = {"type": None, "reason": None, "caused_by": {"type": "null_pointer_exception", "reason": None}}

    well, failed = items_of({"items": [{"index": {"status": 200}}, {"index": {"status": 400, "error": wordless}}]}, 2)

    assert outcome_of([well]) is DONE
    assert isinstance(outcome_of([failed]), Refused)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_what_a_failing_server_may_have_written_all_the_same_is_unsure(status: int) -> None:
    outcome = outcome_of([Item(status, error=fault("unavailable_shards_exception"))])

    assert isinstance(outcome, Unavailable)
    assert outcome.unsure


def test_what_was_rejected_is_not_unsure() -> None:
    outcome = outcome_of([Item(429, error=fault("rejected_execution_exception"))])

    assert isinstance(outcome, Unavailable)
    assert not outcome.unsure


@pytest.mark.parametrize(
    "item",
    [
        Item(200, "updated"),
        Item(201, "created"),
        Item(200, "deleted"),
        Item(404, "not_found"),
        Item(409, error=fault("version_conflict_engine_exception", "current version [8] is higher")),
    ],
)
def test_what_is_there_or_newer_or_gone_already_is_done(item: Item) -> None:
    assert outcome_of([item]) is DONE


def test_a_removal_is_done_if_the_name_is_an_alias_too() -> None:
    missing = Item(404, error=fault("index_not_found_exception"))
    conflict = Item(409, error=fault("version_conflict_engine_exception"))

    assert outcome_of([conflict, Item(200, "deleted")]) is DONE
    assert isinstance(outcome_of([missing, Item(404, "not_found")]), Misconfigured)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        "<html>",
        [],
        {},
        {"items": None},
        {"items": []},
        {"items": [{"index": {"status": 200}}] * 2},
        {"items": [{"index": {"status": "200"}}]},
        {"items": [{"create": {"status": 200}}]},
        {"items": [{"index": {"status": 400, "error": "in words"}}]},
        {"items": [{}]},
    ],
)
def test_an_answer_of_another_shape_tells_nothing(answer: object) -> None:
    with pytest.raises(Unavailable, match="none of a search server") as raised:
        items_of(answer, 1)

    assert raised.value.unsure


# Indices


def test_the_template_takes_no_index_but_ours() -> None:
    assert index_template("site-")["index_patterns"] == ["site-pages-v*", "site-posts-v*", "site-items-v*"]
    assert set(ALIASES) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("time", "found"),
    [
        ("1h", 3600),
        ("60s", 60),
        ("1.5m", 90),
        ("90000ms", 90),
        ("1d", 86400),
        ("0", 0),
        ("-1", 0),
        ("1 h", 0),
        ("5y", 0),
    ],
)
def test_times_are_read_as_the_servers_write_them(time: str, found: float) -> None:
    assert seconds(time) == found
