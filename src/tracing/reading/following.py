"""Spans as they end, from the store, without asking an engine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from teamwright.database import connect
from teamwright.tracing.reading.filters import Filter, of_traces
from teamwright.tracing.storing.rows import ERROR, STARTED, SYNTHETIC

_LOOKUPS = 500


class Follower:
    """Remembers what it has seen: each look gives what has ended since. What was there before is not told.

    Job, agent, status and duration of the filter are the span's; session, user, labels and text its trace's.
    """

    def __init__(self, path: Path, which: Filter | None = None) -> None:
        self._path = path
        self._which = which or Filter(kind=None)
        self._of_trace = of_traces(
            replace(self._which, job=None, agent=None, status=None, min_ns=None, since_ns=None, kind=None)
        )
        self._last = 0
        self._open: set[int] = set()
        self._look(first=True)

    def ended(self) -> list[dict[str, Any]]:
        """The spans that have ended since the last look, in the order they did."""
        return self._look()

    def _look(self, first: bool = False) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with closing(connect(self._path, read_only=True)) as db:
            try:
                if first:
                    (self._last,) = db.execute("select coalesce(max(id), 0) from span").fetchone()
                    self._open = {id_ for (id_,) in db.execute("select id from span where state = 0")}
                    return []
                rows = db.execute("select * from span where id > ? order by id", (self._last,)).fetchall()
                waiting = sorted(self._open)
                for at in range(0, len(waiting), _LOOKUPS):
                    part = waiting[at : at + _LOOKUPS]
                    marks = ",".join("?" * len(part))
                    rows += db.execute(f"select * from span where state > 0 and id in ({marks})", part).fetchall()
                known, wanted = self._traces(db, {row["trace"] for row in rows if row["state"] != STARTED})
            except sqlite3.OperationalError:
                return []  # being made this moment
        self._last = max([self._last, *(row["id"] for row in rows)])
        self._open |= {row["id"] for row in rows if row["state"] == STARTED}
        over = [row for row in rows if row["state"] != STARTED]
        # Whose query it is for, nobody may have said yet: looked at again.
        self._open |= {row["id"] for row in over if row["trace"] not in known}
        self._open -= {row["id"] for row in over if row["trace"] in known}
        told = [_told(row) for row in sorted(over, key=lambda row: row["end"]) if row["trace"] in wanted]
        return [span for span in told if self._fits(span)]

    def _traces(self, db: sqlite3.Connection, traces: set[bytes]) -> tuple[set[bytes], set[bytes]]:
        """Those whose root is known, and of them those that are meant; all, when it doesn't depend on the root."""
        clause, values = self._of_trace
        if not values:
            return traces, traces
        found: list[set[bytes]] = []
        for condition, given in (("root_state is not null", []), (f"root_state is not null and {clause}", values)):
            some: set[bytes] = set()
            for trace in traces:
                query = f"select trace from trace where trace = ? and {condition}"
                some.update(row[0] for row in db.execute(query, (trace, *given)))
            found.append(some)
        return found[0], found[1]

    def _fits(self, span: dict[str, Any]) -> bool:
        which = self._which
        exact = (("job", which.job), ("agent", which.agent), ("status", which.status))
        return all(value in (None, span[name]) for name, value in exact) and (
            which.min_ns is None or span["duration_ms"] * 1e6 >= which.min_ns
        )


def _told(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "trace_id": row["trace"].hex(),
        "span_id": row["span"].hex(),
        "parent_id": row["parent"].hex() or None,
        "job": row["job"],
        "agent": row["agent"] or None,
        "name": row["name"],
        "duration_ms": (row["end"] - row["start"]) / 1e6,
        "status": "lost" if row["state"] == SYNTHETIC else "error" if row["status"] == ERROR else "ok",
    }
