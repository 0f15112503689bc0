"""The contract of every backend: tools that go wrong, and what they may answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.backends.contract.conftest import echo
from tests.standins.script import Call, Reply

if TYPE_CHECKING:
    from tests.backends.contract.conftest import World

needs = pytest.mark.needs


@needs("script")
def test_a_tool_that_raises(world: World) -> None:
    world.script(Reply(calls=[world.call("explode", {"what": "it"})]), echo("sorry: "))
    said = world.ask("go")
    assert said.state == "completed" and said.text.startswith("sorry: ")
    assert "it exploded" in said.text
    (tool,) = world.tools(said.trace_id)
    assert (tool["status"], tool.attributes["error.type"]) == (2, "RuntimeError")
    assert "it exploded" in tool.attributes["gen_ai.tool.call.result"]


@needs("script")
def test_arguments_that_are_no_json(world: World) -> None:
    world.script(Reply(calls=[world.call("get_weather", '{"city": "Ro')]), echo("again: "))
    said = world.ask("go")
    assert said.state == "completed" and said.text.startswith("again: ")
    assert "21 degrees" not in said.text
    (tool,) = world.tools(said.trace_id)
    assert (tool["status"], said.usage["tool_calls"]) == (2, 1)
    if world.adapter.name != "gemini":  # there arguments are an object, so the stand-in sends what was meant in one
        assert tool.attributes["error.type"] == "malformed_arguments"
        assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == '{"city": "Ro'


@needs("script")
def test_arguments_that_do_not_fit(world: World) -> None:
    world.script(Reply(calls=[world.call("get_weather", {"town": "Rome"})]), echo("again: "))
    said = world.ask("go")
    assert said.state == "completed"
    assert ("city" in said.text or "town" in said.text) and "21 degrees" not in said.text
    (tool,) = world.tools(said.trace_id)
    assert tool["status"] == 2


@needs("script")
def test_a_tool_that_is_not_there(world: World) -> None:
    world.script(Reply(calls=[Call("no_such_tool", {"x": 1})]), echo("again: "))
    said = world.ask("go")
    assert said.state == "completed" and said.text.startswith("again: ")
    assert "no_such_tool" in said.text
    (tool,) = world.tools(said.trace_id)
    assert (tool["name"], tool["status"]) == ("execute_tool no_such_tool", 2)
    assert (tool.attributes["error.type"], said.usage["tool_calls"]) == ("unknown_tool", 1)
    *_, asked, shown = json.loads(world.chats(said.trace_id)[1].attributes["gen_ai.input.messages"])
    assert (asked["role"], shown["role"]) == ("assistant", "tool")


@needs("script")
def test_a_tool_over_its_time(world: World) -> None:
    world.script(Reply(calls=[world.call("dawdle")]), echo("well: "))
    said = world.ask("go")
    assert said.state == "completed" and "dawdle took longer than 0.2 s" in said.text
    (tool,) = world.tools(said.trace_id)
    assert tool.attributes["error.type"] == "timeout"
    assert 0.19e9 <= tool["end_ns"] - tool["start_ns"] < 5e9


@needs("script")
def test_what_is_no_text(world: World) -> None:
    kinds = ("bytes", "object", "much", "nothing")
    calls = [world.call("give", {"what": kind}) for kind in kinds]
    world.script(Reply(calls=calls), Reply("ok"))
    said = world.ask("go")
    assert (said.state, said.text) == ("completed", "ok")
    assert len(world.tools(said.trace_id)) == 4
    bytes_, object_, much, nothing = world.model.wait(2).results.values()
    assert (bytes_, nothing) == ("(2 bytes)", "(no result)")
    assert "object" in object_
    assert len(much) < 250_000 and "10,000,000 characters in all" in much


@needs("script")
def test_one_of_three_fails(world: World) -> None:
    calls = [
        world.call("get_weather", {"city": "Rome"}),
        world.call("explode", {"what": "it"}),
        world.call("get_weather", {"city": "Oslo"}),
    ]
    world.script(Reply(calls=calls), echo())
    said = world.ask("go")
    first, second, third = said.text.split(" | ")
    assert (first, third) == ("21 degrees in Rome", "21 degrees in Oslo")
    assert "it exploded" in second
