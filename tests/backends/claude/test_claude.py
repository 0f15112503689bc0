"""The claude backend: the real SDK and its CLI against the Messages API on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.backends.claude.conftest import MODEL, Opened, add, by_name
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Tokens

pytest.importorskip("claude_agent_sdk")


async def test_a_tool_and_an_answer(api: Messages, opened: Opened, fake_turn: Any, spans: Any, tracer: Any) -> None:
    api.say(
        Reply("I add.", calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})], thinking="two sums"),
        Reply("3 and 7", tokens=Tokens(30, 8, cached=10), delay=0.1),
    )
    turn = fake_turn("sums please", tools=[add(0.2)])
    async with opened() as backend:
        with tracer.span("agent") as above:
            answer = await backend.run(turn)
    assert answer.text == "3 and 7"
    assert "".join(turn.streamed) == "I add.3 and 7"
    first, second = api.wait(1), api.wait(2)
    assert (first.user, first.tools) == ("sums please", ["add", "ask_user"])
    assert "You add." in first.system
    assert second.results == {"toolu_1_1": "3", "toolu_1_2": "7"}
    found = by_name(spans)
    assert {name: len(made) for name, made in found.items()} == {f"chat {MODEL}": 2, "execute_tool add": 2, "agent": 1}
    for name, made in found.items():
        for _, span in made:
            assert name == "agent" or span.parent_span_id.hex() == above.span_id
    (asked, _), (said, saying) = found[f"chat {MODEL}"]
    (reply,) = json.loads(asked["gen_ai.output.messages"])
    assert [part["type"] for part in reply["parts"]] == ["reasoning", "text", "tool_call", "tool_call"]
    assert asked["gen_ai.system_instructions"] == '[{"type":"text","content":"You add."}]'
    roles = [message["role"] for message in json.loads(said["gen_ai.input.messages"])]
    assert roles == ["user", "assistant", "tool", "tool"]
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.cache_read.input_tokens"]) == (30, 10)
    assert said["gen_ai.response.finish_reasons"].values[0].string_value == "stop"
    assert said["gen_ai.response.time_to_first_chunk"] >= 0.1
    assert said["teamwright.cost_usd"] > 0
    tools = [span for _, span in found["execute_tool add"]]
    assert max(tool.start_time_unix_nano for tool in tools) < min(tool.end_time_unix_nano for tool in tools)
    assert saying.start_time_unix_nano >= max(tool.end_time_unix_nano for tool in tools)
    assert turn.usage.model_calls == 2 and turn.usage.tool_calls == 2
    assert turn.usage.input_tokens == 50


async def test_a_conversation_goes_on(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(Reply("one"), Reply("two"), Reply("three"))
    async with opened() as backend:
        assert (await backend.run(fake_turn("first"))).text == "one"
        assert (await backend.run(fake_turn("second"))).text == "two"
        assert list(api.wait(2).said) == ["first", "one", "second"]
        await backend.run(fake_turn("other", conversation="another"))
        assert list(api.wait(3).said) == ["other"]
