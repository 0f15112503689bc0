"""A pair under load: one asks the other, both make spans."""

from __future__ import annotations

import asyncio
from pathlib import Path

from teamwright import Agent, Turn


class Lead(Agent):
    """Asks the helper, a little later."""

    async def run(self, turn: Turn) -> str:
        await asyncio.sleep(0.01)
        answer = await turn.ask_peer("helper", turn.text)
        return f"lead: {answer.text}"


class Helper(Agent):
    """Echoes after the seconds that the message begins with, or when the file is there that it begins with."""

    async def run(self, turn: Turn) -> str:
        seconds, _, rest = turn.text.partition(" ")
        while seconds.startswith("/") and not Path(seconds).exists():  # noqa: ASYNC110, ASYNC240 - tests make it
            await asyncio.sleep(0.02)
        await asyncio.sleep(0 if seconds.startswith("/") else float(seconds))
        return f"helper: {rest}"
