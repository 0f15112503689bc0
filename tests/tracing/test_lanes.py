"""What stands around the tree of a trace, and what tracing says of itself."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from teamwright.tracing import vocabulary as v
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
from teamwright.tracing.showing.lanes import cells_of, errors
from teamwright.tracing.showing.tree import render_trace
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Clock, Spans, attributes
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


def whole(*more: dict[str, Any]) -> dict[str, Any]:
    """A trace as view.py shows it."""
    clock = Clock()
    spans = Spans()
    tracer = Tracer("lead", "team", "1", spans, strict=True, now=clock)
    with tracer.query("team", text="What?\x1b[2J") as root, tracer.agent(message="What?"):
        with tracer.tool_call(name="look", arguments={"wide": "字" * 60}) as tool:
            tool.result("so")
        with tracer.tool_call(name="say") as tool:
            tool.result("a\x1b]0;title\x07b")
        root.answer("so")
    with tempfile.TemporaryDirectory() as folder:
        store = SpanStore(Path(folder) / "spans.db")
        store.ingest(spans.body).result()
        with SpanReader(store.path) as reader:
            show = trace_show(reader.show(None))
        store.close()
    agent = next(span for span in show["spans"] if span["kind"] == "SERVER")
    show["spans"] += [{**agent, "parent_id": agent["span_id"], **one} for one in more]
    return show


def page(show: dict[str, Any], width: int, **options: Any) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render_trace(show, width=width, **options))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("full", [False, True])
def test_no_line_is_wider_than_the_screen(width: int, full: bool) -> None:
    deep = [{"span_id": f"d{at}", "parent_id": f"d{at - 1}" if at else None, "agent": "x" * 40} for at in range(60)]
    text = page(whole(*deep), width, full=full)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "execute_tool look" in text or width == 40


def test_what_models_say_does_not_reach_the_terminal_as_orders() -> None:
    for full in (False, True):
        text = page(whole(), 120, full=full)
        assert "\x1b" not in text and "\x07" not in text and "]0;title" in text
        assert text.count("字") == (60 if full else text.count("字")) > 0


def test_five_thousand_spans_are_drawn_within_a_second() -> None:
    show = whole(*({"span_id": f"{number:016x}"} for number in range(5000)))
    took = []
    for _ in range(5):  # the best of them: a busy machine slows a single one down
        began = time.process_time()
        text = page(show, 120)
        took.append(time.process_time() - began)
        if took[-1] < 1:
            break
    assert min(took) < 1 and len(text.splitlines()) > 5000


def test_the_tree_tells_what_has_happened_and_where_a_tool_is(tmp_path: Path) -> None:
    store, spans = SpanStore(tmp_path / "spans.db"), Spans()
    tracer = Tracer("lead", "team", "1", spans, strict=True)
    with tracer.query("team", text="q"), tracer.agent(message="q") as agent:
        agent.compacted("auto", before=190_000, after=1_200).rate_limited(retry_after=2, message="slow down")
        agent.taken_up()
        with tracer.model_call(model="m", provider="p", messages="q", attempt=2) as call:
            call.set({v.REASON: "compaction"}).answer("short")
        with tracer.tool_call(name="shout", source="mcp", server="loud") as tool:
            tool.result("A!")
        for number in range(14):
            agent.event(f"step {number}")
    store.ingest(spans.body).result()
    store.close()
    with SpanReader(tmp_path / "spans.db") as reader:
        shown = trace_show(reader.show(None))
    console = Console(width=120, file=io.StringIO())
    console.print(render_trace(shown))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for line in (
        "! compaction: auto, 190,000 -> 1,200 tokens", "! rate limit: slow down, again in 2 s",
        "chat m  compaction, attempt 2", "execute_tool shout  MCP server loud", "! step 9", "! and 4 more events",
    ):  # fmt: skip
        assert line in text, text
    assert "taken up" not in text and "step 10" not in text
