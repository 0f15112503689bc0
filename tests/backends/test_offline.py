from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from teamwright.agents.builtin import peer_tools
from teamwright.agents.spec import PeerSpec
from teamwright.agents.tools import as_tool, tool
from teamwright.backends import loader
from teamwright.backends.api import Backend, BackendConfig, File, Message, Peer
from teamwright.backends.catalog import CATALOG
from teamwright.errors import MissingExtra, NothingWorked, UserError

PEERS = [
    Peer("facts", "Facts", "Knows facts about whales and other animals"),
    Peer("maps", "Maps", "Draws maps", skills=({"id": "route", "name": "Routes", "tags": ["streets"]},)),
    Peer("writer", "Writer", "Writes reports"),
]
TOOLS = peer_tools([PeerSpec(peer.id, "job", peer.id, "http://127.0.0.1:9/") for peer in PEERS])
ANSWERS = {"facts": "[offline, no model] big", "maps": "north", "writer": "written"}


def double(number: int) -> int:
    """Doubles a number."""
    return 2 * number


def weather(city: str, units: str = "c") -> str:
    """The weather in a city."""
    return f"sun in {city}"


@pytest.fixture
async def backend() -> Backend:
    made = loader.load("offline")
    assert isinstance(made, Backend)
    await made.open(BackendConfig("Lead", "You answer briefly.", None, {}, {}, ".", description="Coordinates"))
    return made


async def say(backend: Backend, turn: Any) -> str:
    first = (await backend.run(turn)).text
    assert first.startswith("[offline, no model]")
    return first


async def test_peers_are_chosen_by_words_and_cited(backend: Backend, fake_turn: Any, spans: Any) -> None:
    turn = fake_turn("Which streets lead to the whale?", tools=TOOLS, people=PEERS, answers=ANSWERS)
    assert (await say(backend, turn)).splitlines() == [
        "[offline, no model] Lead asked 2 and heard:", "- facts: big", "- maps: north",
    ]  # fmt: skip
    assert [agent for agent, _ in turn.asked] == ["facts", "maps"]
    names = [name for name, _, _ in spans()]
    assert names == ["chat offline", "execute_tool query_agent", "execute_tool query_agent", "chat offline"]
    first, last = spans()[0][1], spans()[-1][1]
    parts = json.loads(first["gen_ai.output.messages"])[0]["parts"]
    assert [part["arguments"]["agent"] for part in parts] == ["facts", "maps"]
    assert json.loads(last["gen_ai.input.messages"])[-1]["role"] == "tool"
    assert first["gen_ai.usage.input_tokens"] > 0
    assert first["teamwright.cost_estimated"] is True
    assert turn.usage.estimated
    assert (turn.usage.model_calls, turn.usage.tool_calls) == (2, 2)


