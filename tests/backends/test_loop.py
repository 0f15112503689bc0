from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from teamwright.backends import loop, structured
from teamwright.backends.api import Answer, File, Limits, PeerAnswer, Tool, Turn, Usage
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

    async def slow(n: int) -> str:
        async with asyncio.timeout(60), together:
            pass
        for _ in range(10 * (3 - n)):  # the first one asked for is the last one done
            await asyncio.sleep(0)
        done.append(n)
        return f"result of {n}"

    done: list[int] = []
    asked_for = tuple(ToolCall(f"c{n}", "slow", {"n": n}) for n in range(3))
    first_reply = Reply(calls=asked_for, usage=Usage(input_tokens=10, output_tokens=2))
    step, shown = script(first_reply, Reply("done", usage=Usage(input_tokens=5)))
    turn = fake_turn("go", tools=[a_tool("slow", slow)])
    answer = await loop.run(turn, step)
    assert answer.text == "done"
    first, asked, results = shown[1]
    assert (first, isinstance(asked, Asked)) == (Said("user", "go"), True)
    assert isinstance(results, Results)
    assert done == [2, 1, 0]
    expected = [(f"c{n}", f"result of {n}") for n in range(3)]
    assert [(result.call.id, result.text) for result in results.results] == expected
    held = [(found["gen_ai.tool.call.id"], found["gen_ai.tool.call.result"]) for _, found, _ in spans()]
    assert sorted(held) == expected
    assert turn.usage == Usage(input_tokens=15, output_tokens=2, model_calls=2, tool_calls=3)
    assert [name for name, _, _ in spans()] == ["execute_tool slow"] * 3


async def test_whatever_goes_wrong_in_a_tool_is_a_result(fake_turn: Any, spans: Any) -> None:
    async def breaks() -> None:
        raise KeyError("lost")

    async def sleeps() -> None:
        await asyncio.sleep(100)

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
    begun = asyncio.Barrier(3)

    async def sleeps() -> None:
        await begun.wait()
        await asyncio.sleep(100)

    step, _ = script(calls("sleeps", "sleeps"))
    work = asyncio.create_task(loop.run(fake_turn("go", tools=[a_tool("sleeps", sleeps)]), step))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [values["error.type"] for _, values, _ in spans()] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (None, "(no result)"),
        ("", "(no result)"),
        (float("nan"), "NaN"),
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


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}},
    "required": ["city", "degrees"],
}


async def test_an_answer_of_a_fixed_shape(fake_turn: Any) -> None:
    step, shown = script(Reply('Here it is: {"city": "Rome", "degrees": 21} as asked'))
    answer = await loop.run(fake_turn("go"), step, output_schema=SCHEMA)
    assert answer.data == {"city": "Rome", "degrees": 21}
    assert len(shown) == 1


async def test_an_answer_that_does_not_fit_is_sent_back_once(fake_turn: Any) -> None:
    step, shown = script(Reply('```json\n{"city": "Rome"}\n```'), Reply('{"city": "Rome", "degrees": 21}'))
    answer = await loop.run(fake_turn("go"), step, output_schema=SCHEMA)
    assert answer.data == {"city": "Rome", "degrees": 21}
    said, asked = shown[1][-2:]
    assert said == Said("agent", '```json\n{"city": "Rome"}\n```')
    assert isinstance(asked, Said) and "'degrees' is a required property" in asked.text
    step, _ = script(Reply("no"), Reply('{"city": 1, "degrees": 2}'))
    with pytest.raises(structured.Unfit, match="city: 1 is not of type 'string'"):
        await loop.run(fake_turn("go"), step, output_schema=SCHEMA)


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (SCHEMA, None),
        ({"type": "array"}, "must describe an object: type: object"),
        ({"type": "object", "required": 7}, "is not a JSON Schema: 7 is not of type 'array'"),
    ],
)
def test_schemas_are_checked(schema: Mapping[str, Any], fault: str | None) -> None:
    assert structured.schema_fault(schema) == fault


async def test_files_come_in_and_go_out(fake_turn: Any) -> None:
    chart = File("chart.png", "image/png", b"\x89PNG")

    async def draw() -> File:
        return chart

    async def ask() -> PeerAnswer:
        return PeerAnswer("peer", "see there", files=(File("there.txt", "text/plain", uri="https://x/there.txt"),))

    async def both() -> Answer:
        return Answer("", files=(chart,), data={"n": 1})

    step, shown = script(calls("draw", "ask", "both"), Reply("done"))
    turn = fake_turn("go", tools=[a_tool("draw", draw), a_tool("ask", ask), a_tool("both", both)], files=[chart])
    answer = await loop.run(turn, step)
    assert [file.name for file in answer.files] == ["chart.png", "there.txt"]
    assert shown[0] == [Said("user", "go", (chart,))]
    results = shown[1][-1]
    assert isinstance(results, Results)
    assert [result.text for result in results.results] == [
        "(file chart.png, image/png, 4 bytes)",
        "see there\n(file there.txt, text/plain, https://x/there.txt)",
        '{"n":1}\n(file chart.png, image/png, 4 bytes)',
    ]


async def test_too_many_bytes_of_files_stay_here(fake_turn: Any) -> None:
    async def big() -> list[File]:
        return [File(f"{number}", data=b"x" * 9_000_000) for number in range(3)]

    step, _ = script(calls("big"), Reply("done"))
    answer = await loop.run(fake_turn("go", tools=[a_tool("big", big)]), step)
    assert [file.name for file in answer.files] == ["0", "1"]


async def test_a_limit_of_the_whole_query_ends_the_turn_and_the_other_tools(fake_turn: Any, spans: Any) -> None:
    ended = asyncio.Event()

    async def spends() -> None:
        raise LimitReached("cost_usd", "too dear")

    async def sleeps() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.set()

    step, _ = script(calls("sleeps", "spends"))
    with pytest.raises(LimitReached, match="too dear"):
        await loop.run(fake_turn("go", tools=[a_tool("spends", spends), a_tool("sleeps", sleeps)]), step)
    assert ended.is_set()
    assert {name: values["error.type"] for name, values, _ in spans()} == {
        "execute_tool sleeps": "cancelled",
        "execute_tool spends": "budget_exhausted",
    }


async def test_results_that_json_cannot_hold(fake_turn: Any, spans: Any) -> None:
    ring: list[Any] = []
    ring.append(ring)

    async def give() -> Any:
        return {"ring": ring, ("a", "b"): {1, 2}}

    step, shown = script(calls("give"), Reply("done"))
    await loop.run(fake_turn("go", tools=[a_tool("give", give)]), step)
    results = shown[1][-1]
    assert isinstance(results, Results)
    assert "[...]" in results.results[0].text
    assert all(values["gen_ai.tool.call.result"] for _, values, _ in spans())
