"""The way in: a webhook of ButterCMS becomes a change on the topic, and nothing else happens before the answer.

ButterCMS sends each webhook once, waits 5 s for an answer and never tries again
(https://buttercms.com/docs/build-your-app/webhooks-events/retry-logic-error-handling). So the secret is compared, the
shape checked and the change published; what became of the item is for resolve to read. Every wait is bounded: 1.5 s at
most each for SSM, for the topic and, where the topic fails, for the resolve queue.
"""

import base64
import hmac
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from buttersync.clients import client
from buttersync.model import REF_BYTES, Change, Claim, Identity
from buttersync.outcomes import Unavailable
from buttersync.settings import Settings

BODY_BYTES = 256 * 1024
SECRET_HEADER = "x-webhook-secret"  # noqa: S105 - the header's name
EVENT_CHARACTERS = 100
"""So much of an unknown event's name goes into the log."""

DEFAULT_LOCALE = os.environ["DEFAULT_LOCALE"]
TOPIC_ARN = os.environ["TOPIC_ARN"]
RESOLVE_QUEUE_URL = os.environ["RESOLVE_QUEUE_URL"]

GREETING = (
    "This is the webhook address of buttersync. Nothing is wrong: ButterCMS sends a POST here, with the secret in the "
    "header X-Webhook-Secret, whenever content changes. Paste this address into ButterCMS under Settings > Webhooks.\n"
)

AWS_FAILED = (BotoCoreError, ClientError, ResponseParserError)

settings = Settings("butter", names=("webhook_secret", "webhook_secret_next"))
within_the_deadline = partial(client, connect=0.5, read=1, attempts=1)
within_the_deadline("sns")  # made while the function starts; the client of SQS only once SNS has failed

Log = Callable[..., None]


# What a webhook says: pure.


class Ignored(NamedTuple):
    """An event that changes nothing that is live, or that nobody here knows."""

    event: str
    name: str | None


