"""Which process of an agent gets a call: by the task or conversation it is about, else the one with least to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from teamwright.agents.replicas import Spread, mark_of
from teamwright.engine.old_rest import OldCall
from teamwright.engine.records import AgentRecord, JobRecord
from teamwright.engine.rpc import Call
from teamwright.errors import UnknownJob

_TASK_IN_PATH = re.compile(r"/tasks/([^/:?]+)")


class Placing:
    """Chooses among replicas; an agent of one process is simply that."""

    def __init__(self) -> None:
        self._spread = Spread()

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
        return next((record for record in order if record.up), order[0])

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
