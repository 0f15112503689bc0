"""A conversation is forgotten: its words, its tasks, and what the backend keeps of it.

An agent that runs does that itself, when the engine asks it to; for one that doesn't, its files are looked at from
outside.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teamwright.agents.memory.session_file import FileSessions
from teamwright.agents.memory.sessions import SessionKey, Sessions
from teamwright.backends.api import Backend, Forgets
from teamwright.backends.claude import written
from teamwright.errors import BackendError, EngineError
from teamwright.home import Home

if TYPE_CHECKING:  # the engine reads this module as well, and never imports the A2A SDK
    from teamwright.agents.a2a.tasks import MemoryTaskStore
    from teamwright.agents.runner import Runner

log = logging.getLogger(__name__)

#: Where an agent is asked to forget.
PATH = "/sessions/forget"


class Forgetting:
    """What the engine may have an agent forget."""

    def __init__(self, runner: Runner, sessions: Sessions, tasks: MemoryTaskStore, backend: Backend) -> None:
        self._runner = runner
        self._sessions = sessions
        self._tasks = tasks
        self._backend = backend

    async def answer(self, request: Request) -> Response:
        """`{keys: [[subject, user, session] …], look}`: forget them; with `look` only see whether that can be.

        409 = one of them is in use, and nothing was done.
        """
        asked = await request.json()
        keys = [SessionKey(*map(str, key)) for key in asked["keys"]]
        if used := self._runner.sessions_in_use().intersection(keys):
            return JSONResponse({"in_use": sorted(key.session for key in used)}, 409)
        if asked.get("look"):
            return JSONResponse({"exchanges": 0})
        # Nothing is awaited from the look to here: no message begins in between.
        gone = self._sessions.erase(keys)
        for key in keys:
            self._tasks.forget_session(key)
            if isinstance(self._backend, Forgets):
                try:
                    await self._backend.forget(repr(tuple(key)))
                except BackendError:
                    return JSONResponse({"in_use": [key.session]}, 409)
        return JSONResponse({"exchanges": gone})


def forget_files(home: Home, job: str, agent: str, keys: Sequence[SessionKey]) -> int:
    """Forget conversations of an agent that does not run; how many exchanges that were. Raises EngineError."""
    path = home.sessions_dir(job) / f"{agent}.db"
    config = Path(home.job_dir(job), "backends", agent, "config")
    try:
        for key in keys:
            written.forget(config, written.session_id(repr(tuple(key))))
        if not path.exists():
            return 0
        with closing(FileSessions(path)) as sessions:
            return sessions.erase(keys)
    except (OSError, sqlite3.Error) as error:
        raise EngineError(f"the sessions of {job}/{agent} can't be forgotten: {error}", status=500) from None
