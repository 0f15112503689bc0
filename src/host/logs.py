"""An agent's log file: one per agent, appended to over all its lives."""

from __future__ import annotations

import os
from pathlib import Path

#: A file larger than this is put aside before the next start; so many of those are kept.
LIMIT = 10_000_000
KEPT = 5
_TAIL_BYTES = 16_384


def rotate(path: Path, limit: int = LIMIT) -> None:
    """Make `name.log` to `name.log.1`, that to `.2` and so on, when it has grown too large."""
    try:
        if path.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    for number in range(KEPT - 1, 0, -1):
        older = Path(f"{path}.{number}")
        if older.exists():
            older.replace(f"{path}.{number + 1}")
    path.replace(f"{path}.1")


def open_log(path: Path) -> tuple[int, int]:
    """A descriptor to append with, and how long the file is already. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rotate(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return fd, os.fstat(fd).st_size


def tail(path: Path, since: int = 0, lines: int = 20) -> tuple[str, ...]:
    """The last lines written after position `since`; empty when the file can't be read."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            begin = max(since, end - _TAIL_BYTES)
            file.seek(begin)
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    found = text.splitlines()
    if begin > since:
        found = found[1:]
    return tuple(found[-lines:])
