"""How much processor time ingest takes for a webhook, against a handler that does the bare minimum.

Both answer the same requests, and both publish with boto3, each with a client of its own, to the same server: an SNS of
a few lines in a process of its own, whose time does not count. The bare handler compares the secret, reads the JSON
and publishes the body as it came, with the one attribute that it takes to get to the queue of resolve: it checks
nothing and logs nothing.
"""

import hmac
import importlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3

from buttersync.clients import client
from sandbox.site import Site
from sandbox.webhooks import SECRET_HEADER
from tests.bench.pairs import Bench, Figure, Goal, timed
from tests.fakes.aws import fake_aws

REQUESTS = 50
MORE = 4
"""So many times the rounds of others: short ones, so that what disturbs the one of a pair disturbs the other."""
GOAL = Goal(1.15)
SECRET = "bench-secret"
TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
STAGE = {"stage": {"DataType": "String", "StringValue": "change"}}
CONTEXT = SimpleNamespace(aws_request_id="5f8a4e6c-0000-4000-8000-2c963f66afa6")


def figures(bench: Bench) -> Iterator[Figure]:
    """The one figure."""
    with _aws() as url, patch.dict(os.environ, _environment(url)), Path(os.devnull).open("w") as log:
        client.cache_clear()
        ingest = importlib.import_module("ingest")  # which makes its client
        sns = boto3.client("sns")
        events = _events()

        def bare(event: Mapping[str, Any]) -> dict[str, object]:
            if not hmac.compare_digest(event["headers"][SECRET_HEADER].encode(), SECRET.encode()):
                return {"statusCode": 401}
            webhook = json.loads(event["body"])
            sns.publish(TopicArn=TOPIC, Message=event["body"], MessageAttributes=STAGE)
            return {"statusCode": 200, "body": json.dumps({"event": webhook["webhook"]["event"]})}

        def ours() -> float:
            # Its log goes where writing costs what it costs.
            with redirect_stdout(log):
                return timed(
                    lambda: _require_200(ingest.handler(event, CONTEXT) for event in events), time.process_time
                )

        def alone() -> float:
            return timed(lambda: _require_200(bare(event) for event in events), time.process_time)

        more = replace(bench, rounds=MORE * bench.rounds)
        yield more.paired(f"ingest: CPU of {REQUESTS} webhooks", ours, alone, GOAL)
        client.cache_clear()


def _require_200(answers: Iterator[Mapping[str, object]]) -> None:
    for answer in answers:
        if answer["statusCode"] != 200:
            raise RuntimeError(f"a webhook was not accepted: {answer}")


def _events() -> list[dict[str, Any]]:
    """Requests as API Gateway hands them on."""
    webhook = Site().publish_post("pruning-roses", title="Pruning roses")
    target = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod/webhooks/buttercms"
    return [
        {
            "resource": "/webhooks/buttercms",
            "path": "/webhooks/buttercms",
            "httpMethod": "POST",
            "headers": {"Content-Type": "application/json", "User-Agent": "ButterCMS", SECRET_HEADER: SECRET},
            "requestContext": {"requestId": f"request-{number}", "stage": "prod"},
            "body": json.dumps(webhook.body(target)),
            "isBase64Encoded": False,
        }
        for number in range(REQUESTS)
    ]


def _environment(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "STAGE": "test",
        "DEFAULT_LOCALE": "en",
        "TOPIC_ARN": TOPIC,
        "RESOLVE_QUEUE_URL": f"{url}/123456789012/resolve",
    }


@contextmanager
def _aws() -> Iterator[str]:
    """The address of an SNS and an SSM in a process of their own."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        yield here.recv()
    finally:
        server.terminate()
        server.join()


def _serve(told: Connection) -> None:
    with fake_aws() as aws:
        aws.parameters["/buttersync/test/butter/webhook_secret"] = SECRET
        told.send(aws.url)
        told.recv()  # which it never does: it is ended
