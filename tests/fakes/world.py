"""The whole of buttersync but its gateway, moved by hand: a site, its webhooks, every function's workers, time.

Real are ingest, resolve, the delivery and the adapters with their stores; AWS is `tests.fakes.account`, ButterCMS and
Algolia are the sandbox's, asked without a network. A worker stands before each of its calls until it is told to go on.
"""

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from copy import copy
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import UTC, datetime
from io import StringIO
from types import ModuleType, SimpleNamespace
from typing import Any, Self
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import requests
from botocore.exceptions import BotoCoreError, ClientError
from requests.structures import CaseInsensitiveDict

from buttersync import delivery
from buttersync.clients import client
from buttersync.delivery import LEASE_SLACK, Adapter, Delivery
from buttersync.model import Document
from buttersync.outcomes import Misconfigured, Outcome, Refused, Unavailable
from sandbox.algolia import Algolia
from sandbox.butter import Butter
from sandbox.read_api import ReadApi
from sandbox.site import Account as SiteAccount
from sandbox.site import Site
from sandbox.webhooks import Webhook
from sandbox.wire import Request, Response
from tests.fakes.account import FUNCTIONS, RESOLVE, SQS, TARGETS, Account, environment_of
from tests.fakes.cloud import Stored, unreachable
from tests.fakes.editor import Edit, Editor
from tests.fakes.workers import Died, Worker, adapter_of, started

CONCURRENCY = 2
SECRET = "sesame"
ALGOLIA = "https://algolia.test"
BUTTER = "https://api.buttercms.com"
DAY = 86_400
LONGEST_CALL = 600
"""Seconds that a write may still be on its way after its worker's end, where the store refuses what is old."""

AWS_FAULTS = ("fails", "fails after it took effect", "is repeated by the SDK")
BUTTER_FAULTS = ("fails", "is over quota")
LATE = "takes effect late"
STORE_FAULTS = (*[LATE] * 5, "fails", "fails after it took effect", "is refused", "is misconfigured", "slips")
ALGOLIA_FAULTS = ("fails", "fails after it took effect", LATE, "is out of order")


@dataclass
class Invocation:
    """A worker with its batch, in the function's environment number `place`."""

    function: str
    batch: list[Stored]
    place: int
    ends_at: float
    worker: Worker
    sends: "Landing | None" = None
    """What it stands before sending to its store."""
    stalls: bool = False
    """Others go first."""


@dataclass(frozen=True)
class Landing:
    """A write that nobody waits for any more, and when at the latest it takes effect."""

    told: str
    act: Callable[[], None]
    latest: float


class InOneThread:
    """In the place of the delivery's pool of threads: what runs side by side falls in no order that can be repeated."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


class Stepped:
    """Stands before a service of AWS: the worker that calls it stops first."""

    def __init__(self, service: object, call: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._service = service
        self._call = call

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        act = getattr(self._service, operation)
        return lambda **parameters: self._call(operation, lambda: act(**parameters))


class Environments:
    """What Lambda would start: for each function two workers' modules, and one for whoever else acts in its name."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = settings
        """Of the stores, as in SSM: ``postgres/dsn``."""
        self.modules: dict[tuple[str, int], ModuleType] = {}
        with patch.dict(os.environ, ENVIRONMENT):
            self.ingest = started("ingest")
        for function in FUNCTIONS:
            self._start(function, {})

    def broken(self, function: str, changes: Mapping[str, str]) -> Self:
        """The same with other modules of one function; `changes` has what stands there in the place of which lines."""
        copied = copy(self)
        copied.modules = dict(self.modules)
        copied._start(function, changes)
        return copied

    def adapter(self, function: str, place: int) -> Adapter:
        """What the delivery has of a target."""
        return adapter_of(self.modules[function, place])

    def close(self) -> None:
        """Closes every connection to a store."""
        for function, place in self.modules:
            if function != RESOLVE:
                self.adapter(function, place).reset()

    def _start(self, function: str, changes: Mapping[str, str]) -> None:
        with patch.dict(os.environ, ENVIRONMENT):
            self.modules |= {(function, place): started(function, changes) for place in range(CONCURRENCY + 1)}


ENVIRONMENT = {
    "STAGE": "test",
    "TOPIC_ARN": "topic",
    "RESOLVE_QUEUE_URL": f"{SQS}resolve/queue",
    "CONTENT_TABLE": "contents",
    "DELIVERY_TABLE": "deliveries",
    "ARCHIVE_BUCKET": "archive",
    "DEFAULT_LOCALE": "en",
    "LOCALES": "de",
    "PAGE_TYPES": "landing",
    "LOOK_SECONDS": "5,60",
    "POST_URL": "https://example.com/{slug}",
    "PAGE_URL": "",
    "ITEM_URL": "",
    "ANNOUNCE_WINDOW_HOURS": "72",
    "TARGETS": ",".join(TARGETS),
    "POWERTOOLS_METRICS_NAMESPACE": "buttersync",
    # Or else requests looks through the environment for proxies with each reading.
    "no_proxy": "buttercms.com",
    **environment_of(RESOLVE),
}


