"""CrewAI in users' own functions: seen without an edit, here and in another interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.contract.conftest import World, echo
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Call, Reply

from .conftest import Started, settled, whole

pytest.importorskip("crewai")

# The first test waits until the agents have imported the SDK.
pytestmark = pytest.mark.timeout(600)

CODE = '''
    import os
    from crewai import Agent, Crew, LLM, Task
    from crewai.tools import tool

    @tool("look_up")
    def look_up(word: str) -> str:
        """What a word means."""
        if word == "nothing":
            raise ValueError("no such word")
        return f"{word} is wet"

    def llm():
        made = LLM(model="gpt-4o", provider="openai", base_url=os.environ["MODEL_URL"], api_key="x", max_retries=0)
        made.stream = True
        return made

    def person(role, **more):
        return Agent(role=role, goal="work", backstory="b", llm=llm(), cache=False, **more)

    def crew(text):
        reader, writer = person("Reader", tools=[look_up]), person("Writer")
        tasks = [
            Task(description="Look up: {message}", expected_output="a line", agent=reader),
            Task(description="Write.", expected_output="a line", agent=writer),
        ]
        return Crew(agents=[reader, writer], tasks=tasks).kickoff(inputs={"message": text}).raw

    def alone(text):
        return person("Reader", tools=[look_up]).kickoff(text).raw

    def words(text):
        return llm().call(text)

    def asking(text, turn):
        @tool("poem")
        def poem(about: str) -> str:
            """A poem."""
            answer = turn.ask_peer("poet", about)
            return str(getattr(answer, "text", answer))

        return person("Poet", tools=[poem]).kickoff(text).raw
'''


def environment(model: ChatCompletions, folder: Path) -> dict[str, str]:
    return {"MODEL_URL": model.url, "NO_PROXY": "127.0.0.1", "HOME": str(folder)}


@pytest.fixture(scope="module")
def functions(begun: Started) -> World:
    return begun(ChatCompletions(), CODE, environment)


@pytest.fixture
def world(functions: World) -> Iterator[World]:
    functions.script()
    yield functions
    settled(functions)


both = pytest.mark.parametrize("agent", ["here", "own"])


@both
def test_a_crew(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("look_up", {"word": "rain"})]), echo("read: "), Reply("wrote"))
    said = world.ask("crew rain", agent)
    assert (said.state, said.text) == ("completed", "wrote")
    assert world.tree(said.trace_id) == [
        f"invoke_agent {agent}",
        ["invoke_agent Reader", "chat", "execute_tool look_up", "chat"],
        ["invoke_agent Writer", "chat"],
    ]
    whole(world.spans(said.trace_id))
    (tool,) = world.tools(said.trace_id)
    assert tool.attributes["gen_ai.tool.call.result"] == "rain is wet"
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"word": "rain"}
    first, second, _ = world.chats(said.trace_id)
    assert tool.attributes["gen_ai.tool.call.id"] in first.attributes["gen_ai.output.messages"]
    assert first.attributes["gen_ai.usage.input_tokens"] == 20
    assert "first token" in second["events"]
    assert said.usage["model_calls"] == 3 and said.usage["tool_calls"] == 1
    assert said.usage["cost_usd"] > 0
    reader = next(span for span in world.spans(said.trace_id) if span["name"] == "invoke_agent Reader")
    assert "Look up: rain" in reader.attributes["gen_ai.input.messages"]
    assert "read: rain is wet" in reader.attributes["gen_ai.output.messages"]


@both
def test_an_agent_alone_and_a_tool_that_raises(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("look_up", {"word": "nothing"})]), Reply("sorry"))
    said = world.ask("alone nothing", agent)
    assert said.text == "sorry"
    inner = ["invoke_agent Reader", "chat", "execute_tool look_up", "chat"]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", inner]
    (tool,) = world.tools(said.trace_id)
    assert (tool["status"], tool.attributes["error.type"]) == (2, "tool_failed")
    assert "no such word" in tool["message"]


@both
def test_a_model_alone_that_fails(world: World, agent: str) -> None:
    world.script(Reply(status=401, error="who are you?"))
    said = world.ask("words go", agent)
    assert said.state == "failed"
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", "chat"]
    (chat,) = world.chats(said.trace_id)
    assert (chat["status"], chat.attributes["error.type"]) == (2, "bad_key")


@both
def test_a_peer_that_a_tool_asks(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("poem", {"about": "rain"})]), echo("here: "))
    said = world.ask("asking a poem", agent)
    assert said.text == "here: a poem about rain"
    called = ["execute_tool poem", ["invoke_agent poet", "invoke_agent poet"]]
    assert world.tree(said.trace_id) == [f"invoke_agent {agent}", ["invoke_agent Poet", "chat", called, "chat"]]
