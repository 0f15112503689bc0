from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from teamwright.backends import loop
from teamwright.backends.api import Limits, Tool, Turn, Usage
from teamwright.backends.loop import Asked, Entry, Reply, Results, Said, ToolCall
from teamwright.errors import LimitReached, ToolError


def a_tool(name: str, call: Any, **more: Any) -> Tool:
    async def run(arguments: Mapping[str, Any], turn: Turn) -> Any:
        return await call(**arguments)

    return Tool(name=name, description=name, parameters={"type": "object"}, call=run, **more)


def script(*replies: Reply) -> tuple[Any, list[list[Entry]]]:
    """A model that says these things, and what it was shown each time."""
    shown: list[list[Entry]] = []

    async def step(entries: Sequence[Entry]) -> Reply:
        shown.append(list(entries))
        return replies[len(shown) - 1]

    return step, shown


def calls(*names: str, **arguments: Any) -> Reply:
    made = tuple(ToolCall(f"c{number}", name, arguments) for number, name in enumerate(names))
    return Reply(calls=made, usage=Usage(input_tokens=10, output_tokens=2))


async def test_calls_run_at_once_and_their_results_go_back_in_order(fake_turn: Any, spans: Any) -> None:
    together = asyncio.Barrier(3)

    async def slow(n: int = 1) -> int:
        async with asyncio.timeout(1), together:
            return n

    step, shown = script(calls("slow", "slow", "slow", n=7), Reply("done", usage=Usage(input_tokens=5)))
    turn = fake_turn("go", tools=[a_tool("slow", slow)])
    answer = await loop.run(turn, step)
    assert answer.text == "done"
    first, asked, results = shown[1]
    assert (first, isinstance(asked, Asked)) == (Said("user", "go"), True)
    assert isinstance(results, Results)
    assert [(result.call.id, result.text) for result in results.results] == [("c0", "7"), ("c1", "7"), ("c2", "7")]
    assert turn.usage == Usage(input_tokens=15, output_tokens=2, model_calls=2, tool_calls=3)
    assert [name for name, _, _ in spans()] == ["execute_tool slow"] * 3


async def test_whatever_goes_wrong_in_a_tool_is_a_result(fake_turn: Any, spans: Any) -> None:
    async def breaks() -> None:
        raise KeyError("lost")

    async def sleeps() -> None:
        await asyncio.sleep(5)

    async def complains() -> None:
        raise ToolError("wrong arguments: x")

    async def times_out_itself() -> None:
        raise TimeoutError("its own")

    tools = [
        a_tool("breaks", breaks),
        a_tool("sleeps", sleeps, timeout=0.01),
        a_tool("complains", complains),
        a_tool("own", times_out_itself),
    ]
    step, shown = script(calls("breaks", "sleeps", "complains", "own", "nobody"), Reply("survived"))
    assert (await loop.run(fake_turn("go", tools=tools), step)).text == "survived"
    results = shown[1][-1]
    assert isinstance(results, Results)
    assert [(result.failed, result.text) for result in results.results] == [
        (True, "error: KeyError: 'lost'"),
        (True, "error: sleeps took longer than 0.01 s"),
        (True, "error: wrong arguments: x"),
        (True, "error: TimeoutError: its own"),
        (True, "error: there is no tool 'nobody'; there are breaks, sleeps, complains, own"),
    ]
    kinds = {name.split()[1]: values["error.type"] for name, values, _ in spans()}
    assert kinds == {
        "breaks": "KeyError", "sleeps": "timeout", "complains": "ToolError", "own": "TimeoutError",
        "nobody": "unknown_tool",
    }  # fmt: skip
    assert all(span.status.code == 2 and values["gen_ai.tool.call.result"] for _, values, span in spans())


async def test_limits_end_the_turn(fake_turn: Any) -> None:
    async def ping() -> str:
        return "pong"

    tools = [a_tool("ping", ping)]
    step, shown = script(*[calls("ping")] * 5)
    with pytest.raises(LimitReached) as caught:
        await loop.run(fake_turn("go", tools=tools, limits=Limits(turns=3)), step)
    assert (caught.value.limit, len(shown)) == ("turns", 3)
    step, shown = script(calls("ping"), calls("ping", "ping"))
    turn = fake_turn("go", tools=tools, limits=Limits(tool_calls=2))
    with pytest.raises(LimitReached) as caught:
        await loop.run(turn, step)
    assert (caught.value.limit, turn.usage.tool_calls) == ("tool_calls", 1)


async def test_cancelling_passes_through(fake_turn: Any, spans: Any) -> None:
    async def sleeps() -> None:
        await asyncio.sleep(5)

    step, _ = script(calls("sleeps", "sleeps"))
    work = asyncio.create_task(loop.run(fake_turn("go", tools=[a_tool("sleeps", sleeps)]), step))
    await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [values["error.type"] for _, values, _ in spans()] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (None, "(no result)"),
        (7, "7"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (b"bytes", "bytes"),
        (b"\x00\xff", "(2 bytes)"),
        (object, "<class 'object'>"),
    ],
)
def test_results_as_text(value: Any, text: str) -> None:
    assert loop.as_text(value).strip('"') == text.strip('"')


def test_long_results_are_cut() -> None:
    text = loop.as_text("x" * 10_000_000)
    assert len(text) < 201_000
    assert text.endswith("(cut: 10,000,000 characters in all)")


def test_a_conversation_as_a_span_holds_it() -> None:
    call = ToolCall("c1", "add", {"a": 1})
    entries: list[Entry] = [Said("agent", "hi"), Asked((call,)), Results((loop.ToolResult(call, "2"),))]
    made = loop.to_messages(entries)
    assert [message["role"] for message in made] == ["assistant", "assistant", "tool"]
    assert made[1]["parts"] == [{"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}]
    assert made[2]["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "2"}]
    assert json.dumps(made)
