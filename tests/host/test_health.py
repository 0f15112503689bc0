"""Whether an agent that does not answer hangs, or is only kept from working."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from teamwright.host.api import HealthCheck, LaunchOrder
from teamwright.host.health import until_hung
from teamwright.host.proc import Process
from teamwright.host.trees import Family, Trees

QUICK = HealthCheck(interval=0.05, retries=2)


class Seen:
    """The processes of an agent, as they are at each look: none ever uses any CPU time."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)

    def members(self, family: Family) -> list[Process]:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return [Process(7, 1, 7, 7, 1, state, 0, "agent")]


async def looks(*states: str) -> tuple[list[bool], int]:
    """What is told of an agent that never answers until it is taken for hung, and how many states were left."""
    told: list[bool] = []
    seen = Seen(*states)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        order = cast(LaunchOrder, type("Order", (), {"health": QUICK, "foreign": False}))
        family, trees = cast(Family, None), cast(Trees, seen)
        await asyncio.wait_for(
            until_hung(order, silent.getsockname()[1], family, trees, told.append, patience=0.05), timeout=60
        )
    return told, len(seen._states)


async def test_who_sleeps_and_does_not_answer_hangs() -> None:
    assert await looks("S") == ([], 1)
    assert await looks("T") == ([], 1)


async def test_who_waits_for_the_processor_or_a_disk_does_not_hang() -> None:
    told, left = await looks(*"RRRDDRRD", "S")
    assert (told, left) == ([True], 1)
