"""Health of `url:` agents: they have no process of ours to watch, so their cards are fetched every few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from teamwright.agents.own_code.foreign import CARD_DEADLINE
from teamwright.engine.deployments.joining import Join
from teamwright.engine.store.records import AgentRecord
from teamwright.engine.store.state import EngineState
from teamwright.errors import PeerError
from teamwright.host.api import AgentState, Cause, HealthCheck

log = logging.getLogger("teamwright.engine")

#: Seconds that a card may take at least, however short the interval is.
_PATIENCE = 1.0

#: Hears of a change: cause, state, sequence number.
Note = Callable[[Cause, AgentState, int], None]


class Checkups:
    """One task per `url:` agent that should be there. Build it in the engine's loop; `sync()` after every change.

    `join` sees that the agent can be called; `note` hears when it can't any more, and when it can again.
    """

    def __init__(self, state: EngineState, join: Join, note: Note) -> None:
        self._state = state
        self._join = join
        self._note = note
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def sync(self) -> None:
        """Watch the joined agents of running jobs, and nobody else."""
        wanted = {
            agent.id: job.plan.health
            for job in self._state.active()
            for agent in job.agents.values()
            if job.plan.health.enabled and not job.plan.agent(agent.agent).started and self._counts(agent)
        }
        for agent_id in self._tasks.keys() - wanted.keys():
            self._tasks.pop(agent_id).cancel()
        for agent_id, health in wanted.items():
            if agent_id not in self._tasks:
                self._tasks[agent_id] = asyncio.create_task(self._watch(agent_id, health), name=f"check {agent_id}")

    async def aclose(self) -> None:
        """Watch nobody any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _counts(self, agent: AgentRecord) -> bool:
        return agent.wanted and self._state.jobs[agent.job].phase == "running"

    async def _watch(self, agent_id: str, health: HealthCheck) -> None:
        loop = asyncio.get_running_loop()
        missed, since = 0, 0
        while True:
            begin, now = loop.time(), time.time_ns()
            agent = self._state.agent(agent_id)
            if agent is None:
                return
            error = await self._look(agent, health)
            if not self._counts(agent) or self._state.agent(agent_id) is not agent:
                missed = 0  # stopped, or started anew, while we looked
            elif error is None:
                missed = 0
                self._well(agent)
            else:
                since = now if missed == 0 else since
                missed += 1
                if missed >= health.retries:
                    self._ill(agent, error, since)
            await asyncio.sleep(max(0.0, health.interval - (loop.time() - begin)))

    async def _look(self, agent: AgentRecord, health: HealthCheck) -> str | None:
        """What is wrong with the agent, if anything."""
        seconds = max(_PATIENCE, min(health.interval, CARD_DEADLINE))
        try:
            async with asyncio.timeout(seconds):
                await self._join(agent)
        except TimeoutError:
            return f"no card within {seconds:g} s"
        except PeerError as error:
            return error.message
        except Exception as error:
            log.exception("%s could not be checked", agent.id)
            return f"{type(error).__name__}: {error}"
        return None

    def _well(self, agent: AgentRecord) -> None:
        if agent.state.status == "unhealthy":
            log.info("%s answers again", agent.id)
            state = replace(agent.state, status="healthy", details={}, changed_ns=time.time_ns())
            self._note("recovered", state, 0)

    def _ill(self, agent: AgentRecord, error: str, since: int) -> None:
        if agent.state.status == "healthy":
            log.warning("%s is unhealthy: %s", agent.id, error)
            state = replace(
                agent.state, status="unhealthy", details={"error": error, "since_ns": since}, changed_ns=time.time_ns()
            )
            self._note("unreachable", state, 0)
        elif agent.state.status == "unhealthy" and agent.state.details.get("error") != error:
            agent.state = replace(agent.state, details={**agent.state.details, "error": error})
            self._state.save_agent(agent)
