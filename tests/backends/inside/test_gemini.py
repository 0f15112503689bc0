"""google-genai in users' own functions: seen without an edit, here and in another interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.backends.contract.conftest import World, echo
from tests.standins.generate_content import GenerateContent
from tests.standins.script import Call, Reply, Seen, Tokens

from .conftest import Started, settled, whole

pytest.importorskip("google.genai")

# The first test waits until the agents have imported the SDK.
pytestmark = pytest.mark.timeout(600)

CODE = '''
    import os
    from google import genai
    from google.genai import types

    MODEL = "gemini-2.5-flash"

    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=os.environ["MODEL_URL"]))

    def weather(city: str) -> str:
        """The weather in a city."""
        if city == "Nowhere":
            raise ValueError("no such city")
        return f"21 degrees in {city}"

    async def awaited_weather(city: str) -> str:
        """The weather in a city."""
        return weather(city)

    def plain(text):
        config = types.GenerateContentConfig(system_instruction="Be brief.", tools=[weather])
        return client.models.generate_content(model=MODEL, contents=text, config=config).text

    async def awaited(text):
        config = types.GenerateContentConfig(tools=[awaited_weather])
        answer = await client.aio.models.generate_content(model=MODEL, contents=text, config=config)
        return answer.text

    def pieces(text):
        for chunk in client.models.generate_content_stream(model=MODEL, contents=text):
            yield chunk.text or ""

    async def flowing(text):
        config, words = types.GenerateContentConfig(tools=[weather]), ""
        async for chunk in await client.aio.models.generate_content_stream(model=MODEL, contents=text, config=config):
            words += "".join(part.text or "" for part in chunk.candidates[0].content.parts)
        return words

    async def chatting(text):
        chat = client.aio.chats.create(model=MODEL)
        words = ""
        for part in text.split(","):
            async for chunk in await chat.send_message_stream(part):
                words += chunk.text or ""
        return words

    async def leaving(text):
        async for chunk in await client.aio.models.generate_content_stream(model=MODEL, contents=text):
            return chunk.text

    def by_hand(text):
        tool = types.Tool.model_validate({"function_declarations": [{"name": "add", "description": "Adds."}]})
        config = types.GenerateContentConfig(tools=[tool])
        said = [types.Content(role="user", parts=[types.Part(text=text)])]
        answer = client.models.generate_content(model=MODEL, contents=said, config=config)
        said.append(answer.candidates[0].content)
        parts = [
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": "7"}))
            for call in answer.function_calls
        ]
        said.append(types.Content(role="user", parts=parts))
        return client.models.generate_content(model=MODEL, contents=said, config=config).text

    def asking(text, turn):
        def poem(about: str) -> str:
            """A poem."""
            answer = turn.ask_peer("poet", about)
            return str(getattr(answer, "text", answer))

        config = types.GenerateContentConfig(tools=[poem])
        return client.models.generate_content(model=MODEL, contents=text, config=config).text
'''


def environment(model: GenerateContent, folder: Path) -> dict[str, str]:
    return {"MODEL_URL": model.url, "NO_PROXY": "127.0.0.1", "HOME": str(folder)}


@pytest.fixture(scope="module")
def functions(begun: Started) -> World:
    return begun(GenerateContent(), CODE, environment)


@pytest.fixture
def world(functions: World) -> Iterator[World]:
    functions.script()
    yield functions
    settled(functions)


WEATHER = (Reply(calls=[Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})]), echo("it is "))
both = pytest.mark.parametrize("agent", ["here", "own"])


@both
def test_functions_that_the_sdk_calls(world: World, agent: str) -> None:
    world.script(*WEATHER)
    said = world.ask("plain the weather?", agent)
    assert (said.state, said.text) == ("completed", "it is 21 degrees in Rome")
    tools = ["execute_tool weather", "execute_tool weather"]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", *tools, "chat"]
    whole(world.spans(said.trace_id))
    first, last = world.chats(said.trace_id)
    assert first["name"] == "chat gemini-2.5-flash"
    assert first["kind"] == 3
    assert "Be brief." in first.attributes["gen_ai.system_instructions"]
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert first.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert (first.attributes["gen_ai.usage.input_tokens"], first.attributes["gen_ai.usage.output_tokens"]) == (20, 9)
    assert first.attributes["gen_ai.usage.cache_read.input_tokens"] == 4
    assert "21 degrees in Rome" in last.attributes["gen_ai.input.messages"]
    assert last.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    oslo, rome = world.tools(said.trace_id)
    assert json.loads(oslo.attributes["gen_ai.tool.call.arguments"]) == {"city": "Oslo"}
    assert rome.attributes["gen_ai.tool.call.result"] == "21 degrees in Rome"
    assert oslo.attributes["gen_ai.tool.call.id"] != rome.attributes["gen_ai.tool.call.id"]
    assert said.usage["model_calls"] == 2 and said.usage["tool_calls"] == 2
    assert said.usage["input_tokens"] == 40 and said.usage["cost_usd"] > 0


@both
def test_awaited_with_a_tool_that_fails(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("awaited_weather", {"city": "Nowhere"})]), echo("sorry: "))
    said = world.ask("awaited the weather?", agent)
    assert said.text.startswith("sorry: ")
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", "execute_tool awaited_weather", "chat"]
    (tool,) = world.tools(said.trace_id)
    assert (tool["status"], tool["message"]) == (2, "no such city")
    assert tool.attributes["error.type"] == "tool_failed"
    whole(world.spans(said.trace_id))


@both
def test_a_stream(world: World, agent: str) -> None:
    world.script(Reply("one two three", pause=0.01))
    said = world.ask("pieces go", agent)
    assert said.text == "one two three"
    (chat,) = world.chats(said.trace_id)
    assert json.loads(chat.attributes["gen_ai.output.messages"])[0]["parts"] == [
        {"type": "text", "content": "one two three"}
    ]
    assert 0 < chat.attributes["gen_ai.response.time_to_first_chunk"] < (chat["end_ns"] - chat["start_ns"]) / 1e9
    assert "first token" in chat["events"]


@both
def test_a_stream_with_functions_that_the_sdk_calls(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("weather", {"city": "Oslo"})]), echo("it is "))
    said = world.ask("flowing the weather?", agent)
    assert said.text == "it is 21 degrees in Oslo"
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", "execute_tool weather", "chat"]
    assert said.usage["tool_calls"] == 1
    whole(world.spans(said.trace_id))


@both
def test_a_stream_that_is_left(world: World, agent: str) -> None:
    world.script(Reply("one two three", pause=0.01))
    said = world.ask("leaving go", agent)
    assert said.text == "one "
    (chat,) = world.chats(said.trace_id)
    assert (chat["status"], chat.attributes["teamwright.ended_early"]) == (0, True)
    assert "one" in chat.attributes["gen_ai.output.messages"]


def test_a_chat(world: World) -> None:
    world.script(Reply("first"), Reply("second"))
    said = world.ask("chatting a,b", "here")
    assert said.text == "firstsecond"
    one, two = world.chats(said.trace_id)
    assert one["end_ns"] <= two["start_ns"]
    asked = json.loads(two.attributes["gen_ai.input.messages"])
    assert [asked[0]["role"], asked[1]["role"], asked[-1]["role"]] == ["user", "assistant", "user"]


@both
def test_functions_that_the_code_calls(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("add", {"a": 3}), Call("add", {"a": 4})]), echo("done "))
    said = world.ask("by_hand add", agent)
    assert said.text == "done 7 | 7"
    tools = ["execute_tool add", "execute_tool add"]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", *tools, "chat"]
    one, two = world.tools(said.trace_id)
    assert [json.loads(span.attributes["gen_ai.tool.call.arguments"]) for span in (one, two)] == [{"a": 3}, {"a": 4}]
    assert one.attributes["gen_ai.tool.call.result"] == "7"
    whole(world.spans(said.trace_id))


@both
def test_a_peer_that_a_tool_asks(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("poem", {"about": "rain"})]), echo("here: "))
    said = world.ask("asking a poem", agent)
    assert said.text == "here: a poem about rain"
    called = ["execute_tool poem", ["invoke_agent poet", "invoke_agent poet"]]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", called, "chat"]
    assert said.usage["peer_calls"] == 1
    whole(world.spans(said.trace_id))


@both
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=401, error="who are you?"), "bad_key"),
        (Reply(status=500, error="oh"), "server_error"),
        (Reply(finish="BLOCKED"), "blocked"),
        (Reply("one two", end="cut", after=0), "cut"),
    ],
)
def test_calls_that_fail(world: World, agent: str, reply: Reply, reason: str) -> None:
    world.script(reply)
    said = world.ask("plain go", agent)
    (chat,) = world.chats(said.trace_id)
    assert (chat["status"], chat.attributes["error.type"]) == (2, reason)
    assert chat["message"]
    assert said.usage["model_calls"] == 1


@both
def test_the_limit_of_tool_calls_ends_the_message(world: World, agent: str) -> None:
    calls = [Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})]
    world.script(Reply(calls=calls), Reply(calls=calls))  # and no third
    said = world.ask("plain go", agent)
    assert (said.state, said.reason) == ("failed", "tool_calls")
    assert len(world.tools(said.trace_id)) == 4


@both
def test_the_limit_in_dollars_ends_the_message(world: World, agent: str) -> None:
    """The first call costs more than the query may: its answer is used, and no second one is made."""
    world.script(Reply(calls=[Call("weather", {"city": "Oslo"})], tokens=Tokens(10_000_000, 10, cached=0)))
    said = world.ask("plain go", agent)
    assert (said.state, said.reason) == ("failed", "budget_exhausted")
    assert said.words == "the query has spent the $2 that it may (limit cost_usd)"
    assert said.usage["cost_usd"] > 2
    first = world.chats(said.trace_id)[0]
    assert (first["status"], first.attributes["teamwright.cost_usd"]) == (0, pytest.approx(said.usage["cost_usd"]))
    (tool,) = world.tools(said.trace_id)
    assert tool.attributes["gen_ai.tool.call.result"] == "21 degrees in Oslo"


def test_two_at_once(world: World) -> None:
    def line(seen: Seen) -> Reply:
        city = "Oslo" if "Oslo" in seen.said[0] else "Rome"
        return (
            Reply(f"{city}: " + " | ".join(seen.results.values()))
            if seen.results
            else Reply(calls=[Call("weather", {"city": city})], delay=0.2)
        )

    world.model.always(line)
    with ThreadPoolExecutor(4) as pool:
        asked = [
            (city, agent, pool.submit(world.ask, f"plain {city}", agent))
            for city in ("Oslo", "Rome") for agent in ("here", "own")
        ]  # fmt: skip
        for city, agent, one in asked:
            said = one.result()
            assert said.text == f"{city}: 21 degrees in {city}"
            assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat", "execute_tool weather", "chat"]
            (tool,) = world.tools(said.trace_id)
            assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"city": city}
            whole(world.spans(said.trace_id))
    world.script()
