"""Agents that tell which process they are and what they remember; for replicas."""

from __future__ import annotations

import asyncio
import os
import signal

from teamwright import Agent, Turn


class Keeper(Agent):
    """Keeps what it is told: answers `pid: word, word …`; `wait` takes until it is cancelled, `die` kills it."""

    async def run(self, turn: Turn) -> str:
        if turn.text == "wait":
            await asyncio.Event().wait()
        if turn.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if turn.text == "pause":
            await asyncio.sleep(0.2)
        words = [message.text for message in turn.history if message.role == "user"]
        return f"{os.getpid()}: {' '.join([*words, turn.text])}"


class Front(Agent):
    """Passes everything on to the keeper."""

    async def run(self, turn: Turn) -> str:
        return (await turn.ask_peer("keeper", turn.text)).text
