"""What the settings say of a search server: where it is, what it is, who we are to it."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from os import environ
from urllib.parse import SplitResult, urlsplit

from buttersync.outcomes import Misconfigured

Settings = Mapping[str, str]

ENGINES = ("opensearch", "elasticsearch", "serverless")
AUTHS = ("iam", "basic", "api_key", "none")

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*+\.?|[0-9a-f:.]{2,45}")

# Domains and collections, by IPv4 alone or by both. https://docs.aws.amazon.com/general/latest/gr/opensearch-service.html
_AWS = (
    re.compile(r".+\.(?P<region>[a-z0-9-]+)\.(?P<service>es|aoss)\.amazonaws\.com(?:\.cn)?"),
    re.compile(r".+\.(?P<service>aos|aoss)\.(?P<region>[a-z0-9-]+)\.on\.aws"),
)

# What an index name may hold, of ASCII, and room for what follows.
# https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
_PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9._-]{0,199})?")

_API_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Cluster:
    """What the settings say of a search server."""

    host: str
    port: int
    tls: bool
    serverless: bool
    """Whether nothing but the lease keeps an old version of a document out."""
    prefix: str = ""
    """With which the names of all indices and aliases begin."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The credentials, unless each request is signed."""
    signing: tuple[str, str] | None = None
    """The AWS service and the region that requests are signed for."""


def cluster_of(settings: Settings) -> Cluster:
    """What the settings say; raises Misconfigured, which names the setting and quotes no secret."""
    address = _address(settings["endpoint"].strip())
    host = address.hostname or ""
    service, region = _aws(host)
    engine = _engine(settings, service)
    auth = _auth(settings, service)
    tls = address.scheme == "https"
    if not tls and auth != "none" and not _is_loopback(host):
        raise Misconfigured("the setting endpoint: credentials travel by https:// only")
    if engine == "serverless" and auth != "iam":
        raise Misconfigured("the setting auth: OpenSearch Serverless takes iam only")
    return Cluster(
        host=host,
        port=address.port or (443 if tls else 80),
        tls=tls,
        serverless=engine == "serverless",
        prefix=_prefix(settings),
        headers=_headers(settings, auth),
        signing=("aoss" if engine == "serverless" else "es", _region(region)) if auth == "iam" else None,
    )


def serverless(settings: Settings) -> bool:
    """Whether the settings say OpenSearch Serverless; never raises, for whoever asks hears of it elsewhere."""
    try:
        return cluster_of(settings).serverless
    except Misconfigured:
        return False


def _address(endpoint: str) -> SplitResult:
    address = _split(endpoint)
    if address is None or address.scheme not in ("http", "https") or not _HOST.fullmatch(address.hostname or ""):
        raise Misconfigured("the setting endpoint: no address like https://search.example.com or http://127.0.0.1:9200")
    if "@" in address.netloc:
        raise Misconfigured("the setting endpoint: credentials belong into username and password, or api_key")
    if address.path.strip("/") or address.query or address.fragment:
        raise Misconfigured("the setting endpoint: an address ends with its host and port")
    return address


def _split(endpoint: str) -> SplitResult | None:
    """None for what is no address, nor could be one."""
    try:
        address = urlsplit(endpoint)
        port = address.port
    except ValueError:
        return None
    return address if port != 0 else None


def _aws(host: str) -> tuple[str, str]:
    """The service and the region that a host of AWS names."""
    for pattern in _AWS:
        if named := pattern.fullmatch(host):
            return named["service"], named["region"]
    return "", ""


def _region(named: str) -> str:
    region = named or environ.get("AWS_REGION", "")
    if not region:
        raise Misconfigured("the setting endpoint: its host names no region to sign for, and AWS_REGION is not set")
    return region


def _engine(settings: Settings, service: str) -> str:
    engine = _word(settings, "engine", ENGINES) or ("serverless" if service == "aoss" else "opensearch")
    if service == "aoss" and engine != "serverless":
        raise Misconfigured("the setting engine: the endpoint is one of OpenSearch Serverless")
    return engine


def _auth(settings: Settings, service: str) -> str:
    if auth := _word(settings, "auth", AUTHS):
        return auth
    if settings.get("username"):
        return "basic"
    if settings.get("api_key"):
        return "api_key"
    if service:
        return "iam"
    raise Misconfigured(f"the setting auth: store one of {', '.join(AUTHS)}")


def _word(settings: Settings, name: str, known: tuple[str, ...]) -> str:
    word = settings.get(name, "").strip()
    if word and word not in known:
        raise Misconfigured(f"the setting {name}: there are {', '.join(known)}")
    return word


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _prefix(settings: Settings) -> str:
    prefix = settings.get("index_prefix", "").strip()
    if not _PREFIX.fullmatch(prefix):
        raise Misconfigured(
            "the setting index_prefix: a-z, 0-9, dots, hyphens and underscores, a letter or digit first"
        )
    return prefix


def _headers(settings: Settings, auth: str) -> Mapping[str, str]:
    if auth == "basic":
        username, password = (_given(settings, name, auth).strip("\r\n") for name in ("username", "password"))
        if ":" in username:
            raise Misconfigured("the setting username: a colon ends a username")
        return {"authorization": f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"}
    if auth == "api_key":
        key = _given(settings, "api_key", auth).strip()
        if not _API_KEY.fullmatch(key):
            raise Misconfigured("the setting api_key: no API key has blanks or signs outside of ASCII")
        # As the server shows it: `encoded`, or `id` and `api_key`.
        return {"authorization": f"ApiKey {b64encode(key.encode()).decode() if ':' in key else key}"}
    return {}


def _given(settings: Settings, name: str, auth: str) -> str:
    if not settings.get(name, "").strip():
        raise Misconfigured(f"the setting {name}: auth is {auth}, which needs it")
    return settings[name]
