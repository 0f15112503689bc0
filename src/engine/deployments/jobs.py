"""Jobs from start to stop: one operation on each at a time, everything written down before it is done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from teamwright.engine.deployments.host_line import Line, Restarting
from teamwright.engine.deployments.joining import Join, join_all
from teamwright.engine.deployments.life_cycle import LifeCycle
from teamwright.engine.deployments.targets import Selection, resolve
from teamwright.engine.minting import Mint
from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.engine.store.secret_store import Secrets, SecretStore
from teamwright.engine.store.state import EngineState
from teamwright.engine.views import event_view, job_view
from teamwright.errors import EngineError, TeamwrightError
from teamwright.events import Event, EventBus
from teamwright.host.api import FORMER, NEXT, AgentState, Cause, LaunchOrder
from teamwright.jobs.deployer import Deployment, Progress, finish
from teamwright.jobs.orders import Site, launch_orders, port_requests
from teamwright.jobs.plan import Plan

log = logging.getLogger("teamwright.engine")

#: Seconds that the host may take to end agents, above the grace it gives them.
STOP_DEADLINE = 30.0
_DOWN = frozenset(["pending", "failed", "stopped"])
_DEAD = frozenset(["backing_off", "failed", "stopped", "lost"])


class Jobs:
    """Starts, stops and restarts jobs and keeps their records.

    `wake` makes sure that there is a host; `died` hears (job, agent, incarnation, reason) of each ended process;
    `join` sees that a `url:` agent is there; `changed` is called whenever an operation has ended;
    `notes` gives what whoever starts a job should know of the others.
    """

    def __init__(
        self,
        state: EngineState,
        secrets: SecretStore,
        line: Line,
        site: Site,
        mint: Mint,
        life: LifeCycle,
        bus: EventBus,
        *,
        wake: Callable[[], None],
        died: Callable[[str, str, str, str], None],
        join: Join,
        changed: Callable[[], None] = lambda: None,
        notes: Callable[[Plan], list[str]] = lambda plan: [],
    ) -> None:
        self.state = state
        self.line = line
        self.secrets = secrets
        self.site = site
        self.mint = mint
        self.life = life
        self.bus = bus
        self._wake = wake
        self.died = died
        self._join = join
        self._changed = changed
        self._notes = notes
        #: Hears of processes that are no agents: they may become some, or have been (`applying`).
        self.beside: Callable[[Cause, AgentState], None] = lambda cause, state: None
        self._deployments: dict[str, Deployment] = {}
        self._starts: dict[str, asyncio.Task[Any]] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}

    # --- start ------------------------------------------------------------------------------------

    async def start(self, plan: Plan, secrets: Secrets, progress: Progress) -> dict[str, Any]:
        """Start a job; the last line of the stream. Cancelling it undoes the start."""
        while (found := self.state.jobs.get(plan.job)) is not None and found.active:
            same_file(found, plan)
            if found.phase == "stopping":
                await self.stop_job(found)
            elif found.phase == "starting":
                raise EngineError(f"job {plan.job} is being started already", status=409, hint=f"deploy ps {plan.job}")
            elif not _same(found.plan, plan):
                raise EngineError(
                    f"job {plan.job} is running, and its file has changed since",
                    status=409,
                    hint=f"deploy apply {plan.file}, or deploy restart {plan.job}",
                )
            else:
                return {"event": "unchanged", "job": self.view(found)}
        # Nothing is awaited between the look above and this claim: of two starts at a time one gets here.
        job = self._claim(plan, found)
        await self._bring_up(job, secrets, progress)
        return {"event": "done", "job": self.view(job), "notes": self._notes(plan)}

    def _claim(self, plan: Plan, before: JobRecord | None) -> JobRecord:
        job = JobRecord(plan, "starting", time.time_ns())
        for name in (name for agent in plan.agents for name in agent.processes):
            old = before.agents.get(name) if before else None
            agent, replica = plan.process(name)
            state = AgentState(f"{plan.job}/{name}", "pending")
            job.agents[name] = AgentRecord(plan.job, agent, old.port if old else None, True, state, replica)
        self.state.jobs[plan.job] = job
        return job

    async def _bring_up(self, job: JobRecord, secrets: Secrets, progress: Progress) -> None:
        self.enter(job.name)
        span = self.life.deploy(job)
        try:
            await self.state.save_job(job)
            self.secrets.put(job.name, secrets)
            self._wake()
            orders = await self._orders(job, secrets)
            await self.state.save_job(job)
            await join_all(
                job, list(job.agents.values()), self._join, self.state, self.life, self.reporting(job, progress)
            )
            await self._deploy(Deployment(job.plan, orders, self.line, progress=self.reporting(job, progress)))
            job.phase = "running"
            await self.state.save_job(job)
            span.end()
            self._tell(job, "job.started")
        except BaseException as error:
            span.fail(error)
            await finish(self._undone(job, error))
            span.end()
            raise
        finally:
            self.leave(job.name)

    async def _undone(self, job: JobRecord, error: BaseException) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)
        job.error = "the start was interrupted" if cancelled else str(error)
        with suppress(TeamwrightError, TimeoutError):  # there may be ports bound and nothing launched yet
            async with asyncio.timeout(STOP_DEADLINE):
                await self.line.release(job.ids())
        await self._end(job, "stopped" if cancelled else "failed")

    # --- stop -------------------------------------------------------------------------------------

    async def stop(self, targets: Iterable[str]) -> list[dict[str, Any]]:
        """Stop jobs and single agents; returns when they are gone, with what is left of their jobs."""
        chosen = resolve(targets, self.state.jobs)
        await asyncio.gather(
            *(
                self.stop_job(item.job) if item.agents is None else self._stop_agents(item.job, item.agents)
                for item in chosen
            )
        )
        return [self.view(item.job) for item in chosen]

    async def stop_job(self, job: JobRecord) -> None:
        """End a job, whatever it is doing."""
        while (working := self._starts.get(job.name)) is not None:
            working.cancel()
            await asyncio.wait([working])
        if job.name in self._stops:
            await asyncio.shield(self._stops[job.name])
        elif job.active:
            await asyncio.shield(self._begin_stop(job))
        elif job.phase == "lost":
            await self._end(job, "stopped")

    def _begin_stop(self, job: JobRecord, then: str = "stopped") -> asyncio.Task[None]:
        task = self._stops[job.name] = asyncio.create_task(self.bring_down(job, then), name=f"stop {job.name}")
        task.add_done_callback(lambda _: self._stops.pop(job.name, None))
        return task

    async def bring_down(self, job: JobRecord, then: str = "stopped") -> None:
        """Stop a job's agents, close their ports, and put the job into the phase `then`."""
        job.phase = "stopping"
        for agent in job.agents.values():
            agent.wanted = False
        await self.state.note_job(job)
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await self.line.stop(job.ids())
                await self.line.release(job.ids())
        except (TeamwrightError, TimeoutError) as error:
            # No host: its agents have died with it. A new one that knows them is told at its hello.
            log.warning("stopping %s: %s", job.name, error or "the host took too long")
        await self._end(job, then)

    async def _end(self, job: JobRecord, phase: str) -> None:
        job.phase = "failed" if phase == "failed" else "stopped"
        job.ended_ns = time.time_ns()
        for agent in job.agents.values():
            agent.wanted = False
            if agent.state.status not in ("failed", "stopped"):
                agent.state = replace(agent.state, status="stopped", pid=None)
        self.secrets.remove(job.name)
        await self.state.note_job(job)
        self._tell(job, f"job.{job.phase}")
        self._changed()

    async def _stop_agents(self, job: JobRecord, agents: Sequence[AgentRecord]) -> None:
        _require_running(job)
        for agent in agents:
            agent.wanted = False
        await self.state.note_job(job)
        ids = [agent.id for agent in agents]
        async with asyncio.timeout(STOP_DEADLINE):
            await self.line.stop(ids)
            await self.line.release(ids)
        self._changed()
        for agent in agents:
            if not job.plan.agent(agent.agent).started:  # of these the host knows nothing
                agent.state = replace(agent.state, status="stopped", details={}, changed_ns=time.time_ns())
                self.state.save_agent(agent)

    # --- restart ----------------------------------------------------------------------------------

    async def restart(self, plan: Plan, secrets: Secrets, progress: Progress) -> dict[str, Any]:
        """Stop the job and start it with a new plan."""
        found = self.state.jobs.get(plan.job)
        if found is not None and found.active:
            same_file(found, plan)
            await self.stop_job(found)
        return await self.start(plan, secrets, progress)

    async def restart_targets(self, targets: Iterable[str], progress: Progress) -> dict[str, Any]:
        """Restart jobs or single agents with the plans and secrets they were started with."""
        views = []
        for item in resolve(targets, self.state.jobs):
            _require_running(item.job)
            if item.agents is None:
                secrets = self.secrets.get(item.job.name)
                views.append((await self.restart(item.job.plan, secrets, progress))["job"])
            else:
                await self._restart_agents(item, progress)
                views.append(self.view(item.job))
        return {"event": "done", "job": views[0] if len(views) == 1 else None, "jobs": views}

    async def _restart_agents(self, item: Selection, progress: Progress) -> None:
        """Replicas one after the other, each ready before the next: the agent is never away."""
        job = item.job
        if job.name in self._starts:
            raise EngineError(f"job {job.name} is being changed by another command", status=409)
        self.enter(job.name)
        try:
            for agents in item.rounds():
                await self._restart_round(job, agents, progress)
        finally:
            self.leave(job.name)

    async def _restart_round(self, job: JobRecord, agents: Sequence[AgentRecord], progress: Progress) -> None:
        """Restart agents at once, to when they are ready; those that fail stay down, and others as they are."""
        try:
            for agent in agents:
                agent.wanted = True
            orders = await self._orders(job, self.secrets.get(job.name))
            await self.state.save_job(job)
            await join_all(job, agents, self._join, self.state, self.life, self.reporting(job, progress))
            chosen = {agent.name: orders[agent.name] for agent in agents if agent.name in orders}
            line = Restarting(self.line)
            await self._deploy(Deployment(job.plan, chosen, line, progress=self.reporting(job, progress)))
        except BaseException:
            for agent in agents:
                agent.wanted = False
            await finish(self.state.note_job(job))
            raise

    # --- what the host tells ------------------------------------------------------------------------

    def note(self, cause: Cause, state: AgentState, seq: int) -> None:
        """An agent's state has changed."""
        agent = self.state.agent(state.id)
        if agent is None or NEXT in state.details or FORMER in state.details:
            self.beside(cause, state)
            return
        job = self.state.jobs[agent.job]
        before = agent.state
        agent.state = state
        self.state.save_agent(agent)
        self.life.note(job, state, cause, before)
        line = event_view(state, cause)
        self.bus.publish(Event(f"agent.{cause}", job.name, agent.name, data=line))
        if state.status in _DEAD and before.incarnation:
            reason = state.last_exit.words if state.last_exit else cause
            self.died(job.name, agent.agent, before.incarnation, reason)
        if (deployment := self._deployments.get(job.name)) is not None:
            deployment.progress(line)
            deployment.feed(state, cause)

    def host_lost(self, *, by_us: bool = False) -> None:
        """The line to the host broke: everything it ran is gone, unless the same host says hello again.

        `by_us`: it is this engine that ends, which says nothing about the host.
        """
        if not by_us:
            self.bus.publish(Event("host.lost"))
        for job in self.state.active():
            for agent in job.agents.values():
                if agent.state.status not in _DOWN and job.plan.agent(agent.agent).started:
                    agent.state = replace(agent.state, status="lost", pid=None)
                    self.state.save_agent(agent)
        for deployment in self._deployments.values():
            deployment.host_lost()

    def process_lost(self, agent: AgentRecord, incarnation: str) -> None:
        """A process went with its host, without a word from anybody."""
        self.died(agent.job, agent.agent, incarnation, "host_lost")

    def busy(self, job: JobRecord) -> bool:
        """Whether an operation of this engine's own life is at work on the job."""
        return job.name in self._starts or job.name in self._stops

    def view(self, job: JobRecord) -> dict[str, Any]:
        """The job as JSON."""
        return {**job_view(job, self.site.engine_url), "changing": self.busy(job)}

    async def relaunch(self, job: JobRecord, agents: Sequence[AgentRecord]) -> None:
        """Start agents again that a host has taken with it."""
        orders = await self._orders(job, self.secrets.get(job.name), only=agents)
        await self.state.note_job(job)
        await self.line.launch([orders[agent.name] for agent in agents])

    async def _orders(
        self, job: JobRecord, secrets: Secrets, *, only: Sequence[AgentRecord] | None = None
    ) -> dict[str, LaunchOrder]:
        """Bind the ports of all (or `only` some) agents and make the orders of all."""
        known = {agent.name: agent.port for agent in job.agents.values() if agent.port}
        chosen = {agent.id for agent in only} if only is not None else set(job.ids())
        requests = [request for request in port_requests(job.plan, known) if request.id in chosen]
        ports = await self.line.bind(requests)
        for agent in job.agents.values():
            agent.port = ports.get(agent.id, agent.port)
        every = {agent.id: agent.port for agent in job.agents.values() if agent.port}
        return launch_orders(job.plan, every, secrets, self.site, self.mint.agent)

    async def _deploy(self, deployment: Deployment) -> None:
        name = deployment.plan.job
        self._deployments[name] = deployment
        try:
            await deployment.run()
        finally:
            self._deployments.pop(name, None)

    def reporting(self, job: JobRecord, progress: Progress) -> Progress:
        """`progress`, which also goes to whoever listens on the bus."""

        def report(line: dict[str, Any]) -> None:
            self.bus.publish(Event(f"job.{line['event']}", job.name, data=line))
            progress(line)

        return report

    def enter(self, name: str) -> None:
        """This task changes the job from now on."""
        task = asyncio.current_task()
        assert task is not None
        self._starts[name] = task

    def leave(self, name: str) -> None:
        """It has come to its end."""
        self._starts.pop(name, None)
        self._changed()

    def _tell(self, job: JobRecord, kind: str) -> None:
        self.bus.publish(Event(kind, job.name, data={"error": job.error} if job.error else {}))


def _same(running: Plan, wanted: Plan) -> bool:
    """Whether a running job is already what the file says."""
    return replace(running, warnings=()) == replace(wanted, warnings=())


def same_file(found: JobRecord, plan: Plan) -> None:
    """Raise EngineError when the job is of another file than the plan."""
    if found.plan.file != plan.file:
        raise EngineError(
            f"a job named {plan.job} runs already, from {found.plan.file}",
            status=409,
            hint="give this one another name with --name",
        )


def _require_running(job: JobRecord) -> None:
    if job.phase != "running":
        raise EngineError(
            f"job {job.name} is {job.phase}, not running", status=409, hint=f"deploy start {job.plan.file}"
        )
