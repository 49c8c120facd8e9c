"""resolve: the only reader of ButterCMS. It turns changes into documents, and walks the site's lists in a backfill."""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from backfill import Lists, Walk, Walker
from buttersync import queues
from buttersync.butter import ENDPOINT, Butter
from buttersync.model import UNREADABLE, Change
from buttersync.outcomes import Failure, Misconfigured, Refused, Unavailable, described
from buttersync.queues import Message, Queue
from buttersync.settings import Settings
from buttersync.works import retry_after
from documents import UrlPatterns
from protocol import Resolver, Rules, now
from storage import Archive, ContentTable, Topic

SUSPICIOUS_RECEIVES = 5
"""A message received so often may kill its worker. Failures and hand-backs go back as new messages, and one message
waits twice at most, so nothing else raises the count so far."""
KILLING_RECEIVES = 10
"""A message received so often is given up as one that kills its worker."""
HAND_BACK_SECONDS = 5
"""What did not fit into the remaining time comes back after this."""
PARK_SECONDS = queues.LONGEST_STEP
"""ButterCMS names the seconds until its quota begins anew, which may be weeks: the change is parked, not tried again.
https://buttercms.com/docs/api/concepts/rate-limits-throttling"""
WORST_CASE_MS = 60_000
"""What one message may take: two readings of ButterCMS and a few writes."""

logger = Logger(service="resolve")
metrics = Metrics(service="resolve")
metrics.set_default_dimensions(stage=os.environ["STAGE"])
settings = Settings("butter", names=("read_token", "endpoint"))


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """A batch of changes and walks from the queue, or a command: `check` or `backfill`."""
    if "command" in event:
        return _command(event)
    messages = sorted((Message.from_record(record) for record in event["Records"]), key=lambda one: one.receive_count)
    suspects = messages[-1].receive_count >= SUSPICIOUS_RECEIVES
    failed: list[str] = []
    for handled, message in enumerate(messages):
        fits = handled == 0 or context.get_remaining_time_in_millis() >= WORST_CASE_MS
        if not _handle(message, fits=fits):
            failed.append(message.id)
        elif suspects:
            _queue().delete(message.receipt)  # now: one that kills the worker would take the answer with it
    metrics.add_metric("Handled", MetricUnit.Count, len(messages) - len(failed))
    metrics.flush_metrics()
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}


