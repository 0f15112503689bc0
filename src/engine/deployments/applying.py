"""Changing a running job: successors come up beside what they replace, and all of them take over together, or none.

Until then nothing is written down but secrets, set aside: whoever dies meanwhile, the job is what it was. What decides
is one write of the job's record; after it an engine that comes back finishes what is left to do (`recovery`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from teamwright.engine.deployments.host_line import Line
from teamwright.engine.deployments.jobs import STOP_DEADLINE, Jobs, same_file
from teamwright.engine.deployments.targets import find_job
from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.engine.store.secret_store import Secrets
from teamwright.engine.views import event_view
from teamwright.errors import EngineError, PeerError, StartFailed, TeamwrightError
from teamwright.events import Event
from teamwright.host.api import FORMER, AgentState, Cause, LaunchOrder, PortRequest
from teamwright.host.successors import OWN
from teamwright.jobs.changes import Changes, changes
from teamwright.jobs.deployer import UNDO_DEADLINE, Deployment, Progress, finish
from teamwright.jobs.orders import launch_orders, port_requests
from teamwright.jobs.plan import AgentPlan, Plan

log = logging.getLogger("teamwright.engine")

#: Seconds that replaced processes may take to end what they are working on.
DRAIN = 60.0
LONGEST_DRAIN = 3600
_GONE = frozenset(["backing_off", "failed", "stopped", "lost"])

#: Sees that a `url:` agent is there, with these secrets. Raises PeerError.
Look = Callable[[AgentPlan, Secrets], Awaitable[None]]
#: Counts the tasks that wait for a person at these processes, by agent.
Parked = Callable[[list[AgentRecord]], Awaitable[Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class _Beside:
    """Launches what is new, and successors of what is there."""

    line: Line
    replaced: frozenset[str]

    async def bind(self, requests: list[PortRequest]) -> dict[str, int]:
        return await self.line.bind(requests)

    async def launch(self, orders: list[LaunchOrder]) -> None:
        if new := [order for order in orders if order.id not in self.replaced]:
            await self.line.launch(new)
        if others := [order for order in orders if order.id in self.replaced]:
            await self.line.replace(others)

    async def stop(self, agents: list[str], grace: float = 5.0) -> None:
        await self.line.undo([agent for agent in agents if agent in self.replaced])
        await self.line.stop([agent for agent in agents if agent not in self.replaced], grace)

    async def release(self, agents: list[str]) -> None:
        await self.line.release([agent for agent in agents if agent not in self.replaced])


@dataclass(slots=True)
class _Work:
    """An apply under way: the job as it will be, and what is replaced, added and removed for it, as `job/agent`.

    `whose` are the agents that the processes are of, before and after, by the processes' names.
    """

    target: JobRecord
    deployment: Deployment | None = None
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    whose: Mapping[str, str] = field(default_factory=dict)


class Applying:
    """Applies plans to running jobs. `look` sees that a `url:` agent is there; `parked` counts what would be lost."""

    def __init__(self, jobs: Jobs, look: Look, parked: Parked) -> None:
        self._jobs = jobs
        self._look = look
        self._parked = parked
        self._work: dict[str, _Work] = {}
        jobs.beside = self._note

    async def changes(self, plan: Plan, secrets: Secrets) -> dict[str, Any]:
        """What `apply` would do, as it prints it; `queries` are under way, `parked` tasks wait for a person at agents
        whose processes end, and end with them. Raises UnknownJob or EngineError.
        """
        job = self._running(plan)
        found = self._changes(job, plan, secrets)
        queries = sum(task.job == job.name for task in self._jobs.state.tasks.values())
        work = self._planned(job, plan, found)
        ending = [job.agents[name.partition("/")[2]] for name in (*work.replaced, *work.removed)]
        parked = await self._parked([process for process in ending if process.up])
        return {**found.to_dict(), "file": job.plan.file, "queries": queries, "parked": dict(parked)}

    async def apply(
        self, plan: Plan, secrets: Secrets, progress: Progress, *, expect: str | None = None, drain: float = DRAIN
    ) -> dict[str, Any]:
        """Make the job what the plan says; the last line of the stream. Cancelled in time it is undone.

        `expect` is the revision that the changes were shown against. Raises StartFailed when a new process doesn't get
        ready: then the job is as before.
        """
        job = self._running(plan)
        if self._jobs.busy(job):
            raise EngineError(f"job {job.name} is being changed by another command", status=409)
        if expect is not None and expect != job.plan.revision:
            raise EngineError(
                f"job {job.name} has been changed meanwhile: it is at revision {job.plan.revision}",
                status=409,
                hint="look at the changes again",
            )
        found = self._changes(job, plan, secrets)
        if found.none:
            return {"event": "unchanged", "job": self._jobs.view(job)}
        self._jobs.enter(job.name)
        try:
            await self._apply(job, plan, secrets, found, progress, drain)
        finally:
            self._work.pop(job.name, None)
            self._jobs.leave(job.name)
            await finish(self._heal(job))
        return {"event": "done", "job": self._jobs.view(job), "changes": found.to_dict()}

    def _running(self, plan: Plan) -> JobRecord:
        job = find_job(plan.job, self._jobs.state.jobs)
        if job.phase != "running":
            raise EngineError(f"job {job.name} is {job.phase}, not running", status=409, hint=f"deploy ps {job.name}")
        same_file(job, plan)
        return job

    def _changes(self, job: JobRecord, plan: Plan, secrets: Secrets) -> Changes:
        """Compared are the orders that either plan comes to. Agents to be added have no port yet."""
        ports = {agent.id: agent.port for agent in job.agents.values() if agent.port}
        wanted = {f"{plan.job}/{name}": agent.port or 0 for agent in plan.agents for name in agent.processes}
        wanted = {agent_id: port or ports.get(agent_id, 0) for agent_id, port in wanted.items()}
        site, kept = self._jobs.site, self._jobs.secrets.get(job.name)
        old = launch_orders(job.plan, {**wanted, **ports}, kept, site, _no_tokens)
        new = launch_orders(plan, {**ports, **wanted}, secrets, site, _no_tokens)
        return changes(job.plan, plan, (old, new))

    async def _apply(
        self, job: JobRecord, plan: Plan, secrets: Secrets, found: Changes, progress: Progress, drain: float
    ) -> None:
        work = self._work[job.name] = self._planned(job, plan, found)
        target = work.target
        span = self._jobs.life.deploy(target)
        report = self._jobs.reporting(job, progress)
        try:
            try:
                assert target.trace_id is not None
                self._jobs.secrets.stage(job.name, target.trace_id, secrets)
                orders = await self._orders(work, secrets)
                await self._join(work, secrets, report)
                chosen = {order.spec.process: order for order in orders if order.id in (*work.replaced, *work.added)}
                hosts = _Beside(self._jobs.line, frozenset(work.replaced))
                work.deployment = Deployment(plan, chosen, hosts, progress=report)
                await work.deployment.run()
            finally:
                work.deployment = None
            await finish(self._commit(job, work))
        except BaseException as error:
            span.fail(error).end()
            await finish(self._undone(job, work, error))
            raise
        span.end()
        self._tell(job, "job.applied", found)
        await self._see_off(work, report, drain)

    def _planned(self, job: JobRecord, plan: Plan, found: Changes) -> _Work:
        target = JobRecord(plan, "running", job.created_ns)
        for name in (name for agent in plan.agents for name in agent.processes):
            agent, replica = plan.process(name)
            known = job.agents.get(name)
            if known is not None and not found.disturbs(agent):
                target.agents[name] = known
                continue
            port = known.port if known is not None else None
            state = AgentState(f"{job.name}/{name}", "pending", port=port)
            if known is not None and not known.wanted:  # somebody has stopped it: it stays so
                state = known.state
            wanted = known is None or known.wanted
            target.agents[name] = AgentRecord(job.name, agent, port, wanted, state, replica)
        new = [record for record in target.agents.values() if job.agents.get(record.name) is not record]
        started = [record.id for record in new if record.wanted and plan.agent(record.agent).started]
        there = [record for record in job.agents.values() if job.plan.agent(record.agent).started]
        ours = {record.id for record in there}
        return _Work(
            target,
            replaced=tuple(name for name in started if name in ours),
            added=tuple(name for name in started if name not in ours),
            removed=tuple(
                record.id
                for record in there
                if record.name not in target.agents or not plan.agent(record.agent).started
            ),
            whose={record.name: record.agent for record in (*there, *target.agents.values())},
        )

    async def _orders(self, work: _Work, secrets: Secrets) -> list[LaunchOrder]:
        """Bind the ports of what is added or gets another one, and make the orders."""
        plan, agents = work.target.plan, work.target.agents
        requests = [request for request in port_requests(plan, {}) if request.id in work.added]
        moved = [
            agent
            for agent in plan.agents
            if agent.port and f"{plan.job}/{agent.id}" in work.replaced and agents[agent.id].port != agent.port
        ]
        requests += [PortRequest(f"{plan.job}/{agent.id}{OWN}", agent.port, explicit=True) for agent in moved]
        ports = await self._jobs.line.bind(requests) if requests else {}
        for record in agents.values():
            if (port := ports.get(record.id) or ports.get(record.id + OWN)) is not None:
                record.port = port
        known = {record.id: record.port for record in agents.values() if record.port}
        return list(launch_orders(plan, known, secrets, self._jobs.site, self._jobs.mint.agent).values())

    async def _join(self, work: _Work, secrets: Secrets, report: Progress) -> None:
        """See that the `url:` agents that are new or changed are there."""
        for record in work.target.agents.values():
            plan = work.target.plan.agent(record.agent)
            if plan.started or record.state.status != "pending":
                continue
            began = time.time_ns()
            try:
                await self._look(plan, secrets)
            except PeerError as error:
                raise StartFailed(f"agent {plan.id} can't be joined: {error.message}", agent=plan.id) from None
            now = time.time_ns()
            record.state = AgentState(record.id, "healthy", launched_ns=began, ready_ns=now, changed_ns=now)
            report(event_view(record.state, "ready"))

    async def _commit(self, job: JobRecord, work: _Work) -> None:
        """From here on the job is the new one, for everybody and after any crash."""
        target = work.target
        before = replace(job)
        job.plan, job.agents, job.error = target.plan, target.agents, None
        job.trace_id, job.span_id = target.trace_id, target.span_id
        try:
            await self._jobs.state.save_job(job)
        except BaseException:
            job.plan, job.agents, job.error = before.plan, before.agents, before.error
            job.trace_id, job.span_id = before.trace_id, before.span_id
            raise
        self._jobs.secrets.settle(job.name, job.trace_id)

    async def _see_off(self, work: _Work, report: Progress, drain: float) -> None:
        """Let the old processes end what they are working on, and then end."""
        line = self._jobs.line
        report({"event": "draining", "replaced": list(work.replaced), "removed": list(work.removed)})
        try:
            await asyncio.gather(line.commit(list(work.replaced), drain), self._remove(line, list(work.removed), drain))
        except TeamwrightError as error:  # no host: nothing of the old ones is left either
            log.warning("replacing %s: %s", work.target.name, error)

    @staticmethod
    async def _remove(line: Line, agents: list[str], drain: float) -> None:
        if agents:
            await line.retire(agents, drain)
            await line.release(agents)

    async def _undone(self, job: JobRecord, work: _Work, error: BaseException) -> None:
        with suppress(TeamwrightError, TimeoutError):
            async with asyncio.timeout(UNDO_DEADLINE):
                await self._jobs.line.undo(list(work.replaced))
                await self._jobs.line.release([*work.added, *(agent + OWN for agent in work.replaced)])
        self._jobs.secrets.settle(job.name, None)
        why = "interrupted" if isinstance(error, asyncio.CancelledError) else str(error)
        self._jobs.bus.publish(Event("job.apply_failed", job.name, data={"error": why}))

    async def _heal(self, job: JobRecord) -> None:
        """The host may have died meanwhile: nobody else has started its agents again, as the job was being changed."""
        lost = [
            agent
            for agent in job.agents.values()
            if agent.wanted and agent.state.status == "lost" and job.plan.agent(agent.agent).started
        ]
        if not lost or job.phase != "running" or self._jobs.busy(job):
            return
        for agent in lost:
            agent.state = replace(agent.state, status="starting", pid=None)
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await self._jobs.relaunch(job, lost)
        except (TeamwrightError, TimeoutError) as error:
            log.error("job %s can't be completed: %s", job.name, error)

    def _tell(self, job: JobRecord, kind: str, found: Changes) -> None:
        data = {
            "revision": found.after,
            "before": found.before,
            "added": list(found.added),
            "removed": list(found.removed),
            "changed": list(found.changed),
        }
        self._jobs.bus.publish(Event(kind, job.name, data=data))

    def lost(self) -> None:
        """The line to the host broke."""
        for work in self._work.values():
            if work.deployment is not None:
                work.deployment.host_lost()

    def _note(self, cause: Cause, state: AgentState) -> None:
        """What becomes of a process that is not (yet, or any more) the agent's."""
        name, _, agent = state.id.partition("/")
        work = self._work.get(name)
        former = FORMER in state.details
        state = state.unmarked()
        job = work.target if work is not None else self._jobs.state.jobs.get(name)
        record = work.target.agents.get(agent) if work is not None and not former else None
        if job is not None and (record is not None or state.status not in ("starting", "healthy")):
            self._jobs.life.note(job, state, cause, record.state if record is not None else state)
        if not former or state.status == "stopped":
            kind = "agent.replaced" if former else f"agent.{cause}"
            self._jobs.bus.publish(Event(kind, name, agent, data=event_view(state, cause)))
        if state.status in _GONE and state.incarnation:
            ended = state.last_exit.words if state.last_exit else cause
            whose = work.whose.get(agent, agent) if work is not None else agent
            self._jobs.died(name, whose, state.incarnation, "replaced" if former else ended)
        if record is None or work is None or (record.id not in work.replaced and record.id not in work.added):
            return
        record.state = state
        if work.deployment is not None:
            line = event_view(state, cause)
            work.deployment.progress(line)
            work.deployment.feed(state, cause)


def _no_tokens(plan: Plan, agent: AgentPlan) -> dict[str, str]:
    return {}
