"""What stands around the tree of a trace, and what tracing says of itself."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from teamwright.tracing import vocabulary as v
from teamwright.tracing.lanes import cells_of, errors
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer


def test_lanes_show_what_an_agent_did_in_each_part_of_the_time() -> None:
    def span(operation: str, start: int, end: int | None, **more: Any) -> dict[str, Any]:
        attributes = {v.OPERATION: operation, **more.pop("attributes", {})}
        return {"start_ns": start, "end_ns": end, "kind": "INTERNAL", "attributes": attributes, **more}

    spans = [
        span(v.OP_QUERY, 0, 100),
        span(v.OP_AGENT, 10, 90, kind="SERVER"),
        span(v.OP_MODEL, 10, 30),
        span(v.OP_TOOL, 30, 40),
        span(v.OP_TOOL, 40, 60, attributes={v.TOOL_SOURCE: "peer"}),
        span(v.OP_AGENT, 41, 59, kind="CLIENT"),
        span(v.OP_MODEL, 80, None),
    ]
    assert cells_of(spans, 0, 100, 10) == [
        None, "model", "model", "tools", "calls", "calls", "agents", "agents", "model", "model",
    ]  # fmt: skip
    assert cells_of(spans, 0, 100, 5) == ["model", "model", "calls", "agents", "model"]


def test_errors_are_told_where_they_began() -> None:
    def span(id: str, parent: str | None, status: str, end: int) -> dict[str, Any]:
        return {"span_id": id, "parent_id": parent, "status": status, "end_ns": end, "agent": "lead", "name": id,
                "message": f"why {id}", "attributes": {v.ERROR_TYPE: "timeout"}}  # fmt: skip

    spans = [span("root", None, "error", 9), span("late", "root", "error", 8), span("up", "root", "error", 5),
             span("early", "up", "lost", 4), span("fine", "root", "ok", 3)]  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(*errors({"spans": spans}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "went wrong: 2" in text and "why up" not in text and "why root" not in text
    assert text.index("timeout: why early") < text.index("timeout: why late")
    assert list(errors({"spans": spans[-1:]})) == []


def test_what_tracing_itself_took_is_told_by_the_topmost_span(tracer: Tracer, spans: Spans) -> None:
    with tracer.agent(message="x"):
        for _ in range(20):
            with tracer.tool_call(name="t"):
                pass
    with tracer.agent(message="y"):
        pass
    first, second = [attributes(span) for span in spans.all() if span.name == "invoke_agent lead"]
    assert 20 < first[v.TRACING_US] < 1_000_000 and second[v.TRACING_US] < first[v.TRACING_US]
    assert not [span for span in spans.all() if span.name == "execute_tool t" and v.TRACING_US in attributes(span)]
    assert tracer.processor._spent == {}
