"""The span store: everything the collector takes in, in one SQLite file, committed before it is acknowledged."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from teamwright.database import Writer as Thread
from teamwright.errors import TeamwrightError
from teamwright.tracing import vocabulary as v
from teamwright.tracing.shipping.spool import SpoolName, pending, read_ack, remove_files, spools
from teamwright.tracing.storing.retention import Retention, expire
from teamwright.tracing.storing.room import Room
from teamwright.tracing.storing.rows import BadSpans, Decoded, Row, Writer, decode
from teamwright.tracing.storing.schema import STEPS, Origins, store
from teamwright.tracing.storing.synthetic import closed, open_rows

log = logging.getLogger(__name__)

_CAPACITY = 32 << 20
#: Bytes. A span takes one or two KB: in the usual pages of 4096 a good part of each would be left empty.
_PAGE = 8192


class StoreBusy(TeamwrightError):
    """The writer is behind; try again after `retry_after` seconds. Nothing was taken."""

    retry_after = 1.0


class StoreFull(StoreBusy):
    """There is no room for more on the disk. Nothing was taken."""

    retry_after = 2.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one request."""

    spans: int
    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining came to: spool files read, records in them."""

    files: int = 0
    records: int = 0


#: Told after a commit, in the writer's thread: the summaries of the traces that changed, by trace id.
Listener = Callable[[dict[bytes, dict[str, Any]]], None]


class SpanStore:
    """spans.db, open for writing: one per home, in the engine or in a collector of its own.

    >>> store = SpanStore(home.spans_db)
    >>> store.ingest(body).result()
    Stored(spans=12, rejected=0, reason='')
    """

    def __init__(
        self,
        path: Path,
        *,
        capacity: int = _CAPACITY,
        now: Callable[[], int] = time.time_ns,
        room: Room | None = None,
    ) -> None:
        self.path = path
        self.room = room or Room(path.parent)
        self._writer = Thread(path, STEPS, page_size=_PAGE)
        self._origins = Origins()
        self._capacity = capacity
        self._waiting = 0
        self._lock = threading.Lock()
        self._now = now
        self._listeners: list[Listener] = []
        self._span_listeners: list[Callable[[Sequence[Row]], None]] = []
        self._gone: dict[str, tuple[str, int]] = {}
        self._writer.submit(self._prepare).result()

    @property
    def waiting(self) -> int:
        """Bytes taken in and not committed."""
        return self._waiting

    def listen(self, listener: Listener) -> None:
        """Tell `listener` after each commit which traces changed; it must be quick and must not raise."""
        self._listeners.append(listener)

    def listen_to_spans(self, listener: Callable[[Sequence[Row]], None]) -> None:
        """Tell `listener` after each commit which spans are new or changed, in the writer's thread: be quick."""
        self._span_listeners.append(listener)

    def ingest(self, body: bytes, *, started: bool = False, writer: Writer | None = None) -> Future[Stored]:
        """Take in an OTLP request; the future is done when it is committed.

        Raises StoreBusy at once when too much waits, StoreFull when the disk has no room. The future raises BadSpans
        for what is not OTLP, and sqlite3.Error when the disk says no. A `writer` (job, agent) may only write spans of
        its own.
        """

        if self.room.scarce(len(body)):
            raise StoreFull(f"no room for spans: {self.room}")
        took: list[Row] = []

        def work(db: sqlite3.Connection) -> tuple[Stored, dict[bytes, dict[str, Any]]]:
            found = decode(body, started=started, writer=writer)
            return Stored(len(found.rows), found.rejected, found.reason), self._store(db, found, took)

        return self._submit(work, len(body), took)

    def drain(self, folder: Path, *, which: Callable[[SpoolName], bool] | None = None, remove: bool = False) -> Drained:
        """Take in what lies in the spools of `folder` beyond their marks; `remove` deletes them afterwards.

        Remove only the spools of processes that have ended. Blocks: call it in a thread. Raises StoreFull, or
        sqlite3.Error: what was not taken in stays where it is.
        """
        files = records = 0
        for path, name in spools(folder):
            if which is not None and not which(name):
                continue
            for part in pending(path):
                for started in (True, False):
                    body = b"".join(record.payload for record in part if (record.kind == "started") is started)
                    if body:
                        self._patiently(body, started=started)
                records += len(part)
            if remove:
                _, dropped = read_ack(path)
                if dropped:
                    log.warning("%s/%s lost %d spans to a full disk", name.namespace, name.service, dropped)
                    self._submit(partial(_lost, name.text, dropped), 0).result()
                remove_files(path)
            files += 1
        return Drained(files, records)

    def bury(self, folder: Path, name: SpoolName, reason: str = v.PROCESS_LOST) -> int:
        """A process has ended: take in its spool, delete it, close its open spans. Blocks."""
        self.drain(folder, which=lambda other: other == name, remove=True)
        return self.close_open(name, reason).result()

    def close_open(self, name: SpoolName, reason: str = v.PROCESS_LOST, *, at_ns: int | None = None) -> Future[int]:
        """Close the open spans of a process that has ended, in its stead; the future tells how many.

        A real end that comes later replaces ours; a late start of one of its spans is closed as well.
        """
        at = at_ns or self._now()

        def work(db: sqlite3.Connection) -> tuple[int, dict[bytes, dict[str, Any]]]:
            db.execute("insert or ignore into gone(process, reason, at) values(?,?,?)", (name.text, reason, at))
            self._gone[name.text] = (reason, at)
            rows = open_rows(db, name.text)
            return len(rows), store(db, [closed(row, reason, at) for row in rows], self._origins, took=took)

        took: list[Row] = []
        return self._submit(work, 0, took)

    def open_processes(self) -> list[SpoolName]:
        """The processes that have open spans, for those to be closed whose process is no more. Blocks."""

        def work(db: sqlite3.Connection) -> tuple[list[SpoolName], dict[bytes, dict[str, Any]]]:
            names = [
                name for (name,) in db.execute("select distinct process from span where state = 0 order by process")
            ]
            return [found for name in names if (found := SpoolName.from_text(name))], {}

        found: list[SpoolName] = self._submit(work, 0).result()
        return found

    def unfiled(self) -> list[bytes]:
        """The finished traces that have no file yet, or spans that are not in it. Blocks."""
        query = "select trace from trace where filed = 0 and root_state is not null and root_state <> 0 and open = 0"

        def work(db: sqlite3.Connection) -> tuple[list[bytes], dict[bytes, dict[str, Any]]]:
            return [trace for (trace,) in db.execute(query)], {}

        found: list[bytes] = self._submit(work, 0).result()
        return found

    def filed(self, traces: Sequence[tuple[bytes, int, int]]) -> Future[None]:
        """Their files are written, with so many spans and synthetic ones; one that has others by now is due again."""
        query = "update trace set filed = 1 where trace = ? and spans = ? and synthetic = ? and open = 0"

        def work(db: sqlite3.Connection) -> tuple[None, dict[bytes, dict[str, Any]]]:
            db.executemany(query, traces)
            return None, {}

        return self._submit(work, 0)

    def expire(
        self, limits: Retention, *, beside: int = 0, forget: Callable[[str, str], int] = lambda job, trace: 0
    ) -> list[tuple[str, str]]:
        """Delete the oldest traces as `limits` has it; (job, trace id) of each. Blocks, ingest doesn't.

        `beside` is what traces take beside the store, in bytes; `forget` deletes that of one and tells its size.
        """
        gone: list[tuple[str, str]] = []
        while True:
            size = None if limits.size is None else max(0, limits.size - beside)
            now = replace(limits, size=size)

            def work(db: sqlite3.Connection, now: Retention = now) -> tuple[list[tuple[str, str]], dict[bytes, Any]]:
                return expire(db, now, self._now()), {}

            found: list[tuple[str, str]] = self._submit(work, 0).result()
            if not found:
                return gone
            beside -= sum(forget(job, trace) for job, trace in found)
            gone += found

    def close(self) -> None:
        """Commit what waits and close the file."""
        self._writer.close()

    def _store(self, db: sqlite3.Connection, found: Decoded, took: list[Row]) -> dict[bytes, dict[str, Any]]:
        try:
            rows = [self._unless_gone(row) for row in found.rows] if self._gone else found.rows
            return store(db, rows, self._origins, found.notes, took)
        except BaseException:
            self._origins.forget()
            raise

    def _unless_gone(self, row: Row) -> Row:
        if row.state != 0:
            return row
        gone = self._gone.get(row.process)
        return closed(row, *gone) if gone else row

    def _submit(
        self,
        work: Callable[[sqlite3.Connection], tuple[Any, dict[bytes, dict[str, Any]]]],
        size: int,
        took: Sequence[Row] = (),
    ) -> Future[Any]:
        with self._lock:
            if self._waiting and self._waiting + size > self._capacity:
                raise StoreBusy("the span store is behind")
            self._waiting += size
        outcome: Future[Any] = Future()
        outcome.set_running_or_notify_cancel()  # who no longer waits for it must not take it from the writer

        def done(future: Future[tuple[Any, dict[bytes, dict[str, Any]]]]) -> None:
            with self._lock:
                self._waiting -= size
            problem = future.exception()
            if problem is not None:
                if isinstance(problem, sqlite3.Error):
                    self._origins.forget()
                outcome.set_exception(problem)
                return
            result, changed = future.result()
            if changed:
                self._tell(changed)
            if took:
                self._tell_spans(took)
            outcome.set_result(result)

        try:
            self._writer.submit(work).add_done_callback(done)
        except queue.Full:
            with self._lock:
                self._waiting -= size
            raise StoreBusy("the span store is behind") from None
        return outcome

    def _tell(self, changed: dict[bytes, dict[str, Any]]) -> None:
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                log.exception("a listener of the span store failed")

    def _tell_spans(self, rows: Sequence[Row]) -> None:
        for listener in self._span_listeners:
            try:
                listener(rows)
            except Exception:
                log.exception("a listener of the span store failed")

    def _patiently(self, body: bytes, *, started: bool) -> None:
        while True:
            try:
                self.ingest(body, started=started).result()
                return
            except StoreFull:
                raise
            except StoreBusy:
                time.sleep(0.05)
            except BadSpans as error:
                log.warning("unreadable spans in a spool: %s", error)
                return

    def _prepare(self, db: sqlite3.Connection) -> None:
        # A checkpoint costs a sync: every 32 MiB, not every 4; less on a small disk, where the log must fit too.
        self.room.measure()
        size = max(256 << 10, min(32 << 20, self.room.reserve // 2))
        db.execute(f"pragma wal_autocheckpoint={size // _PAGE}")
        for process, reason, at in db.execute("select process, reason, at from gone"):
            self._gone[process] = (reason, at)


def _lost(process: str, spans: int, db: sqlite3.Connection) -> tuple[None, dict[bytes, dict[str, Any]]]:
    db.execute("insert or replace into lost(process, spans) values(?,?)", (process, spans))
    return None, {}