class TurnedAway(Exception):
    """The request is answered with `status` and the sentence, and the webhook is lost; the log also has the reason."""

    def __init__(self, status: int, sentence: str, reason: object = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = str(reason)


# https://buttercms.com/docs/build-your-app/webhooks-events/webhook-event-types. A delete of a post may be a mere
# unpublishing; `.all` and `.*` name a subscription and do not say what happened. `page.draft` is left out: the live
# page stays as it is.
POST: Mapping[str, Claim] = {
    "published": "published",
    "draft": "draft",
    "delete": "removed",
    "all": "any",
    "*": "any",
}
PAGE: Mapping[str, Claim] = {
    "published": "published",
    "unpublished": "removed",
    "delete": "removed",
    "all": "any",
    "*": "any",
}
CLAIMS = {"post": POST, "post.localization": POST, "page": PAGE, "collectionitem": {**PAGE, "draft": "draft"}}

# Characters that no message may hold (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html),
# and the slash, which would reach for another path of the Read API.
USABLE = re.compile(r"(?!\.{1,2}\Z)[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff/]{1,255}")
LOCALE = re.compile(r"[A-Za-z0-9_-]{1,35}")
ITEM_NUMBER = re.compile(r"\[_id=([0-9]{1,19})\]")
ITEM_COLLECTION = re.compile(r"[?&]keys=([^\[&]*)")
LARGEST_NUMBER = 2**63 - 1


def change_of(webhook: object, now: int, default_locale: str) -> Change | Ignored:
    """What the JSON of a webhook that arrived at `now` (ms) claims; raises TurnedAway with the field that is wrong."""
    event = _member(_object(webhook, "The body").get("webhook"), "webhook", "event")
    data = _object(webhook, "The body").get("data")
    family, _, action = event.rpartition(".")
    claims = CLAIMS.get(family, {}).get(action)
    if claims is None:
        return Ignored(event, _name_if_any(data))
    data = _object(data, "data")
    identity = _identity(family, data, default_locale)
    if len(identity.ref) > REF_BYTES:
        raise TurnedAway(400, f"data.id is too long: its key takes more than {REF_BYTES} bytes.")
    return Change(
        identity=identity, event=event, claims=claims, received_at=now, numeric_id=_numeric_id(identity.kind, data)
    )


def _identity(family: str, data: Mapping[str, Any], default_locale: str) -> Identity:
    locale = default_locale if data.get("locale") is None else _matching(LOCALE, data, "locale")
    name = _matching(USABLE, data, "id")
    if family == "page":
        return Identity("page", _matching(USABLE, data, "page_type"), name, locale)
    if family == "collectionitem":
        return Identity("item", name, _item_number(name, data.get("itemid")), locale)
    return Identity("post", "", name, locale)


def _item_number(collection: str, itemid: object) -> str:
    """The number in ``/v2/content/?keys=products[_id=5678]``, an address that cannot be called as it stands."""
    number = ITEM_NUMBER.search(itemid) if isinstance(itemid, str) else None
    if not isinstance(itemid, str) or not number:
        raise TurnedAway(400, "data.itemid does not hold the item's number as [_id=<number>].")
    named = ITEM_COLLECTION.search(itemid)
    if named and named[1] != collection:
        raise TurnedAway(400, "data.itemid names another collection than data.id.")
    return number[1]


def _numeric_id(kind: str, data: Mapping[str, Any]) -> int | None:
    """The number that outlives a rename; an item's is its name already. One that makes no sense is as good as none."""
    number = data.get({"post": "_id", "page": "buttercms_id"}.get(kind, ""))
    if isinstance(number, str) and re.fullmatch("[0-9]{1,19}", number):
        number = int(number)
    return number if type(number) is int and 0 < number <= LARGEST_NUMBER else None


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TurnedAway(400, f"{field} is not a JSON object.")
    return value


def _member(value: object, parent: str, name: str) -> str:
    member = value.get(name) if isinstance(value, dict) else None
    if not isinstance(member, str) or not member:
        raise TurnedAway(400, f"{parent}.{name} is missing or not a text.")
    return member


def _matching(pattern: re.Pattern[str], data: Mapping[str, Any], name: str) -> str:
    text = _member(data, "data", name)
    if not pattern.fullmatch(text) or text.isspace():
        raise TurnedAway(400, f"data.{name} is too long or holds what does not belong there.")
    return text


def _name_if_any(data: object) -> str | None:
    name = data.get("id") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


# How it is sent: the secret, then the body.


def _secrets() -> list[bytes]:
    """The one or two secrets that are live; without the first, nobody is let in."""
    try:
        stored = settings.read()
    except Unavailable as failure:
        raise TurnedAway(500, "The secret of the webhook could not be read.", failure) from failure
    first, second = (stored.get(name, "").strip() for name in ("webhook_secret", "webhook_secret_next"))
    if not first:
        raise TurnedAway(500, "The secret of the webhook is not set.", f"no value in {settings.path}webhook_secret")
    return [secret.encode() for secret in (first, second) if secret]


def _verify(event: Mapping[str, Any]) -> None:
    given = _secret_header(event).encode("utf-8", "surrogatepass")
    equal = [hmac.compare_digest(given, secret) for secret in _secrets()]  # a list: each one is compared
    if not any(equal):
        raise TurnedAway(401, "The header X-Webhook-Secret is missing or wrong.")


def _secret_header(event: Mapping[str, Any]) -> str:
    several = {name: values[-1] for name, values in (event.get("multiValueHeaders") or {}).items() if values}
    headers = {name.lower(): value for name, value in {**several, **(event.get("headers") or {})}.items()}
    return str(headers.get(SECRET_HEADER) or "").strip()


def _body(event: Mapping[str, Any]) -> bytes:
    body = (event.get("body") or "").encode("utf-8", "surrogatepass")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True)
        except ValueError as error:
            raise TurnedAway(400, "The body is not valid base64.", error) from error
    if len(body) > BODY_BYTES:
        raise TurnedAway(413, f"The body is longer than {BODY_BYTES} bytes.")
    return body


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise TurnedAway(400, "The body is not JSON in UTF-8.", error) from error


