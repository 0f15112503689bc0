"""Places at the provider (Turn.admission) for the model calls that the CLI makes by itself.

The SDK has no hook before a model call. A place is therefore taken before a message goes to the CLI, before a sub-agent
starts and before the results of tools go back, and given back when the model asks for tools or is done. What the CLI
does in between without a word to us (its retries, a compaction, another try after an empty answer) goes under the same
place, and is no call of its own in a minute's count. No place is held while tools run: one of them may be another agent
that needs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from teamwright.backends.api import Account, Admission, Turn
from teamwright.backends.claude.connection import Hooked
from teamwright.errors import TeamwrightError
from teamwright.tracing.spans import ActiveSpan

#: Seconds that all wait where the CLI gave up because of a rate limit, and doesn't say for how long that holds.
UNTOLD = 5.0
_ENDED: Mapping[str, Any] = {"continue_": False, "stopReason": "the message has ended"}


class Places:
    """Those of one message: the conversation's own (""), and one for each sub-agent, by its id.

    `over` hears of a provider that wants to be left alone for long.
    """

    def __init__(self, turn: Turn, account: Account, over: Callable[[TeamwrightError], None]) -> None:
        self._turn = turn
        self._account = account
        self._over = over
        self._held: dict[str, AsyncExitStack] = {}
        self._admission = Admission()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, who: str = "", parent: ActiveSpan | None = None) -> None:
        """Wait for a place for the next call. Raises BackendError (rate_limited)."""
        await self._end(self._held.pop(who, None))
        stack = AsyncExitStack()
        self._admission = await stack.enter_async_context(self._turn.admission(self._account, parent))
        self._held[who] = stack

    def take_then(
        self, who: str, hook: Hooked, parent: ActiveSpan | None = None, then: Callable[[int], None] | None = None
    ) -> None:
        """Wait for a place, and let the CLI go on then; `then` hears when that was, Unix time in ns."""

        async def waits() -> None:
            try:
                await self.take(who, parent)
            except TeamwrightError as error:
                hook.answer(dict(_ENDED))
                self._over(error)
            except asyncio.CancelledError:
                hook.answer(dict(_ENDED))
                raise
            else:
                if then is not None:
                    then(time.time_ns())
                hook.answer({})

        self._begin(waits(), f"place:{who}")

    def give(self, who: str = "") -> None:
        """The call is over."""
        if (held := self._held.pop(who, None)) is not None:
            self._begin(self._end(held), f"leave:{who}")

    def rate_limited(self, seconds: float = UNTOLD) -> None:
        """The provider said so to the CLI, which sees to its own pause."""

        async def told() -> None:
            await self._admission.back_off(seconds)

        self._begin(told(), "back off")

    async def close(self) -> None:
        """The message has ended."""
        for task in self._tasks:
            if not task.get_name().startswith("back off"):
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        held = list(self._held.values())
        self._held.clear()
        for stack in held:
            await self._end(stack)

    def _begin(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _end(held: AsyncExitStack | None) -> None:
        if held is not None:
            await held.aclose()
