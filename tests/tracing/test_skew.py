from __future__ import annotations

from typing import Any

from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.skew import correct
from teamwright.tracing.reading.view import trace_show
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Clock, Spans
from teamwright.tracing.tracer import Tracer


def span(
    id: str, parent: str | None, kind: str, agent: str, start: int, end: int | None, **more: Any
) -> dict[str, Any]:
    return {
        "span_id": id, "parent_id": parent, "kind": kind, "agent": agent, "start_ns": start, "end_ns": end,
        "status": "ok", "events": [{"name": "e", "at_ns": start + 1, "attributes": {}}], **more,
    }  # fmt: skip


def trio(shift: int) -> list[dict[str, Any]]:
    """A call, who is called, and a tool there; the callee's clock differs by `shift`."""
    return [
        span("tool", "callee", "INTERNAL", "b", 1200 + shift, 1300 + shift),
        span("call", None, "CLIENT", "a", 1000, 1500),
        span("callee", "call", "SERVER", "b", 1100 + shift, 1400 + shift),
    ]


def test_one_clock_is_left_alone() -> None:
    spans = trio(0)
    correct(spans)
    assert spans == trio(0)


def test_an_effect_before_its_cause_is_moved_with_all_below_it() -> None:
    for shift in (-5000, 5000, -150):
        spans = trio(shift)
        correct(spans)
        tool, call, callee = spans
        assert (callee["start_ns"], callee["end_ns"], callee["skew_ns"]) == (1100, 1400, -shift)
        assert (tool["start_ns"], tool["end_ns"], tool["events"][0]["at_ns"]) == (1200, 1300, 1201)
        assert "skew_ns" not in call and call["start_ns"] == 1000


def test_a_callee_that_outlives_its_caller_is_not_touched() -> None:
    spans = [span("call", None, "CLIENT", "a", 1000, 1500), span("callee", "call", "SERVER", "b", 1400, 9000)]
    correct(spans)
    assert spans[1]["end_ns"] == 9000
    late = [span("call", None, "CLIENT", "a", 0, 10, status="error"), span("callee", "call", "SERVER", "b", 20, 30)]
    correct(late)
    assert late[1]["start_ns"] == 20  # its caller gave up: it may well have begun then


def test_what_still_runs_begins_with_its_call() -> None:
    spans = [span("call", None, "CLIENT", "a", 1000, None), span("callee", "call", "SERVER", "b", 10, None)]
    correct(spans)
    assert (spans[1]["start_ns"], spans[1]["end_ns"]) == (1000, None)


def test_what_is_stored_is_not_changed(store: SpanStore) -> None:
    spans, here = Spans(), Clock()
    elsewhere = Clock()
    elsewhere.now = here.now - 10**9
    caller, callee = (
        Tracer(name, "team", "1", spans, strict=True, now=clock) for name, clock in (("a", here), ("b", elsewhere))
    )
    with (
        caller.query("team", text="x") as root,
        caller.peer_call(target="b", message="x") as call,
        callee.agent(message="x", parent=call),
    ):
        pass
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        found = reader.show(root.trace_id)
        shown = {item["agent"]: item for item in trace_show(found)["spans"] if item["kind"] == "SERVER"}
        stored = {row["agent"]: row["start"] for row, _ in found.spans if row["kind"] == 2}
    assert stored["b"] < here.now - 10**8 < shown["b"]["start_ns"] and shown["b"]["skew_ns"] > 0
