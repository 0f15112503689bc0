"""One agent, put together: its class and tools, backend, tracing, peers, server. `open` builds, `close` ends it all.

Imports the A2A SDK; `main` sees to the environment first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from teamwright.agents.a2a.card import build_card
from teamwright.agents.a2a.executors import ExecutorCode, HostedExecution
from teamwright.agents.a2a.handler import AgentHandler
from teamwright.agents.a2a.push import Push
from teamwright.agents.a2a.server import Door, build_app
from teamwright.agents.a2a.tasks import MemoryTaskStore
from teamwright.agents.admission import Admissions
from teamwright.agents.agent import Agent, description_of
from teamwright.agents.builtin import peer_tools
from teamwright.agents.calling.peers import Peers
from teamwright.agents.calling.pipeline import in_pipeline
from teamwright.agents.calling.registration import Registration
from teamwright.agents.calling.transport import new_client
from teamwright.agents.discovery.directory import Directory
from teamwright.agents.discovery.everywhere import Everywhere
from teamwright.agents.discovery.finder import Finder
from teamwright.agents.load_file import FOLDER as LOAD
from teamwright.agents.load_file import LoadFile
from teamwright.agents.loading import load_class
from teamwright.agents.mcp.servers import McpServers
from teamwright.agents.memory.forgetting import PATH as FORGET
from teamwright.agents.memory.forgetting import Forgetting
from teamwright.agents.memory.session_file import FileSessions, open_sessions
from teamwright.agents.memory.session_retention import SessionRetention
from teamwright.agents.own_code.code import Code, code_of
from teamwright.agents.runner import Runner
from teamwright.agents.spec import REGISTRY_TOKEN, AgentSpec
from teamwright.agents.tools import load_tools, tools_of
from teamwright.backends import loader
from teamwright.backends.api import Backend, BackendConfig, Tool
from teamwright.backends.inside import importing
from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import ENGINE_AUDIENCE, Verifier
from teamwright.tracing.shipping.exporter import Exporter
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.parts import Parts, content_dir
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

_THREADS = 64
_FLUSH = 0.5
_STEP = 1.0


class Runtime:
    """A running agent. `app` is what is served; `runner` does the work."""

    def __init__(self, spec: AgentSpec) -> None:
        self.spec = spec
        #: Another process is this agent by now: the entry in the registry is that one's.
        self.replaced = False
        self.agent, self.tools = _load(spec)
        self.backend: Backend = _thinker(spec, self.agent)
        self.tokens = dict(spec.tokens)
        self.http: httpx.AsyncClient = new_client()
        self.spool = _spool(spec)
        self.tracer = Tracer(
            spec.agent,
            spec.job,
            spec.incarnation,
            self.spool if self.spool is not None else _nowhere,
            name=self.agent.name,
            content=spec.content,
            rules=spec.redact,
            files=Parts(content_dir(Path(spec.spool_dir))) if self.spool is not None else None,
            enabled=self.spool is not None,
        )
        self.admissions = Admissions(
            spec.engine_url,
            spec.home_id,
            Home(Path(spec.home)).providers_file,
            self.tracer,
            lambda: self.tokens.get(ENGINE_AUDIENCE),
        )
        self.peers = Peers(spec, self.http, self.tracer, self._directory())
        self.sessions = open_sessions(spec.sessions_dir, spec.agent)
        thinks = spec.kind in ("class", "declared")
        self.mcp = McpServers(spec.mcp_servers if thinks else {}, [tool.name for tool in self.tools])
        self.runner = Runner(
            spec,
            in_pipeline(spec, self.agent),
            self.tools,
            tracer=self.tracer,
            peers=self.peers,
            sessions=self.sessions,
            mcp=self.mcp,
            admissions=self.admissions,
        )
        self.load: LoadFile | None = None
        if spec.sessions_dir:
            self.load = LoadFile(Path(spec.sessions_dir).parent / LOAD, spec.agent, spec.incarnation)
            self.runner.on_load = self.load.write
        self.retention = (
            SessionRetention(self.sessions, Retention(spec.session_age, spec.session_size), self.runner.sessions_in_use)
            if isinstance(self.sessions, FileSessions)
            else None
        )
        self.card = build_card(spec, self.agent, self.tools)
        self.registration = Registration(spec, self.card, self.http, self.tokens, self.runner.gate)
        self.epochs = EpochFile(Path(spec.epoch_file))
        verifier = Verifier(spec.public_key, spec.home_id, self.epochs)
        tasks = MemoryTaskStore()
        self.handler = AgentHandler(
            self.runner,
            tasks,
            self.card,
            Push.of(self.tracer, spec.push_urls, self.runner.span),
            extended_card=build_card(spec, self.agent, self.tools, extended=True),
            on_disconnect=spec.on_disconnect,
            replica=spec.replica,
            executor=_hosted(self.backend, self.runner),
        )
        forgetting = Forgetting(self.runner, self.sessions, tasks, self.backend)
        self.app: ASGIApp = build_app(
            self.handler,
            self.card,
            Door(spec, verifier, self.registration.grace),
            {FORGET: forgetting.answer},
        )
        self.exporter = (
            Exporter(
                self.spool,
                spec.spans_url or spec.engine_url,
                lambda: self.tokens.get(ENGINE_AUDIENCE),
                tracer=self.tracer,
            )
            if self.spool is not None
            else None
        )

    def _directory(self) -> Directory:
        spec = self.spec
        if spec.discover is None or spec.stages:
            return Directory(spec.peers, self.tokens)
        here = Finder(spec, spec.discover, self.http, lambda: self.tokens.get(ENGINE_AUDIENCE, ""))
        if not spec.registry_url:
            return Directory(spec.peers, self.tokens, here)
        token = spec.secrets.get(REGISTRY_TOKEN, "")
        there = Finder(spec, spec.discover, self.http, lambda: token, url=spec.registry_url)
        return Directory(spec.peers, self.tokens, Everywhere(here, there))

    @classmethod
    async def open(cls, spec: AgentSpec) -> Runtime:
        """Build the agent and get it ready for its first message. Raises UserError for what the user got wrong."""
        runtime = cls(spec)
        # The default of a small machine would let six slow tools hold up all others.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="tool"))
        runtime.tracer.install()
        await runtime.backend.open(
            BackendConfig(
                agent=runtime.agent.name,
                prompt=runtime.agent.prompt,
                model=spec.model,
                model_options=spec.model_options,
                options=spec.backend_options,
                folder=spec.job_folder,
                description=_about(runtime),
                output_schema=runtime.agent.output_schema,
                state=str(Path(spec.sessions_dir).parent / "backends" / spec.agent) if spec.sessions_dir else "",
                login=spec.login,
            )
        )
        runtime.agent._backend = runtime.backend
        runtime.mcp.start()
        if runtime.exporter is not None:
            runtime.exporter.start()
        runtime.registration.start()
        if runtime.retention is not None:
            runtime.retention.start()
        return runtime

    async def close(self) -> None:
        """End everything, each part within a second; spans last, so that they hold how the rest ended."""
        await _ended("tasks", self.handler.aclose)
        await _ended("registration", lambda: self.registration.stop(leave=not self.replaced))
        await _ended("backend", self.backend.close)
        self.admissions.close()
        await _ended("MCP servers", self.mcp.close)
        await _ended("peers", self.peers.close)
        if self.exporter is not None:
            exporter = self.exporter
            # What isn't sent stays in the spool, from where the engine takes it.
            within = _FLUSH if self.registration.reachable else 0.0
            await _ended("spans", lambda: exporter.aclose(within))
        await _ended("connections", self.http.aclose)
        if self.retention is not None:
            await _ended("sessions", self.retention.stop)
        self.sessions.close()
        if self.load is not None:
            self.load.close()
        if self.spool is not None:
            self.spool.close()
        self.epochs.close()


def _load(spec: AgentSpec) -> tuple[Agent, tuple[Tool, ...]]:
    agent = _instance(spec)
    agent.name = spec.name or agent.name or spec.agent
    agent.prompt = spec.prompt or agent.prompt
    agent.output_schema = spec.output_schema or agent.output_schema
    tools: dict[str, Tool] = {}
    for tool in [*tools_of(agent), *load_tools(spec.tools), *_peer_tools(spec)]:
        if tool.name in tools:
            raise UserError(
                f"two tools are called {tool.name!r}", hint="give one of them another name with @tool(name=)"
            )
        tools[tool.name] = tool
    return agent, tuple(tools.values())


def _peer_tools(spec: AgentSpec) -> list[Tool]:
    if spec.stages:  # the runtime hands results on
        return []
    return peer_tools(spec.peers, finds=spec.discover is not None)


def _thinker(spec: AgentSpec, agent: Agent) -> Backend:
    code: Code | None = code_of(spec) if agent.executor is None else ExecutorCode(agent, instrument=spec.instrument)
    if code is None:
        return _recorded(spec)
    agent.description = description_of(agent) or code.description
    return code


def _recorded(spec: AgentSpec) -> Backend:
    """The backend; answered from a recording, or with one being made, where the job was started so."""
    if spec.replay is not None:
        from teamwright.backends.recordings.replayer import Replayer

        return Replayer(Path(spec.replay), spec.agent, rules=spec.redact)
    backend = loader.load(spec.backend, spec.backend_code, spec.backend_folder)
    if spec.record is None:
        return backend
    from teamwright.backends.recordings.recorder import recorded

    return recorded(backend, Path(spec.record), spec.agent, secrets=tuple(spec.secrets), rules=spec.redact)


def _hosted(backend: Backend, runner: Runner) -> HostedExecution | None:
    return HostedExecution(runner, backend.executor) if isinstance(backend, ExecutorCode) else None


def _instance(spec: AgentSpec) -> Agent:
    if spec.kind != "class" or spec.module is None:
        return Agent()
    if spec.instrument:
        importing.install()
    made = load_class(spec.module, spec.type, Agent)
    try:
        instance: Agent = made(**spec.config)
    except TypeError as error:
        raise UserError(f"{spec.module}:{made.__name__} can't be made from its `config:`: {error}") from None
    instance._instrument = spec.instrument
    return instance


def _spool(spec: AgentSpec) -> Spool | None:
    if not spec.tracing:
        return None
    try:
        return Spool.create(Path(spec.spool_dir), spec.job, spec.agent, spec.incarnation)
    except OSError as error:
        log.warning("no tracing: the spool can't be made: %s", error)
        return None


def _nowhere(payload: bytes) -> None:
    """Where the spans go of an agent that isn't traced."""


def _about(runtime: Runtime) -> str:
    skills: Sequence[Any] = runtime.card.skills
    return " ".join([runtime.card.description, *(f"{skill.name} {skill.description}" for skill in skills)])


async def _ended(what: str, close: Callable[[], Awaitable[object]]) -> None:
    try:
        async with asyncio.timeout(_STEP):
            await close()
    except TimeoutError:
        log.warning("ending: %s took longer than %g s", what, _STEP)
    except Exception:
        log.warning("ending: %s failed", what, exc_info=True)
