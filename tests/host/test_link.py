"""The line between engine and host: reconnects, replays, acknowledgements."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.errors import HostError
from teamwright.host.api import AgentState, ExitInfo, HealthCheck, LaunchOrder, RestartPolicy
from teamwright.host.proc import read

if TYPE_CHECKING:
    from tests.host.conftest import Team, World


class _Raw:
    """An engine that says only what the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, world: World) -> _Raw:
        return cls(*await asyncio.open_unix_connection(str(world.run_dir / "host.sock")))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            found: dict[str, Any] = json.loads(await self.reader.readline())
            return found

    async def until(self, event: str) -> list[dict[str, Any]]:
        heard = [await self.hear()]
        while heard[-1].get("event") != event:
            heard.append(await self.hear())
        return heard

    def say(self, **message: Any) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_what_was_not_acknowledged_is_told_again(team: Team) -> None:
    (state,) = await team.launch("a")
    await team.close()
    os.kill(state.pid or 0, signal.SIGKILL)  # nobody is there to be told
    first = await _Raw.open(team.world)
    hello = (await first.until("hello"))[-1]
    assert hello["pid"] == team.world.pid("host")
    events = [await first.hear() for _ in range(3)]
    assert [event["cause"] for event in events] == ["exited", "restart", "ready"]
    assert [event["seq"] for event in events] == [3, 4, 5]
    first.say(ack=3)
    first.say(ref=1, op="tokens", tokens={})
    assert (await first.hear())["ok"]
    await first.close()
    second = await _Raw.open(team.world)
    again = (await second.until("hello"))[-1]
    assert again["instance"] == hello["instance"]
    assert again["agents"][0]["status"] == "healthy"
    assert [(await second.hear())["seq"] for _ in range(2)] == [4, 5]
    await second.close()


async def test_a_newer_engine_takes_over(team: Team) -> None:
    await team.launch("a")
    assert team.lost == 0
    newer = await _Raw.open(team.world)
    await newer.until("hello")
    await team.until(lambda: team.lost == 1)
    await newer.close()
    await team.until(lambda: len(team.hellos) >= 2)
    assert not team.hellos[-1][0]["new"]
    assert [state.status for state in team.hellos[-1][1]] == ["healthy"]


async def test_tokens_for_a_later_start(team: Team) -> None:
    (state,) = await team.launch("a", tokens={"engine": "old"})
    await team.link.tokens({"j/a": {"engine": "new"}, "j/unknown": {}})
    spec = await team.get("a", "tokens")
    assert spec == {"engine": "old"}
    os.kill(state.pid or 0, signal.SIGKILL)
    await team.is_("j/a", "backing_off")
    await team.is_("j/a", "healthy")
    assert await team.get("a", "tokens") == {"engine": "new"}


async def test_orders_wait_for_a_host(world: World, team_of: Any) -> None:
    world.start()
    team = team_of(world)
    launching = asyncio.create_task(team.launch("a"))
    await asyncio.sleep(0.3)
    assert not launching.done() and not team.link.connected
    world.engine(op="host")
    (state,) = await launching
    assert state.status == "healthy"


async def test_an_order_that_the_host_did_not_answer_is_an_error(team: Team) -> None:
    await team.launch("a", deaf=True)
    stopping = asyncio.create_task(team.link.stop(["j/a"], grace=30))
    await team.is_("j/a", "stopping")
    os.kill(team.world.pid("host") or 0, signal.SIGKILL)
    with pytest.raises(HostError, match="ended before it answered"):
        await stopping


async def test_leave_by_the_link(team: Team) -> None:
    (state,) = await team.launch("a", children=True)
    await team.children("a")
    host = team.world.pid("host") or 0
    await team.link.leave()
    await team.until(lambda: (found := read(host)) is None or found.gone)
    await team.until(lambda: not team.world.processes("j/") and not team.world.pid("zygote"))
    await asyncio.sleep(0.2)
    assert team.world.pid("host") is None  # the guard takes it for what it is
    team.world.engine(op="host")
    await team.until(lambda: len(team.hellos) == 2)
    assert team.hellos[-1][0]["new"]
    assert state.pid


async def test_nonsense_does_not_hurt_the_host(team: Team, team_of: Any) -> None:
    await team.close()
    raw = await _Raw.open(team.world)
    await raw.until("hello")
    raw.say(ref=7, op="launch", agents=[{"spec": {"nonsense": 1}}])
    answer = await raw.hear()
    while "ref" not in answer:
        answer = await raw.hear()
    assert answer["ref"] == 7
    assert "nonsense" in answer["error"]
    raw.writer.write(b"no json\n")
    await raw.reader.read()  # to its end: the host hangs up
    await raw.close()
    await team_of(team.world).launch("a")


async def test_a_large_prompt_passes(team: Team) -> None:
    await team.launch("a", prompt="x" * 3_000_000)


async def test_two_homes_at_once(team: Team, other_world: World, team_of: Any) -> None:
    other_world.start(host=True)
    other = team_of(other_world)
    mine, theirs = await asyncio.gather(team.launch("a", "b"), other.launch("a", "b"))
    assert not {state.port for state in mine} & {state.port for state in theirs}
    other_world.guard.kill()
    other_world.guard.wait()
    await asyncio.to_thread(other_world.until, lambda: not other_world.left())
    await other.close()
    assert all(read(state.pid or 0) for state in mine)
    port = mine[0].port or 0
    socket.create_connection(("127.0.0.1", port)).close()


def test_values_survive_json(team_order: LaunchOrder) -> None:
    order = LaunchOrder.from_dict(json.loads(json.dumps(team_order.to_dict())))
    assert order == team_order
    state = AgentState("j/a", "failed", "i", 1, 2, 3, 4, 5, ExitInfo(None, 9, "signal", 6), ("x",), {"k": 1}, 7)
    assert AgentState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    assert (order.restart, order.health) == (RestartPolicy("always", 1, 2.0), HealthCheck(True, 1.0, 2))
