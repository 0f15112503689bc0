"""The Claude Agent SDK in users' own functions: seen without an edit, here and in another interpreter."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.backends.contract.conftest import World, echo
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Seen

from .conftest import Started, settled, whole

pytest.importorskip("claude_agent_sdk")

# The first test waits until the agents have imported the SDK.
pytestmark = pytest.mark.timeout(600)

CODE = """
    import asyncio, os
    from claude_agent_sdk import (
        AgentDefinition, AssistantMessage, ClaudeAgentOptions, ClaudeSDKClient, HookMatcher, ResultMessage, StreamEvent,
        create_sdk_mcp_server, query, tool,
    )

    HEARD = []

    @tool("weather", "The weather in a city.", {"city": str})
    async def weather(arguments):
        if arguments["city"] == "Nowhere":
            raise ValueError("no such city")
        return {"content": [{"type": "text", "text": "21 degrees in " + arguments["city"]}]}

    async def note(given, call_id, context):
        HEARD.append(given["tool_name"])
        if given["tool_input"].get("city") == "Secret":
            return {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "deny",
                                           "permissionDecisionReason": "that is secret"}}
        return {}

    def options(tools=(weather,), **more):
        names = ["mcp__here__" + one.name for one in tools]
        return ClaudeAgentOptions(
            model="claude-sonnet-4-5", system_prompt="Be brief.", tools=more.pop("tools_of_cli", []),
            mcp_servers={"here": create_sdk_mcp_server("here", tools=list(tools))},
            allowed_tools=[*names, *more.pop("allowed", [])], strict_mcp_config=True, setting_sources=[],
            permission_mode="dontAsk", hooks={"PreToolUse": [HookMatcher(hooks=[note])]}, **more,
        )

    async def once(text):
        HEARD.clear()
        said = ""
        async for message in query(prompt=text, options=options()):
            assert not isinstance(message, StreamEvent)
            if isinstance(message, ResultMessage):
                said = message.result
        return said + " " + ",".join(HEARD)

    async def client(text):
        said = []
        async with ClaudeSDKClient(options()) as one:
            for part in text.split(","):
                await one.query(part)
                async for message in one.receive_response():
                    if isinstance(message, ResultMessage):
                        said.append(message.result)
        return " ".join(said)

    async def leaving(text):
        async for message in query(prompt=text, options=options()):
            if isinstance(message, AssistantMessage):
                return "left"

    async def asking(text, turn):
        @tool("poem", "A poem.", {"about": str})
        async def poem(arguments):
            answer = await turn.ask_peer("poet", arguments["about"])
            return {"content": [{"type": "text", "text": str(getattr(answer, "text", answer))}]}

        async for message in query(prompt=text, options=options([poem])):
            if isinstance(message, ResultMessage):
                return message.result

    async def helped(text):
        helper = AgentDefinition(description="Helps.", prompt="You help.", tools=["mcp__here__weather"])
        more = {"agents": {"helper": helper}, "tools_of_cli": ["Task"], "allowed": ["Task"]}
        async for message in query(prompt=text, options=options(**more)):
            if isinstance(message, ResultMessage):
                return message.result
"""


ASYNC = """
    async def answer(text, turn):
        name, _, rest = text.partition(" ")
        wanted = globals()[name]
        return await (wanted(rest, turn) if name.startswith("asking") else wanted(rest))
