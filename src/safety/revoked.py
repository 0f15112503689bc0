"""The tokens that are good no more: a small file beside the epoch file, read by whoever checks tokens.

One line for each: the token's `jti`, and the Unix time at which it would have ended by itself. The engine writes it;
agents, the collector and `deploy mcp` see a change at their next check, and need no engine for that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from teamwright.errors import TokenRefused
from teamwright.home import write_atomically

FILE = "revoked"


class Revoked:
    """The list of one home; empty where there is no file.

    >>> revoked = Revoked.beside(home.epoch_file)
    >>> revoked.add({claims.jti: claims.exp})
    >>> claims.jti in revoked
    True

    Reading raises TokenRefused when the file is there and can't be read: then every token may be on it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._ends: dict[str, float] = {}

    @classmethod
    def beside(cls, epoch_file: Path) -> Revoked:
        """That of the home of an epoch file."""
        return cls(epoch_file.with_name(FILE))

    def __contains__(self, jti: str) -> bool:
        self._refresh()
        return jti in self._ends

    def add(self, ends: Mapping[str, float]) -> None:
        """Put tokens on the list, by `jti` and end; on disk before this returns. Raises OSError, TokenRefused."""
        self._refresh()
        if any(jti not in self._ends for jti in ends):
            self._write({**self._ends, **ends})

    def restore(self, ends: Mapping[str, float], *, now: float) -> None:
        """Make the list what the engine remembers, without those that have ended. Raises OSError."""
        self._write({jti: end for jti, end in ends.items() if end > now})

    def _write(self, ends: Mapping[str, float]) -> None:
        write_atomically(self._path, "".join(f"{jti} {end}\n" for jti, end in ends.items()))
        self._seen = None

    def _refresh(self) -> None:
        try:
            seen = _looks(os.stat(self._path))  # noqa: PTH116 - at each check of a token
            if seen == self._seen:
                return
            with self._path.open() as file:
                self._seen = _looks(os.fstat(file.fileno()))
                rows = [line.split() for line in file]
            self._ends = {jti: float(end) for jti, end in rows}
        except FileNotFoundError:
            self._seen, self._ends = None, {}
        except (OSError, ValueError):
            self._seen = None
            raise TokenRefused(f"{self._path} can't be read: it says which tokens were revoked") from None


def _looks(info: os.stat_result) -> tuple[int, ...]:
    return info.st_ino, info.st_size, info.st_mtime_ns
