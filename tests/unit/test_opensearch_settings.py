"""The settings of opensearch: where the server is, what it is, who we are to it."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersync.outcomes import Misconfigured
from cluster import Cluster, cluster_of, serverless

DOMAIN = "https://search-site-abc123.eu-west-1.es.amazonaws.com"
COLLECTION = "https://abc123.eu-central-1.aoss.amazonaws.com"
SELF_HOSTED = "https://search.example.com"


def complaint(**settings: str) -> str:
    with pytest.raises(Misconfigured) as raised:
        cluster_of(settings)
    return raised.value.reason


def authorization(**settings: str) -> str:
    return cluster_of({"endpoint": SELF_HOSTED, **settings}).headers["authorization"]


def test_a_domain_of_amazon_is_signed_for_its_own_region() -> None:
    assert cluster_of({"endpoint": DOMAIN}) == Cluster(
        host="search-site-abc123.eu-west-1.es.amazonaws.com",
        port=443,
        tls=True,
        serverless=False,
        signing=("es", "eu-west-1"),
    )


@pytest.mark.parametrize(
    ("host", "signing", "leased"),
    [
        ("vpc-site-abc.us-east-1.es.amazonaws.com", ("es", "us-east-1"), False),
        ("search-site-abc.cn-north-1.es.amazonaws.com.cn", ("es", "cn-north-1"), False),
        ("search-site-abc.aos.ap-south-1.on.aws", ("es", "ap-south-1"), False),
        ("abc123.us-west-2.aoss.amazonaws.com", ("aoss", "us-west-2"), True),
        ("abc123.aoss.eu-north-1.on.aws", ("aoss", "eu-north-1"), True),
    ],
)
def test_the_host_tells_service_region_and_whether_a_lease_is_needed(
    host: str, signing: tuple[str, str], leased: bool
) -> None:
    cluster = cluster_of({"endpoint": f"https://{host}"})

    assert (cluster.signing, cluster.serverless) == (signing, leased)


def test_another_host_is_signed_for_the_region_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "sa-east-1")

    domain = cluster_of({"endpoint": SELF_HOSTED, "auth": "iam"})
    collection = cluster_of({"endpoint": SELF_HOSTED, "auth": "iam", "engine": "serverless"})

    assert (domain.signing, collection.signing) == (("es", "sa-east-1"), ("aoss", "sa-east-1"))


def test_without_a_region_nothing_can_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)

    assert "region" in complaint(endpoint=SELF_HOSTED, auth="iam")


@given(username=st.text("aé @/%", min_size=1), password=st.text(min_size=1).filter(lambda text: text.strip()))
def test_a_username_and_a_password_are_sent_as_they_are(username: str, password: str) -> None:
    if not username.strip():
        username += "x"

    header = authorization(username=username, password=password)

    assert b64decode(header.removeprefix("Basic ")).decode() == f"{username}:{password.strip(chr(13) + chr(10))}"


def test_an_api_key_is_taken_as_the_server_shows_it() -> None:
    assert authorization(api_key="VnVhQ2ZHY0JDZGJrUW==\n") == "ApiKey VnVhQ2ZHY0JDZGJrUW=="
    assert authorization(api_key="id:key") == "ApiKey aWQ6a2V5"


def test_no_credentials_are_sent_where_there_are_none() -> None:
    cluster = cluster_of(
        {"endpoint": "http://search.internal:9200/", "auth": "none", "username": "left", "password": "x"}
    )

    assert (cluster.port, cluster.tls, cluster.headers, cluster.signing) == (9200, False, {}, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_credentials_may_go_unencrypted_to_this_machine(host: str) -> None:
    assert cluster_of({"endpoint": f"http://{host}:9200", "username": "a", "password": "b"}).headers


@pytest.mark.parametrize(
    ("url", "port"), [("http://127.0.0.1", 80), (SELF_HOSTED, 443), ("https://search.example.com:9243/", 9243)]
)
def test_the_port_is_that_of_the_address(url: str, port: int) -> None:
    assert cluster_of({"endpoint": url, "auth": "none"}).port == port


def test_the_names_of_all_indices_begin_with_the_prefix() -> None:
    assert cluster_of({"endpoint": SELF_HOSTED, "auth": "none", "index_prefix": " site.a-1_ "}).prefix == "site.a-1_"


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "search.example.com",
        "ftp://search.example.com",
        "https://",
        "https://search.example.com:port",
        "https://search.example.com:99999",
        "https://search.example.com:0",
        "https://[::1",
        "https://sea rch.example.com",
        "https://search..example.com",
        "https://é.example.com",
        f"https://{'a' * 64}.example.com",
    ],
)
def test_what_is_no_address_is_named(endpoint: str) -> None:
    assert complaint(endpoint=endpoint, auth="none").startswith("the setting endpoint: no address")


@pytest.mark.parametrize("rest", ["/index", "?a=b", "#c", "/_bulk?x"])
def test_an_address_with_a_path_is_turned_down(rest: str) -> None:
    assert "ends with its host" in complaint(endpoint=SELF_HOSTED + rest, auth="none")


@pytest.mark.parametrize(
    "endpoint", ["https://me:hunter2@search.example.com", "https://me:hunter2@search.example.com/x"]
)
def test_credentials_in_the_address_are_turned_down_and_not_quoted(endpoint: str) -> None:
    said = complaint(endpoint=endpoint)

    assert "username and password" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the setting auth: store one of iam, basic, api_key, none"),
        ({"auth": "magic"}, "the setting auth: there are iam, basic, api_key, none"),
        ({"engine": "solr", "auth": "none"}, "the setting engine: there are opensearch, elasticsearch, serverless"),
        ({"auth": "basic"}, "the setting username: auth is basic, which needs it"),
        ({"username": "me"}, "the setting password: auth is basic, which needs it"),
        ({"username": "me:too", "password": "x"}, "the setting username: a colon ends a username"),
        ({"auth": "api_key"}, "the setting api_key: auth is api_key, which needs it"),
        ({"api_key": "two words"}, "the setting api_key: no API key has blanks or signs outside of ASCII"),
        ({"api_key": "a\r\nx-evil: 1"}, "the setting api_key: no API key has blanks or signs outside of ASCII"),
        ({"engine": "serverless", "auth": "none"}, "the setting auth: OpenSearch Serverless takes iam only"),
        ({"endpoint": COLLECTION, "engine": "opensearch"}, "the setting engine: the endpoint is one of OpenSearch"),
        ({"endpoint": "http://search.example.com", "username": "a", "password": "b"}, "the setting endpoint: creden"),
        (
            {"endpoint": "http://10.0.0.8", "api_key": "abc"},
            "the setting endpoint: credentials travel by https:// only",
        ),
    ],
)
def test_what_cannot_be_meant_is_named(settings: dict[str, str], said: str) -> None:
    assert complaint(**({"endpoint": SELF_HOSTED} | settings)).startswith(said)


@pytest.mark.parametrize(
    "prefix", ["Site-", "-site", "_site", ".site", "a b", "a*", "a,b", "a/b", "a:b", "a#", "é", "a" * 201]
)
def test_a_prefix_that_no_index_name_may_have_is_turned_down(prefix: str) -> None:
    assert complaint(endpoint=SELF_HOSTED, auth="none", index_prefix=prefix).startswith("the setting index_prefix")


def test_secrets_are_not_in_what_a_cluster_prints() -> None:
    cluster = cluster_of({"endpoint": SELF_HOSTED, "username": "me", "password": "hunter2"})

    assert "authorization" not in repr(cluster)


def test_whether_a_lease_is_needed_is_answered_for_any_settings() -> None:
    assert serverless({"endpoint": COLLECTION})
    assert not serverless({"endpoint": DOMAIN})
    assert not serverless({"endpoint": "nonsense"})
