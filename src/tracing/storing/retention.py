"""How long traces are kept: the oldest go when they are too old, or all of them take too much room.

A trace with the label `keep` (`deploy query … --label keep=yes`) stays, and so does one that still runs.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

KEEP = "keep"

#: Traces in one transaction: ingest waits for it.
STEP = 50


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds and bytes; None = no limit."""

    age: float | None = None
    size: int | None = None


def used(db: sqlite3.Connection) -> int:
    """Bytes in use. The file doesn't shrink: room that was freed is used again."""
    (pages,) = db.execute("pragma page_count").fetchone()
    (free,) = db.execute("pragma freelist_count").fetchone()
    (size,) = db.execute("pragma page_size").fetchone()
    return int((pages - free) * size)


def expire(db: sqlite3.Connection, limits: Retention, now_ns: int, step: int = STEP) -> list[tuple[str, str]]:
    """Delete the oldest traces, `step` at most; (job, trace id) of each. Call again until there is none."""
    before = now_ns - int(limits.age * 1e9) if limits.age is not None else 0
    if limits.size is not None and used(db) > limits.size:
        before = now_ns
    if not before:
        return []
    query = "select trace, job from trace where start < ? and kept = 0 and open = 0 order by start limit ?"
    found = [(bytes(row[0]), str(row[1])) for row in db.execute(query, (before, step))]
    for table in ("span", "note", "trace"):
        db.executemany(f"delete from {table} where trace = ?", [(trace,) for trace, _ in found])
    return [(job, trace.hex()) for trace, job in found]
