"""ButterCMS's part: every webhook of the story is sent through the gateway, as fast as the queues are emptied."""

import http.client
import json
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

from sandbox.chaos.story import Story
from sandbox.processes import SandboxError
from sandbox.webhooks import DEADLINE, SECRET_HEADER, Webhook

SENDERS = 12

PAUSE_SECONDS = 0.5
"""Between the first webhooks of two senders, and a sender's after it was turned away: a gateway that is starting
workers is not to be pressed to start even more."""

KEPT_SECONDS = 20
"""A connection that was left alone for longer is made anew: the gateway ends it after 75 s."""


class Sender:
    """Sends webhooks, one at a time, over a connection that it keeps."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", SECRET_HEADER: secret}
        address = urlsplit(url)
        self._path = address.path
        self._connection = http.client.HTTPConnection(address.netloc, timeout=DEADLINE)
        self._used_at = 0.0

    def send(self, webhook: Webhook) -> int | None:
        """The status of the answer; None if there was none in time."""
        if time.monotonic() - self._used_at > KEPT_SECONDS:
            self._connection.close()
        try:
            self._connection.request("POST", self._path, json.dumps(webhook.body(self._url)), self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None
        self._used_at = time.monotonic()
        return answer.status

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


class Sending:
    """Sends a story to its end, and pauses while `may_go_on` is cleared."""

    def __init__(self, story: Story, url: str, secret: str) -> None:
        self.may_go_on = threading.Event()
        """Cleared while enough is in the queues."""
        self.accepted: Counter[str] = Counter()
        """Webhooks that were answered with 200, by their events."""
        self.turned_away: Counter[str] = Counter()
        """Those that were not, by what was answered; they were sent again later."""
        self._story, self._url, self._secret = story, url, secret
        self._abandoned = threading.Event()
        self._counting = threading.Lock()
        self._pool = ThreadPoolExecutor(SENDERS)
        self._running: list[Future[None]] = []

    def begin(self) -> None:
        """Sends in threads of its own."""
        self.may_go_on.set()
        self._running = [self._pool.submit(self._send, number * PAUSE_SECONDS) for number in range(SENDERS)]

    @property
    def is_over(self) -> bool:
        """Whether all have been accepted; raises what went wrong in a thread."""
        ended = [sender for sender in self._running if sender.done()]
        for sender in ended:
            sender.result()
        return len(ended) == len(self._running)

    def abandon(self) -> None:
        """Sends no more."""
        self._abandoned.set()
        self.may_go_on.set()
        self._pool.shutdown()

    def _send(self, pause: float) -> None:
        self._abandoned.wait(pause)
        with closing(Sender(self._url, self._secret)) as sender:
            while (webhook := self._story.take()) and not self._abandoned.is_set():
                self.may_go_on.wait()
                self._count(webhook, sender.send(webhook))

    def _count(self, webhook: Webhook, status: int | None) -> None:
        with self._counting:
            if status == 200:
                self.accepted[webhook.event] += 1
                return
            if status is not None and status < 500 and status != 429:
                raise SandboxError(f"{webhook.event} was answered with {status}, as no webhook of ButterCMS should be")
            self.turned_away["no answer" if status is None else str(status)] += 1
        self._story.again(webhook)
        self._abandoned.wait(PAUSE_SECONDS)
