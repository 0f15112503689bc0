"""The crewai backend beside the contract: whole crews, rules, and that CrewAI keeps quiet and to its own folder."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from teamwright.backends.api import Limits
from tests.agents.conftest import JOB, Team
from tests.backends.contract.adapters import ADAPTERS
from tests.backends.contract.conftest import Said, World, echo
from tests.backends.contract.test_failures import cancelled
from tests.standins import mcp_server
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Call, Reply, Seen, Tokens

pytest.importorskip("crewai")
#: its import takes seconds, and on a busy machine a minute
pytestmark = pytest.mark.timeout(600)

CREWS = '''
    import os
    from crewai import Agent, Crew, Task, LLM
    from crewai.tools import tool

    @tool("look_up")
    def look_up(word: str) -> str:
        """What a word means."""
        if word == "nothing":
            raise ValueError("no such word")
        return f"{word} is wet"

    @tool("delete_all")
    def delete_all(what: str) -> str:
        """Deletes."""
        open("deleted", "w").close()
        return "deleted"

    def two(llm, tools):
        agent = lambda role, **more: Agent(role=role, goal="work", backstory="b", llm=llm, cache=False, **more)
        reader, writer = agent("Reader", tools=[look_up, delete_all]), agent("Writer", tools=tools)
        tasks = [
            Task(description="Look up: {message}", expected_output="a line", agent=reader),
            Task(description="Write. Before this: {history}", expected_output="a line", agent=writer),
        ]
        return Crew(agents=[reader, writer], tasks=tasks)

    def given(llm, tools):
        return two(llm, tools)

    def own():
        llm = LLM(model="gpt-4o", provider="openai", base_url=os.environ["MODEL_URL"], api_key="x", max_retries=0)
        llm.stream = True
        return two(llm, [look_up])
'''
AGENTS = ("given", "own", "shaped")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = '''
    def shout(word: str) -> str:
        """Says it loud."""
        return word.upper()

    def weigh(things: dict[str, dict[str, float]]) -> str:
        """Weighs things."""
        return f"{things['bread']['kg']} kg"
'''


@pytest.fixture(scope="module")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("crews")
    with ChatCompletions() as model, closing(Team(folder)) as team, socket.create_server(("127.0.0.1", 0)) as door:
        team.write("crews.py", CREWS)
        team.write("shouting.py", TOOLS)
        (folder / "person").mkdir()
        outside = f"http://127.0.0.1:{door.getsockname()[1]}"
        common: dict[str, Any] = {
            "backend": "crewai",
            "tools": ("shouting:shout", "shouting:weigh"),
            "environment": {
                "HOME": str(folder / "person"), "MODEL_URL": model.url, "HTTPS_PROXY": outside, "HTTP_PROXY": outside,
                "NO_PROXY": "127.0.0.1",
            },
        }  # fmt: skip
        options = {"base_url": model.url, "retries": 0}
        rules = {"crew": "crews:given", "deny": ["delete_*"], **options}
        words = {"command": sys.executable, "args": [mcp_server.__file__], "env": {"PYTHONDONTWRITEBYTECODE": "1"}}
        team.launch("given", model="gpt-4o", backend_options=rules, mcp_servers={"words": words}, **common)
        team.launch("own", backend_options={"crew": "crews:own"}, limits=Limits(turns=3, tool_calls=2), **common)
        team.launch("shaped", model="gpt-4o", backend_options=options, output_schema=SCHEMA, **common)
        for agent in AGENTS:
            ready = httpx.get(f"{team.url(agent)}/readyz", timeout=180)
            assert ready.status_code == 200, team.log(agent)
        yield World(next(one for one in ADAPTERS if one.name == "crewai"), team, model)
        # each within 10 s: nothing of CrewAI waits or asks at its end
        assert [team.stop(agent) for agent in AGENTS] == [0, 0, 0]
        door.setblocking(False)
        with pytest.raises(BlockingIOError):  # nothing has gone, or tried to go, outside
            door.accept()
        assert list((folder / "person").rglob("*")) == []


@pytest.fixture
def world(crews: World) -> Iterator[World]:
    crews.script()
    yield crews
    assert crews.model.unexpected == []
    assert crews.model.unsaid == 0


def ask(world: World, agent: str, *script: Any, text: str = "rain", session: str | None = None) -> Said:
    world.script(*script)
    return world.ask(text, agent, session=session)


def test_a_crew_on_the_agents_model(world: World) -> None:
    said = ask(
        world,
        "given",
        Reply(calls=[Call("look_up", {"word": "rain"})]),
        echo("read: "),
        Reply(calls=[Call("shout", {"word": "rain"})]),
        echo("wrote: "),
    )
    assert (said.state, said.text) == ("completed", "wrote: RAIN")
    assert world.tree(said.trace_id) == [
        "invoke_agent given",
        ["invoke_agent Reader", "chat", "execute_tool look_up", "chat"],
        ["invoke_agent Writer", "chat", "execute_tool shout", "chat"],
    ]
    tool, ours = world.tools(said.trace_id)
    assert tool.attributes["gen_ai.tool.call.result"] == "rain is wet"
    assert tool.attributes["gen_ai.tool.call.id"] in str(world.chats(said.trace_id)[0].attributes)
    assert ours.attributes["teamwright.tool.source"] == "local"
    assert said.usage["model_calls"] == 4 and said.usage["tool_calls"] == 2
    reader = next(span for span in world.spans(said.trace_id) if span["name"] == "invoke_agent Reader")
    assert "Look up: rain" in reader.attributes["gen_ai.input.messages"]
    assert "read: rain is wet" in reader.attributes["gen_ai.output.messages"]


def test_a_crew_with_tools_of_an_mcp_server(world: World) -> None:
    said = ask(
        world,
        "given",
        Reply("nothing"),
        Reply(calls=[Call("words_shout", {"text": "rain"}), Call("add", {"a": 1, "b": 2}), Call("fail")]),
        echo("wrote: "),
    )
    assert said.state == "completed" and "RAIN! 00-" in said.text and "out of words" in said.text
    tools = {span["name"]: span for span in world.tools(said.trace_id)}
    assert {name.split()[1]: span["status"] == 2 for name, span in tools.items()} == {
        "words_shout": False, "add": False, "fail": True,
    }  # fmt: skip
    for span in tools.values():
        assert (span.attributes["teamwright.tool.source"], span.attributes["teamwright.mcp.server"]) == ("mcp", "words")
    shouted = tools["execute_tool words_shout"]  # and the server was told which call it is
    assert f"00-{said.trace_id}-{shouted['span_id']}-01" in said.text
    assert tools["execute_tool add"].attributes["gen_ai.tool.call.result"] == "12"


def test_a_model_is_told_the_whole_schema_of_a_tool(world: World) -> None:
    """CrewAI writes into the schemas that it gets, down to the last object of any keys."""
    call = Call("weigh", {"things": {"bread": {"kg": 2}}})
    said = ask(world, "given", Reply("nothing"), Reply(calls=[call]), echo("wrote: "))
    assert said.text == "wrote: 2.0 kg"
    (told,) = (
        tool["function"]["parameters"]["properties"]["things"]
        for tool in world.model.wait(2).body["tools"]
        if tool["function"]["name"] == "weigh"
    )
    assert told["additionalProperties"] == {"additionalProperties": {"type": "number"}, "type": "object"}


def test_a_tool_of_the_crew_that_raises_or_is_denied(world: World) -> None:
    calls = [Call("look_up", {"word": "nothing"}), Call("delete_all", {"what": "all"})]
    said = ask(world, "given", Reply(calls=calls), echo(), Reply("done"))
    assert said.text == "done"
    raised, denied = sorted(world.tools(said.trace_id), key=lambda span: span["name"], reverse=True)
    assert (raised["status"], raised.attributes["error.type"]) == (2, "tool_failed")
    assert "no such word" in raised.attributes["gen_ai.tool.call.result"]
    assert (denied["status"], denied.attributes["error.type"]) == (2, "denied")
    assert "denied" in denied["events"]
    assert not list(world.team.folder.rglob("deleted"))


def test_models_of_the_crews_own_are_seen(world: World) -> None:
    said = ask(
        world,
        "own",
        Reply(calls=[Call("look_up", {"word": "rain"})], tokens=Tokens(100, 10)),
        Reply(["It ", "is ", "wet."], pause=0.05, tokens=Tokens(1000, 20, cached=100)),
        Reply("A poem.", tokens=Tokens(100, 10)),
    )
    assert (said.state, said.text) == ("completed", "A poem.")
    assert world.tree(said.trace_id) == [
        "invoke_agent own",
        ["invoke_agent Reader", "chat", "execute_tool look_up", "chat"],
        ["invoke_agent Writer", "chat"],
    ]
    first, second, _ = world.chats(said.trace_id)
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_call"]
    found = second.attributes
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (1000, 20)
    assert found["gen_ai.usage.cache_read.input_tokens"] == 100
    assert "It is wet." in found["gen_ai.output.messages"]
    assert "rain is wet" in found["gen_ai.input.messages"]
    assert 0 < found["gen_ai.response.time_to_first_chunk"] < (second["end_ns"] - second["start_ns"]) / 1e9 - 0.08
    assert said.usage["model_calls"] == 3 and said.usage["input_tokens"] == 1200
    assert said.usage["cost_usd"] > 0


def test_limits_hold_for_models_of_the_crews_own(world: World) -> None:
    call = Reply(calls=[Call("look_up", {"word": "rain"})])
    said = ask(world, "own", call, call, call)
    assert (said.state, said.reason) == ("failed", "tool_calls")
    said = ask(world, "own", call, Reply("read"), call)
    assert (said.state, said.reason) == ("failed", "turns")
    assert len(world.chats(said.trace_id)) == 3


@pytest.mark.parametrize(("status", "reason"), [(401, "bad_key"), (500, "server_error")])
def test_a_model_of_the_crews_own_that_fails(world: World, status: int, reason: str) -> None:
    world.model.always(Reply(status=status, error="it is broken"))
    said = world.ask("rain", "own")
    assert (said.state, said.reason, said.text) == ("failed", reason, "")
    assert "it is broken" in said.words
    chats = world.chats(said.trace_id)
    assert len(chats) == len(world.model.requests) and {chat["status"] for chat in chats} == {2}


def test_a_crew_knows_what_was_said_before(world: World) -> None:
    session = "0b5ed2f8-6f7f-4f14-9c3c-1a52d4d6a001"
    ask(world, "given", Reply("read"), Reply("poem one"), text="first words", session=session)

    def last(seen: Seen) -> Reply:
        return Reply("yes" if "first words" in str(seen.body) and "poem one" in str(seen.body) else "no")

    assert ask(world, "given", Reply("read"), last, session=session).text == "yes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crew": "crews"}, "must be module:function"),
        ({"crew": "nowhere:crew"}, "No module named 'nowhere'"),
        ({"crew": "json:nothing"}, "json has no function 'nothing'"),
        ({"crw": "x:y"}, "did you mean 'crew'?"),
        ({}, "write model:"),
    ],
)
async def test_options_that_are_wrong(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    from teamwright.backends.api import BackendConfig
    from teamwright.backends.crewai import backend
    from teamwright.errors import UserError

    made = backend.CrewAIBackend()
    with pytest.raises(UserError) as caught:
        await made.open(BackendConfig(JOB, "", None, {}, options, ".", state=str(tmp_path)))
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_a_crew_that_is_cancelled_stops(world: World) -> None:
    """The agent's own model: the call ends at once, and nothing more is asked for that message."""
    world.script(Reply("one two three", end="hang", after=2))
    trace = cancelled(world, world.model.wait, "given")
    assert world.model.wait().gone.wait(60)
    assert world.tree(trace) == ["invoke_agent given", ["invoke_agent Reader", "chat"]]
    inner = [span for span in world.spans(trace) if span["name"] != "invoke_agent given"]
    assert {span.attributes["error.type"] for span in inner} == {"cancelled"}
    assert ask(world, "given", Reply("read"), Reply("still there")).text == "still there"


def test_a_crew_that_fails_by_itself_does_so_with_a_reason(world: World) -> None:
    """A model of the crew's own says nothing: CrewAI asks again, then raises; the caller gets an error, no answer."""
    said = ask(world, "own", Reply(""), Reply(""), Reply(""))
    assert (said.state, said.reason, said.text) == ("failed", "crew_failed", "")
    assert len(world.chats(said.trace_id)) == 3


def test_an_answer_of_a_fixed_shape_is_sent_back_once(world: World) -> None:
    seen = ask(world, "shaped", Reply("four"), lambda seen: Reply(f'{{"n": {len(seen.said)}}}'), text="2+2?")
    assert seen.state == "completed" and seen.text.startswith("{")
    first, second = world.chats(seen.trace_id)
    assert "four" in second.attributes["gen_ai.input.messages"]
    assert "JSON Schema" in first.attributes["gen_ai.system_instructions"]