class World:
    """What there is at one moment, and all that may happen next, each a method."""

    def __init__(self, environments: Environments, number: int, account: SiteAccount) -> None:
        self.account = Account()
        self.site = Site(account, self.moment)
        self.editor = Editor(self.site, number)
        self.butter, self.algolia = Butter(self.site), Algolia()
        self.invocations: list[Invocation] = []
        self.webhooks: list[Webhook] = []
        """Those that ButterCMS has not sent yet."""
        self.landings: list[Landing] = []
        self.lines: list[str] = []
        self.happened: Counter[str] = Counter()
        """What has come about, by its name."""
        self.errors: list[str] = []
        """What no fault of ours explains."""
        self._environments = environments
        self._running: Invocation | None = None
        self._loops: dict[tuple[str, int], Delivery] = {}
        self._begun = 0
        self._began = self.account.clock.now

    # --- time ---

    def moment(self) -> datetime:
        """The time, for the site."""
        return datetime.fromtimestamp(self.account.clock.now, UTC)

    def pass_time(self, seconds: float) -> None:
        """Time passes: what is to take effect until then does, and workers whose time is over die."""
        now = self.account.clock.now + seconds
        for landing in sorted(self.landings, key=lambda one: one.latest):
            if landing.latest <= now:
                self.land(landing)
        for one in [one for one in self.invocations if one.ends_at <= now]:
            self.die(one)
        self.account.clock.now = now

    def note(self, line: str) -> None:
        self.lines.append(f"{self.account.clock.now - self._began:10.3f}  {line}")

    # --- the editor, and what ButterCMS sends ---

    def edit(self, edit: Edit) -> None:
        """Make the edit; its webhook waits to be sent."""
        told, webhook = self.editor.edit(edit)
        self.happened[told] += 1
        self.note(f"EDITOR: {told} {edit.kind}: {webhook.event} {dict(webhook.data)}")
        self.webhooks.append(webhook)

    def send(self, webhook: Webhook) -> None:
        """ButterCMS sends a webhook, once."""
        self.webhooks.remove(webhook)
        event = {
            "httpMethod": "POST",
            "headers": {"X-Webhook-Secret": SECRET},
            "body": json.dumps(webhook.body("https://gateway.test")),
            "requestContext": {"requestId": "delivery"},
        }
        answer = self._environments.ingest.handler(event, SimpleNamespace(aws_request_id="invocation"))
        self.note(f"WEBHOOK {webhook.event} {webhook.number}: {answer['statusCode']}")
        assert answer["statusCode"] == 200

    def backfill(self) -> None:
        """What an operator asks for."""
        answer = self._environments.modules[RESOLVE, CONCURRENCY].handler({"command": "backfill"}, None)
        assert answer["ok"], answer
        self.note("BACKFILL")

    # --- workers ---

    def due(self, function: str) -> list[Stored]:
        """The messages that a worker may take now."""
        return [one for one in self.account.sqs.waiting(function) if one.visible_at <= self.account.clock.now]

    def has_room(self, function: str) -> bool:
        return len([one for one in self.invocations if one.function == function]) < CONCURRENCY

    def begin(self, function: str, most: int) -> None:
        """A worker takes a batch."""
        busy = [one.place for one in self.invocations if one.function == function]
        place = next(place for place in range(CONCURRENCY) if place not in busy)
        batch = self.account.sqs.of[function].receive(min(most, FUNCTIONS[function].batch))
        ends_at = self.account.clock.now + FUNCTIONS[function].timeout
        self.happened["retry"] += any(one.receives > 1 or _attempts(one) for one in batch)
        self._begun += 1
        worker = Worker(f"{function} {self._begun}", lambda: self._handled(invocation))
        invocation = Invocation(function, batch, place, ends_at, worker)
        self.invocations.append(invocation)
        self.note(f"{worker.name} takes {[_told(one) for one in batch]}")

    def duplicate(self, function: str, one: Stored) -> None:
        """A message comes twice."""
        number = next(self.account.sqs.of[function].numbers)
        twin = changed(one, id=f"m{number}", receipt="", visible_at=self.account.clock.now)
        self.account.sqs.waiting(function).append(twin)
        self.happened["duplicate"] += 1
        self.note(f"TWICE in {function}: {_told(one)}, as {twin.id}")

    def redrive(self) -> bool:
        """An operator sends every dead letter back; False if there is none."""
        letters = {name: len(self.account.sqs.letters(name)) for name in FUNCTIONS}
        for name in filter(letters.get, letters):
            self.happened["dead-letter"] += letters[name]
            self.happened["redrive"] += 1
            self.note(f"REDRIVE {name}")
            self.account.sqs.redrive(name)
        return any(letters.values())

    def go_on(self, one: Invocation, fault: str = "") -> None:
        """A worker goes on to its next call, or to its end."""
        self.note(f"{one.worker.name}: {one.worker.next_call} {fault.upper()}")
        if fault:
            self.happened[fault] += 1
        self._running = one
        one.worker.step(fault)
        self._running = None
        if one.worker.ended:
            self._end(one)

    def die(self, one: Invocation, on_its_way: bool = False) -> None:
        """A worker dies where it stands; what it was about to send may be `on_its_way`."""
        if on_its_way and one.sends:
            self.landings.append(one.sends)
        self.go_on(one, "dies")

    def land(self, landing: Landing) -> None:
        """What was sent long ago takes effect."""
        self.landings.remove(landing)
        self.note(f"LATE: {landing.told}")
        landing.act()

    def _handled(self, one: Invocation) -> object:
        _stop_measuring()
        event = {"Records": [message.record() for message in one.batch]}
        context = SimpleNamespace(
            get_remaining_time_in_millis=lambda: int((one.ends_at - self.account.clock.now) * 1000)
        )
        if one.function == RESOLVE:
            return self._environments.modules[RESOLVE, one.place].handler(event, context)
        return self._loop(one.function, one.place).handle(event, context)

    def _loop(self, function: str, place: int) -> Delivery:
        if (function, place) not in self._loops:
            adapter = self._environments.adapter(function, place)

            def deliver(settings: Mapping[str, str], documents: Sequence[Document]) -> Sequence[Outcome]:
                return self._deliver(adapter, settings, documents)

            with patch.dict(os.environ, environment_of(function)):
                self._loops[function, place] = Delivery(changed(adapter, deliver=deliver), self.account.clock)
        return self._loops[function, place]

    def _end(self, one: Invocation) -> None:
        self.invocations.remove(one)
        outcome = one.worker.outcome
        if isinstance(outcome, Died):
            self._start_anew(one)
            return
        if not isinstance(outcome, dict):
            self.errors.append(f"{one.worker.name} raised {outcome!r}")
            return
        failed = {failure["itemIdentifier"] for failure in outcome["batchItemFailures"]}
        self.account.sqs.of[one.function].delete({message.id for message in one.batch} - failed)

    def _start_anew(self, one: Invocation) -> None:
        """The next worker in this place knows nothing."""
        if one.function == RESOLVE:
            self._environments.modules[RESOLVE, one.place]._resolver.cache_clear()
        self._loops.pop((one.function, one.place), None)

    # --- what the workers call ---

    def _stand(self, call: str, faults: tuple[str, ...]) -> str:
        return self._running.worker.stand(call, faults) if self._running else ""

    def _call(self, operation: str, act: Callable[[], Any]) -> Any:
        fault = self._stand(operation, AWS_FAULTS)
        if fault == "fails":
            raise unreachable()
        try:
            answer = act()
            if fault == "is repeated by the SDK":
                answer = act()
        except (BotoCoreError, ClientError):
            raise
        except Exception as error:
            self.errors.append(f"{operation} raised {error!r}")
            raise
        if fault == "fails after it took effect":
            raise unreachable()
        return answer

    def _deliver(
        self, adapter: Adapter, settings: Mapping[str, str], documents: Sequence[Document]
    ) -> Sequence[Outcome]:
        def late() -> None:
            outcomes = self._environments.adapter(adapter.target, CONCURRENCY).deliver(settings, documents)
            assert not any(outcomes), outcomes

        match fault := self._about_to_send(f"{adapter.target} {_versions(documents)}", late, STORE_FAULTS):
            case "fails":
                raise Unavailable("as told")
            case "is refused":
                return [Refused("as told")] * len(documents)
            case "is misconfigured":
                raise Misconfigured("as told")
            case "slips":
                raise Slipped
            case "takes effect late":
                raise Unavailable("as told", unsure=True)
        outcomes = adapter.deliver(settings, documents)
        if any(outcomes):
            self.note(f"{adapter.target}: {outcomes}")
        if fault:
            raise Unavailable("as told", unsure=True)
        return outcomes

    def _about_to_send(self, told: str, late: Callable[[], None], faults: tuple[str, ...]) -> str:
        """As `_stand`; what is to take effect late, or with a worker that dies, is `late`."""
        one = self._running
        if not one:
            return ""
        # Algolia knows no versions: there the lease counts on this.
        slack = LEASE_SLACK - 1 if one.function == "algolia" else LONGEST_CALL
        one.sends = Landing(told, late, one.ends_at + slack)
        fault = self._stand(f"send {told}", faults)
        if fault == LATE:
            self.landings.append(one.sends)
        one.sends = None
        return fault

    def _sent(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        """In the place of the network."""
        address = urlsplit(str(request.url))
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        asked = Request(str(request.method), address.path, tuple(parse_qsl(address.query)), headers, body)
        ask = {BUTTER: self._ask_butter, ALGOLIA: self._ask_algolia}[f"{address.scheme}://{address.netloc}"]
        return _answered(request, ask(asked))

    def _ask_butter(self, asked: Request) -> Response:
        match self._stand(f"read {asked.path}", BUTTER_FAULTS):
            case "fails":
                raise requests.ConnectionError
            case "is over quota":
                return Response(429, b"{}", {"Retry-After": str(20 * DAY)})
        answer = self.butter.answer(asked)
        if answer.body != ReadApi(self.site, self.site.content).answer(asked).body:
            self.happened["stale read"] += 1
            self.note(f"STALE: {asked.path}")
        return answer

    def _ask_algolia(self, asked: Request) -> Response:
        def late() -> None:
            self.algolia.answer(asked)

        match fault := self._about_to_send(f"{asked.path}", late, ALGOLIA_FAULTS):
            case "fails" | "takes effect late":
                raise requests.ConnectionError
            case "is out of order":
                return Response(503, b"{}")
        answer = self.algolia.answer(asked)
        if fault:
            raise requests.ReadTimeout
        return answer

    def _settings(self, function: str) -> Mapping[str, str]:
        return {
            name.removeprefix(f"{function}/"): value
            for name, value in self._all_settings().items()
            if name.startswith(f"{function}/")
        }

    def _all_settings(self) -> dict[str, str]:
        return {
            "butter/webhook_secret": SECRET,
            "butter/read_token": self.butter.token,
            "algolia/app_id": self.algolia.app_id,
            "algolia/api_key": self.algolia.api_key,
            "algolia/endpoint": ALGOLIA,
            **self._environments.settings,
        }

    # --- being there ---

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """All of the project's code is in this world while the block lasts; no worker outlives it."""
        self.account.ssm.parameters = {
            f"/buttersync/test/{name}": value for name, value in self._all_settings().items()
        }
        log = _Unexpected(self.errors)
        names = {delivery.logger.name, self._environments.modules[RESOLVE, 0].logger.name}
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(patch.multiple(logging.getLogger(name), handlers=[log], propagate=False))
            stack.callback(sys.settrace, sys.gettrace())
            _stop_measuring()
            stack.enter_context(redirect_stdout(StringIO()))  # metrics, and the log of ingest
            stack.enter_context(patch("boto3.client", self._client))
            stack.enter_context(patch("time.time_ns", lambda: int(self.account.clock.now * 1000) * 1_000_000))
            stack.enter_context(patch("buttersync.delivery.ThreadPoolExecutor", InOneThread))
            stack.enter_context(patch("requests.adapters.HTTPAdapter.send", self._sent))
            stack.enter_context(patch.dict(os.environ, {**ENVIRONMENT, "COLLECTIONS": self.editor.collection}))
            client.cache_clear()
            for place in range(CONCURRENCY + 1):
                self._environments.modules[RESOLVE, place]._resolver.cache_clear()
            try:
                yield self
            finally:
                # Where a person has broken in, one is in the middle of something, and none can be told anything.
                for one in [] if self._running else list(self.invocations):
                    self.die(one)
                client.cache_clear()

    def _client(self, service: str, **_: object) -> object:
        double = getattr(self.account, service)
        return double if service == "ssm" else Stepped(double, self._call)


class Slipped(Exception):
    """What an adapter lets slip."""


class _Unexpected(logging.Handler):
    """Keeps what the log says of errors that nobody provoked."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__()
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        reason = str(getattr(record, "reason", "")) + record.getMessage()
        if "unexpected" in reason and Slipped.__name__ not in reason:
            self._errors.append(reason)


def _answered(request: requests.PreparedRequest, response: Response) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer._content = response.status, response.body
    answer.headers = CaseInsensitiveDict(response.headers)
    answer.request, answer.url = request, str(request.url)
    return answer


def _stop_measuring() -> None:
    """In this thread: coverage, which other tests measure, would take longer than all the rest."""
    sys.settrace(None)


def _attempts(message: Stored) -> int:
    """How often resolve has tried it."""
    attempts: int = json.loads(message.body).get("attempts", 0)
    return attempts


def _told(message: Stored) -> str:
    body = json.loads(message.body)
    name = body["identity"]["name"] if "identity" in body else "walk"
    what = body.get("event") or f"{body.get('change')} {body.get('version')}"
    return f"{message.id} {name} {what} look {body.get('look', 0)}"


def _versions(documents: Sequence[Document]) -> list[str]:
    return [f"{one.identity.name}:{one.identity.locale} {one.change} {one.version}" for one in documents]
