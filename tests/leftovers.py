"""Whether programs that a test has started have ended, all of them, whoever started them in turn."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def watched(log: Path) -> Iterator[Callable[[], bool]]:
    """Makes the log a pipe, which all that is started holds open; asks whether nobody does, for which 5 s may pass."""
    log.unlink(missing_ok=True)
    os.mkfifo(log)
    with os.fdopen(os.open(log, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:

        def all_ended() -> bool:
            end = time.monotonic() + 5
            # None says that there is nothing to read yet, b"" that there never will be.
            while (read := reader.read()) != b"" and time.monotonic() < end:
                time.sleep(0 if read else 0.02)
            return read == b""

        yield all_ended
