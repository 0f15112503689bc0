"""A pair under load: one asks the other, both make spans."""

from __future__ import annotations

import asyncio

from teamwright import Agent, Turn


class Lead(Agent):
    """Asks the helper, a little later."""

    async def run(self, turn: Turn) -> str:
        await asyncio.sleep(0.01)
        answer = await turn.ask_peer("helper", turn.text)
        return f"lead: {answer.text}"


class Helper(Agent):
    """Echoes after the seconds that the message begins with."""

    async def run(self, turn: Turn) -> str:
        seconds, _, rest = turn.text.partition(" ")
        await asyncio.sleep(float(seconds))
        return f"helper: {rest}"
