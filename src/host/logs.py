"""Log files: one per agent, appended to over all its lives, and those of guard, engine and host.

Standard library only, and light: the guard imports this without site-packages.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

#: A file larger than this is put aside; so many of those are kept.
LIMIT = 10_000_000
KEPT = 5
_TAIL_BYTES = 16_384
_PIECE = 1 << 20
_COLLAPSE_RANGE = 0x08


def rotate(path: Path, limit: int = LIMIT) -> bool:
    """Put what is in `name.log` aside as `name.log.1`, that as `.2` and so on, when it has grown too large.

    The file itself stays, and its beginning is taken away: an agent, its tools and the process that follows it may all
    have it open, to append to. Where the file system can do that (ext4, XFS) nothing is lost, and a line may begin in
    one file and end in the next. Elsewhere the file is emptied, and what is written between the last look and that,
    in a flood of lines some of them, is lost. Raises OSError; on a full disk the file is emptied all the same.
    """
    try:
        if path.stat().st_size <= limit:
            return False
        source = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(source, fcntl.LOCK_EX)  # engine and host may both want to
        size = os.fstat(source).st_size
        if size <= limit:
            return False
        for number in range(KEPT - 1, 0, -1):
            older = Path(f"{path}.{number}")
            if older.exists():
                older.replace(f"{path}.{number + 1}")
        block = os.fstatvfs(source).f_bsize
        length = (size - 1) // block * block
        try:
            _copy(source, f"{path}.1", length)
        except OSError:
            os.ftruncate(source, 0)
            raise
        if not (length and _take_away(source, length)):
            _copy(source, f"{path}.1", None)
            os.ftruncate(source, 0)
    finally:
        os.close(source)
    return True


def _copy(source: int, target: str, length: int | None) -> None:
    """The first `length` bytes into a new file; None = what has come since then, behind them."""
    fresh = os.O_TRUNC if length is not None else os.O_APPEND
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | fresh | os.O_CLOEXEC, 0o600)
    try:
        while piece := os.read(source, _PIECE if length is None else min(_PIECE, length)):
            length = None if length is None else length - len(piece)
            while piece:
                piece = piece[os.write(copy, piece) :]
    finally:
        os.close(copy)


def _take_away(source: int, length: int) -> bool:
    """Remove the first `length` bytes, whole blocks, at one stroke; False where the file system can't."""
    import ctypes

    collapse = ctypes.CDLL(None, use_errno=True).fallocate
    collapse.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return bool(collapse(source, _COLLAPSE_RANGE, 0, length) == 0)


def rotate_all(home: Path, limit: int = LIMIT) -> list[Path]:
    """Every log of a home that has grown too large; which those were. One that can't be put aside stays as it is."""
    done = []
    for path in (*home.glob("*.log"), *home.glob("jobs/*/agents/*.log")):
        with suppress(OSError):
            if rotate(path, limit):
                done.append(path)
    return done


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
            since = since if since <= end else 0  # it was put aside meanwhile
            begin = max(since, end - _TAIL_BYTES)
            file.seek(begin)
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    found = text.splitlines()
    if begin > since:
        found = found[1:]
    return tuple(found[-lines:])
