"""Stations of a pipeline: each puts its name around what it gets."""

from __future__ import annotations

import asyncio
from pathlib import Path

from teamwright import Agent, Turn


class Station(Agent):
    """Works on what it gets, some longer than others; `NAME waits FILE` has that one make the file and sleep."""

    async def run(self, turn: Turn) -> str:
        name = turn.run.agent
        if turn.text.startswith(f"{name} waits"):
            Path(turn.text.split()[2]).touch()  # noqa: ASYNC240
            await asyncio.sleep(600)
        if name == "slow":
            await asyncio.sleep(0.2)
        return turn.text if "waits" in turn.text else f"{name}({turn.text})"
