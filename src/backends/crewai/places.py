"""Places at the provider (Turn.admission) for the calls of models that a crew brought itself.

CrewAI's hook before a call takes one; its event after the call, which comes in another thread, gives it back. Whoever
asks for the next one has left the last one: nobody waits for itself.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from teamwright.backends.api import Account, Admission, Turn

#: CrewAI's names for providers that traces call otherwise.
_NAMES = {"google": "gcp.gemini", "gemini": "gcp.gemini", "claude": "anthropic"}
#: Where a model without a key of its own has it from.
_KEYS = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gcp.gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}
#: Seconds that all wait after a rate limit: CrewAI does not tell for how long it holds.
UNTOLD = 5.0


class Places:
    """Those of one message, by the thread that calls. Everything but `account` happens in the agent's loop."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._held: dict[int, tuple[int, Admission, AsyncExitStack]] = {}
        self._told: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, thread: int, model: Any) -> None:
        """Before a call: wait for a place. Raises BackendError (rate_limited)."""
        await self._leave(thread)
        stack = AsyncExitStack()
        admission = await stack.enter_async_context(self._turn.admission(account(model)))
        self._held[thread] = (id(model), admission, stack)

    def ended(self, model: Any, call_id: str, error: str | None) -> None:
        """After one; a failed one is told twice."""
        if call_id in self._told:
            return
        self._told.add(call_id)
        thread = next((thread for thread, (held, _, _) in self._held.items() if held == id(model)), None)
        if thread is not None:
            limited = error is not None and "429" in error
            task = asyncio.get_running_loop().create_task(self._leave(thread, limited=limited))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """The message has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for thread in list(self._held):
            await self._leave(thread)

    async def _leave(self, thread: int, *, limited: bool = False) -> None:
        if (held := self._held.pop(thread, None)) is not None:
            _, admission, stack = held
            if limited:
                await admission.back_off(UNTOLD)
            await stack.aclose()


def account(model: Any) -> Account:
    """Whose limits a model's calls count against."""
    named = str(getattr(model, "provider", None) or "openai")
    provider = _NAMES.get(named, named)
    keys = [getattr(model, "api_key", None), *(os.environ.get(name) for name in _KEYS.get(provider, ()))]
    found = next((str(key) for key in keys if key), None)
    return Account(provider, found or str(getattr(model, "base_url", None) or provider))
