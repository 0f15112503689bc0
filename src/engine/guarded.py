"""The frame of a process of the guard's, engine or collector: its log, its signals, its line to the guard, its server.

ORDER, the only argument, is JSON of the guard's. Two inherited descriptors are in it: `listener`, the socket that it
listens on, and `control`, the line to the guard.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from starlette.types import ASGIApp

from teamwright.engine.control import GuardLine
from teamwright.host.pulse import BEAT
from teamwright.serving import END_SIGNALS, Server, allow_files, server

_QUIET = ("httpx", "httpcore", "uvicorn.error")


def run(serve: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """The entry of the process: what it logs goes to stderr, which is its log file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in _QUIET:
        logging.getLogger(noisy).setLevel(logging.WARNING)

    async def work() -> None:
        await serve(json.loads(sys.argv[1]))

    uvloop.run(work())


class Guarded:
    """A process of the guard's while it lives: it ends on SIGTERM and SIGINT, and when the guard is gone."""

    def __init__(self, order: Mapping[str, Any], line: GuardLine) -> None:
        self.line = line
        self._order = order
        self._server: Server | None = None
        self._ending = False

    def end(self) -> None:
        """Stop serving, or don't begin."""
        self._ending = True
        if self._server is not None:
            self._server.should_exit = True

    async def serve(self, app: ASGIApp) -> None:
        """Serve it until the end."""
        self._server = server(app)
        if not self._ending:
            await self._server.serve(sockets=[socket.socket(fileno=int(self._order["listener"]))])


@asynccontextmanager
async def guarded(order: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None]) -> AsyncIterator[Guarded]:
    """A process of the guard's. `on_event` hears what the guard says.

    >>> async with guarded(order, on_event=print) as process:
    ...     await process.serve(app)
    """
    allow_files()
    process = Guarded(order, await GuardLine.open(int(order["control"]), on_event))
    loop = asyncio.get_running_loop()
    for sign in END_SIGNALS:
        loop.add_signal_handler(sign, process.end)

    async def listen() -> None:
        await process.line.run(order.get("beat", BEAT))
        process.end()  # the guard is gone

    listening = asyncio.create_task(listen(), name="line to the guard")
    try:
        yield process
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await process.line.close()
