"""Watching a ready agent: does it answer, does it compute, how much memory does it take."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from teamwright.host import checks
from teamwright.host.api import LaunchOrder
from teamwright.host.trees import Family, Trees

#: A process tree that uses less than this share of one core while it misses its checks does nothing.
IDLE_SHARE = 0.01
#: Seconds that an answer may take at least, however short the interval is: others may have the processor.
PATIENCE = 1.0
#: Seconds between two looks at the memory of an agent that has a limit.
MEMORY_EVERY = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")


async def until_hung(
    order: LaunchOrder,
    port: int,
    family: Family,
    trees: Trees,
    busy: Callable[[bool], None],
    aside: Callable[[], bool] = lambda: False,
    *,
    patience: float = PATIENCE,
) -> None:
    """Return when the agent misses its checks, uses no CPU time either, and does not wait for any.

    `busy(True)` tells that it misses them but computes, or would if the machine let it; `busy(False)` that it answers
    again. While it stands `aside` for its successor it takes no questions, and is not asked.
    """
    loop = asyncio.get_running_loop()
    health = order.health
    missed = 0
    is_busy = False
    since = loop.time()
    used: dict[tuple[int, int], int] = {}
    while True:
        begin = loop.time()
        seconds = max(health.interval, patience)
        answered = await checks.alive(port, seconds, foreign=order.foreign) if not aside() else None
        if answered:
            missed = 0
            if is_busy:
                is_busy = False
                busy(False)
        elif answered is not None and not aside():
            missed += 1
            members = trees.members(family)
            if missed == 1:
                since, used = begin, {process.key: process.ticks for process in members}
            elif missed >= health.retries:
                worked = checks.cpu_used(used, members) / _TICKS
                waits = any(process.state in "RD" for process in members)  # for the processor, or for a disk
                if not waits and worked <= (loop.time() - since) * IDLE_SHARE:
                    return
                if not is_busy:
                    is_busy = True
                    busy(True)
                since, used = loop.time(), {process.key: process.ticks for process in members}
                missed = 1
        await asyncio.sleep(max(0.0, health.interval - (loop.time() - begin)))


async def until_over_memory(family: Family, trees: Trees, limit: int) -> None:
    """Return when the agent's processes together take more than `limit` bytes (PSS)."""
    while True:
        if checks.memory_of(trees.members(family, age=1.0)) > limit:
            return
        await asyncio.sleep(MEMORY_EVERY)
