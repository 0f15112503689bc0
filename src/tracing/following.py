"""Spans as they end, from the store, without asking an engine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from teamwright.database import connect
from teamwright.tracing.rows import ERROR, STARTED, SYNTHETIC

_LOOKUPS = 500


class Follower:
    """Remembers what it has seen: each look gives what has ended since. What was there before is not told."""

    def __init__(self, path: Path, job: str | None = None) -> None:
        self._path = path
        self._job = job
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
            except sqlite3.OperationalError:
                return []  # being made this moment
        self._last = max([self._last, *(row["id"] for row in rows)])
        self._open |= {row["id"] for row in rows if row["state"] == STARTED}
        over = [row for row in rows if row["state"] != STARTED]
        self._open -= {row["id"] for row in over}
        wanted = [row for row in over if self._job in (None, row["job"])]
        return [_told(row) for row in sorted(wanted, key=lambda row: row["end"])]


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
