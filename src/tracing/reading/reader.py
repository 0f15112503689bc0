"""Reading traces without an engine: the store, and what still lies in the spools, seen as one.

Nothing is written anywhere: what the spools hold is put beside the store in memory, by the same rules.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from teamwright.database import check_version, connect, migrate
from teamwright.errors import HomeError, UnknownJob
from teamwright.tracing import otlp_json
from teamwright.tracing.reading.filters import Filter, TraceStatus, of_traces
from teamwright.tracing.shipping.spool import pending, spools
from teamwright.tracing.storing.parts import REFERENCE
from teamwright.tracing.storing.rows import REAL, STARTED, BadSpans, Decoded, decode
from teamwright.tracing.storing.schema import SPAN_COLUMNS, STEPS, TRACE_COLUMNS, Origins, store

#: Bytes of an older version's file that are read into memory.
_COPIED = 512 << 20


class Trace:
    """One trace as it is known now: its summary, its spans in the order they started."""

    def __init__(self, summary: Mapping[str, Any], spans: list[tuple[sqlite3.Row, bytes]]) -> None:
        self.summary = summary
        self._spans = spans

    @property
    def trace_id(self) -> str:
        return str(self.summary["trace"].hex())

    @property
    def spans(self) -> Iterator[tuple[sqlite3.Row, Span]]:
        """The stored row of each span, and the span as it came."""
        for row, _ in self._spans:
            yield row, Span.FromString(row["data"])

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Each span that has ended, as it came, and its origin (resource and scope)."""
        for row, origin in self._spans:
            if row["state"]:
                yield row["data"], origin

    def to_otlp(self) -> dict[str, Any]:
        """The whole trace as OTLP-JSON."""
        return otlp_json.traces((row["data"], origin) for row, origin in self._spans)


