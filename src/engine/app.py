"""The engine, put together: everything below it, its routes, and the order in which it begins and ends."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from teamwright import __version__
from teamwright.engine.auth import Gate, OwnHostOnly
from teamwright.engine.control import Guard
from teamwright.engine.deployments import recovery
from teamwright.engine.deployments.applying import Applying
from teamwright.engine.deployments.checkups import Checkups
from teamwright.engine.deployments.jobs import Jobs
from teamwright.engine.deployments.life_cycle import LifeCycle
from teamwright.engine.deployments.owners import Owners
from teamwright.engine.door.follow import Followers
from teamwright.engine.door.foreign import Foreign
from teamwright.engine.door.front_door import FrontDoor
from teamwright.engine.door.parked import parked
from teamwright.engine.door.placing import Placing
from teamwright.engine.door.upstream import Upstream
from teamwright.engine.fingerprint import fingerprint
from teamwright.engine.idle import Idle
from teamwright.engine.introductions import Introductions, admit
from teamwright.engine.liveness import Incarnation
from teamwright.engine.minting import Mint
from teamwright.engine.providers import routes as provider_routes
from teamwright.engine.providers.desk import SETTLES, Providers
from teamwright.engine.routes import answers
from teamwright.engine.routes import engine as engine_routes
from teamwright.engine.routes import jaeger as jaeger_routes
from teamwright.engine.routes import jobs as job_routes
from teamwright.engine.routes import metrics as metrics_route
from teamwright.engine.routes import sessions as session_routes
from teamwright.engine.routes import tokens as token_routes
from teamwright.engine.routes import traces as trace_routes
from teamwright.engine.store import forgetting
from teamwright.engine.store.records import AgentRecord
from teamwright.engine.store.secret_store import SecretStore
from teamwright.engine.store.state import EngineState
from teamwright.engine.strangers import Strangers
from teamwright.engine.telemetry import gauges
from teamwright.engine.telemetry.spans import Spans
from teamwright.errors import Refused, TeamwrightError
from teamwright.events import Event, EventBus
from teamwright.home import Home
from teamwright.host.api import AgentState
from teamwright.host.link import HostLink
from teamwright.jobs.orders import Site
from teamwright.registry import openapi
from teamwright.registry import routes as registry_routes
from teamwright.registry.service import LEASE, Registry
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Claims, Issuer, Verifier
from teamwright.tracing.forwarding.endpoints import Endpoint
from teamwright.tracing.metrics.instruments import Gauge
from teamwright.tracing.shipping.spool import SpoolName
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.storing.shedding import shedding

log = logging.getLogger("teamwright.engine")


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """What an engine is told by whoever starts it. `idle`, `lease` and `metrics_every` are in seconds.

    `retention` is for traces, `sessions` for conversations.
    `collector_url` is that of a collector process, if there is one; it has `retention` and `forward_to` of its own.
    """

    home: Home
    url: str
    guard: Incarnation
    host_socket: Path
    stay: bool = False
    idle: float = 60.0
    lease: float = LEASE
    retention: Retention = field(default_factory=Retention)
    sessions: Retention = field(default_factory=Retention)
    forward_to: tuple[Endpoint, ...] = ()
    collector_url: str | None = None
    metrics_every: float = 0.0
    public_url: str | None = None
    token_rpm: int = 0
    allowed_hosts: tuple[str, ...] = field(default=("127.0.0.1", "localhost", "[::1]"))


class Engine:
    """One engine. Build it in its loop, `start()`, serve `app`, `aclose()`.

    `guard` is the line to the guard.
    """

    def __init__(self, order: EngineOrder, guard: Guard) -> None:
        home = order.home
        self.order = order
        self._guard = guard
        self._began = time.monotonic()
        issuer = Issuer.load(home)
        gate = Gate(Verifier(issuer.public_key, home.id, EpochFile.create(home.epoch_file)), rpm=order.token_rpm)
        mint = Mint(issuer)
        self.bus = EventBus()
        self.state = EngineState(home.engine_db, problem=lambda error: log.error("engine.db: %s", error))
        self.spans = Spans(
            home,
            order.retention,
            order.forward_to,
            guard=order.guard,
            collector_url=order.collector_url,
            token=mint.operator,
        )
        secrets = SecretStore(home.secrets_file)
        self.foreign = Foreign(self.state, secrets)
        self.upstream = Upstream(mint, self.foreign)
        placing = Placing()
        self.followers = Followers(self.state, self.upstream, placing)
        self.registry = Registry(lease=order.lease, admit=partial(admit, self.state))
        self.strangers = Strangers(self.state, self.foreign, self.registry, order.url)
        self.link = HostLink(order.host_socket, on_event=self._on_event, on_hello=self._on_hello, on_lost=self._on_lost)
        self.providers = Providers(
            lambda: [job.plan for job in self.state.active()],
            home.providers_file,
            settles=SETTLES if self.state.active() else 0.0,
        )
        self.jobs = Jobs(
            self.state,
            secrets,
            self.link,
            Site(home, order.url, issuer.public_key, order.collector_url or order.url, order.sessions),
            mint,
            LifeCycle(self.spans.tracer),
            self.bus,
            wake=self._wake,
            died=self._died,
            join=self.foreign.join,
            changed=self._changed,
            notes=self.providers.notes,
        )
        self.bus.listen(self.state.diary().note)
        self.owners = Owners(self.state, self.jobs.stop_job)
        self.applying = Applying(self.jobs, self.foreign.look, partial(parked, self.upstream))
        self.checkups = Checkups(self.state, self.foreign.join, self.jobs.note)
        self.recovery = recovery.Recovery(self.jobs)
        self.front_door = FrontDoor(
            self.state,
            gate,
            self.upstream,
            self.followers,
            self.spans.tracer,
            order.public_url or order.url,
            placing,
        )
        self.idle = Idle(self._busy, self.leave, seconds=order.idle, stay=order.stay or self.state.stay(order.guard))
        self._mint = mint
        self._collector: int | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._ending = False
        self.app = self._app(gate, issuer)

    async def start(self) -> None:
        """Take over what the home holds, and begin to work."""
        self.spans.start()
        self.bus.publish(Event("engine.started", data={"pid": os.getpid()}))
        await recovery.adopt(self.state, self.order.guard, self.bus)
        self._tasks = [
            asyncio.create_task(self.link.run(), name="line to the host"),
            asyncio.create_task(self.idle.run(), name="idle"),
            asyncio.create_task(forgetting.runs(self.state, self.order.retention), name="retention of runs"),
            asyncio.create_task(forgetting.logs(self.order.home), name="retention of logs"),
            asyncio.create_task(
                forgetting.sessions(self.order.home, self.state, self.order.sessions), name="retention of sessions"
            ),
            asyncio.create_task(self._recover(self.spans.lying_about()), name="recovery"),
            asyncio.create_task(gauges.send(self.spans.keeper, self._gauges, self.order.metrics_every), name="metrics"),
            asyncio.create_task(self.strangers.run(), name="agents that don't list themselves"),
        ]
        self.checkups.sync()
        self.owners.sync()
        self.providers.sync()
        if self.state.active():
            self._wake()

    async def aclose(self) -> None:
        """Let go of everything; nothing that runs is ended by this."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.checkups.aclose()
        await self.owners.aclose()
        self.providers.aclose()
        await self.front_door.aclose()
        await self.followers.aclose()
        self.upstream.close()
        await self.foreign.aclose()
        await self.spans.aclose()
        await asyncio.to_thread(self.state.close)

    def leave(self) -> None:
        """Everybody leaves: guard, host, and this engine with them."""
        log.info("leaving")
        self.bus.publish(Event("engine.left", data={"pid": os.getpid()}))
        self._guard.send("leave")

    def client_gone(self) -> None:
        """The command that had us started has died or was interrupted."""
        self.idle.leave_when_empty(unless_asked=True)

    def status(self) -> dict[str, Any]:
        """The JSON of `engine status`."""
        return {
            "url": self.order.url,
            "home": str(self.order.home.path),
            "version": __version__,
            "fingerprint": fingerprint(),
            "uptime_s": round(time.monotonic() - self._began, 3),
            "on_demand": not self.idle.stay,
            "processes": {
                "guard": self.order.guard.pid,
                "engine": os.getpid(),
                "host": self.link.pid,
                "zygote": self.link.zygote_pid,
                **({"collector": self._collector} if self.order.collector_url else {}),
            },
            "traces": shedding(self.order.home.spans_db, self.order.home.spool_dir).to_dict(),
            "providers": self.providers.view(),
            "jobs": [
                {"job": view["job"], "status": view["status"]} for view in map(self.jobs.view, self.state.active())
            ],
        }

    # --- what comes in from host and guard ----------------------------------------------------------

    def on_guard(self, message: Mapping[str, Any]) -> None:
        """A line from the guard."""
        match message.get("event"):
            case "client_gone":
                self.client_gone()
            case "collector_started":
                self._collector = message.get("pid")
            case "collector_exit":
                self._collector = None
                if not message.get("planned"):
                    log.warning("the collector (pid %s) ended: spans wait in their spools", message.get("pid"))
            case "host_exit":
                log.log(
                    logging.INFO if message.get("planned") else logging.WARNING,
                    "the host (pid %s) ended: code %s, signal %s",
                    message.get("pid"),
                    message.get("code"),
                    message.get("signal"),
                )

    def _on_event(self, cause: Any, state: AgentState, seq: int) -> None:
        try:
            self.jobs.note(cause, state, seq)
            if (agent := self.state.agent(state.id)) is not None:
                self.registry.note(agent.job, agent.agent, state.incarnation, state.status)
            self.strangers.wake()
        except Exception:
            log.exception("an event of %s could not be noted", state.id)

    async def _on_hello(self, message: dict[str, Any], states: list[AgentState]) -> None:
        # Listed before anything is started again: what is started later is not to be taken for dead.
        found = self.spans.lying_about()
        every = [*states, *map(AgentState.from_dict, message.get("beside", ()))]
        living = {SpoolName(*self._whose(state.id), state.incarnation) for state in every}
        await self.recovery.hello(message, states)
        await self.spans.tidy(found, living)

    def _whose(self, process: str) -> tuple[str, str]:
        """Job and agent that a process of the host's belongs to."""
        job, _, name = process.partition("/")
        found = self.state.agent(process)
        return job, found.agent if found is not None else name

    def _on_lost(self) -> None:
        self.jobs.host_lost(by_us=self._ending)
        self.applying.lost()

    def _changed(self) -> None:
        self.checkups.sync()
        self.owners.sync()
        self.providers.sync()
        self.strangers.wake()
        self.idle.check()

    def _died(self, job: str, agent: str, incarnation: str, reason: str) -> None:
        self.registry.drop(job, agent, incarnation)
        self.spans.died(job, agent, incarnation, reason)

    def _wake(self) -> None:
        self.providers.sync()  # before the agents that are held to it start
        self.idle.job_began()
        if not self.link.connected:
            self._guard.send("host")

    def _gauges(self) -> Iterator[Gauge]:
        yield from gauges.of_agents(map(self.jobs.view, self.state.active()), self.registry.list())
        yield from gauges.of_providers(self.providers.view())

    def _busy(self) -> bool:
        return bool(self.state.active())

    async def _recover(self, found: Iterable[SpoolName]) -> None:
        """Follow the queries of former engines to their ends, then close what else those left open."""
        waiting = self.followers.recover(self.spans.tracer)
        if not self.state.active():  # else the host tells at its hello who lives
            await self.spans.tidy(found)
        if waiting:
            await asyncio.gather(*waiting, return_exceptions=True)
        await self.spans.close_former()

    # --- what agents and people ask -------------------------------------------------------------------

    def _renew(self, claims: Claims) -> Mapping[str, str]:
        """New tokens for an agent; the host hears of them too, for when it has to start the agent again."""
        job = self.state.jobs.get(claims.job or "")
        if job is None or not claims.agent or not job.processes(claims.agent):
            raise Refused(f"{claims.sub} is not an agent of this engine")
        tokens = self._mint.agent(job.plan, job.plan.agent(claims.agent))
        task = asyncio.create_task(self._hand_over(job.processes(claims.agent), tokens))
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)
        return tokens

    async def _hand_over(self, agents: Sequence[AgentRecord], tokens: Mapping[str, str]) -> None:
        with suppress(TeamwrightError):
            await self.jobs.line.tokens({agent.id: tokens for agent in agents})

    async def _stop_all(self) -> None:
        await self.jobs.stop(["*"])
        self.idle.leave_now()

    def _stay(self) -> None:
        """`engine start` has found us running on demand: from now on we stay."""
        self.idle.stay = True
        self.state.set_stay(self.order.guard)

    def _restart(self, version: str, code: str) -> None:
        self.bus.publish(Event("order.restart", data={"targets": ["engine"]}))
        self._guard.send("restart", version=version, fingerprint=code)

    def _app(self, gate: Gate, issuer: Issuer) -> ASGIApp:
        app = Starlette(
            routes=[
                # First: heartbeats are most of what comes in, and routes are tried one after the other.
                *registry_routes.routes(
                    self.registry,
                    gate.registrant,
                    self._renew,
                    Introductions(self.state, self.registry, self._mint),
                    self.strangers,
                    reads=gate.reader,
                ),
                *engine_routes.routes(
                    self.state,
                    gate,
                    status=self.status,
                    waiting=lambda: "waiting for the host" if self._busy() and not self.link.connected else None,
                    stop=self._stop_all,
                    restart=self._restart,
                    stay=self._stay,
                    forward=self.spans.keeper.forward,
                ),
                *token_routes.routes(
                    self.order.home, self.state, gate, issuer, self.bus.publish, self.strangers.revoked
                ),
                *job_routes.routes(self.jobs, self.applying, gate, self.idle.leave_when_empty, self.owners),
                *session_routes.routes(self.order.home, self.state, self.upstream, gate),
                *self.spans.routes(gate.writer),
                *trace_routes.routes(self.order.home, self.spans, self.state, gate),
                *jaeger_routes.routes(self.order.home, gate),
                *provider_routes.routes(self.providers, gate),
                *metrics_route.routes(self.spans, gate, self._gauges),
                *openapi.routes(),
                *self.front_door.routes(),
            ],
            exception_handlers={
                TeamwrightError: answers.on_error,
                HTTPException: answers.on_http_error,
                Exception: answers.on_bug,
            },
        )
        return OwnHostOnly(self.idle.wrap(app), self.order.allowed_hosts, public_url=self.order.public_url)
