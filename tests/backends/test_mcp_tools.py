"""Tools of a real MCP server, called by models over their vendors' wire formats."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from teamwright.agents.mcp import servers as mcp
from teamwright.agents.mcp.servers import McpServers
from teamwright.backends import loop
from teamwright.backends.api import BackendConfig
from tests.standins import mcp_server
from tests.standins.chat_completions import ChatCompletions
from tests.standins.generate_content import GenerateContent
from tests.standins.script import Call, Reply

STANDINS: dict[str, Any] = {"openai": ChatCompletions, "gemini": GenerateContent}
MODELS = {"openai": "llama3.2", "gemini": "gemini-2.5-flash"}


@pytest.fixture(params=["openai", "gemini"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    if request.param == "gemini" and find_spec("google.genai") is None:
        pytest.skip("needs the extra gemini")
    monkeypatch.setenv("GEMINI_API_KEY", "dummy")
    with STANDINS[request.param]() as made:
        yield request.param, made
        assert made.unexpected == []


async def test_calls_of_a_model_reach_the_server(model: tuple[str, Any], fake_turn: Any, spans: Any) -> None:
    name, standin = model
    calls = [Call("shout", {"text": "hi"}), Call("add", {"a": 1, "b": 2}), Call("fail"), Call("shout", {"a": []})]
    standin.say(Reply(calls=calls), Reply("done"))
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    servers = McpServers({"words": {"command": sys.executable, "args": [mcp_server.__file__], "env": env}})
    servers.start()
    backend = import_module(f"teamwright.backends.{name}").create()
    await backend.open(BackendConfig("a", "", MODELS[name], {}, {"base_url": standin.url}, "."))
    try:
        answer = await backend.run(fake_turn("go", tools=await servers.tools()))
    finally:
        await backend.close()
        await servers.close()
    assert answer.text == "done"
    first, second = standin.requests[:2]
    assert {"shout", "add", "fail", "die"} <= set(first.tools)
    results = " ".join(map(str, second.results.values()))
    assert "HI! 00-" in results and "12" in results and "out of words" in results and "text" in results
    found = [(title, values, span) for title, values, span in spans() if title.startswith("execute_tool")]
    assert [title for title, _, _ in found].count("execute_tool shout") == 2
    assert all(values["teamwright.mcp.server"] == "words" for _, values, _ in found)
    assert all(values["mcp.method.name"] == "tools/call" for _, values, _ in found)
    assert sum(span.status.code == 2 for _, _, span in found) == 2


async def test_a_process_that_hears_nothing_any_more_is_started_again(
    fake_turn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "_DEAF", 0.5)
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    given = {"command": sys.executable, "args": [mcp_server.__file__], "env": env, "timeout": 3.0}
    servers = McpServers({"words": given})
    servers.start()
    try:
        turn = fake_turn("go")

        async def call(name: str, **arguments: Any) -> loop.ToolResult:
            tools = {tool.name: tool for tool in await servers.tools()}
            return await loop.call_tool(turn, tools, loop.ToolCall("1", name, arguments))

        assert (await call("block")).text == "error: block took longer than 3 s"
        async with asyncio.timeout(60):
            while (said := await call("add", a=1, b=2)).failed:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.1)
        assert said.text == "12"
    finally:
        await servers.close()
