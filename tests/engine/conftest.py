"""Plans made by hand, homes, an engine in this process with a stand-in host, and real engines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from teamwright.client import launch
from teamwright.client.client import Client
from teamwright.engine.app import Engine, EngineOrder
from teamwright.engine.control import Op
from teamwright.engine.liveness import Incarnation
from teamwright.home import Home
from teamwright.host.api import AgentState, ExitInfo, LaunchOrder, PortRequest
from teamwright.jobs.plan import AgentPlan, Plan

if TYPE_CHECKING:
    from tests.engine.played import Door

TEAM = Path(__file__).parent / "team"


def make_plan(job: str = "team", *agents: AgentPlan, folder: Path = TEAM, **more: Any) -> Plan:
    """A plan of these agents (default: one that echoes), the first of them the entry point."""
    chosen = agents or (patient(),)
    count = max(agent.level for agent in chosen) + 1
    levels = tuple(tuple(agent.id for agent in chosen if agent.level == level) for level in range(count))
    values: dict[str, Any] = {
        "job": job,
        "file": str(folder / f"{job}.yaml"),
        "folder": str(folder),
        "agents": chosen,
        "levels": levels,
        "edges": tuple((agent.id, callee) for agent in chosen for callee in agent.callees),
        "entry_point": chosen[0].id,
        "topology": "dynamic",
        "search_path": (str(folder),),
        "timeout": 20.0,
        "revision": "r1",
    }
    return Plan(**{**values, **more})


def patient(id: str = "patient", level: int = 0, **more: Any) -> AgentPlan:
    """An agent of class Patient."""
    return AgentPlan(id=id, kind="class", level=level, backend="offline", module="patient", type="Patient", **more)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "logs").create()


@dataclass
class StandInHost:
    """A host's side of the line, in memory: says that agents are ready, or what a test wants it to say."""

    note: Callable[[Any, AgentState, int], None] = lambda cause, state, seq: None
    lives: dict[str, AgentState] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    orders: list[LaunchOrder] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    fails: dict[str, AgentState] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)
    next_port: int = 20000

    async def bind(self, requests: list[PortRequest]) -> dict[str, int]:
        self.said.append("bind")
        for request in requests:
            self.next_port += 1
            self.bound[request.id] = request.port or self.next_port
        return {request.id: self.bound[request.id] for request in requests}

    async def launch(self, orders: list[LaunchOrder]) -> None:
        self.said.append("launch " + ",".join(order.spec.agent for order in orders))
        self.orders += orders
        for order in orders:
            asyncio.get_running_loop().call_soon(self._begin, order)

    def _begin(self, order: LaunchOrder) -> None:
        port = self.bound[order.id]
        now = time.time_ns()
        starting = AgentState(order.id, "starting", order.spec.incarnation, 4711, port, 0, now)
        self.tell("launched", starting)
        if order.id in self.fails:
            self.tell("exited", self.fails[order.id])
        elif order.id not in self.holds:
            self.tell("ready", replace(starting, status="healthy", ready_ns=now + 1_000_000))

    async def stop(self, agents: list[str], grace: float = 5.0) -> None:
        self.said.append("stop " + ",".join(agents))
        for agent in agents:
            if (state := self.lives.get(agent)) is not None and state.status not in ("stopped", "failed"):
                ended = ExitInfo(0, None, "stop", time.time_ns())
                self.tell("stop", replace(state, status="stopped", pid=None, last_exit=ended))

    async def restart(self, orders: list[LaunchOrder], grace: float = 5.0) -> None:
        self.said.append("restart " + ",".join(order.id.partition("/")[2] for order in orders))
        self.orders += orders
        for order in orders:
            asyncio.get_running_loop().call_soon(self._begin, order)

    async def release(self, agents: list[str]) -> None:
        self.said.append("release " + ",".join(agents))
        for agent in agents:
            self.bound.pop(agent, None)
            self.lives.pop(agent, None)

    async def replace(self, orders: list[LaunchOrder]) -> None:
        self.said.append("replace " + ",".join(order.spec.agent for order in orders))

    async def commit(self, agents: list[str], drain: float) -> None:
        self.said.append("commit " + ",".join(agents))

    async def undo(self, agents: list[str]) -> None:
        self.said.append("undo " + ",".join(agents))

    async def retire(self, agents: list[str], drain: float) -> None:
        await self.stop(agents)

    async def tokens(self, tokens: Mapping[str, Mapping[str, str]]) -> None:
        self.said.append("tokens " + ",".join(tokens))

    def tell(self, cause: Any, state: AgentState) -> None:
        self.lives[state.id] = state
        self.note(cause, state, 0)


@dataclass
class StandInGuard:
    """Writes down what the engine asks of its guard."""

    said: list[str] = field(default_factory=list)

    def send(self, op: Op, **more: str) -> None:
        self.said.append(op)


@dataclass
class InProcess:
    """An engine in this process, its host and guard stand-ins."""

    engine: Engine
    host: StandInHost
    guard: StandInGuard
    http: httpx.AsyncClient
    home: Home

    @property
    def operator(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.home.operator_token.read_text().strip()}"}


@pytest.fixture
async def inside(home: Home) -> AsyncIterator[InProcess]:
    """A fresh engine over ASGI."""
    async with in_process(home) as made:
        yield made


@pytest.fixture
async def door(inside: InProcess) -> AsyncIterator[Door]:
    """The front door of an engine with one job, whose agent the test plays."""
    from tests.engine.played import Agent, Door, done, whole
    from tests.engine.test_jobs import start

    agent = Agent(0, whole(done()))
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    await start(inside, make_plan("team", patient("lead", port=agent.port), patient("other")))
    yield Door(inside, agent, server)
    server.close()
    for writer in agent.writers:
        writer.close()


class in_process:
    """`async with in_process(home) as made:` an engine of this home, in this process."""

    def __init__(self, home: Home, *, guard: Incarnation | None = None) -> None:
        self._home = home
        self._incarnation = guard or Incarnation.of(1)

    async def __aenter__(self) -> InProcess:
        guard, host = StandInGuard(), StandInHost()
        order = EngineOrder(self._home, "http://127.0.0.1:1", self._incarnation, self._home.run_dir / "none.sock")
        engine = Engine(order, guard)
        host.note = engine.jobs.note
        engine.jobs.line = host
        await engine.start()
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(engine.app), base_url="http://127.0.0.1:1", timeout=20, verify=False
        )
        self._made = InProcess(engine, host, guard, http, self._home)
        return self._made

    async def __aexit__(self, *exc_info: object) -> None:
        await self._made.http.aclose()
        await self._made.engine.aclose()


@pytest.fixture
def running(home: Home, environment: dict[str, str]) -> Iterator[Client]:
    """A client of a real engine, ended after the test."""
    with launch.connect(home, start=True, port=0, host=True, environ=environment) as client:
        yield client
    end(home, environment)


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any change may be the one
            await asyncio.sleep(0.001)


def end(home: Home, environment: dict[str, str]) -> None:
    """Stop whatever runs in a home."""
    from teamwright.errors import EngineUnavailable

    try:
        with launch.connect(home, start=False, environ=environment) as client:
            client.stop_engine(force=True)
    except EngineUnavailable:
        pass
    launch.sweep(home)


def begin(client: Client, plan: Plan) -> dict[str, Any]:
    """Start a job and return its view; fails when it isn't done."""
    last: dict[str, Any] = {}
    for line in client.start(plan):
        last = line
    assert last["event"] == "done", last
    return dict(last["job"])
