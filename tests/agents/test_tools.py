from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from teamwright.agents.agent import Agent, answer_of, description_of
from teamwright.agents.tools import as_tool, load_tools, tool, tools_of
from teamwright.backends.api import Answer, Turn
from teamwright.errors import TeamwrightError, ToolError, UserError

if TYPE_CHECKING:
    from decimal import Decimal

NO_TURN: Any = object()


class Place(BaseModel):
    city: str
    country: str = "NL"


class Colour(Enum):
    RED = "red"


@dataclass
class Pair:
    a: int
    b: int


class Weather(Agent):
    """Answers questions
    about the weather.

    More that no card needs.
    """

    @tool(tags=["weather"], timeout=10)
    async def get_weather(self, city: str, units: Literal["c", "f"] = "c") -> str:
        """Current weather in a city."""
        return f"{city} {units}"

    @tool
    def where(self, place: Place, days: Annotated[int, Field(ge=1, description="how many")] = 1) -> str:
        "Where it is."
        return f"{place.city} {place.country} {days} {threading.current_thread() is threading.main_thread()}"

    @tool(name="mine", after=["where"])
    async def of_turn(self, turn: Turn, colour: Colour = Colour.RED, pair: Pair | None = None) -> Any:
        return turn, colour, pair

    def not_a_tool(self) -> None: ...


class Child(Weather):
    @tool
    async def get_weather(self, city: str, units: Literal["c", "f"] = "f") -> str:
        """Better weather."""
        return f"better {city} {units}"


def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


def test_schemas_come_from_the_type_hints() -> None:
    weather, where, mine = tools_of(Weather())
    assert (weather.name, weather.description, weather.tags, weather.timeout) == (
        "get_weather", "Current weather in a city.", ("weather",), 10,
    )  # fmt: skip
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "units": {"type": "string", "enum": ["c", "f"], "default": "c"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert where.parameters["properties"]["days"] == {
        "default": 1, "description": "how many", "minimum": 1, "type": "integer",
    }  # fmt: skip
    assert where.parameters["$defs"]["Place"]["properties"]["country"] == {"default": "NL", "type": "string"}
    assert (mine.name, mine.after, "turn" in mine.parameters["properties"]) == ("mine", ("where",), False)
    assert as_tool(add).parameters["required"] == ["a"]


async def test_calls_check_their_arguments() -> None:
    weather, where, mine = tools_of(Weather())
    assert await weather.call({"city": "Delft"}, NO_TURN) == "Delft c"
    assert await where.call({"place": {"city": "Delft"}, "days": "3"}, NO_TURN) == "Delft NL 3 False"
    turn, colour, pair = await mine.call({"pair": {"a": 1, "b": 2}}, NO_TURN)
    assert (turn, colour, pair) == (NO_TURN, Colour.RED, Pair(1, 2))
    for arguments, complaint in (
        ({}, "city: Field required"),
        ({"city": 5}, "city: Input should be a valid string"),
        ({"city": "Delft", "units": "k"}, "units: Input should be 'c' or 'f'"),
        ({"city": "Delft", "unit": "c"}, "unit: Extra inputs are not permitted"),
    ):
        with pytest.raises(ToolError, match=complaint):
            await weather.call(arguments, NO_TURN)


def test_a_subclass_replaces_a_tool_in_its_place() -> None:
    tools = tools_of(Child())
    assert [item.name for item in tools] == ["get_weather", "where", "mine"]
    assert tools[0].description == "Better weather."


def test_what_can_not_be_a_tool_is_said_plainly() -> None:
    def many(*things: str) -> None: ...
    def hidden(amount: Decimal) -> None: ...
    def strange(thing: threading.Thread) -> None: ...

    for function, complaint in (
        (many, "parameter \\*things"), (hidden, "'Decimal' is not defined"), (strange, "no JSON schema"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=complaint):
            as_tool(function)
    with pytest.raises(UserError, match="not a function"):
        load_tools(["json:__doc__"])


async def test_tools_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sums_for_test.py").write_text("def add(a: int, b: int = 2) -> int:\n    'Adds.'\n    return a + b\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = load_tools(["sums_for_test:add"])
    assert (found.name, found.description) == ("add", "Adds.")
    assert await found.call({"a": 1}, NO_TURN) == 3
    with pytest.raises(UserError, match="has no 'ad'") as caught:
        load_tools(["sums_for_test:ad"])
    assert caught.value.hint == "did you mean 'add'?"


async def test_what_an_agent_gives_back_becomes_an_answer() -> None:
    class Said(Agent):
        async def run(self, turn: Turn) -> Any:
            return self.config["gives"]

    for gives, wanted in (
        ("text", Answer("text")),
        (None, Answer("")),
        (7, Answer("7")),
        ({"n": 1}, Answer("", data={"n": 1})),
        (Answer("as is"), Answer("as is")),
    ):
        assert await answer_of(Said(gives=gives), NO_TURN) == wanted


def test_an_agent_is_described_by_its_docstring_and_set_up_by_config() -> None:
    assert description_of(Weather()) == "Answers questions about the weather."
    assert description_of(Agent()) == ""
    agent = Weather(name="Other", description="Says so", city="Delft")
    assert (agent.name, description_of(agent), agent.config["city"]) == ("Other", "Says so", "Delft")
    with pytest.raises(TeamwrightError, match="not been started"):
        _ = agent.backend
