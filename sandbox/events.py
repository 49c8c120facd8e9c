"""The example events, made from the webhooks in `events/webhooks/`: ``python -m sandbox.events [--check]``.

`events/api/` has each for ingest as API Gateway hands it on, `events/queues/` a batch of messages for every function
behind a queue, made by ingest's own code. With ``--check`` nothing is written, and the exit status says whether
anything would be. Values that AWS would make up are fixed: the files change only when a webhook or a shape does.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.emulator import REGION
from sandbox.stack import TARGETS, WEBHOOK_PATH, WEBHOOK_SECRET
from sandbox.tools import ROOT

FOLDER = ROOT / "events"
# In Lambda these two are roots of imports.
sys.path += [str(ROOT / root) for root in ("layers/buttersync", "functions/ingest")]

from buttersync.model import Change, Document  # noqa: E402  the path comes first
from webhook import change_of  # noqa: E402  the path comes first

ACCOUNT = "000000000000"
STAGE = "local"
DOCKER_STAGE = "docker"
"""Whose settings name addresses that a container can reach; see `sandbox.docker`."""
DEFAULT_LOCALE = "en"
SENT_AT = 1_770_022_800_000
"""2026-02-02 09:00 UTC (ms)."""
REMOVALS = (
    "post.delete",
    "post.localization.delete",
    "page.unpublished",
    "page.delete",
    "collectionitem.unpublished",
    "collectionitem.delete",
)
PUBLICATIONS = (
    "post.published",
    "post.localization.published",
    "page.published",
    "page.all",
    "collectionitem.published",
)

Files = Mapping[Path, str]


def made(folder: Path) -> Files:
    """Every file that is made, by its path in `folder`, with the text that it should have."""
    webhooks = {path.stem: json.loads(path.read_text()) for path in sorted((folder / "webhooks").glob("*.json"))}
    claims = [change_of(webhook, SENT_AT, DEFAULT_LOCALE) for webhook in webhooks.values()]
    changes = {claim.event: claim for claim in claims if isinstance(claim, Change)}
    read_back = [changes[event] for event in PUBLICATIONS]
    removed = [_removal(changes[event]) for event in REMOVALS]
    contents = {
        **{Path("api", f"{event}.json"): _request(webhook) for event, webhook in webhooks.items()},
        Path("queues", "resolve.json"): _batch("resolve", [(one.to_json(), one.attributes) for one in read_back]),
        **{
            Path("queues", f"{target}.json"): _batch(target, [(one.to_message(), one.attributes()) for one in removed])
            for target in TARGETS
        },
        Path("env.json"): _variables(),
    }
    return {path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in contents.items()}


def stale(folder: Path) -> Iterator[Path]:
    """The files that are not as they would be made, those that nobody makes any more included."""
    wanted = made(folder)
    kept = {path.relative_to(folder) for made_in in ("api", "queues") for path in (folder / made_in).glob("*")}
    yield from sorted(kept - set(wanted))
    for path, text in wanted.items():
        if not (folder / path).exists() or (folder / path).read_text() != text:
            yield path


def write(folder: Path) -> None:
    """Makes the files that are stale, and removes those that nobody makes any more."""
    wanted = made(folder)
    for path in list(stale(folder)):
        (folder / path).parent.mkdir(exist_ok=True)
        if path in wanted:
            (folder / path).write_text(wanted[path])
        else:
            (folder / path).unlink()


def _removal(change: Change) -> Document:
    """What resolve publishes when it finds the item gone."""
    identity, version = change.identity, change.received_at
    return Document(identity=identity, version=version, change="removed", announce_key=identity.ref, archive_key="")


def _request(webhook: Mapping[str, Any]) -> dict[str, Any]:
    """The proxy event of a REST API: https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html"""
    path = f"/{WEBHOOK_PATH}"
    host = f"a1b2c3d4e5.execute-api.{REGION}.amazonaws.com"
    headers = {"Content-Type": "application/json", "Host": host, "X-Webhook-Secret": WEBHOOK_SECRET}
    return {
        "resource": path,
        "path": path,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": host.partition(".")[0],
            "domainName": host,
            "httpMethod": "POST",
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "example"},
            "path": f"/{STAGE}{path}",
            "protocol": "HTTP/1.1",
            "requestId": _made_up(webhook["webhook"]["event"]),
            "requestTimeEpoch": SENT_AT,
            "resourcePath": path,
            "stage": STAGE,
        },
        "body": json.dumps(webhook),
        "isBase64Encoded": False,
    }


def _batch(function: str, messages: Sequence[tuple[str, Mapping[str, str]]]) -> dict[str, Any]:
    """The event of a queue: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    return {"Records": [_record(function, body, attributes) for body, attributes in messages]}


def _record(function: str, body: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    texts = {"stringListValues": [], "binaryListValues": [], "dataType": "String"}
    return {
        "messageId": _made_up(body),
        "receiptHandle": _made_up(f"receipt {body}"),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(SENT_AT),
            "SenderId": "AROAEXAMPLE:sender",
            "ApproximateFirstReceiveTimestamp": str(SENT_AT),
        },
        "messageAttributes": {name: {"stringValue": text, **texts} for name, text in attributes.items()},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:buttersync-{STAGE}-{function}",
        "awsRegion": REGION,
    }


def _variables() -> dict[str, Any]:
    """What differs from function to function; the shell has the rest, see README.md."""
    topic = {"TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:buttersync-{STAGE}"}
    return {
        "Parameters": {"STAGE": DOCKER_STAGE},
        "IngestFunction": {**topic, "RESOLVE_QUEUE_URL": _queue("resolve")},
        "ResolveFunction": {**topic, **_queues("resolve")},
        **{f"{target}Function": _queues(target) for target in TARGETS},
    }


def _queues(function: str) -> dict[str, str]:
    return {"QUEUE_URL": _queue(function), "DEAD_LETTER_QUEUE_URL": _queue(f"{function}-dead-letters")}


def _queue(name: str) -> str:
    """The address of a queue; boto3 sends its requests to `AWS_ENDPOINT_URL`, whatever the host is here."""
    return f"http://localhost/{ACCOUNT}/buttersync-{STAGE}-{name}"


def _made_up(seed: str) -> str:
    """A UUID that stays the same."""
    digits = hashlib.sha256(seed.encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:32]))


def main() -> str | int:
    """Writes the files, or checks them; the exit status is 0 if all is well."""
    if "--check" in sys.argv[1:]:
        names = ", ".join(map(str, stale(FOLDER)))
        return f"Not up to date in events/: {names}. Run: make events" if names else 0
    write(FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
