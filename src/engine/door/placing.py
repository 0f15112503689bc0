"""Which process of an agent gets a call: by the task or conversation it is about, else the one with least to do."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

from teamwright.agents.replicas import Spread, mark_of
from teamwright.engine.door.old_rest import OldCall
from teamwright.engine.door.rpc import Call
from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.errors import PeerError, UnknownJob

#: The response to a call, not yet read.
Post = AbstractAsyncContextManager[Any]
#: Reasons of calls that did not get there, and of those that tell of a process that is gone.
_UNSENT = frozenset(["refused", "unavailable"])
_FALLEN = _UNSENT | {"process_lost"}
#: Seconds that such a process is not asked again, unless it has been started again meanwhile.
_AVOIDED = 5.0
_TASK_IN_PATH = re.compile(r"/tasks/([^/:?]+)")


class Placing:
    """Chooses among replicas; an agent of one process is simply that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._spread = Spread()
        self._clock = clock
        self._fallen: dict[str, tuple[str, float]] = {}

    def choose(self, job: JobRecord, agent: str, *, task: str | None = None, session: str | None = None) -> AgentRecord:
        """The replica that has the task, else the conversation's, else any; one that is up, where there is one.

        Raises UnknownJob for an agent that the job does not have.
        """
        found = job.processes(agent)
        if not found:
            raise UnknownJob(f"job {job.name} has no agent {agent!r}")
        if len(found) == 1:
            return found[0]
        known = task if mark_of(task) is not None else session
        order = [found[number] for number in self._spread.order(f"{job.name}/{agent}", len(found), known)]
        up = [record for record in order if record.up]
        return next((record for record in up if not self._down(record)), (up or order)[0])

    @asynccontextmanager
    async def reached(
        self, job: JobRecord, agent: AgentRecord, session: str | None, post: Callable[[AgentRecord], Post]
    ) -> AsyncIterator[Any]:
        """The response of that process, or of another replica where nothing could be sent to it. Raises PeerError."""
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(post(agent))
            except PeerError as error:
                self.fell(agent, error)
                other = self.choose(job, agent.agent, session=session) if error.reason in _UNSENT else agent
                if other is agent:
                    raise
                stack.callback(self.begin(other, session))
                response = await stack.enter_async_context(post(other))
            yield response

    def fell(self, agent: AgentRecord, error: PeerError) -> None:
        """A call has found that a replica is not there; the host may not have told yet."""
        if agent.replica is not None and error.reason in _FALLEN:
            self._fallen[agent.id] = agent.state.incarnation, self._clock() + _AVOIDED

    def _down(self, agent: AgentRecord) -> bool:
        incarnation, until = self._fallen.get(agent.id, ("", 0.0))
        return incarnation == agent.state.incarnation and self._clock() < until

    def begin(self, agent: AgentRecord, session: str | None) -> Callable[[], None]:
        """A message to that process is under way, until what is returned is called; its conversation stays there."""
        if agent.replica is None:
            return _nothing
        stack = ExitStack()
        stack.enter_context(self._spread.working(f"{agent.job}/{agent.agent}", agent.replica, session))
        return stack.close

    def placed(self, job: JobRecord, agent: AgentRecord, named: str | None, call: Call) -> AgentRecord:
        """The process for a call at the front door to `agent`; one that was `named` itself is meant."""
        if agent.replica is None or named == agent.name:
            return agent
        task, session = about(call)
        return self.choose(job, agent.agent, task=task, session=session)


def _nothing() -> None:
    """An agent of one process: there is nothing to count."""


def about(call: Call) -> tuple[str | None, str | None]:
    """The task and the conversation that a call names."""
    if isinstance(call, OldCall) and (found := _TASK_IN_PATH.search(call.target)):
        return found[1], None
    params = call.params
    message = params.get("message")
    where: Mapping[str, Any] = message if isinstance(message, Mapping) else params
    task = where.get("taskId") or (params.get("id") if where is params else None)
    session = where.get("contextId")
    return task if isinstance(task, str) else None, session if isinstance(session, str) else None
