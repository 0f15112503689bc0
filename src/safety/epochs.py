"""The epoch file: one counter per scope, and a halt is a counter that went up.

A token carries the sum of its subject's counters from when it was minted; a different sum now means that somebody
halted the engine, the job, the group or the agent in between. The file has a fixed size, is made once and is
overwritten in place, so a full disk doesn't stop a halt, and no engine is needed to order or to notice one.

    header   16 bytes   magic, generation (goes up with each change)
    slots    24 bytes   digest of the scope, counter; slot 0 is the engine's
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from teamwright.errors import Refused

ENGINE = "engine"

_MAGIC = b"TWEPOCH1"
_HEADER = struct.Struct("<8sQ")
_SLOT = struct.Struct("<16sQ")
_SLOTS = 4096
_SIZE = _HEADER.size + _SLOTS * _SLOT.size
_EMPTY = bytes(16)


def job_scope(job: str) -> str:
    """The scope of a whole job."""
    return f"job:{job}"


def group_scope(job: str, group: str) -> str:
    """The scope of a group of a job's agents."""
    return f"group:{job}/{group}"


def agent_scope(job: str, agent: str) -> str:
    """The scope of one agent."""
    return f"agent:{job}/{agent}"


def scopes(job: str | None = None, agent: str | None = None, group: str | None = None) -> tuple[str, ...]:
    """Every scope that a subject stands under: the engine, and its job, group and agent as far as given."""
    found = [ENGINE]
    if job:
        found.append(job_scope(job))
        if group:
            found.append(group_scope(job, group))
        if agent:
            found.append(agent_scope(job, agent))
    return tuple(found)


class EpochFile:
    """The counters of one home. Readers and writers may be in any number of processes.

    >>> epochs = EpochFile.create(home.epoch_file)
    >>> epochs.bump("job:hello")
    1
    >>> epochs.total(("engine", "job:hello"))
    1

    Reading raises Refused when the file is missing, damaged or unreadable: that counts as halted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._inode: tuple[int, int] | None = None
        self._generation = -1
        self._counts: dict[bytes, int] = {}

    @classmethod
    def create(cls, path: Path) -> EpochFile:
        """Make the file if it isn't there, never reset one that is, and open it. Raises OSError or Refused."""
        if not path.exists():
            draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                engine = _SLOT.pack(_digest(ENGINE), 0)
                with os.fdopen(fd, "wb") as file:
                    file.write((_HEADER.pack(_MAGIC, 1) + engine).ljust(_SIZE, b"\0"))
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileExistsError):  # somebody else was first, theirs counts
                    os.link(draft, path)
            finally:
                draft.unlink(missing_ok=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> EpochFile:
        """The file at `path`. Raises Refused when it is missing or no epoch file."""
        epochs = cls(path)
        epochs._refresh()
        return epochs

    def values(self, scopes: Iterable[str]) -> tuple[int, ...]:
        """The counters of `scopes` as they are now; 0 for one that was never bumped. Raises Refused."""
        self._refresh()
        return tuple(self._counts.get(_digest(scope), 0) for scope in scopes)

    def total(self, scopes: Iterable[str]) -> int:
        """The sum of the counters of `scopes`. Raises Refused."""
        return sum(self.values(scopes))

    def bump(self, scope: str) -> int:
        """Count `scope` up, on disk before this returns, and give its new value. Raises Refused.

        When all slots are taken a wider scope is bumped instead: halting too much is the safe side.
        """
        fd = self._open(os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            data = self._read(fd)
            position, digest, count = _slot(data, scope)
            os.pwrite(fd, _SLOT.pack(digest, count + 1), position)
            _, generation = _HEADER.unpack_from(data)
            # The generation goes last: who sees it sees the counter as well.
            os.pwrite(fd, _HEADER.pack(_MAGIC, generation + 1), 0)
            os.fdatasync(fd)
        finally:
            os.close(fd)
        return int(count + 1)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _refresh(self) -> None:
        # Not the mtime: it is as coarse as 10 ms, and a halt in the same tick as a read would go unseen.
        try:
            info = self.path.stat()
        except OSError as error:
            raise Refused(f"halted: the epoch file {self.path} is gone ({error.strerror})") from None
        if self._fd is None or self._inode != (info.st_dev, info.st_ino):
            self.close()
            self._fd = self._open(os.O_RDONLY)
            opened = os.fstat(self._fd)
            self._inode = (opened.st_dev, opened.st_ino)
            self._generation = -1
        try:
            head = os.pread(self._fd, _HEADER.size, 0)
        except OSError as error:
            raise Refused(f"halted: the epoch file {self.path} can't be read ({error.strerror})") from None
        if info.st_size != _SIZE or len(head) != _HEADER.size or head[:8] != _MAGIC:
            raise Refused(f"halted: {self.path} is not an epoch file")
        (generation,) = struct.unpack_from("<Q", head, 8)
        if generation != self._generation:
            data = self._read(self._fd)
            self._counts = {
                digest: count for digest, count in _SLOT.iter_unpack(data[_HEADER.size :]) if digest != _EMPTY
            }
            self._generation = generation

    def _open(self, flags: int) -> int:
        try:
            return os.open(self.path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"halted: the epoch file {self.path} can't be opened ({error.strerror})") from None

    def _read(self, fd: int) -> bytes:
        try:
            data = os.pread(fd, _SIZE, 0)
        except OSError as error:
            raise Refused(f"halted: the epoch file {self.path} can't be read ({error.strerror})") from None
        if len(data) != _SIZE or data[:8] != _MAGIC:
            raise Refused(f"halted: {self.path} is not an epoch file")
        return data


@lru_cache(maxsize=4096)
def _digest(scope: str) -> bytes:
    return blake2b(scope.encode(), digest_size=16).digest()


def _slot(data: bytes, scope: str) -> tuple[int, bytes, int]:
    """Where the counter of `scope` is or can be put, its digest, and its present value."""
    free: int | None = None
    wanted = _digest(scope)
    for position in range(_HEADER.size, _SIZE, _SLOT.size):
        digest, count = _SLOT.unpack_from(data, position)
        if digest == wanted:
            return position, digest, count
        if digest == _EMPTY:
            free = position
            break
    if free is not None:
        return free, wanted, 0
    kind, _, name = scope.partition(":")
    return _slot(data, job_scope(name.partition("/")[0]) if kind in ("agent", "group") else ENGINE)
