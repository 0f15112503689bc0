"""The tables of spans.db, and the one way that spans get into them.

span    each span once, as it came, with the columns one searches by
trace   a summary of each trace, kept up to date with every batch, so that lists don't read spans
origin  resources and scopes, each once
note    spans that a full disk cost, as their processes reported them
gone    processes that ended without closing their spans
lost    how many spans a process that has ended had to drop
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from teamwright.tracing import vocabulary as v
from teamwright.tracing.storing.retention import KEEP
from teamwright.tracing.storing.rows import ERROR, REAL, STARTED, SYNTHETIC, Note, Row
from teamwright.tracing.storing.sql_views import FIRST_VIEWS, QUERIES, VIEWS

STEPS = (
    """
    create table origin(id integer primary key, data blob not null unique);
    create table span(
        id integer primary key, trace blob not null, span blob not null, parent blob not null,
        state int not null, job text not null, agent text not null, process text not null,
        name text not null, kind int not null, start int not null, end int not null, status int not null,
        op text not null, run text not null, session text not null, origin int not null, data blob not null);
    create unique index span_ids on span(trace, span);
    create index span_open on span(process) where state = 0;
    create index span_run on span(run) where run <> '' and op in ('invoke_agent', 'invoke_workflow');
    create table trace(
        trace blob primary key, job text not null, kind text not null, query text not null,
        root blob, root_state int, root_status int, spans int not null, open int not null, synthetic int not null,
        errors int not null, dropped int not null, agents text not null, start int not null, end int not null,
        input_tokens int not null, output_tokens int not null, cost real not null, unpriced int not null,
        root_cost real, user text not null, session text not null, run text not null, labels text not null,
        revision text not null, filed int not null) without rowid;
    create index trace_start on trace(start);
    create index trace_job on trace(job, start);
    create index trace_unfiled on trace(trace) where filed = 0;
    create table note(trace blob not null, note blob not null, count int not null, primary key(trace, note))
        without rowid;
    create table gone(process text primary key, reason text not null, at int not null) without rowid;
    """,
    """
    alter table span add column facts text not null default '{}';
    alter table trace add column estimated int not null default 0;
    alter table trace add column kept int not null default 0;
    """
    + FIRST_VIEWS,
    """
    create index span_runs on span(start)
        where run <> '' and op in ('invoke_agent', 'invoke_workflow') and kind <> 3;
    """
    + VIEWS,
    "create table lost(process text primary key, spans int not null) without rowid;",
    QUERIES,
    "create index span_models on span(start) where op = 'chat';",
)

SPAN_COLUMNS = (
    "trace", "span", "parent", "state", "job", "agent", "process", "name", "kind", "start", "end", "status",
    "op", "run", "session", "origin", "data", "facts",
)  # fmt: skip
TRACE_COLUMNS = (
    "trace", "job", "kind", "query", "root", "root_state", "root_status", "spans", "open", "synthetic", "errors",
    "dropped", "agents", "start", "end", "input_tokens", "output_tokens", "cost", "unpriced", "root_cost", "user",
    "session", "run", "labels", "revision", "filed", "estimated", "kept",
)  # fmt: skip

_UPSERT = (
    f"insert into span({','.join(SPAN_COLUMNS)}) values({','.join('?' * len(SPAN_COLUMNS))}) "
    "on conflict(trace, span) do update set "
    + ",".join(f"{name}=excluded.{name}" for name in SPAN_COLUMNS[2:])
    + " where excluded.state > span.state"
)
_SUMMARY = f"insert or replace into trace({','.join(TRACE_COLUMNS)}) values({','.join('?' * len(TRACE_COLUMNS))})"
_LOOKUPS = 400  # pairs in one query


class Origins:
    """The ids of origins, remembered; one per connection that writes."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}

    def id(self, db: sqlite3.Connection, data: bytes) -> int:
        found = self._ids.get(data)
        if found is None:
            db.execute("insert or ignore into origin(data) values(?)", (data,))
            (found,) = db.execute("select id from origin where data=?", (data,)).fetchone()
            if len(self._ids) > 10_000:
                self._ids.clear()
            self._ids[data] = found
        return int(found)

    def forget(self) -> None:
        """After a rollback: what was remembered may never have been written."""
        self._ids.clear()


def store(
    db: sqlite3.Connection,
    rows: Sequence[Row],
    origins: Origins,
    notes: Iterable[Note] = (),
    took: list[Row] | None = None,
) -> dict[bytes, dict[str, Any]]:
    """Put spans in and bring the summaries up to date; the same spans again change nothing.

    Real beats synthetic beats started. Returns the summaries of the traces that changed;
    the spans that did are put into `took`.
    """
    # For its JSON only, which takes a quarter of the time; loaded late, since readers seldom need it.
    from pydantic_core import to_json as json_of

    known = _known(db, rows)
    changed: dict[tuple[bytes, bytes], tuple[Row, tuple[int, int] | None]] = {}
    for row in rows:
        key = (row.trace, row.span)
        before = known.get(key)
        held = changed.get(key)
        if row.state <= (held[0].state if held else before[0] if before else -1):
            continue
        changed[key] = (row, before)
    fresh = [note for note in notes if _note(db, note)]
    now = time.time_ns()  # of a trace of which nothing else is known yet
    if not changed and not fresh:
        return {}
    if took is not None:
        took += [row for row, _ in changed.values()]
    db.executemany(
        _UPSERT,
        [
            (
                row.trace, row.span, row.parent, row.state, row.job, row.agent, row.process, row.name, row.kind,
                row.start, row.end, row.status, row.op, row.run, row.session, origins.id(db, row.origin), row.data,
                json_of(row.facts).decode(),
            )
            for row, _ in changed.values()
        ],
    )  # fmt: skip
    summaries = _summaries(db, {trace for trace, _ in changed} | {note[0] for note in fresh})
    for row, before in changed.values():
        _add(_summary(summaries, row.trace, row.start), row, before)
    for trace, _, count, job in fresh:
        summary = _summary(summaries, trace, now)
        summary["dropped"] += count
        summary["job"] = summary["job"] or job
    _write(db, summaries)
    return summaries


