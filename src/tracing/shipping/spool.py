"""The spool: one append-only file per process that a span reaches before anybody else sees it.

A record is `TW`, kind, length, CRC-32, then the payload: an OTLP ExportTraceServiceRequest with one span, so
that any run of payloads put together is one valid request. What `kill -9` cuts off is recognised and skipped.
Beside the file lies `….ack`: how far it has been stored, and how many spans a full disk has cost. Full it is when
only the reserve is left (`room.py`), and a spool that nobody takes in doesn't grow beyond its limit either.
No fsync: the page cache survives the death of a process, and that is what spools are for.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote, unquote

from teamwright.errors import SpoolFull
from teamwright.tracing.storing.room import Room

Kind = Literal["ended", "started", "dropped"]

SUFFIX = ".spool"
#: Bytes that one process's spool may take on the disk while nobody takes it in.
LIMIT = 256 << 20
_HEAD = struct.Struct("<2sBII")
_MAGIC = b"TW"
_KINDS: tuple[Kind, ...] = ("ended", "started", "dropped")
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_ACK = struct.Struct("<QQI")
_RECORD_LIMIT = 64 << 20


class Sink(Protocol):
    """Where the tracer puts encoded spans. Raises SpoolFull when there is no room."""

    def append(self, payload: bytes, kind: Kind = "ended") -> None: ...

    def lose(self) -> None:
        """A span was dropped."""


@dataclass(frozen=True, slots=True)
class SpoolName:
    """Whose spool a file is: `job.agent@incarnation.spool`; the engine and host have no job."""

    namespace: str
    service: str
    incarnation: str

    @property
    def text(self) -> str:
        """`job.agent@incarnation`, with other characters escaped."""
        job, service, incarnation = (quote(part, safe="") .replace(".", "%2E")
                                     for part in (self.namespace, self.service, self.incarnation))  # fmt: skip
        return f"{job}.{service}@{incarnation}"

    @property
    def file_name(self) -> str:
        return self.text + SUFFIX

    @classmethod
    def parse(cls, file_name: str) -> SpoolName | None:
        """The name of a spool file, or None when it isn't one."""
        return cls.from_text(file_name.removesuffix(SUFFIX)) if file_name.endswith(SUFFIX) else None

    @classmethod
    def from_text(cls, text: str) -> SpoolName | None:
        """What `text` gave, taken back; None when it isn't one."""
        job, dot, rest = text.partition(".")
        service, at, incarnation = rest.partition("@")
        if not (dot and at):
            return None
        return cls(unquote(job), unquote(service), unquote(incarnation))


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read back; `end` is the offset after it."""

    kind: Kind
    payload: bytes
    end: int


class Spool:
    """This process's spool, open for appending; threads may share it.

    >>> spool = Spool.create(home.spool_dir, "research", "searcher", incarnation)
    """

    def __init__(self, path: Path, *, limit: int = LIMIT, room: Room | None = None) -> None:
        self.path = path
        self._limit = limit
        self._room = room or Room(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._marks = os.open(ack_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._size = os.fstat(self._file).st_size
        self._acked, self._dropped = read_ack(path)
        self._write_ack()

    @classmethod
    def create(cls, folder: Path, namespace: str, service: str, incarnation: str) -> Spool:
        """The spool of that process in `folder`; makes both."""
        return cls(folder / SpoolName(namespace, service, incarnation).file_name)

    @property
    def size(self) -> int:
        return self._size

    @property
    def acked(self) -> int:
        """The offset up to which everything is in the store."""
        return self._acked

    @property
    def dropped(self) -> int:
        """Spans that were dropped."""
        return self._dropped

    def append(self, payload: bytes, kind: Kind = "ended") -> None:
        """Add one record. Raises SpoolFull, with the file as it was, when it can't be written."""
        record = _HEAD.pack(_MAGIC, _CODES[kind], len(payload), zlib.crc32(payload)) + payload
        with self._lock:
            if self._size + len(record) > self._limit:
                raise SpoolFull(f"{self.path} holds {self._size >> 20} MiB that nobody has taken in")
            if self._room.scarce(len(record)):
                raise SpoolFull(str(self._room))
            try:
                written = os.write(self._file, record)
            except OSError as error:
                raise SpoolFull(f"can't write {self.path}: {error.strerror}") from error
            if written == len(record):
                self._size += written
                return
            os.ftruncate(self._file, self._size)
        raise SpoolFull(f"can't write {self.path}: only a part fitted")

    def read(self, offset: int) -> Iterator[Record]:
        """The records from `offset` on, as far as the file goes now."""
        return scan(os.pread(self._file, max(0, self._size - offset), offset), offset)

    def read_part(self, offset: int, limit: int) -> list[Record]:
        """The whole records that begin within about `limit` bytes from `offset`; at least one if there is one."""
        size = self._size
        found = list(scan(os.pread(self._file, min(limit, size - offset), offset), offset)) if size > offset else []
        if not found and size - offset > limit:
            found = list(scan(os.pread(self._file, size - offset, offset), offset))[:1]
        return found

    def ack(self, offset: int) -> None:
        """Everything before `offset` is stored for good."""
        with self._lock:
            self._acked = offset
            self._write_ack()

    def reset(self, larger_than: int = 0) -> bool:
        """Empty the file if everything in it is acknowledged and it is larger than that."""
        with self._lock:
            if self._acked < self._size or self._size <= larger_than:
                return False
            # The mark first: a crash in between repeats spans, which the store takes once.
            self._acked = 0
            self._write_ack()
            os.ftruncate(self._file, 0)
            self._size = 0
            return True

    def close(self, *, remove: bool = False) -> None:
        """Close the file; `remove` deletes it, if everything in it is acknowledged."""
        with self._lock:
            if remove and self._acked >= self._size:
                remove_files(self.path)
            for handle in (self._file, self._marks):
                if handle >= 0:
                    os.close(handle)
            self._file = self._marks = -1

    def lose(self) -> None:
        """Count a span that was dropped, where others can read it."""
        with self._lock:
            self._dropped += 1
            self._write_ack()

    def _write_ack(self) -> None:
        numbers = struct.pack("<QQ", self._acked, self._dropped)
        # In place, in a block that the file has had from the start: works on a full disk too.
        # Failing that: an old mark only means that spans are sent twice.
        with suppress(OSError):
            os.pwrite(self._marks, numbers + struct.pack("<I", zlib.crc32(numbers)), 0)


