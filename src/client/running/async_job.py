"""A running job, asked from asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from teamwright.backends.api import File
from teamwright.client.asking import Answer
from teamwright.client.files import attachments
from teamwright.client.running.door import Door
from teamwright.client.running.held import Held, Question
from teamwright.client.running.reply import Reply
from teamwright.client.running.trace import Trace
from teamwright.engine.door.frames import Reading
from teamwright.errors import QueryTimeout, UserError

if TYPE_CHECKING:
    from teamwright.agents.memory.conversations import Conversation


class AsyncStream:
    """An answer as it comes: pieces of text, one after the other; then `reply`.

    >>> stream = job.stream("Tell me a story")
    >>> async for piece in stream:
    ...     print(piece, end="")
    >>> stream.reply.usage

    An agent that takes back what it has said begins anew on a new line; `reply.answer` is what counts. Left before
    its end, by `break` and `aclose()` or because its task was cancelled, the work on the answer is cancelled too.
    """

    def __init__(self, job: AsyncJob, question: Question, timeout: float | None, check: bool) -> None:
        self._job = job
        self._question = question
        self._timeout = timeout
        self._check = check
        self._reply: Reply | None = None
        self._pieces = self._run()

    @property
    def reply(self) -> Reply:
        """The whole. Raises UserError before the stream has ended."""
        if self._reply is None:
            raise UserError("the answer is not whole yet", hint="read the stream to its end")
        return self._reply

    def __aiter__(self) -> AsyncIterator[str]:
        return self._pieces

    async def aclose(self) -> None:
        """Stop reading; work that is not done is cancelled."""
        await self._pieces.aclose()  # type: ignore[attr-defined]

    async def _run(self) -> AsyncIterator[str]:
        question, held, door = self._question, self._job._held, self._job._door
        session = question.session or str(uuid4())
        answer, reading, shown = Answer(held.job, question.agent, session), Reading(), ""
        began, since = time.perf_counter(), time.time_ns()
        whole = False
        deadline = None if self._timeout is None else asyncio.get_running_loop().time() + self._timeout
        replies = door.replies(question, session, answer, since)
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        reply = await anext(replies, None)
                except TimeoutError:
                    raise QueryTimeout(
                        f"{held.job}: no whole answer within {self._timeout:g} s: cancelled", reason="timeout"
                    ) from None
                if reply is None:
                    break
                reading.take(reply)
                if "artifactUpdate" in (reply.get("result") or ()):
                    piece, shown = _piece(shown, reading.answer)
                    if piece:
                        yield piece
            whole = True
        finally:
            if not whole:
                self._job._abandon(question.agent, session, reading.task_id, since)
            await replies.aclose()
        result = answer.result((time.perf_counter() - began) * 1000)
        self._reply = Reply(result, question.text, held.home)
        held.replies.append(self._reply)
        if self._reply.ok:
            piece, _ = _piece(shown, result.answer)
            if piece:
                yield piece
        elif self._check:
            raise self._reply.failure()


class AsyncSession:
    """One conversation with a job: what was said before is known to the agents.

    >>> chat = job.session()
    >>> await chat.query("My name is Ada.")
    >>> await chat.query("What is my name?")

    After a question back (`reply.asks`) the next query is taken as its answer.
    """

    def __init__(self, job: AsyncJob, id: str, user: str | None, agent: str | None) -> None:
        self.id = id
        self._job = job
        self._about = {"session": id, "user": user, "agent": agent}
        self._user = user
        self._last: Reply | None = None

    async def query(self, text: str, **more: Any) -> Reply:
        """As AsyncJob.query, in this conversation."""
        stream = self._job.stream(text, **{**self._about, "reply_to": self._asked(), **more})
        self._last = await _drained(stream)
        return self._last

    def stream(self, text: str, **more: Any) -> AsyncStream:
        """As AsyncJob.stream, in this conversation."""
        return self._job.stream(text, **{**self._about, "reply_to": self._asked(), **more})

    async def delete(self) -> None:
        """Forget it, at all agents. Raises UnknownJob when nothing was said, EngineError while it is used."""
        await asyncio.to_thread(self._job._held.forget, self.id, self._user)

    def _asked(self) -> Reply | None:
        said = (reply for reply in reversed(self._job._held.replies) if reply.session == self.id)
        last = next(said, None)
        return last if last is not None and last.asks else None


class AsyncJob:
    """A running job. `async with teamwright.start(…)` and `teamwright.connect(…)` make it; use it in one event loop.

    >>> async with teamwright.start("team.yaml") as job:
    ...     reply = await job.query("What is the weather in Tokyo?", labels={"run": "7"})

    Queries may run at the same time. Raises of all of them: QueryFailed, EngineUnavailable, UnknownJob.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._door = Door(held)
        self._abandoned: set[asyncio.Task[None]] = set()

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

    async def query(  # a caller's own asyncio.timeout works as well
        self,
        text: str,
        *,
        agent: str | None = None,
        session: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        files: Iterable[Path | str | File] = (),
        reply_to: Reply | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        check: bool = True,
    ) -> Reply:
        """Ask the job, or one `agent` of it, and wait for the whole answer.

        `session` continues a conversation; `user` is on whose behalf; `labels` go onto the trace; `files` are paths
        or File objects; `reply_to` is a reply that asked something back; `timeout` is in seconds.
        Raises QueryFailed, unless `check` is off, and QueryTimeout. A query that is cancelled is cancelled at the
        agents too.
        """
        return await _drained(
            self.stream(
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
    ) -> AsyncStream:
        """Ask as `query` does, and get the answer piece by piece. `timeout` is for the whole of it."""
        if not text.strip():
            raise UserError("the query is empty")
        task = reply_to.result.task_id if reply_to is not None else None
        session = session or (reply_to.session if reply_to is not None else None)
        question = Question(text, agent, session, user, dict(labels or {}), attachments(files), task)
        return AsyncStream(self, question, timeout, check)

    def session(self, id: str | None = None, *, user: str | None = None, agent: str | None = None) -> AsyncSession:
        """A conversation: a new one, or one to go on with."""
        return AsyncSession(self, id or str(uuid4()), user, agent)

    def sessions(self) -> list[Conversation]:
        """The conversations that the job's agents remember, the newest first."""
        from teamwright.agents.memory.conversations import conversations

        return conversations(self._held.home, self._held.job)

    def trace(self, trace_id: str | None = None) -> Trace:
        """A trace; without an id the job's newest. Raises UnknownJob."""
        return Trace.read(self._held.home, trace_id, job=self._held.job)

    async def view(self) -> dict[str, Any]:
        """The job as `deploy ps JOB --json` shows it. Raises UnknownJob."""
        return await asyncio.to_thread(self._held.view)

    async def logs(self, agent: str | None = None, *, lines: int = 40) -> str:
        """The last lines of an agent's log, or of all with their names in front. Raises UnknownJob."""
        return await asyncio.to_thread(self._held.logs, agent, lines)

    async def stop(self) -> None:
        """Stop the job now, even one that was running before; returns when it is gone."""
        self._held.ours = True
        await self.aclose()

    async def aclose(self) -> None:
        """Let go: a job that this program has started stops; one that ran already runs on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.gather(*self._abandoned, return_exceptions=True)
        await self._door.aclose()
        closing = asyncio.ensure_future(asyncio.to_thread(self._held.close))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait([closing])  # nothing is left behind, not even by a cancelled task
            raise

    def _abandon(self, agent: str | None, session: str, task_id: str | None, since: int) -> None:
        """Nobody waits for that answer any more."""
        task = asyncio.ensure_future(self._door.cancel(agent, session, task_id, since))
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)


async def _drained(stream: AsyncStream) -> Reply:
    try:
        async for _ in stream:
            pass
    finally:
        await stream.aclose()
    return stream.reply


def _piece(shown: str, answer: str) -> tuple[str, str]:
    """What is new in it, and all that is shown then."""
    return (answer[len(shown) :] if answer.startswith(shown) else f"\n{answer}"), answer