def _known(db: sqlite3.Connection, rows: Sequence[Row]) -> dict[tuple[bytes, bytes], tuple[int, int]]:
    """(state, status) of those spans that are there already."""
    found: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    for at in range(0, len(rows), _LOOKUPS):
        part = rows[at : at + _LOOKUPS]
        marks = ",".join(["(?,?)"] * len(part))
        ids = [id_ for row in part for id_ in (row.trace, row.span)]
        query = f"select s.trace, s.span, s.state, s.status from (values {marks}) as w join span s "
        for trace, span, state, status in db.execute(query + "on s.trace = w.column1 and s.span = w.column2", ids):
            found[trace, span] = (state, status)
    return found


def _note(db: sqlite3.Connection, note: Note) -> bool:
    return db.execute("insert or ignore into note(trace, note, count) values(?,?,?)", note[:3]).rowcount > 0


def _summaries(db: sqlite3.Connection, traces: set[bytes]) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    wanted = list(traces)
    for at in range(0, len(wanted), _LOOKUPS):
        part = wanted[at : at + _LOOKUPS]
        for row in db.execute(f"select * from trace where trace in ({','.join('?' * len(part))})", part):
            summary = dict(zip(TRACE_COLUMNS, row, strict=True))
            summary["agents"] = json.loads(summary["agents"])
            found[summary["trace"]] = summary
    return found


def _summary(summaries: dict[bytes, dict[str, Any]], trace: bytes, start: int) -> dict[str, Any]:
    summary = summaries.get(trace)
    if summary is None:
        summary = dict.fromkeys(TRACE_COLUMNS, 0)
        summary.update(dict.fromkeys(("job", "query", "user", "session", "run", "revision"), ""))
        summary.update(dict.fromkeys(("root", "root_state", "root_status", "root_cost")))
        summary.update(trace=trace, kind="query", agents=[], labels="{}", start=start)
        summaries[trace] = summary
    return summary


def _add(summary: dict[str, Any], row: Row, before: tuple[int, int] | None) -> None:
    if before is None:
        summary["spans"] += 1
    else:
        summary["open"] -= before[0] == STARTED
        summary["synthetic"] -= before[0] == SYNTHETIC
        summary["errors"] -= before[0] != STARTED and before[1] == ERROR
    summary["open"] += row.state == STARTED
    summary["synthetic"] += row.state == SYNTHETIC
    summary["errors"] += row.state != STARTED and row.status == ERROR
    summary["start"] = min(summary["start"] or row.start, row.start)
    if summary["root_state"] in (None, STARTED):
        summary["end"] = max(summary["end"], row.end)
    if row.agent and row.agent not in summary["agents"]:
        summary["agents"].append(row.agent)
    summary["job"] = summary["job"] or row.job
    if row.op == v.OP_MODEL and row.state == REAL:
        summary["input_tokens"] += row.extra.get(v.INPUT_TOKENS) or 0
        summary["output_tokens"] += row.extra.get(v.OUTPUT_TOKENS) or 0
        cost = row.extra.get(v.COST_USD)
        summary["cost"] += cost or 0.0
        summary["unpriced"] += cost is None
        summary["estimated"] |= bool(row.extra.get(v.COST_ESTIMATED))
    elif row.op == v.OP_AGENT and row.state == REAL:
        summary["unpriced"] += bool(row.extra.get(v.PARTIAL))
    if row.top and (summary["root"] in (None, row.span) or row.op == v.OP_QUERY):
        summary.update(
            root=row.span,
            root_state=row.state,
            root_status=row.status,
            # A trace took as long as its root, whatever is closed or sent after that.
            end=summary["end"] if row.state == STARTED else row.end,
            kind="deployment" if row.deployment else "query",
            job=row.job or summary["job"],
            query=row.extra.get("query") or summary["query"] or ("" if not row.deployment else row.name),
            root_cost=row.extra.get(v.COST_USD),
            user=row.extra.get("user", ""),
            session=row.session,
            run=row.run,
            labels=json.dumps(row.extra.get("labels", {})),
            revision=row.extra.get("revision", ""),
            kept=int(KEEP in row.extra.get("labels", {})),
        )
    summary["filed"] = 0


def _write(db: sqlite3.Connection, summaries: dict[bytes, dict[str, Any]]) -> None:
    db.executemany(
        _SUMMARY,
        [
            [json.dumps(value) if name == "agents" else value for name, value in summary.items()]
            for summary in summaries.values()
        ],
    )


def finished(summary: Mapping[str, Any]) -> bool:
    """Whether a trace's root has ended and nothing of it is open."""
    return summary["root_state"] is not None and summary["root_state"] != STARTED and summary["open"] == 0
