"""Agents that fail on purpose, for docs/what-a-trace-shows.md. No model, no key, no network."""

import asyncio
import os
import signal

from teamwright import Agent, tool
from teamwright.errors import PeerError


class Lead(Agent):
    """Asks the worker, and once more when that fails."""

    async def run(self, turn):
        peer = "dropping" if turn.text.startswith("drop") else "worker"
        try:
            return (await turn.ask_peer(peer, turn.text)).text
        except PeerError:
            if not turn.text.startswith("retry"):
                raise
            return (await turn.ask_peer(peer, turn.text)).text


class Worker(Agent):
    """Does what its message says: retry, die, sleep, nothing, hello NAME."""

    tries = 0

    async def run(self, turn):
        word = turn.text.split()[0]
        if word == "retry":
            Worker.tries += 1
            if Worker.tries == 1:
                raise RuntimeError("not today")
            return "well, then"
        if word == "die":
            await asyncio.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "sleep":
            await asyncio.sleep(60)
        if word == "nothing":
            return ""
        await asyncio.sleep(0.3)
        return f"hello, {turn.user}"


class Scales(Agent):
    """Weighs things."""

    prompt = "You weigh things with your tools."

    @tool
    def weigh(self, thing: str) -> object:
        """Weigh a thing."""
        if "smoke" in thing:
            raise ValueError("it flies away")
        return b"\x00\xff" if "bread" in thing else object()
