"""The CLI processes of an agent: one for each conversation, under a lock, so many at once, closed when idle."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from teamwright.backends.api import Tool, Turn
from teamwright.backends.claude.connection import Connection
from teamwright.backends.claude.settings import Settings
from teamwright.errors import BackendError
from teamwright.tracing import messages as genai


class _Session:
    """A conversation: whoever holds `lock` talks in it. `users` are those who hold it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: Connection | None = None
        self.starting = False
        #: The names of the tools that the connection was opened with.
        self.offered: tuple[str, ...] = ()
        self.users = 0
        self.since = 0.0
        self.idle: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        return self.connection is not None and not self.connection.lost

    @property
    def counts(self) -> bool:
        """Whether it takes one of the places. Who waits for another agent or a person does not: they may need one."""
        return self.starting or (self.connection is not None and self.alive and not self.connection.waiting)


class Sessions:
    """Gives out connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions: dict[str, _Session] = {}
        self._changed = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def talk(self, turn: Turn, tools: Sequence[Tool]) -> AsyncIterator[tuple[Connection, bool]]:
        """The conversation's connection, and whether the CLI knows what was said before.

        Left with an exception, the CLI is interrupted behind the caller's back, and the next message waits for that.
        Raises BackendError when the CLI does not start.
        """
        key = turn.conversation
        session = self._sessions.setdefault(key, _Session())
        session.users += 1
        try:
            await session.lock.acquire()
        except BaseException:
            session.users -= 1
            raise
        if session.idle is not None:
            session.idle.cancel()
        try:
            offered = tuple(tool.name for tool in tools)
            if session.alive and session.offered != offered and session.connection is not None:
                await session.connection.close()  # the CLI hears of tools when it starts, and MCP servers change theirs
            session.offered = offered
            knows = session.alive
            if not knows:
                knows = await self._open(session, turn, tools)
            assert session.connection is not None
            yield session.connection, knows
        except BaseException:
            self._spawn(self._calm(key, session))
            raise
        else:
            self._done(key, session)

    async def forget(self, conversation: str) -> None:
        """End its process and remove what that has written. Raises BackendError while somebody talks in it."""
        session = self._sessions.get(conversation)
        if session is not None and session.users:
            raise BackendError("the conversation is in use")
        if session is not None:
            del self._sessions[conversation]
            if session.idle is not None:
                session.idle.cancel()
            if session.connection is not None:
                await session.connection.close()
        await asyncio.gather(*self._endings, return_exceptions=True)
        self._settings.forget(self._settings.session_id(conversation))

    async def close(self) -> None:
        """End all processes."""
        for session in self._sessions.values():
            if session.idle is not None:
                session.idle.cancel()
        open_ones = [session.connection for session in self._sessions.values() if session.connection is not None]
        self._sessions.clear()
        await asyncio.gather(*(connection.close() for connection in open_ones), *self._endings, return_exceptions=True)

    async def _open(self, session: _Session, turn: Turn, tools: Sequence[Tool]) -> bool:
        session_id = self._settings.session_id(turn.conversation)
        connection = Connection(self._settings, session_id, self._changed.set)
        connection.messages += [
            genai.message("assistant" if word.role == "agent" else "user", genai.text(word.text))
            for word in turn.history
        ]
        try:
            await self._place(session, turn)
            resume = self._settings.known(session_id)
            await connection.open(tools, turn.limits, resume=resume)
        except BaseException:
            self._spawn(connection.close())
            raise
        finally:
            session.starting = False
        session.connection = connection
        if resume:
            turn.tracer.current().resumed(session_id)
        return resume

    async def _place(self, session: _Session, turn: Turn) -> None:
        """Wait until there may be one process more; one that rests makes room."""
        if not self._room():
            waiting = sum(other.users > 0 and not other.alive for other in self._sessions.values()) - 1
            with turn.tracer.queued(waiting=max(0, waiting)):
                while not self._room():
                    self._changed.clear()
                    await self._changed.wait()
        session.starting = True

    def _room(self) -> bool:
        """Whether there may be one process more, at the price of the one that has rested longest."""
        if sum(session.counts for session in self._sessions.values()) < self._settings.options.clients:
            return True
        resting = [
            (session.since, key) for key, session in self._sessions.items() if session.alive and not session.users
        ]
        if not resting:
            return False
        self._rest(min(resting)[1])
        return True

    def _done(self, key: str, session: _Session) -> None:
        session.users -= 1
        session.since = time.monotonic()
        session.lock.release()
        if session.users == 0:
            loop = asyncio.get_running_loop()
            session.idle = loop.call_later(self._settings.options.idle, self._rest, key)
        self._changed.set()

    def _rest(self, key: str) -> None:
        """End the process of a conversation that nobody is in."""
        session = self._sessions.get(key)
        if session is not None and not session.users:
            del self._sessions[key]
            if session.idle is not None:
                session.idle.cancel()
            if session.connection is not None:
                self._spawn(session.connection.close())

    async def _calm(self, key: str, session: _Session) -> None:
        """The message ended before the CLI was through with it."""
        try:
            if session.connection is not None and session.alive:
                await session.connection.interrupt()
        finally:
            self._done(key, session)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
