"""AWS at the end of the wire: one HTTP server that plays SNS, SQS and SSM, and fails as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs

HANG_SECONDS = 20

Fault = int | Literal["hang", "drop", "garbage"]
"""A status, no answer at all, a closed connection, or 200 with what is no answer of AWS."""

PUBLISHED = (
    '<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
    "<MessageId>1f6a3d0c-0f5e-4b7e-9b7a-2c3d4e5f6a7b</MessageId></PublishResult></PublishResponse>"
)


@dataclass(frozen=True)
class Message:
    """What a queue behind the topic, or the queue itself, would hold."""

    body: str
    attributes: dict[str, str]


@dataclass
class FakeAws:
    """`published` by SNS, `sent` to SQS, `parameters` in SSM by their whole name, `faults` by service."""

    url: str = ""
    published: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, service: str, request: bytes) -> str:
        return {"sns": self._publish, "sqs": self._send, "ssm": self._parameters}[service](request)

    def _publish(self, request: bytes) -> str:
        form = {name: values[0] for name, values in parse_qs(request.decode()).items()}
        assert form["Action"] == "Publish"
        numbers = range(1, 1 + sum(name.endswith(".Name") for name in form))
        entry = "MessageAttributes.entry.{}.{}".format
        assert all(form[entry(number, "Value.DataType")] == "String" for number in numbers)
        attributes = {form[entry(number, "Name")]: form[entry(number, "Value.StringValue")] for number in numbers}
        self.published.append(Message(form["Message"], attributes))
        return PUBLISHED

    def _send(self, request: bytes) -> str:
        sent = json.loads(request)
        attributes = sent["MessageAttributes"]
        assert all(attribute["DataType"] == "String" for attribute in attributes.values())
        texts = {name: attribute["StringValue"] for name, attribute in attributes.items()}
        self.sent.append(Message(sent["MessageBody"], texts))
        return json.dumps({"MessageId": str(len(self.sent))})

    def _parameters(self, request: bytes) -> str:
        asked = json.loads(request)
        names = asked.get("Names") or [name for name in self.parameters if name.startswith(asked["Path"])]
        held = [{"Name": name, "Value": self.parameters[name]} for name in names if name in self.parameters]
        return json.dumps({"Parameters": held, "InvalidParameters": []})


@contextmanager
def fake_aws() -> Iterator[FakeAws]:
    """Serves on a free port until the block ends; hanging requests are let go then."""
    aws = FakeAws()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(aws))
    aws.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield aws
    finally:
        aws.released.set()
        server.shutdown()
        server.server_close()


def _handler(aws: FakeAws) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for the acknowledgement of its head

        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            target = self.headers.get("X-Amz-Target", "")
            service = {"AmazonSSM": "ssm", "AmazonSQS": "sqs"}.get(target.partition(".")[0], "sns")
            aws.calls.append(service)
            fault = aws.faults.get(service)
            if fault == "hang":
                aws.released.wait(HANG_SECONDS)
            if fault in ("hang", "drop"):
                self.close_connection = True
            elif fault == "garbage":
                self._reply(200, "<html>")
            elif isinstance(fault, int):
                self._reply(fault, "{}")
            else:
                self._reply(200, aws.answer(service, request))

        def _reply(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml" if body.startswith("<") else "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler
