"""An agent's side of the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import httpx

from teamwright.registry.client import RegistryClient


class Engine:
    """Answers calls from a list of statuses, then with the last one."""

    def __init__(self, *answers: int, tokens: dict[str, str] | None = None) -> None:
        self.answers = list(answers)
        self.tokens = tokens or {}
        self.asked: list[str] = []
        self.enough = asyncio.Event()
        self.until = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if len(self.asked) >= self.until:
            self.enough.set()
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:
            raise httpx.ConnectError("gone")
        return httpx.Response(status, json={"lease": 0.03, "tokens": self.tokens})


async def beat(
    engine: Engine, calls: int, on_tokens: Callable[[Mapping[str, str]], None] = lambda _: None
) -> RegistryClient:
    engine.until = calls
    transport = httpx.MockTransport(engine)
    async with httpx.AsyncClient(transport=transport, verify=False) as http:
        client = RegistryClient(
            http,
            "http://engine",
            "team.lead",
            {"url": "x"},
            token=lambda: "t",
            on_tokens=on_tokens,
            interval=0.01,
        )
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(60):
            await engine.enough.wait()
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.leave()
    return client


async def test_register_then_beat_then_leave() -> None:
    got: dict[str, str] = {}
    engine = Engine(200, tokens={"engine": "new"})
    client = await beat(engine, 3, got.update)
    assert engine.asked[:3] == ["POST /agents/register", *["POST /agents/team.lead/heartbeat"] * 2]
    assert engine.asked[-1] == "DELETE /agents/team.lead"
    assert got == {"engine": "new"} and client.reachable


async def test_forgotten_agents_register_again() -> None:
    engine = Engine(200, 404, 200)
    await beat(engine, 4)
    assert engine.asked[:3] == ["POST /agents/register", "POST /agents/team.lead/heartbeat", "POST /agents/register"]


async def test_an_engine_that_is_away() -> None:
    engine = Engine(200, 0, 0)
    client = await beat(engine, 3)
    assert not client.reachable
    assert engine.asked[1:3] == ["POST /agents/team.lead/heartbeat"] * 2
