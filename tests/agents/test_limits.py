"""Every limit at 1, with twenty messages at once, alone and in a ring: it serialises or ends, and nothing hangs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from teamwright.backends.api import Limits
from teamwright.tracing.propagation import RUN_EXT
from tests.agents.conftest import wait_for

if TYPE_CHECKING:
    from .conftest import Team

CODE = """
    import asyncio, os
    from teamwright import Agent, tool

    class Ring(Agent):
        "Asks the next one as often as the number says; works until the file is there that is named after it."
        working = 0

        async def run(self, turn):
            number, _, gate = turn.text.partition(" ")
            left = int(number)
            Ring.working += 1
            try:
                assert Ring.working == 1, "two at work at once"
                await asyncio.sleep(0.01)
                while gate and not os.path.exists(gate):
                    await asyncio.sleep(0.01)
            finally:
                Ring.working -= 1
            if not left:
                return "round"
            (peer,) = await turn.peers()
            return (await turn.ask_peer(peer.id, str(left - 1))).text

    class Fan(Agent):
        async def run(self, turn):
            found = await asyncio.gather(*(turn.ask_peer("b", "0") for _ in range(int(turn.text))),
                                         return_exceptions=True)
            return " ".join(sorted(getattr(each, "text", "") or getattr(each, "limit", "") or repr(each)
                                   for each in found))

    class Tools(Agent):
        "Knows the weather and the time."

        @tool
        async def get_weather(self) -> str:
            "Weather now."
            return "rain"

        @tool
        async def get_time(self) -> str:
            "Time now."
            return "noon"
"""
AT_ONCE = 20
RING = {"a": "b", "b": "c", "c": "a"}


def ring(team: Team, **options: Any) -> None:
    team.write("ring.py", CODE)
    before = {callee: caller for caller, callee in RING.items()}
    for agent, callee in RING.items():
        callers = ("front-door", f"team/{before[agent]}")
        team.launch(agent, module="ring", type="Ring", calls=(callee,), callers=callers, **options)
    for agent in RING:
        httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()


def end(team: Team, agent: str, text: str) -> str:
    """The answer, or why there is none; `full` for an A2A error that says to come again."""
    params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}]}}
    response = team.rpc(agent, "SendMessage", params, timeout=60)
    body = response.json()
    if "error" in body:
        assert response.headers["retry-after"] == "1", body
        assert "busy" in body["error"]["message"]
        return "full"
    task = body["result"]["task"]
    if task["status"]["state"] == "TASK_STATE_COMPLETED":
        return str(task["artifacts"][0]["parts"][0]["text"])
    return str(task["metadata"][RUN_EXT]["reason"])


def at_once(team: Team, agents: str, text: str) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda number: end(team, agents[number % len(agents)], text), range(AT_ONCE)))


def while_one_works(team: Team, refused: int) -> list[str]:
    """What comes of messages to `a`, where the first one works until so many of them have been refused."""
    gate = team.folder / f"gate-{uuid4()}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(end, team, "a", f"0 {gate}") for _ in range(AT_ONCE)]
        wait_for(lambda: sum(one.done() for one in asked) >= refused)
        gate.touch()
        return sorted(one.result() for one in asked)


def test_one_slot_works_on_one_after_the_other(team: Team) -> None:
    ring(team, max_concurrent=1, queue=AT_ONCE - 2)
    assert while_one_works(team, 1) == ["full"] + ["round"] * (AT_ONCE - 1)
    waits = sorted(span["end_ns"] - span["start_ns"] for span in team.spans("a") if span["name"] == "queued")
    assert len(waits) == AT_ONCE - 2
    assert waits[-1] > 0.05e9  # each works 0.01 s, and some waited for many
    assert all(wait > 0 for wait in waits)


def test_one_slot_each_in_a_ring(team: Team) -> None:
    ring(team, max_concurrent=1)
    assert at_once(team, "abc", "5") == ["round"] * AT_ONCE


def test_a_queue_of_one_turns_the_others_away(team: Team) -> None:
    ring(team, max_concurrent=1, queue=1)
    assert while_one_works(team, AT_ONCE - 2) == ["full"] * (AT_ONCE - 2) + ["round"] * 2
    states = {str(span.attributes["a2a.task.state"]) for span in team.spans("a") if span["kind"] == 2}
    assert states == {"TASK_STATE_COMPLETED"}  # who is refused has made nothing
    assert end(team, "a", "0") == "round"


def test_a_queue_of_one_in_a_ring_ends(team: Team) -> None:
    ring(team, max_concurrent=1, queue=1)
    ends = at_once(team, "abc", "5")
    assert set(ends) <= {"round", "full", "busy"}
    assert end(team, "b", "5") == "round"


def test_no_queue_at_all(team: Team) -> None:
    ring(team, max_concurrent=1, queue=0)
    assert while_one_works(team, AT_ONCE - 1) == ["full"] * (AT_ONCE - 1) + ["round"]
    assert set(at_once(team, "abc", "5")) <= {"round", "full", "busy"}
    assert [end(team, agent, "5") for agent in RING] == ["round"] * 3


@pytest.mark.parametrize(
    ("limits", "fits", "over", "reason"),
    [
        (Limits(depth=1), "1", "2", "depth"),
        (Limits(peer_calls=1), "1", "2", "peer_calls"),
        (Limits(duration=3.0), "0", "1000", "duration"),
    ],
    ids=["depth", "peer_calls", "duration"],
)
def test_limits_of_a_query_in_a_ring(team: Team, limits: Limits, fits: str, over: str, reason: str) -> None:
    if reason == "duration":
        limits = Limits(duration=3.0, depth=10_000, peer_calls=10_000)
    ring(team, max_concurrent=1, limits=limits)
    if reason != "duration":
        assert at_once(team, "abc", fits) == ["round"] * AT_ONCE
    ends = set(at_once(team, "abc", over))
    assert ends <= {reason, "timeout" if reason == "duration" else reason}, "".join(map(team.log, RING))
    assert end(team, "a", fits) == "round"


def test_one_peer_call_among_many_that_want_it(team: Team) -> None:
    team.write("ring.py", CODE)
    team.start("b", module="ring", type="Ring", callers=("team/a",), max_concurrent=1)
    team.start("a", module="ring", type="Fan", calls=("b",), limits=Limits(peer_calls=1), max_concurrent=1)
    assert at_once(team, "a", "3") == ["peer_calls peer_calls round"] * AT_ONCE


@pytest.mark.parametrize("limit", ["turns", "tool_calls"])
def test_limits_of_the_loop(team: Team, limit: str) -> None:
    team.write("ring.py", CODE)
    team.start("a", module="ring", type="Tools", limits=Limits(**{limit: 1}), max_concurrent=1)
    assert set(at_once(team, "a", "What is the weather now, and what time is it now?")) == {limit}
    assert "[offline, no model]" in end(team, "a", "hello")
