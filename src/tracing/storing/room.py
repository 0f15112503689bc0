"""Room on the disk: traces are shed before it is full, so that what matters more can still be written.

An eighth of the file system, 64 MiB at most, is left to databases, sessions and logs: spools and spans.db don't
touch it. Below that spans are dropped and counted; when there is room again, recording goes on by itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

RESERVE = 64 << 20
_SHARE = 8
#: Looks at the disk are this far apart: in seconds, and in bytes written meanwhile.
_EVERY, _AFTER = 0.2, 64 << 10


class FileSystem(Protocol):
    """The part of `os.statvfs_result` that counts."""

    @property
    def f_frsize(self) -> int: ...
    @property
    def f_blocks(self) -> int: ...
    @property
    def f_bavail(self) -> int: ...


class Room:
    """The file system that `folder` lies on. `look` and `clock` are for tests.

    >>> room = Room(home.path)
    >>> if room.scarce(): ...
    """

    def __init__(
        self,
        folder: Path,
        *,
        look: Callable[[Path], FileSystem] = os.statvfs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._look = look
        self._clock = clock
        self._at = -_EVERY
        self._written = 0
        self.free = 0
        self.reserve = 0

    def scarce(self, size: int = 0) -> bool:
        """Whether spans must not be written now; `size` is what the caller is about to write, in bytes."""
        self._written += size
        if self._written > _AFTER or self._clock() - self._at >= _EVERY:
            self.measure()
        return self.free < self.reserve

    def measure(self) -> None:
        """Look at the disk now: sets `free` and `reserve`, in bytes."""
        self._at, self._written = self._clock(), 0
        try:
            found = self._look(self._folder)
        except OSError:
            self.free = self.reserve = 0  # whoever writes will see
            return
        self.free = found.f_bavail * found.f_frsize
        self.reserve = min(RESERVE, found.f_blocks * found.f_frsize // _SHARE)

    def __str__(self) -> str:
        return f"only {_mib(self.free)} MiB are left on the disk of {self._folder} ({_mib(self.reserve)} are kept free)"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f}"