def scan(data: bytes, offset: int = 0) -> Iterator[Record]:
    """The whole records in `data`, which begins at `offset` of its file. Broken parts are skipped."""
    position, end = 0, len(data)
    while position + _HEAD.size <= end:
        magic, code, length, crc = _HEAD.unpack_from(data, position)
        body = position + _HEAD.size
        if magic == _MAGIC and code < len(_KINDS) and length <= _RECORD_LIMIT and body + length <= end:
            payload = data[body : body + length]
            if zlib.crc32(payload) == crc:
                position = body + length
                yield Record(_KINDS[code], payload, offset + position)
                continue
        position = data.find(_MAGIC, position + 1)
        if position < 0:
            return


def ack_path(path: Path) -> Path:
    """The file of marks beside a spool."""
    return path.with_name(path.name + ".ack")


def read_ack(path: Path) -> tuple[int, int]:
    """(offset stored up to, spans dropped) of the spool at `path`; zeros when not known."""
    try:
        data = ack_path(path).read_bytes()
        offset, dropped, crc = _ACK.unpack(data[: _ACK.size])
        size = path.stat().st_size
    except (OSError, struct.error):
        return 0, 0
    if zlib.crc32(data[:16]) != crc:
        return 0, 0
    return (offset if offset <= size else 0), dropped


def pending(path: Path, part: int = 1 << 20) -> Iterator[list[Record]]:
    """What the spool at `path`, of whichever process, holds beyond its mark, in parts of about that size."""
    offset, _ = read_ack(path)
    try:
        with path.open("rb") as file:
            size = part
            while True:
                file.seek(offset)
                data = file.read(size)
                found = list(scan(data, offset))
                if found:
                    yield found
                    offset, size = found[-1].end, part
                elif len(data) < size:
                    return
                else:
                    size *= 2  # one record larger than a part, or a broken stretch
    except OSError:
        return


def spools(folder: Path) -> list[tuple[Path, SpoolName]]:
    """Every spool in `folder` and whose it is, by name."""
    found = []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    for name in names:
        whose = SpoolName.parse(name)
        if whose is not None:
            found.append((folder / name, whose))
    return found


def dropped_spans(folder: Path) -> int:
    """Spans that the processes whose spools lie in `folder` have dropped."""
    return sum(read_ack(path)[1] for path, _ in spools(folder))


def remove_files(path: Path) -> None:
    """Delete a spool and its marks."""
    path.unlink(missing_ok=True)
    ack_path(path).unlink(missing_ok=True)
