"""The live event stream inside the engine: what happened, to whom, when."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` is dotted (`agent.exited`, `job.started`); `at_ns` is Unix time."""

    kind: str
    job: str | None = None
    agent: str | None = None
    at_ns: int = field(default_factory=time.time_ns)
    data: dict[str, Any] = field(default_factory=dict)


class EventBus:
    """Hands every event to each listener, and to each subscriber through a bounded queue of its own.

    A slow subscriber loses its oldest events rather than holding up the engine.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._queues: set[asyncio.Queue[Event]] = set()
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` for each event, in the engine's loop; it must not block."""
        self._listeners.append(listener)

    def publish(self, event: Event) -> None:
        """Tell everybody, at once and without waiting."""
        for listener in self._listeners:
            listener(event)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Queue[Event]]:
        """A queue that gets every event published while the block runs."""
        from asyncio import Queue  # not above: commands know events too, and have no loop to load

        queue: asyncio.Queue[Event] = Queue(self._capacity)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)