class SpanReader:
    """Reads spans.db, if it is there, and the spools in `spool_dir`, if given. Close it, or use `with`.

    >>> with SpanReader(home.spans_db, home.spool_dir) as reader:
    ...     newest = reader.show(None)
    """

    def __init__(self, path: Path, spool_dir: Path | None = None) -> None:
        self._path = path
        self._disk = _open(path)
        self._made: sqlite3.Connection | None = None
        self._overlaid: set[bytes] = set()
        if spool_dir is not None:
            self._overlay(spool_dir)

    def __enter__(self) -> SpanReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
        if self._disk is not None:
            self._disk.close()

    def list_traces(self, which: Filter | None = None, *, limit: int = 20, offset: int = 0) -> list[dict[str, Any]]:
        """Summaries, the newest first."""
        clause, values = of_traces(which or Filter())
        query = f"select * from trace where {clause} order by start desc limit ?"
        found = self.rows(query, values, room=limit + offset)
        found.sort(key=lambda row: row["start"], reverse=True)
        return [dict(row) for row in found[offset : offset + limit]]

    def rows(self, query: str, values: Sequence[Any], *, room: int) -> list[sqlite3.Row]:
        """What a query with a `trace` column and a last placeholder for its limit gives, each trace from where it is
        known best. At least `room` rows where there are so many; they are in order for each half only.
        """
        found: list[sqlite3.Row] = []
        for db in self._databases():
            if db is self._made:
                found += db.execute(query, (*values, room)).fetchall()
                continue
            # An overlaid trace stands in both: as much more is read as may be skipped.
            some, many = 0, room
            while some < room:
                rows = db.execute(query, (*values, many)).fetchall()
                fresh = [row for row in rows if row["trace"] not in self._overlaid]
                some = room if len(rows) < many else len(fresh)
                many *= 2
            found += fresh
        return found

    def columns(self, view: str) -> list[str]:
        """The names of a view's columns."""
        return [row[1] for row in self._memory.execute(f"pragma table_info({view})")]

    def each(self, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Row by row what a query with a `trace_id` as its first column gives, each trace from where it is known best:
        the store's first, then those of which something still lies in a spool.
        """
        if self._disk is not None:
            skipped = {trace.hex() for trace in self._overlaid}
            yield from (tuple(row) for row in self._disk.execute(query, values) if row[0] not in skipped)
        yield from (tuple(row) for row in self._memory.execute(query, values))

    def show(self, trace_id: str | None, *, job: str | None = None) -> Trace:
        """The trace of that id, or of which these are the first digits; without one the newest query.

        Raises UnknownJob when there is none, or more than one.
        """
        trace = self.resolve(trace_id, job=job)
        db = self._memory if trace in self._overlaid or self._disk is None else self._disk
        columns = ",".join(f"s.{name}" for name in SPAN_COLUMNS)
        query = f"select {columns}, o.data as whence from span s join origin o on o.id = s.origin where s.trace = ?"
        with self._as_it_is():
            summary = db.execute("select * from trace where trace = ?", (trace,)).fetchone()
            spans = [(row, row["whence"]) for row in db.execute(query + " order by s.start, s.id", (trace,))]
        return Trace(dict(summary), spans)

    def resolve(self, trace_id: str | None, *, job: str | None = None) -> bytes:
        """The one trace that is meant. Raises UnknownJob when that isn't plain."""
        if trace_id is None:
            for kind in ("query", None):
                if newest := self.list_traces(Filter(job=job, kind=kind), limit=1):
                    return bytes(newest[0]["trace"])
            raise UnknownJob("there are no traces yet", hint="deploy query JOB TEXT makes one")
        digits = trace_id.lower()
        if not digits or len(digits) > 32 or digits.strip("0123456789abcdef"):
            raise UnknownJob(
                f"{trace_id!r} is not a trace id", hint="up to 32 hex digits; deploy trace list shows them"
            )
        bounds = (bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f")))
        found: set[bytes] = set()
        for db in self._databases():
            query = "select trace from trace where trace between ? and ? limit 3"
            found.update(trace for (trace,) in db.execute(query, bounds))
        if len(found) == 1:
            return found.pop()
        if not found:
            raise UnknownJob(f"no trace {trace_id}", hint="deploy trace list shows those there are")
        some = ", ".join(sorted(trace.hex()[: len(digits) + 4] for trace in found))
        raise UnknownJob(f"{trace_id} is the beginning of more than one trace: {some} …", hint="give more digits")

    def stats(self, which: Filter | None = None, *, traces: int = 200) -> list[dict[str, Any]]:
        """Summaries of the newest queries, each with the `bytes` of its spans."""
        found = self.list_traces(which, limit=traces)
        query = "select count(*), sum(length(data)) from span where trace = ?"
        for summary in found:
            overlaid = summary["trace"] in self._overlaid or self._disk is None
            db = self._memory if overlaid or self._disk is None else self._disk
            (_, summary["bytes"]) = db.execute(query, (summary["trace"],)).fetchone()
        return found

    def parts_in_use(self) -> tuple[int | None, set[str]]:
        """When the oldest trace began that is not kept for ever, and the large texts that those refer to that are."""
        if self._disk is None:
            return None, set()
        (oldest,) = self._disk.execute("select min(start) from trace where kept = 0").fetchone()
        query = "select s.data from trace t join span s on s.trace = t.trace where t.kept = 1"
        found = {name.decode() for (data,) in self._disk.execute(query) for name in REFERENCE.findall(data)}
        return oldest, found

    def services(self) -> list[str]:
        """Who has made spans: agents, and the engine."""
        query = "select distinct value from trace, json_each(trace.agents)"
        return sorted({name for db in self._databases() for (name,) in db.execute(query)} | {"engine"})

    def operations(self, service: str) -> list[str]:
        """The names of that service's spans in the newest thousand traces."""
        query = (
            "select distinct s.name from (select trace from trace order by start desc limit 1000) t "
            "join span s on s.trace = t.trace where s.agent = ?"
        )
        agent = "" if service == "engine" else service
        return sorted({name for db in self._databases() for (name,) in db.execute(query, (agent,))})

    def calls(self, since_ns: int, until_ns: int) -> list[tuple[str, str, int]]:
        """Who has called whom how often (agents; the empty name is the engine), in traces begun in that time."""
        query = (
            "select p.agent, c.agent, count(*) from trace t join span c on c.trace = t.trace "
            "join span p on p.trace = c.trace and p.span = c.parent "
            "where t.start between ? and ? and p.agent <> c.agent group by 1, 2"
        )
        counts: dict[tuple[str, str], int] = {}
        for db in self._databases()[-1:]:  # what lies in spools is on its way: twice would be worse than later
            for caller, callee, count in db.execute(query, (since_ns, until_ns)):
                counts[caller, callee] = counts.get((caller, callee), 0) + count
        return [(caller, callee, count) for (caller, callee), count in sorted(counts.items())]

    @property
    def _memory(self) -> sqlite3.Connection:
        """Where what the spools hold is put beside the store: made when there is something to put there."""
        if self._made is None:
            self._made = sqlite3.connect(":memory:", isolation_level=None)
            self._made.row_factory = sqlite3.Row
            migrate(self._made, STEPS, self._path)
        return self._made

    def _databases(self) -> list[sqlite3.Connection]:
        if self._disk is None:
            return [self._memory]
        return [self._disk] if self._made is None else [self._made, self._disk]

    def _overlay(self, spool_dir: Path) -> None:
        started: list[bytes] = []
        ended: list[bytes] = []
        for path, _ in spools(spool_dir):
            for part in pending(path):
                for record in part:
                    (started if record.kind == "started" else ended).append(record.payload)
        origins = Origins()
        for payloads, first in ((started, True), (ended, False)):
            if not payloads:
                continue
            try:
                found = decode(b"".join(payloads), started=first)
            except BadSpans:
                continue
            with self._as_it_is():
                self._copy({row.trace for row in found.rows} | {note[0] for note in found.notes})
            self._put(found, origins)

    @contextmanager
    def _as_it_is(self) -> Iterator[None]:
        """A summary and its spans are of one moment, whatever the store takes in meanwhile."""
        if self._disk is not None:
            self._disk.execute("begin")
        try:
            yield
        finally:
            if self._disk is not None:
                self._disk.rollback()

    def _put(self, found: Decoded, origins: Origins) -> None:
        self._memory.execute("begin")
        store(self._memory, found.rows, origins, found.notes)
        self._memory.execute("commit")

    def _copy(self, traces: set[bytes]) -> None:
        """Bring the store's part of those traces into memory, to add to it there."""
        fresh = traces - self._overlaid
        self._overlaid |= fresh
        if self._disk is None:
            return
        columns = ",".join(f"s.{name}" for name in SPAN_COLUMNS)
        origins = Origins()
        for trace in fresh:
            summary = self._disk.execute("select * from trace where trace = ?", (trace,)).fetchone()
            if summary is None:
                continue
            self._memory.execute(f"insert into trace values({','.join('?' * len(TRACE_COLUMNS))})", tuple(summary))
            query = f"select {columns}, o.data as whence from span s join origin o on o.id = s.origin where s.trace = ?"
            for row in self._disk.execute(query, (trace,)):
                values = dict(zip(SPAN_COLUMNS, row, strict=False))
                values["origin"] = origins.id(self._memory, row["whence"])
                self._memory.execute(
                    f"insert into span({','.join(SPAN_COLUMNS)}) values({','.join('?' * len(SPAN_COLUMNS))})",
                    tuple(values.values()),
                )
            for note in self._disk.execute("select trace, note, count from note where trace = ?", (trace,)):
                self._memory.execute("insert into note values(?,?,?)", tuple(note))


def status(summary: Mapping[str, Any]) -> TraceStatus:
    """running, ok, error or lost, from a trace's summary."""
    if summary["root_state"] is None and summary["dropped"]:
        return "lost"
    if summary["root_state"] in (None, STARTED):
        return "running"
    if summary["root_state"] != REAL:
        return "lost"
    return "error" if summary["root_status"] == 2 else "ok"


def _open(path: Path) -> sqlite3.Connection | None:
    if not path.exists():
        return None
    db = connect(path, read_only=True)
    try:
        db.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A home that can't be written to, and no engine that has the file open: nobody writes, so read it as it is.
        db.close()
        db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
        db.row_factory = sqlite3.Row
    check_version(db, len(STEPS), path)
    with closing(db.execute("pragma user_version")) as cursor:
        (version,) = cursor.fetchone()
    if version == len(STEPS):
        return db
    try:
        return _brought_up(db, path) if version else None  # without a version it is being made this moment
    finally:
        db.close()


def _brought_up(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """What an older version has written, in memory, as this one has it; the next engine brings up the file itself."""
    if path.stat().st_size > _COPIED:
        raise HomeError(f"{path} was written by an older Teamwright", hint="deploy engine start brings it up to date")
    copy = sqlite3.connect(":memory:", isolation_level=None)
    db.backup(copy)
    copy.row_factory = sqlite3.Row
    migrate(copy, STEPS, path)
    return copy
