"""Who took the processor's time: this process, those that it has started, and those that they have (Linux)."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
NAMES = {
    # The emulator runs a function in processes of its own, in a folder that bears the function's name.
    r"/ministack-lambda-(buttersync-\w+-\w+)-": r"\1",
    r"-m ministack": "AWS",
    r"-m tests\.bench": "sandbox and senders",
    r"postgres": "PostgreSQL's server",
    r"sandbox\.engine": "OpenSearch's server",
}


def taken() -> Counter[str]:
    """Milliseconds until now, of functions by their names and of servers; of what has ended none."""
    milliseconds: Counter[str] = Counter()
    for process in [PROC / str(os.getpid()), *_descendants(os.getpid())]:
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            user, system = _stat(process)[11:13]
            milliseconds[_name(command)] += 1000 * (int(user) + int(system)) // TICKS
    return milliseconds


def _name(command: str) -> str:
    found = ((re.search(pattern, command), name) for pattern, name in NAMES.items())
    return next((match.expand(name) for match, name in found if match), "other")


def _descendants(ancestor: int) -> Iterator[Path]:
    processes = [path for path in PROC.iterdir() if path.name.isdecimal()]
    children: dict[int, list[Path]] = {}
    for process in processes:
        with suppress(OSError):
            children.setdefault(int(_stat(process)[1]), []).append(process)
    found = children.get(ancestor, [])
    for process in found:
        found += children.get(int(process.name), [])
        yield process


def _stat(process: Path) -> list[str]:
    """The fields of proc(5) from the third on; the second, in brackets, may hold anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()
