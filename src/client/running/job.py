"""A running job, asked from plain functions: every call is one of AsyncJob's, run in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from teamwright.backends.api import File
from teamwright.client.running.async_job import AsyncJob, AsyncSession, AsyncStream
from teamwright.client.running.held import Held
from teamwright.client.running.reply import Reply
from teamwright.client.running.trace import Trace

if TYPE_CHECKING:
    from teamwright.agents.memory.conversations import Conversation

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own, begun with the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """What it comes to. Interrupted, as by Ctrl-C, the call is cancelled."""

        async def work() -> T:
            return await call()

        future = asyncio.run_coroutine_threadsafe(work(), self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def end(self) -> None:
        """Let the loop end, and its thread."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="teamwright job", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


class Stream:
    """An answer as it comes: pieces of text, one after the other; then `reply`.

    >>> stream = job.stream("Tell me a story")
    >>> for piece in stream:
    ...     print(piece, end="")
    >>> stream.reply.usage

    As AsyncStream: left before its end and closed, the work on the answer is cancelled.
    """

    def __init__(self, loop: _Loop, stream: AsyncStream) -> None:
        self._loop = loop
        self._stream = stream
        self._pieces = aiter(stream)

    @property
    def reply(self) -> Reply:
        """The whole. Raises UserError before the stream has ended."""
        return self._stream.reply

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self._loop.run(lambda: anext(self._pieces, None))
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Stop reading; work that is not done is cancelled."""
        self._loop.run(self._stream.aclose)


class Session:
    """One conversation with a job: what was said before is known to the agents. As AsyncSession.

    >>> chat = job.session()
    >>> chat.query("My name is Ada.")
    >>> chat.query("What is my name?")
    """

    def __init__(self, loop: _Loop, session: AsyncSession) -> None:
        self.id = session.id
        self._loop = loop
        self._session = session

    def query(self, text: str, **more: Any) -> Reply:
        """As Job.query, in this conversation; after a question back, its answer."""
        return self._loop.run(lambda: self._session.query(text, **more))

    def stream(self, text: str, **more: Any) -> Stream:
        """As Job.stream, in this conversation."""
        return Stream(self._loop, self._session.stream(text, **more))

    def delete(self) -> None:
        """Forget it, at all agents. Raises UnknownJob when nothing was said, EngineError while it is used."""
        self._loop.run(self._session.delete)


class Job:
    """A running job. `with teamwright.start(…)` and `teamwright.connect(…)` make it; threads may share it.

    >>> with teamwright.start("team.yaml") as job:
    ...     reply = job.query("What is the weather in Tokyo?", labels={"run": "7"})

    Raises of all queries: QueryFailed, EngineUnavailable, UnknownJob. Works in notebooks, whose own loop is left alone.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._job = AsyncJob(held)
        self._loop = _Loop()

    @property
    def name(self) -> str:
        return self._held.job

    @property
    def home(self) -> Path:
        """The home of its engine: what `--home` takes."""
        return self._held.home.path

    @property
    def replies(self) -> tuple[Reply, ...]:
        """What was asked through this object, failed queries too, the newest last; at most 200."""
        return tuple(self._held.replies)

    def query(
        self,
        text: str,
        *,
        agent: str | None = None,
        session: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        files: Iterable[Path | str | File] = (),
        reply_to: Reply | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Reply:
        """Ask the job, or one `agent` of it, and wait for the whole answer.

        `session` continues a conversation; `user` is on whose behalf; `labels` go onto the trace; `files` are paths
        or File objects; `reply_to` is a reply that asked something back; `timeout` is in seconds.
        Raises QueryFailed, unless `check` is off, and QueryTimeout. After Ctrl-C the work on it is cancelled.
        """
        return self._loop.run(
            lambda: self._job.query(
                text,
                agent=agent,
                session=session,
                user=user,
                labels=labels,
                files=files,
                reply_to=reply_to,
                timeout=timeout,
                check=check,
            )
        )

    def stream(
        self,
        text: str,
        *,
        agent: str | None = None,
        session: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        files: Iterable[Path | str | File] = (),
        reply_to: Reply | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Stream:
        """Ask as `query` does, and get the answer piece by piece. `timeout` is for the whole of it."""
        stream = self._job.stream(
            text,
            agent=agent,
            session=session,
            user=user,
            labels=labels,
            files=files,
            reply_to=reply_to,
            timeout=timeout,
            check=check,
        )
        return Stream(self._loop, stream)

    def session(self, id: str | None = None, *, user: str | None = None, agent: str | None = None) -> Session:
        """A conversation: a new one, or one to go on with."""
        return Session(self._loop, self._job.session(id, user=user, agent=agent))

    def sessions(self) -> list[Conversation]:
        """The conversations that the job's agents remember, the newest first."""
        return self._job.sessions()

    def trace(self, trace_id: str | None = None) -> Trace:
        """A trace; without an id the job's newest. Raises UnknownJob."""
        return self._job.trace(trace_id)

    def view(self) -> dict[str, Any]:
        """The job as `deploy ps JOB --json` shows it. Raises UnknownJob."""
        return self._held.view()

    def logs(self, agent: str | None = None, *, lines: int = 40) -> str:
        """The last lines of an agent's log, or of all with their names in front. Raises UnknownJob."""
        return self._held.logs(agent, lines)

    def stop(self) -> None:
        """Stop the job now, even one that was running before; returns when it is gone."""
        self._held.ours = True
        self.close()

    def close(self) -> None:
        """Let go: a job that this program has started stops; one that ran already runs on."""
        try:
            self._loop.run(self._job.aclose)
        finally:
            try:
                self._loop.end()
            finally:
                self._held.close()
