"""Whether the caller that waits for an answer is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

#: A blocking caller that is gone is noticed from then on, in seconds; quick answers never look.
_WATCH_AFTER = 0.05


class Watch:
    """While it is open, `gone` is called when the connection of whoever waits for the answer goes away."""

    def __init__(self, receive: Callable[[], Awaitable[Mapping[str, Any]]], gone: Callable[[], object]) -> None:
        self._gone = gone
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER, self._start)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start(self) -> None:
        self._watcher = asyncio.create_task(self._look(), name="watch caller")

    async def _look(self) -> None:
        with suppress(Exception):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self._gone()
