"""An engine that comes after another one, on a stand-in host."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from teamwright.engine.store.records import JobRecord
from teamwright.home import Home
from teamwright.host.api import AgentState

from .conftest import InProcess, in_process, until
from .test_jobs import duo, start, view

HELLO: dict[str, Any] = {"event": "hello", "pid": 1, "new": True}


async def hello(inside: InProcess, *states: AgentState) -> None:
    inside.host.lives = {state.id: state for state in states}
    inside.host.bound = {state.id: state.port or 1 for state in states}
    await inside.engine._on_hello(HELLO, list(states))


async def left(home: Home, **change: Any) -> tuple[AgentState, ...]:
    """What an engine that was killed leaves: its host's states."""
    async with in_process(home) as made:
        await start(made, duo(), {"lead": {"KEY": "secret"}})
        job = made.engine.state.jobs["team"]
        for key, value in change.items():
            setattr(job, key, value)
        await made.engine.state.save_job(job)
        return tuple(made.host.lives.values())


async def test_agents_that_live_are_taken_over(home: Home) -> None:
    states = await left(home)
    async with in_process(home) as again:
        busy = replace(states[0], status="busy", restarts=4)
        await hello(again, busy, *states[1:])
        job = await view(again)
        assert job["status"] == "running" and again.host.orders == []
        assert {agent["status"] for agent in job["agents"]} == {"busy", "healthy"}
        assert again.guard.said == ["host"]


async def test_missing_agents_are_started_again(home: Home) -> None:
    states = await left(home)
    async with in_process(home) as again:
        await hello(again, states[0])
        await until(lambda: again.engine.jobs.view(again.engine.state.jobs["team"])["status"] == "running")
        missing = {state.id for state in states[1:]}
        assert {order.id for order in again.host.orders} == missing
        assert again.host.orders[0].spec.secrets == {"KEY": "secret"}
        assert again.host.orders[0].spec.peers[0].url == "http://127.0.0.1:9123"


async def test_agents_nobody_wants_are_ended(home: Home) -> None:
    states = await left(home)
    async with in_process(home) as again:
        strange = AgentState("other/agent", "healthy", "x", 5, 9999)
        await hello(again, *states, strange)
        assert "release other/agent" in again.host.said and len(again.host.lives) == 2


async def test_a_start_that_was_cut_off_is_undone(home: Home) -> None:
    states = await left(home, phase="starting")
    async with in_process(home) as again:
        await hello(again, *states)
        job = await view(again)
        assert job["status"] == "failed" and "engine ended" in job["error"] and again.host.lives == {}


async def test_a_stop_that_was_cut_off_is_finished(home: Home) -> None:
    states = await left(home, phase="stopping")
    async with in_process(home) as again:
        await hello(again, *states)
        assert (await view(again))["status"] == "stopped" and again.host.lives == {}


async def test_a_lost_host_is_seen_at_once_and_its_agents_come_back(home: Home) -> None:
    async with in_process(home) as made:
        await start(made, duo())
        made.engine._on_lost()
        job = await view(made)
        assert job["status"] == "degraded" and {agent["pid"] for agent in job["agents"]} == {None}
        await hello(made)
        await until(lambda: made.engine.jobs.view(made.engine.state.jobs["team"])["status"] == "running")
        ports = {order.spec.url for order in made.host.orders[:2]}
        assert {order.spec.url for order in made.host.orders[2:]} == ports


async def test_agents_that_were_stopped_stay_stopped(home: Home) -> None:
    async with in_process(home) as made:
        await start(made, duo())
        await made.http.post("/stop", headers=made.operator, json={"targets": ["team/helper"]})
        made.host.orders.clear()
        made.engine._on_lost()
        await hello(made)
        await until(lambda: made.host.orders)
        await asyncio.sleep(0.01)
        assert [order.spec.agent for order in made.host.orders] == ["lead"]


async def test_a_host_lost_in_a_start_fails_it(home: Home) -> None:
    async with in_process(home) as made:
        made.host.holds.add("team/lead")
        starting = asyncio.create_task(start(made, duo()))
        await until(lambda: "launch lead" in made.host.said)
        made.engine._on_lost()
        last = (await starting)[-1]
        assert last["event"] == "failed" and "host ended" in last["error"]["message"]
        record: JobRecord = made.engine.state.jobs["team"]
        assert record.phase == "failed"