async def test_a_hub_that_nothing_matches_asks_everybody(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("Good morning", tools=TOOLS, people=PEERS, answers=ANSWERS)
    await say(backend, turn)
    assert {agent for agent, _ in turn.asked} == {"facts", "maps", "writer"}
    many = [Peer(f"p{number}", f"P{number}", "") for number in range(30)]
    turn = fake_turn("Good morning", tools=TOOLS, people=many, answers={peer.id: "x" for peer in many})
    await say(backend, turn)
    assert len(turn.asked) == 8


async def test_agents_that_may_call_each_other_do_not_go_round_in_circles(backend: Backend, fake_turn: Any) -> None:
    back = [Peer(peer.id, peer.name, peer.description, peer.skills, calls_back=True) for peer in PEERS]
    turn = fake_turn("Good morning", tools=TOOLS, people=back, answers=ANSWERS, depth=1)
    await say(backend, turn)
    assert turn.asked == []
    turn = fake_turn("coordinates of the whale", tools=TOOLS, people=back, answers=ANSWERS, depth=1)
    await say(backend, turn)
    assert turn.asked == []  # it knows as many of the words itself
    turn = fake_turn("facts about the whale", tools=TOOLS, people=back, answers=ANSWERS, depth=1)
    await say(backend, turn)
    assert [agent for agent, _ in turn.asked] == ["facts"]


async def test_a_peer_that_fails_is_named_in_the_answer(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("Which streets lead to the whale?", tools=TOOLS, people=PEERS, answers={"maps": "north"})
    assert (await say(backend, turn)).splitlines() == [
        "[offline, no model] Lead asked 2 and heard:", "- facts failed: facts is away", "- maps: north",
    ]  # fmt: skip


@pytest.mark.parametrize("schema", [None, {"type": "object", "properties": {"text": {"type": "string"}}}])
async def test_there_is_no_answer_when_all_that_was_called_failed(
    fake_turn: Any, spans: Any, schema: dict[str, Any] | None
) -> None:
    backend = loader.load("offline")
    await backend.open(BackendConfig("Lead", "", None, {}, {}, ".", output_schema=schema))
    turn = fake_turn("whale", tools=TOOLS, people=PEERS)
    with pytest.raises(NothingWorked) as caught:
        await backend.run(turn)
    assert caught.value.message == "[offline, no model] Lead: facts failed: facts is away"
    assert turn.streamed == []
    assert turn.usage.model_calls == 2
    turn = fake_turn("Fail with orders in a.csv, then finish the orders", tools=[as_tool(fail), as_tool(finish)])
    with pytest.raises(NothingWorked, match="fail_orders failed: ValueError: no luck"):
        await backend.run(turn)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("double the number 21", "Lead (double): 42"),
        ("What is the weather in New York today?", "Lead (weather): sun in New York"),
        ('weather for "the moon", please', "Lead (weather): sun in the moon"),
        ("double it", "Lead got: double it"),
    ],
)
async def test_tools_are_called_when_their_arguments_are_in_the_text(
    backend: Backend, fake_turn: Any, text: str, said: str
) -> None:
    turn = fake_turn(text, tools=[as_tool(double), as_tool(weather)])
    assert said in await say(backend, turn)


async def test_the_same_question_has_the_same_answer(backend: Backend, fake_turn: Any) -> None:
    texts: set[Any] = set()
    for _ in range(5):
        turn = fake_turn("whale streets report", tools=TOOLS, people=PEERS, answers=ANSWERS)
        texts.add(await say(backend, turn))
    assert len(texts) == 1
    earlier = [Message("user", "one"), Message("agent", "two")]
    assert "after 1 earlier" in await say(backend, fake_turn("three", history=earlier))


def test_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no backend 'ofline'") as caught:
        loader.load("ofline")
    assert caught.value.hint == "did you mean 'offline'?"
    monkeypatch.setattr(loader, "_installed", lambda module: False)
    missing: Mapping[str, Any] = {name: info for name, info in CATALOG.items() if info.probe}
    for name in missing:
        with pytest.raises(MissingExtra, match=f"backend '{name}' needs packages") as absent:
            loader.load(name)
        assert absent.value.hint == f"pip install 'teamwright[{name}]'"


def ingest(path: str) -> dict[str, Any]:
    """Read a file of orders."""
    return {"summary": f"read {path}", "batch": "out/b1.json", "rows": 3}


@tool(after=["ingest"])
def validate(batch: str) -> dict[str, Any]:
    """Check the orders."""
    return {"summary": f"checked {batch}", "findings": [{"file": "a.csv", "line": 7, "rule": "R1", "message": "odd"}]}


@tool(after=["validate"], name="fail_orders")
def fail() -> None:
    """Fail with orders."""
    raise ValueError("no luck")


@tool(after=["fail_orders"])
def finish(batch: str) -> str:
    """Finish the orders."""
    return "done"


