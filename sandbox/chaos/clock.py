"""The clock of the emulated AWS and of the functions in it, which can be put forward.

A document that has failed five times waits a quarter of an hour, the messages of a worker that was killed wait for
their visibility time-out, and the longest steps are of half a day. Nothing in the functions knows of this clock, and no
wait is left out: what is due at a time comes when this clock shows it.

Python runs `clock_hook/sitecustomize.py` at the start of every process of the emulator, workers included, which makes
`time.time` tell this clock's time. Monotonic clocks and `datetime.now` are left alone: time-outs take as long as ever,
and signed requests stay valid. https://docs.python.org/3/library/site.html#module-sitecustomize
"""

import mmap
import struct
import time
from collections.abc import Mapping
from pathlib import Path

HOOK = Path(__file__).with_name("clock_hook")
SECONDS = struct.Struct("q")


class Clock:
    """A clock whose lead over the machine's, in seconds, stands in the file `path`, for all processes to read."""

    def __init__(self, path: Path) -> None:
        self.forward = 0
        """By how many seconds it is ahead."""
        path.write_bytes(SECONDS.pack(0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SECONDS.size)
        self.variables: Mapping[str, str] = {"PYTHONPATH": str(HOOK), "SANDBOX_CLOCK": str(path)}
        """What makes a Python program go by this clock, and all that it starts."""

    def now(self) -> float:
        """What it shows, in seconds since 1970."""
        return time.time() + self.forward

    def put_forward(self, seconds: int) -> None:
        """For every process at once."""
        self.forward += seconds
        SECONDS.pack_into(self._shared, 0, self.forward)
