"""The settings of algolia, understood."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from buttersync.outcomes import Misconfigured

Settings = Mapping[str, str]

RECORD_BYTES = 10_000
"""The least that a plan allows: https://www.algolia.com/doc/guides/scaling/algolia-service-limits"""
SENSIBLE_BYTES = range(1_000, 100_001)

_APP_ID = re.compile(r"[A-Za-z0-9]{1,50}")
"""It becomes a part of host names."""
_API_KEY = re.compile(r"[!-~]+")
_INDEX_PREFIX = re.compile(r"[A-Za-z0-9_.-]*")
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")

THIS_MACHINE = ("localhost", "host.docker.internal")
"""The second is what containers call the machine around them."""


@dataclass(frozen=True)
class Account:
    """The settings, understood."""

    app_id: str
    api_key: str = field(repr=False)
    index_prefix: str = ""
    endpoint: tuple[str, ...] = ()
    """The addresses to ask in the place of Algolia's own."""
    record_bytes: int = RECORD_BYTES

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises Misconfigured, with the setting named and its value not quoted."""
        addresses = tuple(filter(None, map(str.strip, settings.get("endpoint", "").split(","))))
        for address in addresses:
            _check_address(address)
        return cls(
            _matching(settings, "app_id", _APP_ID, "letters and digits only"),
            _matching(settings, "api_key", _API_KEY, "a key has neither spaces nor line ends"),
            _matching(settings, "index_prefix", _INDEX_PREFIX, "letters, digits, hyphens, dots and underscores only"),
            addresses,
            _record_bytes(settings.get("record_bytes", "")),
        )


def _matching(settings: Settings, name: str, pattern: re.Pattern[str], rule: str) -> str:
    value = settings.get(name, "")
    if not pattern.fullmatch(value):
        raise Misconfigured(f"the setting {name}: {rule}")
    return value


def _record_bytes(value: str) -> int:
    if not value.strip():
        return RECORD_BYTES
    number = int(value) if re.fullmatch(r"\s*[0-9]{1,6}\s*", value) else 0
    if number not in SENSIBLE_BYTES:
        least, most = SENSIBLE_BYTES[0], SENSIBLE_BYTES[-1]
        raise Misconfigured(
            f"the setting record_bytes: a number from {least} to {most}, the plan's record size in bytes"
        )
    return number


def _check_address(address: str) -> None:
    if not (_ENDPOINT.fullmatch(address) and (host := _host(address))):
        raise Misconfigured("the setting endpoint: http(s)://host or http(s)://host:port, separated by commas")
    if address.startswith("http:") and not _is_this_machine(host):
        raise Misconfigured("the setting endpoint: only this machine is reached without TLS, as http://127.0.0.1:8900")


def _host(address: str) -> str | None:
    try:
        host, port = urlsplit(address).hostname, urlsplit(address).port
    except ValueError:
        return None
    return None if port == 0 else host


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in THIS_MACHINE