async def test_tools_that_need_others_come_after_them_with_their_results(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("Check the orders in data/orders.csv", tools=[as_tool(validate), as_tool(ingest)])
    assert (await say(backend, turn)).splitlines() == [
        "[offline, no model] Lead asked 2 and heard:",
        "- ingest: read data/orders.csv",
        "- validate: checked out/b1.json",
        "  - a.csv:7 R1 odd",
    ]
    assert turn.usage.model_calls == 3


async def test_what_waited_for_a_failure_is_left_out_and_says_so(backend: Backend, fake_turn: Any) -> None:
    tools = [as_tool(each) for each in (ingest, validate, fail, finish)]
    said = await say(backend, fake_turn("Finish the orders in orders.csv", tools=tools))
    assert "- fail_orders failed: ValueError: no luck" in said
    assert "- finish: not asked: it needs what fail_orders did not give" in said


@pytest.mark.parametrize(
    ("prompt", "tags"),
    [
        ("First ask Facts, then the writer.", ()),
        ("Ask the writer after facts.", ()),
        ("After Facts has answered, ask the writer.", ()),
        ("", ("after:facts", "report")),
    ],
)
async def test_peers_in_the_order_that_is_asked_for(fake_turn: Any, prompt: str, tags: tuple[str, ...]) -> None:
    backend = loader.load("offline")
    await backend.open(BackendConfig("Lead", prompt, None, {}, {}, "."))
    people = [PEERS[0], PEERS[1], Peer("writer", "Writer", "Writes reports", skills=({"id": "w", "tags": tags},))]
    turn = fake_turn("A report with facts about whales", tools=TOOLS, people=people, answers=ANSWERS)
    await backend.run(turn)
    assert turn.asked == [
        ("facts", "A report with facts about whales"),
        ("writer", "A report with facts about whales\n\nEarlier results:\nfacts: big"),
    ]


async def test_marks_of_peers_are_not_repeated(backend: Backend, fake_turn: Any) -> None:
    nested = {"facts": "[offline, no model] Facts (lookup): big\n- blue [offline, no model]", "maps": "north"}
    turn = fake_turn("Which streets lead to the whale?", tools=TOOLS, people=PEERS, answers=nested)
    said = await say(backend, turn)
    assert said.count("[offline, no model]") == 1
    assert "- facts (lookup): big" in said


async def test_the_session_is_remembered(backend: Backend, fake_turn: Any) -> None:
    earlier = [Message("user", "My boat is called Heron. It is blue."), Message("agent", "ok")]
    said = await say(backend, fake_turn("What is my boat called?", history=earlier, tools=TOOLS, people=PEERS))
    assert said == "[offline, no model] Lead remembers: “My boat is called Heron.”"
    said = await say(backend, fake_turn("What did I say before?", history=earlier))
    assert "“It is blue.”" in said


async def test_a_question_goes_on_from_the_one_before(backend: Backend, fake_turn: Any) -> None:
    earlier = [Message("user", "What is the weather in Rome?"), Message("agent", "sun")]
    turn = fake_turn("And in Paris?", tools=[as_tool(weather)], history=earlier)
    assert await say(backend, turn) == "[offline, no model] Lead (weather): sun in Paris"


async def test_several_names_are_several_calls(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("the weather in Rome, Oslo and New York", tools=[as_tool(weather)])
    assert (await say(backend, turn)).splitlines()[1:] == [
        "- weather: sun in Rome", "- weather: sun in Oslo", "- weather: sun in New York",
    ]  # fmt: skip


async def test_it_streams_what_it_answers(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("Which streets lead to the whale?", tools=TOOLS, people=PEERS, answers=ANSWERS)
    said = await say(backend, turn)
    assert "".join(turn.streamed) == said
    assert len(turn.streamed) == 3


async def test_who_is_there(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("Which agents can you ask?", tools=TOOLS, people=PEERS)
    said = await say(backend, turn)
    assert "Lead (list_peers)" in said
    assert "Draws maps" in said
    assert turn.asked == []


async def test_an_answer_of_the_wanted_shape(fake_turn: Any) -> None:
    backend = loader.load("offline")
    schema = {
        "type": "object",
        "properties": {
            "rows": {"type": "integer"}, "text": {"type": "string"}, "kind": {"enum": ["good", "bad"]},
            "sources": {"type": "array", "items": {"type": "string"}}, "sure": {"type": "boolean"},
        },
        "required": ["rows", "text", "kind", "sources", "sure"],
        "additionalProperties": False,
    }  # fmt: skip
    await backend.open(BackendConfig("Lead", "", None, {}, {}, ".", output_schema=schema))
    answer = await backend.run(fake_turn("Read the orders in a.csv", tools=[as_tool(ingest)]))
    assert answer.data == {
        "rows": 3, "text": "[offline, no model] Lead (ingest): read a.csv", "kind": "good",
        "sources": ["ingest"], "sure": False,
    }  # fmt: skip


async def test_files_go_along_to_peers(backend: Backend, fake_turn: Any) -> None:
    turn = fake_turn("whale", tools=TOOLS, people=PEERS, answers=ANSWERS, files=[File("a.txt", data=b"x")])
    await say(backend, turn)
    assert [file.name for file in turn.sent] == ["a.txt"]
