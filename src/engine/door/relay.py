"""Between the task that reads an agent's answer and the client that gets it: either may be gone first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

_CHUNKS = 64
#: Seconds between two looks whether a client is still there.
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Head:
    """How a response begins. `body` is there when it is whole already."""

    media_type: str
    body: bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Relay:
    """Chunks on their way to a client. When the client has gone they are dropped, and the reading goes on.

    A client that reads slowly slows the reading down. `on_gone` is called when it leaves before the end.
    """

    def __init__(self) -> None:
        self.on_gone: Callable[[], None] = _ignore
        self._ended = False
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_CHUNKS)
        self._gone = False

    async def head(self) -> Head:
        """How the response begins; waits for it."""
        return await self._head

    def begin(self, head: Head) -> None:
        """Set the head; the first one counts."""
        if not self._head.done():
            self._head.set_result(head)

    @property
    def begun(self) -> bool:
        return self._head.done()

    async def send(self, chunk: bytes) -> None:
        """Pass a chunk on; waits while the client has too many unread."""
        if not self._gone:
            await self._room.acquire()
            self._queue.put_nowait(chunk)

    def end(self) -> None:
        """There is no more."""
        self._ended = True
        self._queue.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client gets. Stop iterating and the rest is dropped."""
        try:
            while (chunk := await self._queue.get()) is not None:
                self._room.release()
                yield chunk
        finally:
            self._gone = True
            self._room.release()
            self.leave()

    def leave(self) -> None:
        """The client goes."""
        if not self._ended:
            self.on_gone()


@asynccontextmanager
async def leaving(request: Request, relay: Relay) -> AsyncIterator[None]:
    """While it is open, a client that hangs up leaves the relay: for answers that come whole, at their end."""

    async def watch() -> None:
        while not await request.is_disconnected():  # noqa: ASYNC110 - Starlette has nothing to wait for
            await asyncio.sleep(_LOOK)
        relay.leave()

    watcher = asyncio.create_task(watch(), name="watch client")
    try:
        yield
    finally:
        watcher.cancel()


def _ignore() -> None: ...
