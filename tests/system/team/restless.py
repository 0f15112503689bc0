"""Agents for tests that kill: they spawn children that hide, sleep, burn, stop themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from teamwright import Agent, Turn

_SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
#: A child that starts one of its own in a new process session and ends: the grandchild loses its parent.
_DOUBLE = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import subprocess, sys;"
    "child = subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=subprocess.DEVNULL);"
    "print(child.pid)",
    *_SLEEP,
]


def hide() -> list[int]:
    """Start children as model CLIs and MCP servers do: plain, in a session of their own, and orphaned."""
    plain = subprocess.Popen(_SLEEP)
    apart = subprocess.Popen(_SLEEP, start_new_session=True)
    orphan = int(subprocess.run(_DOUBLE, stdout=subprocess.PIPE, check=True).stdout)
    return [plain.pid, apart.pid, orphan]


class Restless(Agent):
    """Does what a test tells it: `spawn`, `sleep N`, `wait FILE`, `burn N`, `exit N`, `ask AGENT TEXT` … or echo."""

    async def run(self, turn: Turn) -> AsyncIterator[str] | str:  # type: ignore[override]
        word, _, rest = turn.text.partition(" ")
        match word:
            case "spawn":
                return " ".join(map(str, hide()))
            case "sleep":
                await turn.stream("asleep ")
                await asyncio.sleep(float(rest))
                return "awake"
            case "wait":
                await turn.stream("waiting ")
                while not Path(rest).exists():  # noqa: ASYNC110, ASYNC240
                    await asyncio.sleep(0.02)
                return "waited"
            case "burn":
                await asyncio.get_running_loop().run_in_executor(None, _burn, float(rest))
                return "burnt"
            case "hog":
                _burn(float(rest))
                return "hogged"
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
                return "thawed"
            case "exit":
                os._exit(int(rest))
            case "ask":
                agent, _, message = rest.partition(" ")
                return (await turn.ask_peer(agent, message)).text
            case _:
                return f"{os.getpid()} {turn.text}"


class SlowToStart(Restless):
    """Starts a hidden child and then waits for the file `gate`, so that a test can kill it while it starts."""

    def __init__(self, **config: object) -> None:
        super().__init__(**config)
        hide()
        while not Path(str(config["gate"])).exists():
            time.sleep(0.02)


class SlowToStop(Restless):
    """Ignores SIGTERM, with children that do as well."""

    async def run(self, turn: Turn) -> str:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return " ".join(map(str, hide()))


def _burn(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))
