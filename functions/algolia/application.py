"""An application of Algolia: its settings, and what is asked of it by way of Algolia's client."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
from algoliasearch.http.api_response import ApiResponse
from algoliasearch.http.exceptions import AlgoliaUnreachableHostException
from algoliasearch.http.hosts import Host, HostsCollection
from algoliasearch.http.transporter_sync import TransporterSync
from algoliasearch.search.client import SearchClientSync
from algoliasearch.search.config import SearchConfig

from buttersync.outcomes import DONE, Misconfigured, Outcome, Unavailable
from hosts import Absent, Wire, combined
from records import Request

Settings = Mapping[str, str]

# ---------------------------------------------------------------------------------------------------- settings

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


# ------------------------------------------------------------------------------------------------------ client


class _Transporter(TransporterSync):
    def __init__(self, config: SearchConfig, wire: Wire) -> None:
        super().__init__(config)
        # The client's own session, for https, has an adapter that repeats requests and sleeps in between.
        self._session = wire


class Key(msgspec.Struct, frozen=True):
    """What a key may do, and to which indices: names with ``*`` before or behind; any if there are none."""

    acl: list[str]
    indexes: list[str] | None = None


class _Written(msgspec.Struct, frozen=True):
    task: int = msgspec.field(name="taskID")
    object_ids: list[str] = msgspec.field(name="objectIDs")


class _Set(msgspec.Struct, frozen=True):
    task: int = msgspec.field(name="taskID")


class _Index(msgspec.Struct, frozen=True):
    name: str
    primary: str | None = None


class _Indices(msgspec.Struct, frozen=True):
    items: list[_Index]


Answer = TypeVar("Answer")


class Application:
    """One application, asked with one key. Every method returns what was answered, or raises a Failure."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._wire = Wire()
        self._config = SearchConfig(account.app_id, account.api_key)
        if account.endpoint:
            addresses = [urlsplit(address) for address in account.endpoint]
            self._config.hosts = HostsCollection([Host(address.netloc, scheme=address.scheme) for address in addresses])
        # It adds Algolia's own hosts, if there are none.
        self._client = SearchClientSync.create_with_config(self._config, _Transporter(self._config, self._wire))

    def begin(self) -> None:
        """A delivery or a command begins: it may ask every host, those that failed of late after the others."""
        self._wire.begin()
        hosts = self._config.hosts or HostsCollection([])
        every = dict.fromkeys([*hosts.write(), *hosts.read()])
        latest_last = sorted(every, key=lambda host: (self._wire.failed_at(host.url), -host.priority))
        self._config.hosts = HostsCollection(latest_last)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def write(self, index: str, actions: Sequence[Request]) -> Outcome:
        """One call for all actions, in their order. What is accepted will be done: nobody waits for the task.

        Unavailable is returned if it was accepted, but only after another host got it too and gave no sound answer:
        that one may act on it when something newer has been written.
        """
        batch = {"requests": list(actions)}
        written = self._call(lambda: self._client.batch_with_http_info(index, batch), _Written)
        if len(written.object_ids) < len(actions):
            raise Unavailable(f"answered for {len(written.object_ids)} of {len(actions)} actions", unsure=True)
        doubts = [failure for failure in self._wire.failures if failure.unsure]
        return Unavailable(f"accepted, but not at first: {combined(doubts).reason}", unsure=True) if doubts else DONE

    def settings(self, index: str) -> dict[str, Any] | None:
        """The settings of an index that are not null; None if there is no such index."""
        try:
            return self._call(lambda: self._client.get_settings_with_http_info(index), dict[str, Any])
        except Absent:
            return None

    def set(self, index: str, settings: dict[str, Any]) -> None:
        """Sets these settings of an index, which is made if it is not there, and leaves the others."""
        self._call(lambda: self._client.set_settings_with_http_info(index, settings), _Set)

    def indices(self) -> list[str]:
        """The names of the indices that the key may see, without replicas."""
        listed = self._call(self._client.list_indices_with_http_info, _Indices)
        return [index.name for index in listed.items if not index.primary]

    def key(self) -> Key:
        """What the key may do."""
        return self._call(lambda: self._client.get_api_key_with_http_info(self.account.api_key), Key)

    def _call(self, ask: Callable[[], ApiResponse[str]], answer: type[Answer]) -> Answer:
        self._wire.failures.clear()
        try:
            return msgspec.json.decode(ask().raw_data or "", type=answer)
        except AlgoliaUnreachableHostException:
            raise combined(self._wire.failures) from None
        except (msgspec.MsgspecError, RecursionError):
            raise Unavailable("what came with 2xx is no answer of Algolia's", unsure=True) from None


class Client:
    """The application of this process: made when it is needed, made anew when its settings change."""

    def __init__(self) -> None:
        self._application: Application | None = None

    def application(self, account: Account) -> Application:
        """The application, for a delivery or a command that begins."""
        if self._application is None or self._application.account != account:
            self.close()
            self._application = Application(account)
        self._application.begin()
        return self._application

    def close(self) -> None:
        """Forget the application."""
        if self._application:
            self._application.close()
        self._application = None
