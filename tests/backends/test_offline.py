from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from teamwright.agents.builtin import peer_tools
from teamwright.agents.spec import PeerSpec
from teamwright.agents.tools import as_tool
from teamwright.backends import loader
from teamwright.backends.api import Backend, BackendConfig, Message, Peer
from teamwright.backends.catalog import CATALOG
from teamwright.errors import MissingExtra, UserError

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
    turn = fake_turn("whale", tools=TOOLS, people=PEERS)
    assert "- facts: error: facts is away" in await say(backend, turn)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("double the number 21", "- double: 42"),
        ("What is the weather in New York today?", "- weather: sun in New York"),
        ('weather for "the moon", please', "- weather: sun in the moon"),
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
