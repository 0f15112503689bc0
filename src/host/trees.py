"""The processes below the host: who belongs to which agent, and how all of them end.

The host is a child subreaper: whatever an agent leaves behind becomes the host's child, also what has a process session
of its own. What is left belongs to an agent if it carries the agent's mark (exec'ed) or its process name (forked
without exec), is of its session or group, or was seen below it earlier. What belongs to nobody alive goes when an
agent goes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from teamwright.host.proc import Process, Snapshot, descendants, kill, mark, snapshot
from teamwright.host.sweep import Records

_log = logging.getLogger(__name__)

_PAUSE = 0.003
_LONGEST_PAUSE = 0.1
#: Seconds after which a process that can't be killed (uninterruptible sleep) is no longer waited for.
_GIVE_UP = 10.0
#: Seconds between two looks at who is there.
OBSERVE_EVERY = 5.0
_OBSERVE_AFTER = 0.5
#: A snapshot this old (seconds) will do where nothing is decided for good.
_FRESH = 0.02

Key = tuple[int, int]


def process_name(agent: str, mark: str) -> str:
    """What a forked agent and all it forks are called: 15 bytes, the agent's name and a hash of the mark."""
    return f"{agent[:6]}:{zlib.crc32(mark.encode()):08x}"


@dataclass(eq=False, slots=True)
class Family:
    """An agent's process and everything it has started. `known` was seen below it and may still live.

    `pid` is 0 until it is known. `name` is that of forked agents, whose environment is the zygote's.
    """

    mark: str
    name: str = ""
    pid: int = 0
    known: set[Key] = field(default_factory=set)


class Trees:
    """Reaps the host's children and kills what dead agents leave behind.

    >>> status = trees.expect(pid)           # a future with its exit code, negative for a signal
    >>> trees.add(family)
    >>> await trees.clean(family)            # after its process ended: returns when nothing of it is left
    """

    def __init__(self, home: Path, home_id: str) -> None:
        self._home_id = home_id
        self._records = Records(home, "host")
        self._expected: dict[int, asyncio.Future[int]] = {}
        self._families: dict[Family, None] = {}  # in the order they were born
        self._dead: dict[Family, tuple[asyncio.Future[None], float]] = {}
        self._cleaner: asyncio.Task[None] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._latest: tuple[float, Snapshot] = (-1.0, {})

    def expect(self, pid: int) -> asyncio.Future[int]:
        """The exit code of a child, once it has ended; negative for a signal. Call it right after the start."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._expected[pid] = future
        return future

    def forget(self, pid: int) -> None:
        """Somebody else reaps it."""
        self._expected.pop(pid, None)

    def reap(self) -> None:
        """Take the exit status of every child that has ended, adopted ones included. For SIGCHLD."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._expected.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(os.waitstatus_to_exitcode(status))

    @property
    def families(self) -> list[Family]:
        """Those that live, the oldest first."""
        return list(self._families)

    def add(self, family: Family) -> None:
        """An agent's process is about to start."""
        self._families[family] = None

    def settled(self) -> None:
        """An agent is ready: what it has started by now is likely to stay."""
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_OBSERVE_AFTER, self.observe)

    def snapshot(self, age: float = 0.0) -> Snapshot:
        """All processes, as they were at most `age` seconds ago."""
        now = asyncio.get_running_loop().time()
        taken, processes = self._latest
        if taken < 0 or now - taken > age:
            with suppress(OSError):
                found = snapshot()
                if os.getpid() in found:  # else we are out of descriptors, and what we knew is better
                    processes = found
                    self._latest = (now, processes)
        return processes

    def members(self, family: Family, age: float = 0.0) -> list[Process]:
        """The living processes of an agent, its own first."""
        processes = self.snapshot(age)
        own = processes.get(family.pid)
        found = [own, *descendants([own.pid], processes)] if own else []
        owners = self._owners(self._adopted(processes))
        found += [processes[pid] for pid, owner in owners.items() if owner is family]
        return [process for process in found if not process.gone]

    def observe(self) -> None:
        """Note who is below each agent, here and in the records; kill what belongs to an agent that is no more."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for family in self._families:
            self.note(family)
        processes = self.snapshot(_FRESH)
        owners = self._owners(self._adopted(processes))
        for pid, owner in owners.items():
            if owner is None and (whose := self._agents_mark(pid)):
                _log.warning("killing %s (pid %d), left behind by %s", processes[pid].name, pid, whose)
                kill(processes[pid])
        known = {key for family in self._families for key in family.known}
        own = [processes[pid] for pid in (os.getpid(), *self._expected) if pid in processes]
        self._records.write({*(process.key for process in own), *known})

    def note(self, family: Family) -> None:
        """Remember who is below an agent."""
        processes = self.snapshot(_FRESH)
        family.known = {key for key in family.known if (there := processes.get(key[0])) and there.start == key[1]}
        family.known.update(process.key for process in self.members(family, _FRESH))

    async def watch(self) -> None:
        """Observe now and then; cancel to end."""
        while True:
            await asyncio.sleep(OBSERVE_EVERY)
            self.observe()

    async def clean(self, family: Family) -> None:
        """Kill what a dead agent left, again until none is left. Agents that die together share one pass."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._dead[family] = (done, loop.time() + _GIVE_UP)
        if self._cleaner is None or self._cleaner.done():
            self._cleaner = loop.create_task(self._clean())
        await done
        self._families.pop(family, None)

    async def _clean(self) -> None:
        pause = _PAUSE
        while self._dead:
            self._clean_once()
            if self._dead:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _clean_once(self) -> None:
        self.reap()
        now = asyncio.get_running_loop().time()
        processes = self.snapshot()
        victims: dict[Family | None, list[Process]] = {}
        for pid, owner in self._owners(self._adopted(processes)).items():
            if owner is None or owner in self._dead:
                victims.setdefault(owner, []).append(processes[pid])
                kill(processes[pid])
        for family, (done, deadline) in list(self._dead.items()):
            left = [*victims.get(family, ()), *victims.get(None, ())]
            if left and now < deadline:
                continue
            if left:
                _log.error("could not kill %s of %s", [process.pid for process in left], family.mark)
            del self._dead[family]
            if not done.done():
                done.set_result(None)

    def _adopted(self, processes: Snapshot) -> list[Process]:
        """The host's children that it did not start itself, and below them what they started; zombies left out."""
        me = os.getpid()
        roots = [
            process for process in processes.values() if process.parent == me and process.pid not in self._expected
        ]
        below = descendants([process.pid for process in roots], processes)
        return [process for process in (*roots, *below) if not process.gone]

    def _owners(self, adopted: list[Process]) -> dict[int, Family | None]:
        """Whose each of these is. What an owned process has started is of the same owner."""
        if not adopted:
            return {}
        marks = {family.mark: family for family in self._families}
        names = {family.name: family for family in self._families if family.name}
        leaders = {family.pid: family for family in self._families if family.pid}
        known = {key: family for family in self._families for key in family.known}
        owners: dict[int, Family | None] = {}
        for process in adopted:
            owners[process.pid] = (
                owners.get(process.parent)
                or marks.get(mark(process.pid))
                or names.get(process.name)
                or leaders.get(process.session)
                or leaders.get(process.group)
                or known.get(process.key)
            )
        return owners

    def _agents_mark(self, pid: int) -> str:
        """The mark of the agent that a process was started by; empty when it has none."""
        found = mark(pid)
        return found if found.startswith(f"{self._home_id}:") and found.count(":") == 2 else ""
