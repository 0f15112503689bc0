"""The registry of runs as a person reads it: what spans tell of every run, and what engine.db tells of queries.

engine.db remembers each query even where tracing is off or a disk was full; spans know the runs below it too.
Read-only, with or without an engine.
"""

from __future__ import annotations

from typing import Any

from teamwright.engine.store.state import StateReader
from teamwright.home import Home
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.run_reader import (
    Run,
    checked,
    list_runs,
    moment,
    runs_of_trace,
    unique,
)

#: Runs that are looked through for the newest query; and for one that is named by its first digits.
_NEWEST, _SEVERAL = 50, 10


def listed(home: Home, which: Filter, *, limit: int) -> list[Run]:
    """Runs, the newest first."""
    with SpanReader(home.spans_db, home.spool_dir) as spans, StateReader(home) as state:
        return _listed(spans, state, which, limit)


def found(home: Home, run_id: str | None) -> tuple[Run, list[Run]]:
    """One run, by the first digits of its id, or the newest query's; and all runs of its trace as they began.

    Raises UnknownJob when there is none, or more than one.
    """
    with SpanReader(home.spans_db, home.spool_dir) as spans, StateReader(home) as state:
        if run_id is None:
            some = _listed(spans, state, Filter(), _NEWEST)
            candidates = ([run for run in some if run["parent_run_id"] is None] or some)[:1]
        else:
            candidates = _listed(spans, state, Filter(run=checked(run_id)), _SEVERAL)
        one = unique(candidates, run_id or "")
        others = runs_of_trace(spans, bytes.fromhex(one["trace_id"])) or [one]
        return one, [one if run["run_id"] == one["run_id"] else run for run in others]


def _listed(spans: SpanReader, state: StateReader, which: Filter, limit: int) -> list[Run]:
    """Each run once. What ran when the guard died is lost, whoever tells of it."""
    known = {run["run_id"]: run for run in list_runs(spans, which, limit=limit)}
    for query in state.runs(which, limit=limit):
        run_id = query["run_id"]
        run = known.get(run_id)
        if run is None:
            # Spans may know more of it by now than the condition on the query's status has let through.
            told = next(iter(list_runs(spans, Filter(run=run_id), limit=1)), None) or _of_query(query)
            if which.status in (None, told["status"]):
                known[run_id] = told
        elif run["status"] == "running" and query["status"] != "running":
            run["status"] = query["status"]  # its last spans are on their way
    if not state.alive:
        for run in known.values():
            run["status"] = "lost" if run["status"] == "running" else run["status"]
    return sorted(known.values(), key=lambda run: str(run["started_at"]), reverse=True)[:limit]


def _of_query(query: dict[str, Any]) -> Run:
    """A query that no span tells of."""
    started, ended, usage = query["started_ns"], query["ended_ns"], query["usage"]
    return {
        "run_id": query["run_id"],
        "parent_run_id": None,
        "root_run_id": query["run_id"],
        "trace_id": query["trace_id"],
        "span_id": None,
        **{key: query[key] for key in ("job", "agent", "session", "task_id", "user", "labels")},
        "question": query["query"][:300],
        "status": query["status"],
        "state": query["state"],
        "error": None,
        "depth": 0,
        "started_at": moment(started),
        "ended_at": None if ended is None else moment(ended),
        "duration_ms": None if ended is None else round((ended - started) / 1e6, 3),
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cost_usd": usage.get("cost_usd"),
        "cost_estimated": False,
    }
