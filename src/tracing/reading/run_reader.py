"""The registry of runs, as spans tell it: one agent's handling of one message, with everything below it.

A run is its SERVER span; as long as that has not been heard of (or there is none: somebody else's agent, or a call
that never got there), the query's root span stands for the entry agent's run. Runs are kept as long as their traces.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from teamwright.errors import UnknownJob
from teamwright.tracing import vocabulary as v
from teamwright.tracing.reading.filters import Filter, of_runs
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.storing.rows import ERROR, REAL, STARTED

Run = dict[str, Any]

# The first three conditions are those of the index span_runs, word for word.
_RUNS = f"""
    select trace, span, state, job, agent, start, end, status, op, run, session, facts from span
    where run <> '' and op in ('{v.OP_AGENT}', '{v.OP_QUERY}') and kind <> 3
      and (op = '{v.OP_AGENT}' or not exists(
        select 1 from span other where other.run = span.run and other.run <> ''
          and other.op in ('{v.OP_AGENT}', '{v.OP_QUERY}') and other.op = '{v.OP_AGENT}' and other.kind = 2))
      and {{}} order by start desc limit ?"""
_HEX = "0123456789abcdef-"


def list_runs(reader: SpanReader, which: Filter, *, limit: int = 20) -> list[Run]:
    """Runs, the newest first."""
    clause, values = of_runs(which)
    return _runs(reader, clause, values, limit)


def runs_of_trace(reader: SpanReader, trace: bytes) -> list[Run]:
    """All runs of one trace, in the order they began."""
    return _runs(reader, "trace = ?", [trace], 100_000)[::-1]


def unique(found: Sequence[Run], digits: str) -> Run:
    """The one run that is meant by its first digits. Raises UnknownJob when that isn't plain."""
    if len(found) == 1:
        return found[0]
    if not found and not digits:
        raise UnknownJob("there are no runs yet", hint="deploy query JOB TEXT makes one")
    if not found:
        raise UnknownJob(f"no run {digits}", hint="deploy runs list shows those there are")
    some = ", ".join(sorted(run["run_id"][: len(digits) + 4] for run in found)[:3])
    raise UnknownJob(f"{digits} is the beginning of more than one run: {some} …", hint="give more digits")


def checked(digits: str) -> str:
    """The beginning of a run's id, in lower case. Raises UnknownJob when it can't be one."""
    lowered = digits.lower()
    if not lowered or len(lowered) > 36 or lowered.strip(_HEX):
        raise UnknownJob(f"{digits!r} is not a run id", hint="a UUID or its first digits; deploy runs list shows them")
    return lowered


def _runs(reader: SpanReader, clause: str, values: list[Any], limit: int) -> list[Run]:
    # In a spool a root may lie without its SERVER span beside it, which is in the store: hence twice the room.
    rows = reader.rows(_RUNS.format(clause), values, room=2 * limit)
    rows.sort(key=lambda row: (row["start"], row["op"] == v.OP_AGENT), reverse=True)
    found: dict[str, Run] = {}
    for row in rows:
        known = found.get(row["run"])
        if known is None or (row["op"] == v.OP_AGENT and not known["_server"]):
            found[row["run"]] = _run(row)
    made = sorted(found.values(), key=lambda run: -int(run["_start"]))[:limit]
    return [{key: value for key, value in run.items() if not key.startswith("_")} for run in made]


def _run(row: sqlite3.Row) -> Run:
    facts: Mapping[str, Any] = json.loads(row["facts"])
    over = row["state"] != STARTED
    return {
        "run_id": row["run"],
        "parent_run_id": facts.get("parent_run_id"),
        "root_run_id": facts.get("root_run_id") or row["run"],
        "trace_id": row["trace"].hex(),
        "span_id": row["span"].hex(),
        "job": row["job"],
        "agent": row["agent"] or facts.get("target"),
        "session": row["session"] or None,
        "task_id": facts.get("task_id"),
        "user": facts.get("user"),
        "labels": facts.get("labels") or {},
        "question": facts.get("question") or "",
        "status": status_of(row["state"], row["status"]),
        "state": facts.get("task_state"),
        "error": facts.get("error"),
        "depth": facts.get("depth") or 0,
        "started_at": moment(row["start"]),
        "ended_at": moment(row["end"]) if over else None,
        "duration_ms": round((row["end"] - row["start"]) / 1e6, 3) if over else None,
        "input_tokens": facts.get("input_tokens"),
        "output_tokens": facts.get("output_tokens"),
        "cost_usd": facts.get("cost_usd"),
        "cost_estimated": bool(facts.get("estimated")),
        "_start": row["start"],
        "_server": row["op"] == v.OP_AGENT,
    }


def status_of(state: int, code: int) -> str:
    """running, ok, error or lost."""
    if state == STARTED:
        return "running"
    return "lost" if state != REAL else "error" if code == ERROR else "ok"


def moment(ns: int) -> str:
    """A Unix time in nanoseconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds")
