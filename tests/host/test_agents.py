"""Agents under a real host, started in both ways: start, readiness, restarts, health, limits, stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from teamwright.errors import HostError
from teamwright.host.api import HealthCheck, PortRequest, RestartPolicy
from teamwright.host.proc import read

if TYPE_CHECKING:
    from tests.host.conftest import Team

_QUICK = HealthCheck(interval=0.2, retries=2)


def _dead(pid: int | None) -> bool:
    process = read(pid) if pid else None
    return process is None or process.gone


def _proc(pid: int | None, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


async def test_agents_start_answer_and_stop(either_team: Team, port_range: range) -> None:
    team = either_team
    begin = time.monotonic()
    states = await team.launch("a", "b", "c", "d")
    team.world.show(f"4 agents (with host and zygote) healthy after {(time.monotonic() - begin) * 1000:.0f} ms")
    way = team.world.environment["TEAMWRIGHT_SPAWN"]
    for state in states:
        assert state.details["spawn"] == way
        assert state.pid and state.incarnation and state.launched_ns and state.ready_ns
        assert state.port in port_range
    assert [(cause, state.status) for cause, state, _ in team.events if state.id == "j/a"] == [
        ("launched", "starting"),
        ("ready", "healthy"),
    ]
    assert [seq for *_, seq in team.events] == list(range(1, 9))
    begin = time.monotonic()
    await team.link.stop([f"j/{agent}" for agent in "abcd"])
    team.world.show(f"4 agents stopped after {(time.monotonic() - begin) * 1000:.0f} ms")
    for state in states:
        assert _dead(state.pid)
        ended = await team.is_(state.id, "stopped")
        assert ended.last_exit is not None
        assert (ended.last_exit.signal, ended.last_exit.reason) == (signal.SIGTERM, "stop")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", state.port or 0)).close()


async def test_only_what_is_meant_for_it_reaches_an_agent(either_team: Team) -> None:
    team = either_team
    (state,) = await team.launch("a", environment={"LEVEL": "info"}, secrets={"MY_KEY": "s3cret"}, cpu=0.5)
    fds = await team.get("a", "fds")
    kinds = sorted(target.partition(":")[0] for name, target in fds.items() if int(name) > 2)
    assert kinds == ["gone", "socket"]  # gone: the one that was listing them
    assert fds["0"] == "/dev/null"
    assert fds["1"] == fds["2"] == str(team.world.home / "jobs/j/agents/a.log")
    environ = await team.get("a", "environ")
    mark = f"{team.world.home_id}:j/a:{state.incarnation}"
    assert environ == {**team.world.environment, "LEVEL": "info", "MY_KEY": "s3cret", "TEAMWRIGHT_MARK": mark} | {
        name: environ[name] for name in ("LC_CTYPE",) if name in environ
    }
    exec_environment = _proc(state.pid, "environ")
    names = {text.partition(b"=")[0].decode() for text in exec_environment.split(b"\0") if text}
    assert names <= {*team.world.environment, "TEAMWRIGHT_MARK", "LC_CTYPE"}
    assert b"s3cret" not in exec_environment
    assert b"s3cret" not in _proc(state.pid, "cmdline")
    assert await team.get("a", "umask") != 0o077
    stat = await team.get("a", "stat")
    assert stat["nice"] == state.details["nice"] == 3
    process = read(state.pid or 0)
    assert process and process.session == process.pid


async def test_randomness_differs(team: Team) -> None:
    await team.launch("a", "b")
    assert await team.get("a", "random") != await team.get("b", "random")


async def test_a_killed_agent_comes_back_on_its_port(either_team: Team) -> None:
    team = either_team
    (before,) = await team.launch("a", children=True)
    children = await team.children("a")
    assert len(children) == 5
    os.kill(before.pid or 0, signal.SIGKILL)
    begin = time.monotonic()
    team.forget()
    after = await team.is_("j/a", "healthy")
    team.world.show(f"killed agent healthy again after {(time.monotonic() - begin) * 1000:.0f} ms")
    assert after.pid != before.pid and after.port == before.port and after.incarnation != before.incarnation
    assert after.restarts == 1
    assert after.last_exit is not None
    assert (after.last_exit.signal, after.last_exit.code, after.last_exit.reason) == (9, None, "signal")
    assert all(_dead(pid) for pid in children)
    assert [(cause, state.status) for cause, state, _ in team.events[-3:]] == [
        ("exited", "backing_off"), ("restart", "starting"), ("ready", "healthy")
    ]  # fmt: skip
    assert "a starts" in next(state for _, state, _ in team.events if state.status == "backing_off").tail


async def test_stopping_takes_everything_below_with_it(either_team: Team) -> None:
    team = either_team
    await team.launch("a", "b", children=True)
    children = await team.children("a")
    others = await team.children("b")
    begin = time.monotonic()
    await team.link.stop(["j/a"])
    team.world.show(f"agent with 5 children stopped after {(time.monotonic() - begin) * 1000:.0f} ms")
    assert all(_dead(pid) for pid in children)
    assert not any(_dead(pid) for pid in others)


async def test_a_deaf_agent_is_killed_after_its_grace(team: Team) -> None:
    (state,) = await team.launch("a", deaf=True)
    begin = time.monotonic()
    await team.link.stop(["j/a"], grace=0.3)
    assert time.monotonic() - begin >= 0.3
    assert _dead(state.pid)
    ended = (await team.is_("j/a", "stopped")).last_exit
    assert ended is not None and ended.signal == signal.SIGKILL


async def test_a_stopped_process_is_killed_at_once(team: Team) -> None:
    (state,) = await team.launch("a")
    os.kill(state.pid or 0, signal.SIGSTOP)
    async with asyncio.timeout(60):
        await team.link.stop(["j/a"], grace=1000)


async def test_an_agent_that_exits_at_start_has_failed(either_team: Team) -> None:
    team = either_team
    await team.launch("a", exit_at_start=3, wait=False)
    state = await team.is_("j/a", "failed")
    assert state.last_exit is not None
    assert (state.last_exit.code, state.last_exit.reason) == (3, "exited")
    assert state.tail == ("a starts", "I can't go on")
    assert [cause for cause, *_ in team.events] == ["launched", "exited"]
    assert state.pid is None


async def test_an_agent_that_never_gets_ready_has_failed(team: Team) -> None:
    await team.launch("a", ready_after=60, timeout=0.3, children=True, wait=False)
    state = await team.is_("j/a", "failed")
    assert state.last_exit is not None and state.last_exit.reason == "not_ready"
    assert state.details["error"] == "not ready after 0.3 s"


async def test_an_agent_killed_while_starting_is_started_again(either_team: Team) -> None:
    team = either_team
    await team.launch("a", ready_after=0.4, children=True, wait=False)
    state = await team.is_("j/a", "starting")
    os.kill(state.pid or 0, signal.SIGKILL)
    await team.is_("j/a", "backing_off")
    assert (await team.is_("j/a", "healthy")).restarts == 1


async def test_it_is_given_up_after_too_many_restarts(team: Team) -> None:
    (state,) = await team.launch("a", restart=RestartPolicy(max=2, within=60))
    for _ in range(3):
        state = await team.is_("j/a", "healthy")
        os.kill(state.pid or 0, signal.SIGKILL)
        await team.is_("j/a", "backing_off", "failed")
    state = await team.is_("j/a", "failed")
    assert team.events[-1][0] == "gave_up"
    assert state.restarts == 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", state.port or 0)).close()


async def test_long_waits_refuse_callers(team: Team) -> None:
    (state,) = await team.launch("a")
    for _ in range(4):
        state = await team.is_("j/a", "healthy")
        os.kill(state.pid or 0, signal.SIGKILL)
        state = await team.is_("j/a", "backing_off")
    assert state.details["retry_s"] == pytest.approx(2.0, rel=0.21)
    if team.states["j/a"].status == "backing_off":
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", state.port or 0)).close()
    assert (await team.is_("j/a", "healthy")).port == state.port
    await team.get("a", "livez")


@pytest.mark.parametrize(("policy", "code", "status"), [
    ("never", 4, "failed"), ("never", 0, "stopped"), ("on-failure", 0, "stopped"), ("always", 0, "backing_off")
])  # fmt: skip
async def test_policies(team: Team, policy: str, code: int, status: str) -> None:
    await team.launch("a", restart=RestartPolicy(policy))  # type: ignore[arg-type]
    with pytest.raises((json.JSONDecodeError, ConnectionError)):
        await team.get("a", f"exit/{code}")
    state = await team.is_("j/a", status)
    assert state.last_exit is not None and state.last_exit.code == code


async def test_a_stopped_agent_is_noticed_and_restarted(either_team: Team) -> None:
    team = either_team
    (before,) = await team.launch("a", children=True, health=_QUICK)
    children = await team.children("a")
    begin = time.monotonic()
    os.kill(before.pid or 0, signal.SIGSTOP)
    await team.until(lambda: any(state.status == "unhealthy" for _, state, _ in team.events))
    team.world.show(f"SIGSTOP noticed after {(time.monotonic() - begin) * 1000:.0f} ms at 2 x 200 ms")
    after = await team.is_("j/a", "healthy")
    assert after.pid != before.pid and after.last_exit is not None and after.last_exit.reason == "hung"
    assert all(_dead(pid) for pid in children)
    causes = [cause for cause, *_ in team.events if cause not in ("busy", "recovered")]  # so is the machine, perhaps
    assert causes[-4:] == ["hung", "hung", "restart", "ready"]


async def test_an_agent_that_computes_is_left_alone(team: Team) -> None:
    (before,) = await team.launch("a", health=_QUICK)
    gate = team.world.home / "gate"
    computing = asyncio.create_task(team.get("a", f"until{gate}"))
    await team.is_("j/a", "busy")
    gate.touch()
    await computing
    after = await team.is_("j/a", "healthy")
    assert after.pid == before.pid and after.restarts == 0
    assert ("busy", "busy") in [(cause, state.status) for cause, state, _ in team.events]
    await team.until(lambda: team.events[-1][0] == "recovered")


async def test_too_much_memory(team: Team) -> None:
    await team.launch("a", memory=100_000_000)
    with suppress(ValueError, ConnectionError):  # it may be killed before it has answered
        await team.get("a", "eat/150")
    state = await team.is_("j/a", "backing_off")
    assert state.last_exit is not None and state.last_exit.reason == "memory_limit"
    await team.is_("j/a", "healthy")


async def test_restart_by_order(either_team: Team) -> None:
    team = either_team
    before = await team.launch("a", "b", children=True)
    children = await team.children("a")
    await team.link.restart([team.make("a")])
    assert team.states["j/a"].status in ("stopping", "starting", "healthy")
    assert all(_dead(pid) for pid in children)
    after = await team.is_("j/a", "healthy")
    assert after.pid != before[0].pid and after.port == before[0].port
    assert [(cause, state.status) for cause, state, _ in team.events[-3:]] == [
        ("restart", "stopping"), ("restart", "starting"), ("ready", "healthy")
    ]  # fmt: skip
    assert not _dead(before[1].pid)


async def test_a_stop_while_starting_and_while_backing_off(team: Team) -> None:
    await team.launch("a", ready_after=30, children=True, wait=False)
    await team.is_("j/a", "starting")
    await team.link.stop(["j/a"])
    assert (await team.is_("j/a", "stopped")).pid is None
    (state,) = await team.launch("b")
    for _ in range(4):
        state = await team.is_("j/b", "healthy")
        os.kill(state.pid or 0, signal.SIGKILL)
        state = await team.is_("j/b", "backing_off")
    await team.link.stop(["j/b"])
    assert (await team.is_("j/b", "stopped")).restarts == 3


async def test_ports(team: Team) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=rf"port {port} for j/a is taken by .*\(pid {os.getpid()}\)"):
            await team.link.bind([PortRequest("j/b"), PortRequest("j/a", port, explicit=True)])
        found = await team.link.bind([PortRequest("j/b"), PortRequest("j/a", port)])
    assert found["j/a"] != port
    assert len(set(found.values())) == 2
    assert await team.link.bind([PortRequest("j/a"), PortRequest("j/b", found["j/b"])]) == found
    with pytest.raises(HostError, match="j/c has no port"):
        await team.link.launch([team.make("c")])
    await team.link.release(["j/a", "j/b"])
    with socket.create_server(("127.0.0.1", found["j/a"])):
        pass


async def test_orders_that_make_no_sense(team: Team) -> None:
    await team.launch("a")
    with pytest.raises(HostError, match="already running"):
        await team.link.launch([team.make("a")])
    await team.link.stop(["j/nobody"])
    await team.link.release(["j/nobody"])
    with pytest.raises(HostError, match="unknown order"):
        await team.link._ask({"op": "dance"})


async def test_threads_mean_a_subprocess(team: Team) -> None:
    (state,) = await team.launch("a", threads=True)
    assert state.details["spawn"] == "subprocess"


async def test_release_stops_what_lives(team: Team) -> None:
    (state,) = await team.launch("a")
    await team.link.release(["j/a"])
    assert _dead(state.pid)


async def test_a_stop_during_a_restart_wins(team: Team) -> None:
    (state,) = await team.launch("a", slow_end=0.3)
    restarting = asyncio.create_task(team.link.restart([team.make("a")]))
    await team.is_("j/a", "stopping")
    await team.link.stop(["j/a"])
    await restarting
    await asyncio.sleep(0.1)
    assert (await team.is_("j/a", "stopped")).pid is None
    assert _dead(state.pid)


async def test_an_agent_whose_log_can_not_be_written(team: Team) -> None:
    (team.world.home / "jobs").write_text("in the way")
    await team.launch("a", wait=False)
    state = await team.is_("j/a", "failed")
    assert state.last_exit is not None
    assert state.last_exit.reason == "spawn_failed"
    assert "directory" in state.details["error"]
