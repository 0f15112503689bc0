"""MCP servers of the job: their tools beside the agent's own, spans and trace context, death and return."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.claude.conftest import Opened, add, by_name
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply

pytest.importorskip("claude_agent_sdk")

SERVER = str(Path(__file__).with_name("mcp_server.py"))
STDIO = {"words": {"command": sys.executable, "args": [SERVER], "env": {"PYTHONDONTWRITEBYTECODE": "1"}}}


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
    turn = fake_turn("go", tools=[add()])
    async with opened(mcp_servers=servers) as backend:
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


async def test_a_server_that_dies_is_started_again(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(
        Reply(calls=[Call("die")]), Reply("oh"),
        Reply(calls=[Call("shout", {"text": "again"})]), lambda seen: Reply(" ".join(seen.results.values())),
    )  # fmt: skip
    async with opened(mcp_servers=STDIO) as backend:
        assert (await backend.run(fake_turn("kill it"))).text == "oh"
        assert "the MCP server words failed" in api.wait(2).results["toolu_1_1"]
        assert (await backend.run(fake_turn("and now"))).text.startswith("AGAIN!")


async def test_one_that_is_not_there_takes_nothing_else_down(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(Reply("alone"))
    gone = {"gone": {"command": "/no/such/program"}, "away": {"url": "http://127.0.0.1:9/mcp"}}
    async with opened(mcp_servers=gone) as backend:
        assert (await backend.run(fake_turn("hi"))).text == "alone"
    assert api.wait().tools == ["ask_user"]
