"""How much an agent has to do, where anybody on this machine can look it up without asking it.

`<home>/jobs/<job>/load/<agent>@<incarnation>` holds three numbers of eight bytes: the process's pid, messages it works
on (those that wait for a peer too), and messages that wait for a place. It is written through memory, at every change.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FOLDER = "load"
_NUMBERS = struct.Struct("=qqq")


class Load(NamedTuple):
    """Messages that an agent works on, and that wait."""

    in_flight: int
    queued: int


class LoadFile:
    """One process's numbers; where no file can be made they are kept to itself."""

    def __init__(self, folder: Path, agent: str, incarnation: str) -> None:
        self._path = folder / f"{agent}@{incarnation}"
        self._map: mmap.mmap | None = None
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(folder, agent)
            with open(self._path, "w+b") as file:
                file.truncate(_NUMBERS.size)
                self._map = mmap.mmap(file.fileno(), _NUMBERS.size)
        self.write(0, 0)

    def write(self, in_flight: int, queued: int) -> None:
        """These are the numbers now."""
        if self._map is not None:
            _NUMBERS.pack_into(self._map, 0, os.getpid(), in_flight, queued)

    def close(self) -> None:
        """Take the file away."""
        if self._map is not None:
            self._map.close()
            self._map = None
            self._path.unlink(missing_ok=True)


def read_loads(folder: Path) -> dict[int, Load]:
    """What the processes of a job have to do, by pid; those that are dead may be among them."""
    return {pid: load for _, pid, load in _read(folder, "*@*")}


def _read(folder: Path, pattern: str) -> Iterator[tuple[Path, int, Load]]:
    for path in folder.glob(pattern):
        with suppress(OSError, struct.error):
            pid, in_flight, queued = _NUMBERS.unpack(path.read_bytes())
            yield path, pid, Load(in_flight, queued)


def _sweep(folder: Path, agent: str) -> None:
    """Take away what processes left that were killed."""
    for path, pid, _ in _read(folder, f"{agent}@*"):
        if not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)
