from __future__ import annotations

import random
from typing import Any

import pytest

from teamwright.tracing import vocabulary as v
from teamwright.tracing.reading.analysis import costs, critical_path, difference, time_ns
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


def span(id_: str, parent: str | None, operation: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    kind, agent = more.pop("kind", "INTERNAL"), more.pop("agent", "a")
    return {
        "span_id": id_, "parent_id": parent, "name": f"{operation} {id_}", "kind": kind, "agent": agent,
        "start_ns": start, "end_ns": end, "status": "ok", "attributes": {v.OPERATION: operation, **more},
    }  # fmt: skip


TRACE = [
    span("root", None, v.OP_QUERY, 0, 100),
    span("agent", "root", v.OP_AGENT, 5, 95, kind="SERVER"),
    span("wait", "agent", v.OP_QUEUED, 5, 10),
    span("think", "agent", v.OP_MODEL, 10, 40),
    span("slow", "agent", v.OP_TOOL, 45, 90),
    span("fast", "agent", v.OP_TOOL, 45, 60),
    span("call", "slow", v.OP_AGENT, 50, 80, kind="CLIENT"),
    span("inner", "call", v.OP_AGENT, 55, 75, kind="SERVER"),
    span("late", "root", v.OP_TOOL, 99, 120),
]


def test_the_time_adds_up_exactly() -> None:
    # From 45 to 60 `fast` runs beside what is below `slow`: tools go first. `late` outlives the root.
    assert time_ns(TRACE) == {"model": 30, "tools": 26, "queue": 5, "calls": 5, "agents": 25, "engine": 9}
    assert sum(time_ns(TRACE).values()) == 100
    assert time_ns([{**TRACE[0], "end_ns": None}]) == {} and time_ns([]) == {}


@pytest.mark.parametrize("seed", range(20))
def test_it_adds_up_whatever_the_shape(seed: int) -> None:
    dice = random.Random(seed)
    made = [span("0", None, v.OP_QUERY, 1000, 2000)]
    for number in range(1, 60):
        start = dice.randrange(900, 2000)
        operation = dice.choice([v.OP_MODEL, v.OP_TOOL, v.OP_QUEUED, v.OP_AGENT, "theirs"])
        made.append(span(str(number), str(dice.randrange(number)), operation, start, start + dice.randrange(1, 400)))
    assert sum(time_ns(made).values()) == 1000


def test_the_critical_path() -> None:
    assert critical_path(TRACE) == ["root", "agent", "wait", "think", "slow", "call", "inner"]


def test_costs() -> None:
    calls = [
        span("1", None, v.OP_MODEL, 0, 1, **{v.INPUT_TOKENS: 10, v.OUTPUT_TOKENS: 1, v.COST_USD: 0.5}),
        span("2", None, v.OP_MODEL, 0, 1, **{v.INPUT_TOKENS: 10, v.OUTPUT_TOKENS: 1, v.COST_USD: 0.25}),
        span("3", None, v.OP_MODEL, 0, 1, agent="b", **{v.INPUT_TOKENS: 5}),
        span("4", None, v.OP_TOOL, 0, 1, agent="b"),
    ]
    one, two = costs(calls, "agent")
    assert (one["agent"], one["cost_usd"], one["input_tokens"], one["model_calls"]) == ("a", 0.75, 20, 2)
    assert (two["agent"], two["cost_usd"], two["tool_calls"]) == ("b", None, 1)


def test_difference(tracer: Tracer, store: SpanStore, spans: Spans) -> None:
    ids = []
    for answer, tools in (("one", 1), ("two", 3)):
        with tracer.query("team", text="x", revision=f"r{tools}") as root:
            for _ in range(tools):
                with tracer.tool_call(name="t"):
                    pass
            root.answer(answer)
        ids.append(root.trace_id)
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        found = difference(trace_show(reader.show(ids[0])), trace_show(reader.show(ids[1])))
    assert found["traces"] == ids and found["changed"]["revision"] == ["r1", "r3"]
    assert "question" not in found["changed"] and "answer" in found["changed"]
    (tool,) = [one for one in found["spans"] if one["name"] == "execute_tool t"]
    assert tool["count"] == [1, 3] and tool["errors"] == [0, 0]
