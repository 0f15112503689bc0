"""What the engine forgets in time: queries that have ended, conversations of jobs that don't run, old logs."""

from __future__ import annotations

import asyncio
import time

from teamwright.agents.memory.session_retention import job_of, prune_file, session_files
from teamwright.engine.store.state import EngineState
from teamwright.home import Home
from teamwright.host.logs import LIMIT, rotate_all
from teamwright.tracing.storing.retention import Retention

#: Seconds between two looks; at logs.
_PAUSE, _LOGS = 600.0, 5.0


async def runs(state: EngineState, retention: Retention) -> None:
    """Queries are remembered as long as their traces may be. Runs until it is cancelled."""
    while (age := retention.age) is not None:
        state.forget_runs(time.time_ns() - int(age * 1e9))
        await asyncio.sleep(_PAUSE)


async def sessions(home: Home, state: EngineState, retention: Retention) -> None:
    """Agents that run see to their own conversations; those of the others are nobody else's."""
    while retention != Retention():
        for path in await asyncio.to_thread(session_files, home):
            if job_of(path) not in {job.name for job in state.active()}:
                await asyncio.to_thread(prune_file, path, retention)
        await asyncio.sleep(_PAUSE)


async def logs(home: Home, *, limit: int = LIMIT, pause: float = _LOGS) -> None:
    """Logs that have grown larger than `limit` bytes are put aside, the oldest go. Runs until it is cancelled."""
    while True:
        await asyncio.sleep(pause)
        await asyncio.to_thread(rotate_all, home.path, limit)
