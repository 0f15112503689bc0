"""An agent's process after a thousand finished and three hundred waiting tasks, and after as many again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from teamwright.loopback import Pool

if TYPE_CHECKING:
    from .conftest import Team

pytestmark = pytest.mark.timeout(600)

CODE = """
    from teamwright import Agent

    class Clerk(Agent):
        async def run(self, turn):
            if turn.text.startswith("ask"):
                return "you said " + await turn.ask_user("Well?")
            return "echo " + turn.text
"""
#: Finished ones round by round: the first fills the store, the second the pools of the allocator.
FINISHED, PARKED, AT_ONCE = (1000, 500, 500), 300, 20
#: What a process may grow by in the last round: 4 KB a task.
BEARABLE = 4 * 1024 * (FINISHED[-1] + PARKED)


@pytest.fixture
def clerk(team: Team) -> Iterator[Team]:
    team.write("clerk.py", CODE)
    folder = str(team.folder / "sessions")
    team.start("clerk", module="clerk", type="Clerk", tracing=False, sessions_dir=folder)
    yield team


class Caller:
    """A client that costs next to nothing."""

    def __init__(self, team: Team) -> None:
        self.pool = Pool(connect=5.0)
        self.port = int(team.url("clerk").rpartition(":")[2])
        self.headers = {
            "authorization": f"Bearer {team.token('clerk')}",
            "a2a-version": "1.0",
            "content-type": "application/json",
        }

    async def call(self, method: str, params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        async with await self.pool.request("POST", ("127.0.0.1", self.port), "/", self.headers, body) as response:
            reply = json.loads(await response.read())
        assert "result" in reply, reply
        return reply["result"]

    async def say(self, number: int, text: str, task: str = "") -> str:
        message = {"messageId": f"m{number}", "role": "ROLE_USER", "parts": [{"text": text}]}
        if task:
            message["taskId"] = task
        found = (await self.call("SendMessage", {"message": message}))["task"]
        expected = "INPUT_REQUIRED" if text.startswith("ask") else "COMPLETED"
        assert found["status"]["state"] == f"TASK_STATE_{expected}", found
        return str(found["id"])

    async def all(self, texts: list[str], tasks: list[str]) -> list[str]:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> str:
            async with room:
                return await self.say(number, texts[number], tasks[number] if tasks else "")

        return list(await asyncio.gather(*(one(number) for number in range(len(texts)))))


async def test_a_process_does_not_grow(clerk: Team) -> None:
    process = psutil.Process(clerk.processes["clerk"].pid)
    sizes: list[int] = []
    caller = Caller(clerk)
    with closing(caller.pool):
        parked: list[str] = []
        for finished in FINISHED:
            await caller.all([f"hello {'x' * 1000}"] * finished, [])
            if parked:
                await caller.all(["yes"] * PARKED, parked)
            parked = await caller.all([f"ask {'x' * 1000}"] * PARKED, [])
            sizes.append(process.memory_full_info().uss)
            listed = await caller.call("ListTasks", {"status": "TASK_STATE_INPUT_REQUIRED", "pageSize": 1})
            assert listed["totalSize"] == PARKED
            every = await caller.call("ListTasks", {"pageSize": 1})
            assert every["totalSize"] <= 1000 + PARKED  # what the store keeps of those that have finished
    assert sizes[-1] - sizes[-2] < BEARABLE, sizes
