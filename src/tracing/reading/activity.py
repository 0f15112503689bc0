"""What a query's agents are doing this moment: the open spans of its trace that nothing open hangs below."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from teamwright.database import connect
from teamwright.tracing.storing.rows import STARTED

_OPEN = (
    "select span, parent, agent, name, start from span where state = ? and job = ? and trace in"
    " (select trace from trace where job = ? and session = ? and start >= ?) order by start desc"
)
#: A query's own spans, which say no more than that it is under way.
_GENERAL = ("invoke_workflow", "query")


@dataclass(frozen=True, slots=True)
class Doing:
    """One open span: whose, what, and for how many seconds."""

    agent: str
    what: str
    seconds: float


def doing(path: Path, job: str, session: str, since_ns: int, *, clock: Callable[[], int] = time.time_ns) -> list[Doing]:
    """What goes on in the queries of that conversation begun since then, the newest first; empty when nothing is known.

    `path` is the store's file.
    """
    if not path.exists():
        return []
    try:
        with closing(connect(path, read_only=True)) as db:
            rows = db.execute(_OPEN, (STARTED, job, job, session, since_ns)).fetchall()
    except sqlite3.Error:
        return []  # being made this moment, or too busy: the next look will tell
    above = {row["parent"] for row in rows}
    now = clock()
    return [
        Doing(row["agent"], _plain(row["name"]), max(0.0, (now - row["start"]) / 1e9))
        for row in rows
        if row["agent"] and row["span"] not in above
    ]


def _plain(name: str) -> str:
    """A span's name as a person says it: the tool, the model, or that the agent works."""
    kind, _, rest = name.partition(" ")
    if kind in ("execute_tool", "chat"):
        return rest or kind
    return "works" if kind in ("invoke_agent", *_GENERAL) else name
