"""Joining `url:` agents at a job's start: they have no process, so the host knows nothing of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from teamwright.engine.deployments.life_cycle import LifeCycle
from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.engine.store.state import EngineState
from teamwright.engine.views import event_view
from teamwright.errors import PeerError, StartFailed
from teamwright.host.api import AgentState
from teamwright.jobs.deployer import Progress

#: Sees that an agent is there and can be called. Raises PeerError.
Join = Callable[[AgentRecord], Awaitable[None]]


async def join_all(
    job: JobRecord, agents: Sequence[AgentRecord], join: Join, state: EngineState, life: LifeCycle, progress: Progress
) -> None:
    """Join the `url:` agents among these, all at once. Raises StartFailed when one can't be called."""
    joined = [agent for agent in agents if not job.plan.agent(agent.agent).started]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_join(job, agent, join, life)) for agent in joined]
    for agent, task in zip(joined, tasks, strict=True):
        found = task.result()
        if isinstance(found, PeerError):
            raise StartFailed(f"agent {agent.agent} can't be joined: {found.message}", agent=agent.agent)
        agent.state = found
        state.save_agent(agent)
        progress(event_view(found, "ready"))


async def _join(job: JobRecord, agent: AgentRecord, join: Join, life: LifeCycle) -> AgentState | PeerError:
    began = time.time_ns()
    try:
        await join(agent)
    except PeerError as error:
        life.joined(job, agent.agent, began, error.message)
        return error
    life.joined(job, agent.agent, began)
    now = time.time_ns()
    return AgentState(agent.id, "healthy", launched_ns=began, ready_ns=now, changed_ns=now)
