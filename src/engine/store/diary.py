"""What happened to jobs, agents and engine, by whom, kept in engine.db: what `deploy events` prints."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from teamwright.database import Work, Writer
from teamwright.events import Event

#: Who has asked for what is being done; None = nobody, it happened.
ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)
_OPERATOR = "operator"
_LONGEST = 100

#: Kept are so many events, and none that is older than so many seconds.
KEPT = 20_000
AGE = 30 * 86_400.0
#: Steps of a start, told to whoever waits for it: what comes of them is there anyway.
_PASSING = frozenset(["job.level", "job.agent", "job.draining"])
#: What of an agent's state is worth keeping; the rest is there in `ps`.
_KEYS = (
    "status",
    "pid",
    "restarts",
    "last_exit",
    "error",
    "revision",
    "before",
    "added",
    "removed",
    "changed",
    "targets",
    "token",
    "of",
)


def actor(subject: str, said: str | None) -> str:
    """Who it is: the bearer of a token made out to somebody, else whoever the command line says it is."""
    if subject != _OPERATOR or not said:
        return subject
    return "".join(letter for letter in said if letter.isprintable())[:_LONGEST] or subject


class Diary:
    """Writes down the events of a bus, in order; a disk that doesn't take them changes nothing else.

    >>> bus.listen(Diary(writer).note)
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._noted = 0

    def note(self, event: Event) -> None:
        """Keep the event; on disk soon."""
        if event.kind in _PASSING:
            return
        data = {key: event.data[key] for key in _KEYS if event.data.get(key) not in (None, [], "")}
        ended = event.data.get("last_exit") or {}
        if ended.get("code") and (tail := event.data.get("tail")):
            data["said"] = str(tail[-1])[:500]
        row = (event.at_ns, event.kind, event.job, event.agent, ACTOR.get(), json.dumps(data, separators=(",", ":")))
        self._noted += 1
        self._writer.submit(_writing(row, tidy=self._noted % 200 == 1))


def _writing(row: tuple[Any, ...], *, tidy: bool) -> Work[Any]:
    def write(db: sqlite3.Connection) -> None:
        db.execute("insert into events(at_ns, kind, job, agent, actor, data) values (?,?,?,?,?,?)", row)
        if tidy:
            db.execute("delete from events where at_ns < ?", (row[0] - int(AGE * 1e9),))
            db.execute("delete from events where id <= (select max(id) from events) - ?", (KEPT,))

    return write


def read_events(
    db: sqlite3.Connection,
    *,
    since_ns: int = 0,
    after: int = 0,
    job: str | None = None,
    agents: Sequence[str] = (),
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The newest `limit` events, the oldest of them first: {id, at, kind, job, agent, actor, data}; `at` = Unix s.

    `agents` are the processes they are of, by name; none = all.
    """
    where: list[str] = ["at_ns >= ? and id > ?"]
    values: list[int | str] = [since_ns, after]
    for column, wanted in (("job", (job,) if job is not None else ()), ("agent", agents)):
        if wanted:
            where.append(f"{column} in ({', '.join('?' * len(wanted))})")
            values += wanted
    query = f"select * from events where {' and '.join(where)} order by id desc limit ?"
    rows = db.execute(query, (*values, -1 if limit is None else limit)).fetchall()
    return [
        {
            "id": row["id"],
            "at": row["at_ns"] / 1e9,
            "kind": row["kind"],
            "job": row["job"],
            "agent": row["agent"],
            "actor": row["actor"],
            "data": json.loads(row["data"]),
        }
        for row in reversed(rows)
    ]
