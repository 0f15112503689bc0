"""The line to the guard: one JSON object a line over an inherited socket pair."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Protocol

from teamwright.host.pulse import BEAT

Op = Literal["host", "leave", "restart", "beat"]


class Guard(Protocol):
    """What the engine asks of its guard."""

    def send(self, op: Op, **more: str) -> None:
        """`host`: have a host running. `leave`: end everything. `restart`: a new engine in this one's place."""


class GuardLine:
    """The engine's end of the line.

    >>> line = await GuardLine.open(control_fd, on_event=print)
    >>> line.send("host")
    >>> await line.run()        # returns when the guard is gone
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_event: Callable[[dict[str, Any]], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_event = on_event

    @classmethod
    async def open(cls, fd: int, on_event: Callable[[dict[str, Any]], None]) -> GuardLine:
        """Take over the inherited descriptor `fd`."""
        reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=fd))
        return cls(reader, writer, on_event)

    def send(self, op: Op, **more: str) -> None:
        with suppress(OSError, RuntimeError):  # a guard that is gone ends us soon anyway
            self._writer.write(json.dumps({"op": op, **more}).encode() + b"\n")

    async def run(self, every: float = BEAT) -> None:
        """Pass on the guard's events until it closes the line, and tell it every so many seconds that we live."""
        beating = asyncio.create_task(self._beat(every), name="signs of life")
        try:
            await self._listen()
        finally:
            beating.cancel()

    async def _beat(self, every: float) -> None:
        while True:
            self.send("beat")
            await asyncio.sleep(every)

    async def _listen(self) -> None:
        with suppress(OSError):
            while line := await self._reader.readline():
                with suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict):
                        self._on_event(found)

    async def close(self) -> None:
        """Send what waits and hang up."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
