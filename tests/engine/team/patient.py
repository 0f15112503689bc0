"""An agent that takes its time, for tests that interrupt."""

from __future__ import annotations

import asyncio
from pathlib import Path

from teamwright import Agent, Turn


class Patient(Agent):
    """Does what it is told: `wait FILE` until the file is there, `fail`, or echo."""

    async def run(self, turn: Turn) -> str:
        word, _, rest = turn.text.partition(" ")
        if word == "wait":
            await turn.stream("waiting ")
            while not Path(rest).exists():  # noqa: ASYNC110, ASYNC240 - tests make the file
                await asyncio.sleep(0.02)
            return "waiting done"
        if word == "fail":
            raise ValueError("told to")
        return f"echo: {turn.text}"


class Late(Agent):
    """Never gets ready: sleeps in its constructor."""

    def __init__(self, **config: object) -> None:
        import time

        super().__init__(**config)
        time.sleep(float(str(config.get("sleep", 60))))
