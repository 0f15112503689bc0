"""What a new engine, or one with a new host, finds and what it makes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from teamwright.engine.deployments.applying import DRAIN
from teamwright.engine.deployments.jobs import Jobs
from teamwright.engine.liveness import Incarnation
from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.engine.store.state import EngineState, mark_lost
from teamwright.errors import TeamwrightError
from teamwright.events import Event, EventBus
from teamwright.host.api import NEXT, AgentState

log = logging.getLogger("teamwright.engine")

_ENDED = frozenset(["failed", "stopped"])


async def adopt(state: EngineState, guard: Incarnation, bus: EventBus | None = None) -> list[JobRecord]:
    """Take over what was written down. Returns the jobs that are lost, because their guard is not ours."""
    lost = []
    if state.guard != guard:
        for job in list(state.jobs.values()):
            if mark_lost(job):
                lost.append(job)
                if bus is not None:
                    bus.publish(Event("job.lost", job.name))
                await state.note_job(job)
        state.set_guard(guard)
    if lost:
        log.warning("lost with an earlier guard: %s", ", ".join(job.name for job in lost))
    return lost


class Recovery:
    """Brings jobs and host together at each hello."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._state = jobs.state

    async def hello(self, message: dict[str, Any], states: Sequence[AgentState]) -> None:
        """The host tells what it runs: finish what was begun, start what is missing, stop what is nobody's."""
        there = {state.id: state for state in states}
        beside = [AgentState.from_dict(state) for state in message.get("beside", ())]
        stay, go = self._successors([state for state in beside if NEXT in state.details])
        there.update(stay)
        self._take(there)
        strange = [agent_id for agent_id in there if not self._ours(agent_id)]
        work = [self._reconcile(job, there) for job in self._state.active() if not self._jobs.busy(job)]
        if strange:
            work.append(self._end(strange))
        if stay or go:
            work.append(self._settle(list(stay), go))
        await asyncio.gather(*work)

    def _successors(self, states: Sequence[AgentState]) -> tuple[dict[str, AgentState], list[str]]:
        """Of an apply that a former engine was at: those that were written down as the agents, and the others."""
        stay: dict[str, AgentState] = {}
        go = []
        for job in self._state.active():
            if not self._jobs.busy(job):
                self._jobs.secrets.settle(job.name, job.trace_id)
        for state in states:
            record = self._state.agent(state.id)
            if record is None or record.state.incarnation != state.incarnation:
                known = self._state.jobs.get(state.id.partition("/")[0])
                if known is None or not self._jobs.busy(known):
                    go.append(state.id)
            else:
                stay[state.id] = state.unmarked()
        return stay, go

    async def _settle(self, stay: list[str], go: list[str]) -> None:
        with suppress(TeamwrightError):
            await self._jobs.line.undo(go)
            await self._jobs.line.commit(stay, DRAIN)

    def _take(self, there: dict[str, AgentState]) -> None:
        for job in self._state.jobs.values():
            for agent in job.agents.values():
                if (found := there.get(agent.id)) is not None and found != agent.state:
                    self._died(agent, found.incarnation)
                    agent.state = found
                    self._state.save_agent(agent)

    def _ours(self, agent_id: str) -> bool:
        agent = self._state.agent(agent_id)
        return agent is not None and self._state.jobs[agent.job].active

    async def _reconcile(self, job: JobRecord, there: dict[str, AgentState]) -> None:
        try:
            if job.phase == "starting":
                job.error = "the engine ended while the job was starting"
                await self._jobs.bring_down(job, "failed")
            elif job.phase == "stopping":
                await self._jobs.bring_down(job)
            else:
                await self._complete(job, there)
        except (TeamwrightError, TimeoutError) as error:
            log.error("job %s can't be completed: %s", job.name, error)

    async def _complete(self, job: JobRecord, there: dict[str, AgentState]) -> None:
        """Every wanted agent that the host does not know is started again."""
        missing = [
            agent
            for agent in job.agents.values()
            if agent.wanted
            and agent.id not in there
            and agent.state.status not in _ENDED
            and job.plan.agent(agent.agent).started
        ]
        for agent in missing:
            self._died(agent, "")
            agent.state = replace(agent.state, status="starting", pid=None)
        unwanted = [agent.id for agent in job.agents.values() if not agent.wanted and agent.id in there]
        if unwanted:
            await self._end(unwanted)
        if missing:
            log.info("starting %s again", ", ".join(agent.id for agent in missing))
            await self._jobs.relaunch(job, missing)

    def _died(self, agent: AgentRecord, now: str) -> None:
        before = agent.state.incarnation
        if before and before != now and agent.state.status not in _ENDED:
            self._jobs.process_lost(agent, before)

    async def _end(self, ids: list[str]) -> None:
        with suppress(TeamwrightError):
            await self._jobs.line.release(ids)
