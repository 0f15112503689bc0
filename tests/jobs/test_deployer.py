"""Waves and outcomes of a deployment, on a line that a test plays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from teamwright.errors import HostError, StartFailed
from teamwright.home import Home
from teamwright.host.api import AgentState, ExitInfo, LaunchOrder, PortRequest
from teamwright.jobs.deployer import Deployment, failure, finish, waves
from teamwright.jobs.orders import Site, launch_orders, port_requests
from teamwright.jobs.plan import AgentPlan, Plan


def plan(strategy: Any = "staged", timeout: float = 5.0) -> Plan:
    names = {"a": 0, "b": 0, "c": 1}
    agents = tuple(
        AgentPlan(name, "declared", level, "offline", callees=("a", "b") if name == "c" else (),
                  callers=() if name == "c" else ("c",), port=9100 if name == "b" else None)
        for name, level in names.items()
    )  # fmt: skip
    levels = (("a", "b"), ("c",))
    return Plan("team", "f", "/", agents, levels, (), "c", "dag", strategy=strategy, timeout=timeout)


@dataclass
class Line:
    said: list[str] = field(default_factory=list)
    problem: Exception | None = None

    async def bind(self, requests: list[PortRequest]) -> dict[str, int]:
        return {}

    async def launch(self, orders: list[LaunchOrder]) -> None:
        self.said.append(",".join(order.spec.agent for order in orders))
        if self.problem:
            raise self.problem

    async def stop(self, agents: list[str], grace: float = 5.0) -> None:
        self.said.append("stop")

    async def release(self, agents: list[str]) -> None:
        self.said.append("release")


def deployment(which: Plan, line: Line, home: Home) -> Deployment:
    ports = {f"team/{agent.id}": 9000 + number for number, agent in enumerate(which.agents)}
    orders = launch_orders(which, ports, {}, Site(home, "http://e", "key", "http://e"), lambda plan, agent: {})
    return Deployment(which, orders, line)


async def settle() -> None:
    """Let whatever can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


def ready(agent: str) -> AgentState:
    return AgentState(f"team/{agent}", "healthy")


@pytest.fixture
def home(tmp_path: Any) -> Home:
    return Home(tmp_path / "logs").create()


def test_waves() -> None:
    assert waves(plan("staged")) == [("a", "b"), ("c",)]
    assert waves(plan("sequential")) == [("a",), ("b",), ("c",)]
    assert waves(plan("parallel")) == [("a", "b", "c")]


def test_ports() -> None:
    found = port_requests(plan(), {"a": 8700, "b": 8701})
    assert found == [
        PortRequest("team/a", 8700, explicit=False),
        PortRequest("team/b", 9100, explicit=True),
        PortRequest("team/c", None, explicit=False),
    ]


async def test_a_wave_waits_for_the_one_before(home: Home) -> None:
    line = Line()
    made = deployment(plan(), line, home)
    running = asyncio.create_task(made.run())
    await settle()
    made.feed(ready("a"), "ready")
    await settle()
    assert line.said == ["a,b"]
    made.feed(ready("b"), "ready")
    made.feed(ready("b"), "ready")
    await settle()
    assert line.said == ["a,b", "c"]
    made.feed(ready("c"), "ready")
    await running
    assert line.said == ["a,b", "c"]


async def test_a_killed_agent_gets_its_policy_a_crashed_one_does_not(home: Home) -> None:
    line = Line()
    made = deployment(plan(), line, home)
    running = asyncio.create_task(made.run())
    await settle()
    made.feed(AgentState("team/a", "backing_off", last_exit=ExitInfo(None, 9, "signal", 1)), "exited")
    await settle()
    assert not running.done()
    made.feed(AgentState("team/a", "backing_off", last_exit=ExitInfo(3, None, "exited", 1), tail=("x",)), "exited")
    with pytest.raises(StartFailed, match="agent a ended with exit code 3") as caught:
        await running
    assert caught.value.tail == ("x",) and line.said == ["a,b", "stop", "release"]


async def test_cancelling_undoes(home: Home) -> None:
    line = Line()
    running = asyncio.create_task(deployment(plan(), line, home).run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert line.said == ["a,b", "stop", "release"]


async def test_a_host_that_refuses(home: Home) -> None:
    line = Line(problem=HostError("no"))
    with pytest.raises(HostError):
        await deployment(plan(), line, home).run()
    assert line.said == ["a,b", "stop", "release"]


async def test_a_host_that_is_lost(home: Home) -> None:
    made = deployment(plan(), Line(), home)
    running = asyncio.create_task(made.run())
    await settle()
    made.host_lost()
    with pytest.raises(StartFailed, match="host ended"):
        await running


async def test_a_silent_host(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teamwright.jobs.deployer._HOST_SLACK", 0.05)
    with pytest.raises(StartFailed, match="a, b did not get ready"):
        await deployment(plan(timeout=0.0), Line(), home).run()


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (ExitInfo(3, None, "exited", 1), "ended with exit code 3 before it was ready"),
        (ExitInfo(None, 11, "signal", 1), "was killed by signal 11 while it started"),
        (ExitInfo(None, 9, "not_ready", 1), "was not ready after 5 s"),
        (ExitInfo(None, 9, "hung", 1), "hung while it started"),
        (ExitInfo(None, 9, "memory_limit", 1), "went over its memory limit while it started"),
        (ExitInfo(None, None, "spawn_failed", 1), "could not be started (spawn_failed)"),
        (None, "could not be started (failed)"),
    ],
)
def test_words(ended: ExitInfo | None, words: str) -> None:
    assert str(failure(AgentState("team/a", "failed", last_exit=ended), 5.0)) == f"agent a {words}"


async def test_finish_outlives_cancelling() -> None:
    go, done = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(1)

    task = asyncio.create_task(finish(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    go.set()
    await task
    assert done == [1]