"""


def environment(model: Messages, folder: Path) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "dummy", "NO_PROXY": "127.0.0.1", "HOME": str(folder),
        "CLAUDE_CONFIG_DIR": str(folder / "claude"), "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1", "PATH": os.environ["PATH"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def functions(begun: Started) -> World:
    return begun(Messages(), CODE, environment, answer=ASYNC)


@pytest.fixture
def world(functions: World) -> Iterator[World]:
    functions.script()
    yield functions
    settled(functions)


both = pytest.mark.parametrize("agent", ["here", "own"])
TOOL = "mcp__here__weather"


@both
def test_a_query_with_two_calls_of_one_tool(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call(TOOL, {"city": "Oslo"}), Call(TOOL, {"city": "Rome"})]), echo("it is "))
    said = world.ask("once the weather?", agent)
    assert said.state == "completed", world.team.log(agent)
    assert said.text == f"it is 21 degrees in Oslo | 21 degrees in Rome {TOOL},{TOOL}"
    tools = ["execute_tool weather", "execute_tool weather"]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", *tools, "chat"]
    whole(world.spans(said.trace_id))
    first, last = world.chats(said.trace_id)
    assert first["name"] == "chat claude-sonnet-4-5"
    assert first.attributes["gen_ai.provider.name"] == "anthropic"
    assert "Be brief." in first.attributes["gen_ai.system_instructions"]
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert first.attributes["gen_ai.usage.input_tokens"] == 20
    assert "first token" in last["events"] and last.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert "21 degrees in Rome" in last.attributes["gen_ai.input.messages"]
    found = {
        json.loads(span.attributes["gen_ai.tool.call.arguments"])["city"]: span.attributes
        for span in world.tools(said.trace_id)
    }
    assert found["Oslo"]["gen_ai.tool.call.result"] == "21 degrees in Oslo"
    assert found["Rome"]["gen_ai.tool.call.id"] in first.attributes["gen_ai.output.messages"]
    assert found["Rome"]["teamwright.tool.source"] == "local"
    assert said.usage["model_calls"] == 2 and said.usage["tool_calls"] == 2
    assert said.usage["input_tokens"] == 40 and said.usage["cost_usd"] > 0


@both
def test_a_client_that_goes_on(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call(TOOL, {"city": "Nowhere"})]), Reply("first"), Reply("second"))
    said = world.ask("client one,two", agent)
    assert said.text == "first second"
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", "execute_tool weather", "chat", "chat"]
    (tool,) = world.tools(said.trace_id)
    assert (tool["status"], tool.attributes["error.type"]) == (2, "tool_failed")
    assert "no such city" in tool["message"]
    last = world.chats(said.trace_id)[-1]
    asked = json.loads(last.attributes["gen_ai.input.messages"])
    assert [asked[0]["parts"][0]["content"], asked[-1]["parts"][0]["content"]] == ["one", "two"]
    whole(world.spans(said.trace_id))


@both
def test_a_hook_of_the_user_says_no_and_a_tool_is_not_there(world: World, agent: str) -> None:
    calls = [Call(TOOL, {"city": "Secret"}, "c1"), Call("Nothing", {}, "c2"), Call(TOOL, '{"city": "Ro', "c3")]
    world.script(Reply(calls=calls), Reply("well"))
    said = world.ask("once go", agent)
    assert said.text.startswith("well")
    tools = {span.attributes["gen_ai.tool.call.id"]: span for span in world.tools(said.trace_id)}
    secret, nothing, broken = (tools[call.id] for call in calls)
    assert (secret["status"], secret.attributes["error.type"], "denied" in secret["events"]) == (2, "denied", True)
    assert "that is secret" in secret["message"]
    assert (nothing["name"], nothing.attributes["error.type"]) == ("execute_tool Nothing", "unknown_tool")
    assert broken.attributes["error.type"] == "malformed_arguments"
    assert json.loads(broken.attributes["gen_ai.tool.call.arguments"]) == '{"city": "Ro'
    *_, asked, first, second, third = json.loads(world.chats(said.trace_id)[1].attributes["gen_ai.input.messages"])
    assert [one["role"] for one in (asked, first, second, third)] == ["assistant", "tool", "tool", "tool"]


@both
def test_a_peer_that_a_tool_asks(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("mcp__here__poem", {"about": "rain"})]), echo("here: "))
    said = world.ask("asking a poem", agent)
    assert said.text == "here: a poem about rain"
    called = ["execute_tool poem", ["invoke_agent poet", "invoke_agent poet"]]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", called, "chat"]
    whole(world.spans(said.trace_id))


@both
def test_a_bad_key_and_a_retry(world: World, agent: str) -> None:
    world.script(Reply(status=529, error="busy"), Reply("at last"))
    said = world.ask("once go", agent)
    assert said.text.startswith("at last")
    failed, good = world.chats(said.trace_id)
    assert (failed["status"], failed.attributes["error.type"]) == (2, "server_error")
    assert (good["status"], good.attributes["teamwright.attempt"]) == (0, 2)
    world.model.always(Reply(status=401, error="who are you?"))
    said = world.ask("once go", agent)
    assert {(chat["status"], chat.attributes["error.type"]) for chat in world.chats(said.trace_id)} == {(2, "bad_key")}
    world.model.always(Reply(status=400, error="not like this"))
    (chat,) = world.chats(world.ask("once go", agent).trace_id)
    assert (chat["status"], chat.attributes["error.type"]) == (2, "bad_request")
    world.script()


def test_a_query_that_is_left(world: World) -> None:
    world.script(Reply("one two"))
    said = world.ask("leaving go", "here")
    assert said.text == "left"
    (chat,) = world.chats(said.trace_id)
    assert "one two" in chat.attributes["gen_ai.output.messages"]


@both
def test_a_sub_agent(world: World, agent: str) -> None:
    def line(seen: Seen) -> Reply:
        if "You help." in seen.system:
            return echo("helped: ")(seen) if seen.results else Reply(calls=[Call(TOOL, {"city": "Oslo"})])  # type: ignore[operator]
        if seen.results:
            return Reply("done")
        task = {"description": "look", "prompt": "look there", "subagent_type": "helper", "run_in_background": False}
        return Reply(calls=[Call("Task", task)])

    world.model.always(line)
    said = world.ask("helped go", agent)
    assert said.text == "done", world.team.log(agent)
    tree = world.tree(said.trace_id)
    assert tree[0] == f"invoke_agent {agent}" and tree[1] == "chat" and tree[-1] == "chat", tree
    (task,) = [one for one in tree if isinstance(one, list)]
    assert task[0] in ("execute_tool Task", "execute_tool Agent")
    assert task[1] == ["invoke_agent helper", "chat", "execute_tool weather", "chat"], tree
    whole(world.spans(said.trace_id))
    assert said.usage["model_calls"] == 4 and said.usage["input_tokens"] == 80
    world.script()


def test_two_at_once(world: World) -> None:
    def line(seen: Seen) -> Reply:
        city = (
            "Oslo" if "Oslo" in seen.said[-1 if not seen.results else 0] + " ".join(seen.results.values()) else "Rome"
        )
        if seen.results:
            return Reply(f"{city}: " + " | ".join(seen.results.values()))
        return Reply(calls=[Call(TOOL, {"city": city})], delay=0.2)

    world.model.always(line)
    with ThreadPoolExecutor(2) as pool:
        asked = [(city, pool.submit(world.ask, f"once {city}", "here")) for city in ("Oslo", "Rome")]
        for city, one in asked:
            said = one.result()
            assert f"21 degrees in {city}" in said.text
            assert world.tree(said.trace_id) == ["invoke_agent here", "chat", "execute_tool weather", "chat"]
            (tool,) = world.tools(said.trace_id)
            assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"city": city}
            whole(world.spans(said.trace_id))
    world.script()
