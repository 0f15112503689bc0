"""What agents cost their machine: CPU time and memory of each one's process tree, in `<home>/usage.json`.

{"at": Unix seconds, "agents": {"job/agent": {"pid", "cpu": cores, "memory": bytes of PSS, "processes"}}}
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from teamwright.host.api import USAGE_EVERY, USAGE_FILE
from teamwright.host.checks import cpu_used, memory_of
from teamwright.host.proc import Process
from teamwright.host.trees import Family, Trees

#: Seconds that asking for memory may take at a look: a millisecond for each process. The others' turn comes later.
_BUDGET = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


class Sample:
    """The CPU time and memory of some process trees, look after look.

    >>> sample.look({"hello/lead": [process, …]})
    {'hello/lead': {'pid': 4711, 'cpu': 0.02, 'memory': 18350080, 'processes': 1}}
    """

    def __init__(self, budget: float | None = _BUDGET, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._last: dict[str, tuple[float, dict[tuple[int, int], int]]] = {}
        self._memory: dict[str, tuple[float, int]] = {}

    def look(self, trees: dict[str, list[Process]]) -> dict[str, dict[str, Any]]:
        """What each takes now. `cpu` is since the look before, in cores; None at the first."""
        begun = self._clock()
        for name in sorted(trees, key=lambda name: self._memory.get(name, (0.0, 0))[0]):
            if self._budget is None or self._clock() - begun < self._budget:
                self._memory[name] = (self._clock(), memory_of(trees[name]))
        found = {}
        for name, processes in trees.items():
            now, ticks = self._clock(), {process.key: process.ticks for process in processes}
            before = self._last.get(name)
            cpu = None
            if before is not None and now > before[0]:
                cpu = round(cpu_used(before[1], processes) / _TICKS / (now - before[0]), 4)
            self._last[name] = (now, ticks)
            found[name] = {
                "pid": processes[0].pid if processes else None,
                "cpu": cpu,
                "memory": self._memory[name][1] if name in self._memory else None,
                "processes": len(processes),
            }
        for gone in self._last.keys() - trees.keys():
            del self._last[gone]
            self._memory.pop(gone, None)
        return found


async def keep(trees: Trees, home: Path) -> None:
    """Write it down every few seconds; cancel to end."""
    sample = Sample()
    while True:
        await asyncio.sleep(USAGE_EVERY)
        found = {_agent(family): trees.members(family, age=1.0) for family in _newest(trees.families)}
        with suppress(OSError):
            _write(home / USAGE_FILE, {"at": round(time.time(), 3), "agents": sample.look(found)})


def _newest(families: Iterable[Family]) -> list[Family]:
    """Of an agent that has two processes the one that was started last."""
    return list({_agent(family): family for family in families if family.pid}.values())


def _agent(family: Family) -> str:
    return family.mark.split(":")[1]


def _write(path: Path, data: Any) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(data))
    new.replace(path)
