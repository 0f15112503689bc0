"""Whether a process of the guard's still runs: it says so every few seconds, and if not, it is looked at closely.

Killed is only what is silent for long, and at every look since then had no thread that ran, wanted to run or waited
for a disk, and used no CPU time: a loaded machine, a slow disk or a sleeping computer is no reason.
Standard library only, and light: the guard imports this without site-packages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

#: Seconds between two signs of life.
BEAT = 3.0
#: So many of them missed: it is looked at; it was stopped by a signal; nothing in it goes on.
_LOOK, _STOPPED, _STUCK = 2, 4, 10

#: States of all threads, and the CPU time they have used, in ticks.
Look = Callable[[int], tuple[str, int]]


def look(pid: int) -> tuple[str, int]:
    """The state letters of a process's threads, and its CPU time in ticks; empty and 0 when it is gone."""
    states, ticks = "", 0
    with suppress(OSError, ValueError, IndexError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            states += fields[0]
            ticks += int(fields[11]) + int(fields[12])
    return states, ticks


class Pulse:
    """One process's signs of life. `every` is the time between two; `see` and `clock` are for tests."""

    def __init__(self, every: float = BEAT, *, see: Look = look, clock: Callable[[], float] = time.monotonic) -> None:
        self.every = every
        self._see = see
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """A new process, that has said nothing yet."""
        self.beat()
        self._beaten = False

    def beat(self) -> None:
        """It lives."""
        self._beaten = True
        self._last = self._looked = self._clock()
        self._quiet: float | None = None
        self._ticks = -1

    def due(self) -> float:
        """When to look next."""
        return self._looked + self.every * (_LOOK if self._quiet is None else 1)

    def gone(self, pid: int) -> str | None:
        """Why it must be taken for dead, if it must. Call it whenever a look is due."""
        now = self._clock()
        if now < self.due():
            return None
        if now - self._looked > self.every * _LOOK * 2:
            # It is we who were held up, or the whole machine: what it said meanwhile is still to be read.
            self._last = now
            self._quiet = None
        self._looked = now
        states, ticks = self._see(pid)
        before, self._ticks = self._ticks, ticks
        if not states or set(states) & set("RDt") or before not in (-1, ticks):
            self._quiet = None
            return None
        if self._quiet is None:
            self._quiet = now
        silent = now - max(self._last, self._quiet)
        if set(states) == {"T"}:
            return f"stopped by a signal for {silent:.0f} s" if silent >= self.every * _STOPPED else None
        if self._beaten and silent >= self.every * _STUCK:
            return f"stuck: silent, and without any work, for {silent:.0f} s"
        return None
