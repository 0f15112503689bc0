"""Which traces and runs: the filters of every list, and the SQL that they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from teamwright.errors import UserError

TraceStatus = Literal["running", "ok", "error", "lost"]
TraceKind = Literal["query", "deployment"]
STATUSES: tuple[TraceStatus, ...] = get_args(TraceStatus)
Clause = tuple[str, list[Any]]

#: A trace's status, from how its root was stored and how it ended.
_TRACE_STATUS: Mapping[TraceStatus, str] = {
    "running": "(root_state = 0 or (root_state is null and dropped = 0))",
    "lost": "(root_state = 1 or (root_state is null and dropped > 0))",
    "error": "root_state = 2 and root_status = 2",
    "ok": "root_state = 2 and root_status <> 2",
}
_RUN_STATUS: Mapping[TraceStatus, str] = {
    "running": "state = 0",
    "lost": "state = 1",
    "error": "state = 2 and status = 2",
    "ok": "state = 2 and status <> 2",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which traces or runs; None = any. `since_ns` and `until_ns` are Unix time; all `labels` must be there.

    `text` stands in the question, whatever its case; `operation` is the name of a span in it, and counts for traces
    only, as `kind` does. `run` is the beginning of a run's id and counts for runs only;
    `revision` is the job's, for traces.
    """

    job: str | None = None
    agent: str | None = None
    status: TraceStatus | None = None
    session: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since_ns: int | None = None
    until_ns: int | None = None
    min_ns: int | None = None
    max_ns: int | None = None
    text: str | None = None
    operation: str | None = None
    run: str | None = None
    revision: str | None = None
    kind: TraceKind | None = "query"


def of_traces(which: Filter) -> Clause:
    """The condition on the table `trace`."""
    clauses, values = _shared(which, user="user", text="query", labels="trace.labels")
    for column in ("session", "kind", "revision"):
        if (wanted := getattr(which, column)) is not None:
            clauses.append(f"{column} = ?")
            values.append(wanted)
    if which.status is not None:
        clauses.append(_TRACE_STATUS[which.status])
    if which.operation is not None:
        clauses.append("exists(select 1 from span s where s.trace = trace.trace and s.name = ?)")
        values.append(which.operation)
    # Parsing the JSON of each row would take most of the time, so first a look whether the words stand in it.
    if which.agent is not None:
        clauses.append("instr(agents, ?) and exists(select 1 from json_each(trace.agents) where value = ?)")
        values += [json.dumps(which.agent), which.agent]
    for word in {word for label in which.labels.items() for word in label}:
        clauses.append("instr(labels, ?)")
        values.append(json.dumps(word))
    return " and ".join(clauses), values


def of_runs(which: Filter) -> Clause:
    """The condition on the table `span`, for spans that stand for runs."""
    fact = "json_extract(facts, '$.{}')".format
    clauses, values = _shared(which, user=fact("user"), text=fact("question"), labels="span.facts, '$.labels'")
    for column in ("session", "agent"):
        if (wanted := getattr(which, column)) is not None:
            clauses.append(f"{column} = ?")
            values.append(wanted)
    if which.status is not None:
        clauses.append(_RUN_STATUS[which.status])
    if which.run is not None:
        clauses.append("run >= ? and run < ?")
        values += [which.run, which.run + "g"]  # after every hex digit
    return " and ".join(clauses), values


def _shared(which: Filter, *, user: str, text: str, labels: str) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, Any]] = [
        ("job = ?", which.job),
        (f"{user} = ?", which.user),
        ("start >= ?", which.since_ns),
        ("start <= ?", which.until_ns),
        ("end - start >= ?", which.min_ns),
        ("end - start <= ?", which.max_ns),
        (f"instr(lower({text}), ?)", which.text.lower() if which.text is not None else None),
    ]
    clauses = ["1", *(clause for clause, value in found if value is not None)]
    values = [value for _, value in found if value is not None]
    for label in which.labels.items():
        # Not a JSON path: keys may hold dots and quotes.
        clauses.append(f"exists(select 1 from json_each({labels}) where key = ? and value = ?)")
        values += label
    return clauses, values


#: A hundred years: longer than anything was, and within what SQLite counts to.
_LONGEST = 36_525 * 86_400 * 10**9
_UNITS = {"us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}


def nanoseconds(text: str) -> int:
    """`500ms`, `1.5s`, `10m`, `2h`, `7d` in nanoseconds. Raises UserError."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        found = int(float(number) * _UNITS[text[len(number) :]])
        if not 0 <= found <= _LONGEST:
            raise ValueError(text)
        return found
    except (KeyError, ValueError, OverflowError):
        raise UserError(f"{text!r} is not a time", hint="20ms, 1.5s, 10m, 2h, 7d") from None
