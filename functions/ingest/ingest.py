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
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from buttersync.clients import client
from buttersync.model import Change
from buttersync.outcomes import Unavailable
from buttersync.settings import Settings
from webhook import Ignored, Unusable, change_of

BODY_BYTES = 256 * 1024
SECRET_HEADER = "x-webhook-secret"  # noqa: S105 - the header's name

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


class TurnedAway(Exception):
    """The request is answered with `status` and the sentence, and the webhook is lost; the log also has the reason."""

    def __init__(self, status: int, sentence: str, reason: object = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = str(reason)


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


def _claim(body: bytes, now: int) -> Change | Ignored:
    try:
        return change_of(msgspec.json.decode(body), now, DEFAULT_LOCALE)
    except Unusable as error:
        raise TurnedAway(400, str(error)) from error
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
    change = _claim(_body(event), now)
    if isinstance(change, Ignored):
        log("INFO", "Nothing to do for this event", event=change.event)
        return {"accepted": True, "event": change.event, "id": change.name}
    began = time.perf_counter()
    _publish(change, log)
    waited = round((time.perf_counter() - began) * 1000, 1)
    log("INFO", "Accepted", event=change.event, ref=change.identity.ref, publish_ms=waited)
    return {"accepted": True, "event": change.event, "id": change.identity.name}


def _turn_away(refusal: TurnedAway, log: Log) -> dict[str, object]:
    level = "ERROR" if refusal.status >= 500 else "WARNING"
    log(level, f"Turned away: {refusal}", status=refusal.status, reason=refusal.reason)
    return {"accepted": False, "error": str(refusal)}


def _check() -> dict[str, object]:
    """The answer to the direct invocation ``{"command": "check"}``: can webhooks be let in?"""
    settings.drop()
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