# Where it goes: the topic, else the resolve queue.


def _publish(change: Change, log: Log) -> None:
    body = change.to_json()
    attributes = {name: {"DataType": "String", "StringValue": text} for name, text in change.attributes.items()}
    try:
        within_the_deadline("sns").publish(TopicArn=TOPIC_ARN, Message=body, MessageAttributes=attributes)
    except AWS_FAILED as error:
        log("ERROR", "SNS did not take the change; it goes straight to the resolve queue", reason=str(error))
        _enqueue(body, attributes)


def _enqueue(body: str, attributes: Mapping[str, Mapping[str, str]]) -> None:
    """The same message as the topic's raw delivery would have brought."""
    try:
        within_the_deadline("sqs").send_message(
            QueueUrl=RESOLVE_QUEUE_URL, MessageBody=body, MessageAttributes=attributes
        )
    except AWS_FAILED as error:
        raise TurnedAway(503, "Neither the topic nor the resolve queue took the change.", error) from error


# The door.


def _accept(event: Mapping[str, Any], log: Log) -> dict[str, object]:
    now = time.time_ns() // 1_000_000
    _verify(event)
    change = change_of(_json(_body(event)), now, DEFAULT_LOCALE)
    if isinstance(change, Ignored):
        log("INFO", "Nothing to do for this event", event=change.event[:EVENT_CHARACTERS])
        return {"accepted": True, "event": change.event, "id": change.name}
    _publish(change, log)
    log("INFO", "Accepted", event=change.event, ref=change.identity.ref)
    return {"accepted": True, "event": change.event, "id": change.identity.name}


def _turn_away(refusal: TurnedAway, log: Log) -> dict[str, object]:
    level = "ERROR" if refusal.status >= 500 else "WARNING"
    log(level, f"Turned away: {refusal}", status=refusal.status, reason=refusal.reason)
    return {"accepted": False, "error": str(refusal)}


def _check() -> dict[str, object]:
    """The answer to the direct invocation ``{"command": "check"}``: can webhooks be let in?"""
    try:
        _secrets()
    except TurnedAway as refusal:
        return {"target": "ingest", "ok": False, "message": f"{refusal} ({refusal.reason})"}
    return {"target": "ingest", "ok": True, "message": f"{settings.path}webhook_secret is set."}


def _log(context: Any, event: Mapping[str, Any]) -> Log:
    """Writes JSON lines as Powertools does, whose Logger would take a fifth of the time that boto3 needs to start."""

    def write(level: str, message: str, **facts: object) -> None:
        line = {
            "level": level,
            "message": message,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": "ingest",
            "function_request_id": context.aws_request_id,
            "delivery": (event.get("requestContext") or {}).get("requestId"),
        }
        print(json.dumps({**line, **facts}), flush=True)  # noqa: T201 - standard output is the log

    return write


def handler(event: Mapping[str, Any], context: Any) -> dict[str, object]:
    """Answers a request that API Gateway hands on (REST API, proxy integration), or ``{"command": "check"}``."""
    if event.get("command") == "check":
        return _check()
    if event.get("httpMethod") == "GET":
        return _answer(200, "text/plain; charset=utf-8", GREETING)
    log = _log(context, event)
    try:
        return _answer(200, "application/json", json.dumps(_accept(event, log)))
    except TurnedAway as refusal:
        return _answer(refusal.status, "application/json", json.dumps(_turn_away(refusal, log)))


def _answer(status: int, media_type: str, body: str) -> dict[str, object]:
    return {"statusCode": status, "headers": {"Content-Type": media_type}, "body": body}
