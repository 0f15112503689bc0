"""How long conversations are kept: those unused for long go, and the oldest where all of an agent's take too much room.

An agent sees to its own file while it runs, and knows which of them are in use; those of the others the engine prunes.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Container, Sequence
from contextlib import closing
from pathlib import Path

from teamwright.agents.memory.session_file import FileSessions
from teamwright.agents.memory.sessions import SessionKey
from teamwright.database import connect
from teamwright.errors import StoreTooNew
from teamwright.home import Home
from teamwright.tracing.storing.retention import Retention, used

log = logging.getLogger(__name__)

#: Conversations that go in one step: an agent does nothing else meanwhile.
STEP = 50
#: Seconds: the first look, and from one to the next.
_FIRST, _PAUSE = 60.0, 3600.0

Clock = Callable[[], int]


def candidates(path: Path, limits: Retention, now_ns: int) -> Sequence[SessionKey]:
    """The conversations that should go first, a step of them at most; none when all is well."""
    with closing(connect(path, read_only=True)) as db:
        before = now_ns - int(limits.age * 1e9) if limits.age is not None else 0
        if limits.size is not None and used(db) > limits.size:
            before = now_ns
        if not before:
            return []
        rows = db.execute(
            "select subject, user, session, max(at_ns) as last from exchanges group by session, user, subject"
            " having last < ? order by last limit ?",
            (before, STEP),
        )
        return [SessionKey(row["subject"], row["user"], row["session"]) for row in rows]


class SessionRetention:
    """Prunes the conversations of one agent that runs; those in `in_use` stay, whatever the limits say."""

    def __init__(
        self,
        sessions: FileSessions,
        limits: Retention,
        in_use: Callable[[], Container[SessionKey]],
        *,
        first: float = _FIRST,
        clock: Clock = time.time_ns,
    ) -> None:
        self._sessions = sessions
        self._limits = limits
        self._in_use = in_use
        self._first = first
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look now and then, until `stop`."""
        if self._limits != Retention():
            self._task = asyncio.create_task(self._run(), name="retention of sessions")

    async def stop(self) -> None:
        """End looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def prune(self) -> int:
        """Forget what is due; how many conversations that were."""
        gone = 0
        while found := await asyncio.to_thread(candidates, self._sessions.path, self._limits, self._clock()):
            # Looked at here, in the loop that messages come in by: none begins between the look and the end of it.
            in_use = self._in_use()
            free = [key for key in found if key not in in_use]
            if not free:
                break
            self._sessions.drop(free)
            gone += len(free)
        return gone

    async def _run(self) -> None:
        await asyncio.sleep(self._first)
        while True:
            try:
                if gone := await self.prune():
                    log.info("%d old conversations are forgotten", gone)
            except (sqlite3.Error, OSError) as error:
                log.warning("old conversations can't be forgotten: %s", error)
            await asyncio.sleep(_PAUSE)


def session_files(home: Home) -> list[Path]:
    """The files of all agents of all jobs."""
    return sorted(home.path.glob("jobs/*/sessions/*.db"))


def job_of(path: Path) -> str:
    """The job that a file of conversations belongs to."""
    return path.parent.parent.name


def prune_file(path: Path, limits: Retention, *, clock: Clock = time.time_ns) -> int:
    """Forget what is due in the file of an agent that does not run; how many conversations that were. Never raises."""
    gone = 0
    try:
        if not candidates(path, limits, clock()):
            return 0
        with closing(FileSessions(path)) as sessions:
            while found := candidates(path, limits, clock()):
                sessions.drop(found)
                gone += len(found)
    except (sqlite3.Error, OSError, StoreTooNew) as error:
        log.warning("old conversations in %s can't be forgotten: %s", path, error)
    return gone
