"""The contract of every backend: answers, tools, peers, conversations, streams.

The tests of this folder run over all backends of `adapters.ADAPTERS` by one fixture, against a stand-in each; to add a
backend, see there. `needs("script")` leaves out those that think without a model; other words are what an adapter may
say it `lacks`.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.backends.contract.conftest import echo
from tests.standins.script import Reply, Seen, Tokens

if TYPE_CHECKING:
    from tests.backends.contract.conftest import Said, World

needs = pytest.mark.needs


def test_a_text(world: World) -> None:
    world.script(Reply("Hello to you.", tokens=Tokens(40, 12, cached=10)))
    said = world.ask("hello there")
    assert said.state == "completed"
    assert said.text == "Hello to you." or said.text.startswith("[offline, no model]")
    if world.adapter.standin is not None:  # one that thinks by itself may ask the peer
        assert world.tree(said.trace_id) == ["invoke_agent main", "chat"]
    chat = world.chats(said.trace_id)[-1]
    found = chat.attributes
    assert chat["kind"] == 3 and chat["status"] != 2
    assert found["gen_ai.request.model"] and found["gen_ai.provider.name"]
    assert found["gen_ai.usage.input_tokens"] > 0 and found["gen_ai.usage.output_tokens"] > 0
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    assert "hello there" in found["gen_ai.input.messages"]
    assert said.text in found["gen_ai.output.messages"].replace("\\n", "\n")
    assert "answer briefly" in found["gen_ai.system_instructions"]
    assert said.usage["model_calls"] == len(world.chats(said.trace_id))
    read = sum(call.attributes["gen_ai.usage.input_tokens"] for call in world.chats(said.trace_id))
    assert said.usage["input_tokens"] == read


@needs("script", "price")
def test_tokens_and_dollars(world: World) -> None:
    world.script(Reply("x", tokens=Tokens(1000, 200, cached=100, reasoning=50)))
    said = world.ask("hi")
    (chat,) = world.chats(said.trace_id)
    assert chat.attributes["gen_ai.usage.input_tokens"] == 1000
    assert chat.attributes["gen_ai.usage.output_tokens"] == 200
    assert chat.attributes["gen_ai.usage.cache_read.input_tokens"] == 100
    assert chat.attributes["teamwright.cost_usd"] > 0
    assert said.usage["cost_usd"] == pytest.approx(chat.attributes["teamwright.cost_usd"])


def test_one_tool(world: World) -> None:
    world.script(Reply(calls=[world.call("get_weather", {"city": "Rome"})]), echo())
    said = world.ask("What is the weather in Rome?")
    assert "21 degrees in Rome" in said.text
    assert world.tree(said.trace_id) == ["invoke_agent main", "chat", "execute_tool get_weather", "chat"]
    (tool,) = world.tools(said.trace_id)
    assert tool.attributes["gen_ai.tool.call.arguments"] == '{"city":"Rome"}'
    assert tool.attributes["gen_ai.tool.call.result"] == "21 degrees in Rome"
    assert tool.attributes["teamwright.tool.source"] == "local"
    first, last = world.chats(said.trace_id)
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert '"type":"tool_call"' in first.attributes["gen_ai.output.messages"]
    assert "21 degrees in Rome" in last.attributes["gen_ai.input.messages"]
    # one after the other, and the call has the id the model gave it
    assert first["end_ns"] <= tool["start_ns"] and tool["end_ns"] <= last["start_ns"]
    assert tool.attributes["gen_ai.tool.call.id"] in first.attributes["gen_ai.output.messages"]


@needs("script")
def test_three_tools_at_once_two_of_them_the_same(world: World) -> None:
    calls = [
        world.call("meet", {"who": "ann"}),
        world.call("meet", {"who": "bob"}),
        world.call("meet_too", {"who": "eve"}),
    ]
    world.script(Reply("They come.", calls=calls), echo())
    said = world.ask("let them meet")
    assert said.text == "ann was there | bob was there | eve was there"
    tools = world.tools(said.trace_id)
    assert sorted(tool["name"] for tool in tools) == ["execute_tool meet", "execute_tool meet", "execute_tool meet_too"]
    assert {tool.attributes["gen_ai.tool.call.result"] for tool in tools} == set(said.text.split(" | "))
    assert len({tool.attributes["gen_ai.tool.call.id"] for tool in tools}) == 3
    for tool in tools:  # who asked and who answered belong together, and they were open at the same time
        who = tool.attributes["gen_ai.tool.call.arguments"].split('"')[3]
        assert tool.attributes["gen_ai.tool.call.result"] == f"{who} was there"
    assert max(tool["start_ns"] for tool in tools) < min(tool["end_ns"] for tool in tools)


@needs("script", "thoughts")
def test_thoughts_are_seen_and_not_said(world: World) -> None:
    world.script(Reply("Four.", thinking="two and two"))
    said = world.ask("2+2?")
    assert said.text == "Four."
    (chat,) = world.chats(said.trace_id)
    assert "two and two" in chat.attributes["gen_ai.output.messages"]


def test_a_peer_is_asked(world: World) -> None:
    world.script(Reply(calls=[world.call("query_agent", {"agent": "poet", "message": "rain"})]), echo())
    said = world.ask("Ask the poet to write poems about rain")
    assert "a poem about" in said.text and "rain" in said.text
    assert world.tree(said.trace_id) == [
        "invoke_agent main",
        "chat",
        ["execute_tool query_agent", ["invoke_agent poet", "invoke_agent poet"]],
        "chat",
    ]
    assert said.usage["peer_calls"] == 1


def test_a_conversation_is_remembered(world: World) -> None:
    session = str(uuid4())
    world.script(Reply("Hello Ann."), lambda seen: Reply(f"You said: {seen.said[0]}"))
    world.ask("My name is Ann.", session=session)
    assert "My name is Ann." in world.ask("What did I say before?", session=session).text


def test_two_users_at_once_never_see_each_others_words(world: World) -> None:
    session = str(uuid4())  # the same for both: it is the user that keeps them apart
    together = Barrier(2)

    def talk(user: str) -> list[str]:
        together.wait(60)
        texts = [f"I am {user}, my secret is {user * 3}.", "What did I say before?"]
        return [world.ask(text, user=user, session=session).text for text in texts]

    if world.adapter.standin is not None:
        world.model.always(lambda seen: Reply(f"heard: {' / '.join(seen.said)}", delay=0.1))
    with ThreadPoolExecutor(2) as pool:
        ann, bob = pool.map(talk, ("ann", "bob"))
    assert "annannann" in ann[1] and "bob" not in "".join(ann)
    assert "bobbobbob" in bob[1] and "ann" not in "".join(bob)
    if world.adapter.standin is not None:
        assert len(world.model.requests) == 4
        for seen in world.model.requests:
            assert ("annannann" in str(seen.body)) != ("bobbobbob" in str(seen.body))


@needs("script", "streaming")
def test_words_arrive_in_order_and_while_they_are_said(world: World) -> None:
    rest = Event()
    world.script(Reply(["one ", "two ", "three ", "four"], pause=0.1, delay=0.1, held=rest, after=3))
    pieces, at, last, trace = [], [], 0.0, ""
    for when, event in world.stream("count"):
        if "artifactUpdate" in event:
            at.append(when)
            if not rest.is_set():  # the first words are here, and the model has not said all
                time.sleep(0.25)
                rest.set()
            pieces += [part.get("text", "") for part in event["artifactUpdate"]["artifact"]["parts"]]
        if "statusUpdate" in event:
            last = when
            found = event["statusUpdate"].get("metadata", {})
            trace = next((value["trace_id"] for value in found.values() if "trace_id" in value), trace)
    assert "".join(pieces) == "one two three four"
    assert len(pieces) >= 3
    assert last - at[0] > 0.2
    (chat,) = world.chats(trace)
    seconds = (chat["end_ns"] - chat["start_ns"]) / 1e9
    assert 0.1 <= chat.attributes["gen_ai.response.time_to_first_chunk"] < seconds - 0.2
    assert "first token" in chat["events"]


@needs("script", "silence")
def test_an_answer_without_words(world: World) -> None:
    world.script(Reply(""))
    said = world.ask("say nothing")
    assert (said.state, said.text) == ("completed", "")
    assert "null" not in world.chats(said.trace_id)[0].attributes["gen_ai.output.messages"]


@needs("script")
def test_a_long_answer(world: World) -> None:
    text = "0123456789" * 20_000
    world.script(Reply(text))
    said = world.ask("much")
    assert said.text == text
    assert text in world.chats(said.trace_id)[0].attributes["gen_ai.output.messages"]


def test_many_at_once_where_one_may(world: World) -> None:
    if world.adapter.standin is not None:
        world.model.always(Reply("done", delay=0.01))
    many, talks = 20, world.adapter.talks
    found: list[Said] = []
    asked = [(f"number {number}", f"talk-{number % talks}") for number in range(many)]
    while asked and many:
        with ThreadPoolExecutor(many) as pool:
            came = list(pool.map(lambda each: world.ask(each[0], "tight", session=each[1]), asked))
        # what waited longer than the query may take ends with that reason, nothing else, and is asked for again
        assert {said.reason for said in came if said.state != "completed"} <= {"duration"}
        asked = [each for each, said in zip(asked, came, strict=True) if said.state != "completed"]
        found, many = [*found, *came], many // 2
    assert asked == []
    chats = [chat for said in found for chat in world.chats(said.trace_id)]
    chats.sort(key=lambda span: int(span["start_ns"]))
    for before, after in itertools.pairwise(chats):
        assert before["end_ns"] <= after["start_ns"]


@needs("script", "run_header")
def test_the_run_is_named_to_the_model_server(world: World) -> None:
    world.script(Reply("ok"))
    said = world.ask("hi")
    seen: Seen = world.model.wait()
    (agent,) = [span for span in world.spans(said.trace_id) if span["name"] == "invoke_agent main"]
    assert seen.headers["x-run-id"] == agent.attributes["teamwright.run.id"]