def _command(event: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return COMMANDS.get(str(event["command"]), _unknown_command)(event)
    except (BotoCoreError, ClientError) as error:
        return {"target": "butter", "ok": False, "status": "unavailable", "message": f"AWS: {error}"}


def _handle(message: Message, *, fits: bool) -> bool:
    """Whether the message is done with, in whatever way; otherwise it stays in the queue."""
    if message.receive_count >= KILLING_RECEIVES:
        return _dead_letter(message, message.body, f"it was received {message.receive_count} times and never ended")
    try:
        work = msgspec.json.decode(message.body, type=Change | Walk)
    except UNREADABLE as error:
        return _dead_letter(message, message.body, Refused(f"not a change: {error}").reason)
    if not fits:
        return _sent(message, lambda: _send(work, HAND_BACK_SECONDS))
    wait = work.not_before - now()
    if wait > 0:
        _queue().later(message.receipt, wait / 1000)
        return False
    return _try(message, work)


def _try(message: Message, work: Change | Walk) -> bool:
    try:
        _do(work)
    except Failure as failure:
        return _again(message, work, failure)
    except (BotoCoreError, ClientError) as error:
        return _again(message, work, Unavailable(f"AWS: {error}"))
    except Exception as error:  # noqa: BLE001 - a bug met by one message must not hold up the others, nor lose it
        return _again(message, work, Unavailable(described(error)))
    return True


def _do(work: Change | Walk) -> None:
    butter = _butter()
    resolver = _resolver(butter)
    if isinstance(work, Change):
        result = resolver.resolve(work)
        logger.info(result, extra={"ref": work.identity.ref, "event": work.event, "look": work.look})
        return
    counts = Walker(resolver, butter, _lists(), _table().add, _send).walk(work)
    logger.info("walked", extra={"walk": work.key, "page": work.page, "counts": counts})


def _again(message: Message, work: Change | Walk, failure: Failure) -> bool:
    """Send the work back as a new message, at the next step of the schedule, or give it up with the reason."""
    logger.warning(failure.status, extra={"reason": failure.reason, "attempts": work.attempts + 1})
    misconfigured = isinstance(failure, Misconfigured)
    if isinstance(work, Change) and now() - work.received_at > queues.BEHIND_MS:
        metrics.add_metric("Behind", MetricUnit.Count, 1)
    metrics.add_metric("Misconfigured" if misconfigured else "Unavailable", MetricUnit.Count, 1)
    if misconfigured:
        settings.drop()
    asked = retry_after(failure)
    attempts = work.attempts + 1
    if asked > PARK_SECONDS or queues.exhausted(attempts, message.sent_at, now()):
        anew = msgspec.structs.replace(work, attempts=0, not_before=0)  # for when a person sends it back
        return _dead_letter(message, anew.to_json(), failure.reason, attempts)
    wait = queues.delay(attempts, asked, misconfigured)
    later = msgspec.structs.replace(work, attempts=attempts, not_before=now() + int(wait * 1000))
    return _sent(message, lambda: _send(later, wait))


def _dead_letter(message: Message, body: str, reason: str, attempts: int = 0) -> bool:
    logger.error("dead-lettered", extra={"reason": reason})
    metrics.add_metric("DeadLettered", MetricUnit.Count, 1)
    return _sent(message, lambda: _queue().dead_letter(body, message.attributes, reason, "resolve", attempts))


def _sent(message: Message, send: Callable[[], None]) -> bool:
    """Whether the message could be sent on; if not, it stays where it is."""
    try:
        send()
    except (BotoCoreError, ClientError) as error:
        logger.warning("the message stays in the queue", extra={"message_id": message.id, "reason": str(error)})
        return False
    return True


def _backfill(event: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a run, or with `run` tell how far it has come."""
    lists = _lists()
    if run := str(event.get("run") or ""):
        return _progress(run, [walk.key for walk in lists.walks(run, "")])
    checked = _check(event)
    if not checked["ok"]:
        return checked
    republish = str(event.get("republish") or "")
    if republish not in (known := ["", "all", *_words("TARGETS")]):
        return {"ok": False, "message": f"no target {republish!r} to republish to; there are: {', '.join(known[1:])}"}
    _table().begin(now())
    run = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(2)
    walks = list(lists.walks(run, republish))
    for walk in walks:
        _send(walk, 0)
    return {"ok": True, "run": run, "lists": len(walks), "progress": {"command": "backfill", "run": run}}


def _progress(run: str, keys: list[str]) -> dict[str, Any]:
    counters = dict(zip((key.split(":", 2)[2] for key in keys), _table().counters(keys), strict=True))
    return {"ok": True, "run": run, "done": all(one.get("done") for one in counters.values()), "lists": counters}


def _check(_event: Mapping[str, Any]) -> dict[str, Any]:
    """Are the settings complete, does ButterCMS accept the token and the default locale, has the backfill begun?"""
    settings.drop()
    try:
        listing = _butter().listing("post", "", 1, _rules().default_locale, size=1)
    except Failure as failure:
        return {"target": "butter", "ok": False, "status": failure.status, "message": failure.reason}
    site = "has no posts" if listing is None or not listing.items else "shows its posts"
    live = _table().live_since() is not None
    hint = (
        "" if live else '; the backfill has not begun, until then nothing is announced: invoke {"command": "backfill"}'
    )
    return {"target": "butter", "ok": True, "live": live, "message": f"ButterCMS accepts the token and {site}{hint}"}


def _unknown_command(event: Mapping[str, Any]) -> dict[str, Any]:
    known = ", ".join(COMMANDS)
    return {"target": "butter", "ok": False, "message": f"unknown command {event['command']!r}; there are: {known}"}


COMMANDS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"check": _check, "backfill": _backfill}


def _send(work: Change | Walk, delay: float) -> None:
    _queue().send(work.to_json(), work.attributes, delay)


def _queue() -> Queue:
    return Queue(os.environ["QUEUE_URL"], os.environ["DEAD_LETTER_QUEUE_URL"])


def _table() -> ContentTable:
    return ContentTable(os.environ["CONTENT_TABLE"])


def _words(name: str) -> list[str]:
    return [word.strip() for word in os.environ[name].split(",") if word.strip()]


def _lists() -> Lists:
    default = os.environ["DEFAULT_LOCALE"]
    return Lists(_words("PAGE_TYPES"), _words("COLLECTIONS"), list(dict.fromkeys([default, *_words("LOCALES")])))


def _rules() -> Rules:
    return Rules(
        default_locale=os.environ["DEFAULT_LOCALE"],
        look_seconds=[int(word) for word in _words("LOOK_SECONDS")],
        announce_window=int(os.environ["ANNOUNCE_WINDOW_HOURS"]) * 3_600_000,
        patterns=UrlPatterns(os.environ["POST_URL"], os.environ["PAGE_URL"], os.environ["ITEM_URL"]),
    )


def _butter() -> Butter:
    values = settings.read()
    if not values.get("read_token"):
        raise Misconfigured(f"{settings.path}read_token is not in SSM")
    return _reader(values["read_token"], values.get("endpoint") or ENDPOINT)


@cache
def _reader(token: str, endpoint: str) -> Butter:
    return Butter(token, endpoint)


@cache
def _resolver(butter: Butter) -> Resolver:
    archive, topic = Archive(os.environ["ARCHIVE_BUCKET"]), Topic(os.environ["TOPIC_ARN"])
    return Resolver(_table(), butter, archive, topic, _send, _rules())
