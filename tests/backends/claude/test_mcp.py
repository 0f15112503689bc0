"""Tools of MCP servers, called by Claude: beside the agent's own, spans and trace context, and lists that change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from teamwright.agents.mcp.servers import McpServers
from teamwright.backends.api import Tool
from tests.backends.claude.conftest import Opened, add, by_name
from tests.standins import mcp_server
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply

pytest.importorskip("claude_agent_sdk")

SERVER = str(Path(mcp_server.__file__))
STDIO = {"words": {"command": sys.executable, "args": [SERVER], "env": {"PYTHONDONTWRITEBYTECODE": "1"}}}


@asynccontextmanager
async def tools_of(servers: dict[str, Any], *taken: str) -> AsyncIterator[list[Tool]]:
    running = McpServers(servers, taken)
    running.start()
    try:
        yield await running.tools()
    finally:
        await running.close()


@pytest.fixture(params=["stdio", "http"])
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    if request.param == "stdio":
        yield STDIO
        return
    with subprocess.Popen([sys.executable, SERVER, "http"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield {"words": {"url": process.stdout.readline().strip(), "headers": {"x-test": "1"}}}
        process.terminate()


async def test_calls_are_spans_whose_trace_goes_along(
    servers: dict[str, Any], api: Messages, opened: Opened, fake_turn: Any, spans: Any
) -> None:
    calls = [Call("shout", {"text": "hi"}), Call("words_add", {"a": 1, "b": 2}), Call("add", {"a": 1, "b": 2})]
    api.say(Reply(calls=[*calls, Call("fail")]), Reply("done"))
    async with opened() as backend, tools_of(servers, "add") as tools:
        turn = fake_turn("go", tools=[add(), *tools])
        assert (await backend.run(turn)).text == "done"
    assert {"shout", "fail", "die", "add", "words_add"} <= set(api.wait().tools)
    shouted, strange, own, failed = (api.wait(2).results[f"toolu_1_{number}"] for number in range(1, 5))
    found = by_name(spans)
    ((values, span),) = found["execute_tool shout"]
    run = f" {turn.run.run_id}" if "url" in servers["words"] else ""
    assert shouted == f"HI! 00-{span.trace_id.hex()}-{span.span_id.hex()}-01{run}"
    assert (values["teamwright.tool.source"], values["teamwright.mcp.server"]) == ("mcp", "words")
    assert (strange, own) == ("12", "3")
    assert "out of words" in failed
    assert found["execute_tool fail"][0][1].status.code == 2


async def test_the_conversation_goes_on_with_other_tools(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(Reply("one"), Reply("two"), Reply("three"))
    async with opened() as backend, tools_of(STDIO) as tools:
        for found in (tools, tools, tools[:1]):
            await backend.run(fake_turn("hi", tools=found))
    asked = [api.wait(number).tools for number in (1, 2, 3)]
    assert asked[0] == asked[1]
    assert sorted(asked[2]) == ["ask_user", "shout"]
    assert "two" in str(api.wait(3).said)
