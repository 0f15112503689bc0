"""How many runs an agent works on at once, and how many may wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from teamwright.errors import TeamwrightError


class Busy(TeamwrightError):
    """The agent works on as much as it may and its queue is full; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Gate:
    """`max_concurrent` slots and a queue of at most `queue` runs waiting for one.

    A message that is let in has its place reserved before anything is made for it, so that none is turned away later.
    A run that waits for a peer gives its slot back (`Slot.lend`), so a ring of agents with one slot each
    doesn't deadlock. A run that comes back from a peer goes before those that have not begun.
    """

    def __init__(self, max_concurrent: int, queue: int) -> None:
        self.max_concurrent = max_concurrent
        self.queue = queue
        self.working = 0
        self._reserved = 0
        self._fresh: deque[asyncio.Future[None]] = deque()
        self._returning: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many runs wait to begin."""
        return sum(not future.done() for future in self._fresh)

    @property
    def free(self) -> bool:
        """Whether a run that comes now need not wait."""
        return self.working < self.max_concurrent and not self._fresh and not self._returning

    def reserve(self) -> Place:
        """A place for one more run. Raises Busy when that run would find the queue full."""
        spare = 0 if self._fresh or self._returning else max(0, self.max_concurrent - self.working)
        if self.waiting + self._reserved - spare >= self.queue:
            raise Busy(f"busy: {self.working} runs at work and {self.waiting} waiting; try again later")
        return Place(self)

    async def enter(self) -> Slot:
        """A slot, at once or when one gets free. Raises Busy when the queue is full."""
        return await self.reserve().enter()

    async def _take(self, line: deque[asyncio.Future[None]]) -> None:
        if self.free or (line is self._returning and self.working < self.max_concurrent and not line):
            self.working += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._give()  # it got its slot in the same moment
            elif future in line:  # else `_give` has met it, cancelled, and dropped it
                line.remove(future)
            raise

    def _give(self) -> None:
        for line in (self._returning, self._fresh):
            while line:
                future = line.popleft()
                if not future.done():
                    future.set_result(None)  # the slot goes from hand to hand; `working` stays
                    return
        self.working -= 1


class Place:
    """Where a run will work or wait: counted until it is entered or closed."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._open = True
        gate._reserved += 1

    async def enter(self) -> Slot:
        """A slot, at once or when one gets free; where the place was closed before, one waits all the same."""
        self.close()
        await self._gate._take(self._gate._fresh)
        return Slot(self._gate)

    def close(self) -> None:
        """Nobody will come. Safe to call at any time."""
        if self._open:
            self._open = False
            self._gate._reserved -= 1


class Slot:
    """One run's place at work. `release` ends it; while `lend` is open somebody else may have it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._held = True
        self._lent = 0
        self._released = False

    def release(self) -> None:
        """Give the slot back for good."""
        if self._held:
            self._held = False
            self._gate._give()
        self._released = True

    @asynccontextmanager
    async def lend(self, queued: Callable[[int], AbstractContextManager[Any]] = nullcontext) -> AsyncIterator[None]:
        """Give the slot back while the block runs; several at once count as one.

        Where the run has to wait for a slot afterwards, it does so inside `queued(number that wait)`.
        """
        self._lent += 1
        if self._held:
            self._held = False
            self._gate._give()
        try:
            yield
        finally:
            self._lent -= 1
            if self._lent == 0 and not self._released and not self._cancelling():
                if self._gate.working < self._gate.max_concurrent:
                    await self._gate._take(self._gate._returning)
                else:
                    with queued(len(self._gate._returning)):
                        await self._gate._take(self._gate._returning)
                self._regain()

    def _regain(self) -> None:
        self._held = True
        if self._released:  # the run ended while it waited
            self.release()

    @staticmethod
    def _cancelling() -> bool:
        # A run that is being cancelled needs no slot to clean up in, and must not wait for one.
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
