"""kill -9 of everything in every state: nothing is left behind, nobody hangs, what should come back is back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.errors import HostError
from teamwright.host import proc
from teamwright.host.api import RestartPolicy
from teamwright.host.proc import read

if TYPE_CHECKING:
    from tests.host.conftest import Team

_AGENTS = ("a", "b", "c", "d")
_STATES = ("starting", "busy", "idle", "stopping")
_ANSWER_DEADLINE = 60.0


def _dead(pid: int) -> bool:
    process = read(pid)
    return process is None or process.gone


@asynccontextmanager
async def _team_that_is(team: Team, state: str) -> AsyncIterator[list[int]]:
    """Four agents in a state; gives the pids of what they have started."""
    given: dict[str, Any] = {"children": True}
    if state == "starting":
        given["ready_after"] = 0.6
    if state == "stopping":
        given["slow_end"] = 1.5
    await team.launch(*_AGENTS, wait=state != "starting", **given)
    for agent in _AGENTS:
        await team.is_(f"j/{agent}", "starting", "healthy")
    children = await team.children(*_AGENTS)
    work: list[asyncio.Task[Any]] = []
    if state == "busy":
        work = [asyncio.create_task(team.get(agent, f"burn/{seconds}")) for agent in _AGENTS for seconds in (0.6, 0.1)]
        await asyncio.sleep(0.1)
    if state == "stopping":
        work = [asyncio.create_task(team.link.stop([f"j/{agent}" for agent in _AGENTS]))]
        for agent in _AGENTS:
            await team.is_(f"j/{agent}", "stopping")
    yield children
    # Whoever had asked for something has got an answer or an error.
    done, pending = await asyncio.wait(work, timeout=_ANSWER_DEADLINE) if work else (set(), set())
    assert not pending
    for task in done:
        with suppress(HostError, OSError, ValueError):
            task.result()


def _kill(pid: int | None) -> float:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


@pytest.mark.parametrize("state", _STATES)
async def test_agent(either_team: Team, state: str) -> None:
    team = either_team
    async with _team_that_is(team, state):
        children = await team.children("a")
        before = team.states["j/a"].pid
        seen = len(team.events)
        killed = _kill(before)
        if state == "stopping":
            await team.is_("j/a", "stopped")
        else:
            await team.until(lambda: any(s.id == "j/a" and c == "restart" for c, s, _ in team.events[seen:]))
            back = time.monotonic() - killed
            assert (await team.is_("j/a", "healthy")).pid != before
            team.world.show(f"agent killed while {state}: started again after {back * 1000:.0f} ms")
        assert all(_dead(pid) for pid in children)


@pytest.mark.parametrize("state", _STATES)
async def test_zygote(team: Team, state: str) -> None:
    async with _team_that_is(team, state) as children:
        before = team.world.pid("zygote")
        killed = _kill(before)
        if state == "stopping":
            for agent in _AGENTS:
                await team.is_(f"j/{agent}", "stopped")
        else:
            for agent in _AGENTS:
                await team.until(lambda agent=agent: team.states[f"j/{agent}"].restarts >= 1)  # type: ignore[misc]
                await team.is_(f"j/{agent}", "healthy")
            team.world.show(f"zygote killed while {state}: 4 agents back after {time.monotonic() - killed:.2f} s")
        assert all(_dead(pid) for pid in children)
        await team.until(lambda: team.link.zygote_pid not in (None, before))
        assert team.link.zygote_pid == team.world.pid("zygote")


@pytest.mark.parametrize("state", _STATES)
async def test_host(either_team: Team, state: str) -> None:
    team = either_team
    async with _team_that_is(team, state) as children:
        agents = [found.pid for found in team.states.values() if found.pid]
        ports = {agent: found.port for agent, found in team.states.items()}
        before = team.world.pid("host")
        killed = _kill(before)
        await team.until(lambda: len(team.hellos) == 2)
        hello, states = team.hellos[-1]
        assert all(_dead(pid) for pid in (*children, *agents))  # before there was another host
        assert hello["new"] and states == [] and team.lost == 1
        assert hello["pid"] == team.world.pid("host") != before
        team.forget()
        requests = [request for agent in _AGENTS for request in team.requests(agent, port=ports[f"j/{agent}"])]
        assert await team.link.bind(requests) == ports
        await team.link.launch([team.make(agent, children=True) for agent in _AGENTS])
        for agent in _AGENTS:
            await team.is_(f"j/{agent}", "healthy")
        back = time.monotonic() - killed
        team.world.show(f"host killed while {state}: 4 agents back after {back:.2f} s")
        await team.children(*_AGENTS)


@pytest.mark.parametrize("state", _STATES)
async def test_engine(team: Team, state: str) -> None:
    async with _team_that_is(team, state) as children:
        agents = [found.pid for found in team.states.values() if found.pid]
        before = team.world.engine(ask="pid")["pid"]
        killed = _kill(before)
        assert team.world.engine(ask="pid")["pid"] != before
        team.world.show(f"engine killed while {state}: answers again after {time.monotonic() - killed:.2f} s")
        if state != "stopping":
            assert not any(_dead(pid) for pid in (*agents, *children))


@pytest.mark.parametrize("state", _STATES)
async def test_guard(either_team: Team, state: str) -> None:
    team = either_team
    async with _team_that_is(team, state) as children:
        agents = [found.pid for found in team.states.values() if found.pid]
        killed = _kill(team.world.guard.pid)
        await team.until(lambda: team.lost == 1 and all(_dead(pid) for pid in (*children, *agents)))
        await team.until(lambda: not team.world.left())
        team.world.show(f"guard killed while {state}: nothing left after {(time.monotonic() - killed) * 1000:.0f} ms")
        # Who waits for a host has to be told that there won't be one.
        await team.close()


async def test_guard_and_host_at_once(team: Team) -> None:
    """Then nobody is there to sweep but the next guard: it knows the marks, and what was written down."""
    async with _team_that_is(team, "idle") as children:
        await team.until(lambda: set(children) <= team.recorded())
        both = team.world.guard.pid, team.world.pid("host") or 0
        for number in (signal.SIGSTOP, signal.SIGKILL):  # neither of them sees the other one die
            for pid in both:
                os.kill(pid, number)
        await team.until(lambda: team.lost == 1)
        await team.close()
        team.world.guard.wait()
        team.world.start()
        await team.until(lambda: all(_dead(pid) for pid in children))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("attempt", range(4))
async def test_a_signal_for_the_guard_at_any_moment_of_a_start(team: Team, number: int, attempt: int) -> None:
    await team.until(lambda: team.hellos)
    starting = asyncio.create_task(team.launch(*_AGENTS, children=True, ready_after=0.1))
    await asyncio.sleep(random.Random(f"{number} {attempt}").uniform(0, 0.6))
    team.world.guard.send_signal(number)
    assert await asyncio.to_thread(team.world.guard.wait, 60) == 0
    starting.cancel()
    await asyncio.wait([starting])
    for agent in _AGENTS:
        team.world.seen += team.logged(agent)
    assert not team.world.left()
    ports = [found.port for found in team.states.values() if found.port]
    assert all(proc.holder(port) == "another process" for port in ports)  # nobody


async def test_a_mixture(team: Team) -> None:
    """Anything is killed at any time, again and again; in the end everything is there, and then nothing."""
    chance = random.Random(7)
    given: dict[str, Any] = {"children": True, "restart": RestartPolicy(max=1000, within=600)}
    await team.launch(*_AGENTS, **given)
    hosts = 0
    for victim in ("b", "c", "zygote", "host", "a", "engine", "d", "zygote", "c", "host", "b", "engine", "c", "zygote"):
        pid = team.states[f"j/{victim}"].pid if victim in _AGENTS else team.world.pid(victim)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victim == "host":
            hosts += 1
            await team.until(lambda hosts=hosts: len(team.hellos) == hosts + 1)  # type: ignore[misc]
            team.forget()
            await team.launch(*_AGENTS, wait=False, **given)
        await asyncio.sleep(chance.uniform(0, 0.4))
        await team.until(lambda: len(team.states) == len(_AGENTS))
    for agent in _AGENTS:
        await team.until(lambda agent=agent: team.states[f"j/{agent}"].status == "healthy")  # type: ignore[misc]
    await team.children(*_AGENTS)
    assert await asyncio.to_thread(_ended, team)
    assert not team.world.left()


def _ended(team: Team) -> bool:
    team.world.guard.terminate()
    return team.world.guard.wait(60) == 0


async def test_nobody_but_the_guard_holds_the_lock(team: Team) -> None:
    await team.launch("a", children=True)
    await team.children("a")
    lock = str(team.world.home / "lock")
    holders = [process.pid for process in proc.snapshot().values() if lock in _open_files(process.pid)]
    assert holders == [team.world.guard.pid]
    zygote = _open_files(team.world.pid("zygote") or 0)
    assert len([target for target in zygote if target.startswith("socket:")]) == 1


def _open_files(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    found = []
    with suppress(OSError):
        for link in folder.iterdir():
            with suppress(OSError):
                found.append(str(link.readlink()))
    return found
