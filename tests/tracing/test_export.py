from __future__ import annotations

import csv
import io
import json
import time

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData
from rich.console import Console

from teamwright.tracing import vocabulary as v
from teamwright.tracing.metrics.counts import Metrics
from teamwright.tracing.reading import jaeger
from teamwright.tracing.reading.export import COLUMNS, chrome, table
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
from teamwright.tracing.showing.tree import render_trace
from teamwright.tracing.storing.rows import decode
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


def shown(tracer: Tracer, spans: Spans, store: SpanStore) -> dict[str, object]:
    with tracer.query("team", text="Sum, please?") as root, tracer.agent(message="x"):
        with tracer.model_call(model="gpt-4o", provider="openai") as call:
            call.first_token().usage(input_tokens=10, output_tokens=5)
        one, two = tracer.tool_call(name="a"), tracer.tool_call(name="b")  # at the same time
        one.fail("no").end()
        two.end()
        root.link(call)
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        return trace_show(reader.show(None))


def test_chrome(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    events = chrome(shown(tracer, spans, store))["traceEvents"]
    bars = {event["name"]: event for event in events if event["ph"] == "X"}
    assert len(bars) == 5 and all(event["dur"] > 0 for event in bars.values())
    assert bars["execute_tool a"]["tid"] != bars["execute_tool b"]["tid"]
    assert [event["name"] for event in events if event["ph"] == "i"] == ["first token"]
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {"lead"}


def test_csv(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    rows = list(csv.DictReader(io.StringIO(table(shown(tracer, spans, store)))))
    assert list(rows[0]) == list(COLUMNS) and len(rows) == 5
    (call,) = [row for row in rows if row["name"] == "chat gpt-4o"]
    assert call["model"] == "gpt-4o" and call["input_tokens"] == "10" and float(call["cost_usd"]) > 0


def test_jaeger(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    show = shown(tracer, spans, store)
    made = jaeger.trace(show)
    assert made["traceID"] == show["trace_id"] and made["warnings"] is None
    assert [process["serviceName"] for process in made["processes"].values()] == ["lead"]
    found = {span["operationName"]: span for span in made["spans"]}
    failed = {tag["key"]: tag["value"] for tag in found["execute_tool a"]["tags"]}
    assert failed["error"] is True and failed["otel.status_description"] == "no" and failed["span.kind"] == "internal"
    parent = found["execute_tool a"]["references"][0]
    assert parent == {"refType": "CHILD_OF", "traceID": show["trace_id"],
                      "spanID": found["invoke_agent lead"]["spanID"]}  # fmt: skip
    assert [one["refType"] for one in found["invoke_workflow team"]["references"]] == ["FOLLOWS_FROM"]
    assert found["chat gpt-4o"]["logs"][0]["fields"][0]["value"] == "first token"


def test_services_operations_and_filters(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    shown(tracer, spans, store)
    with SpanReader(store.path) as reader:
        assert reader.services() == ["engine", "lead"]
        assert "chat gpt-4o" in reader.operations("lead") and reader.operations("nobody") == []

        def count(**which: object) -> int:
            return len(reader.list_traces(Filter(**which)))  # type: ignore[arg-type]

        assert count(text="SUM,") == 1 and count(text="nothing") == 0
        assert count(operation="execute_tool a") == 1 and count(operation="execute_tool c") == 0
        assert count(min_ns=1) == 1 and count(min_ns=10**12) == 0
        assert count(until_ns=1) == 0


def _any(value: object) -> AnyValue:
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=k, value=_any(x)) for k, x in value.items()]))
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_any(item) for item in value]))
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    assert isinstance(value, float)
    return AnyValue(double_value=value)


def test_spans_of_others_are_read_whatever_they_hold(store: SpanStore) -> None:
    """Messages in structured form, as the conventions prefer; figures that JSON has no words for; wrong types."""
    said = [{"role": "user", "parts": [{"type": "text", "content": "Sum?"}]}]
    given = {
        v.OP_QUERY: {v.INPUT_MESSAGES: said, v.OUTPUT_MESSAGES: 7, "odd": float("nan"), v.COST_USD: float("inf")},
        v.OP_TOOL: {v.TOOL_ARGUMENTS: {"a": 1}, v.TOOL_RESULT: ["x", float("-inf")], v.AGENT_NAME: 4},
        v.OP_AGENT: {v.CALL: "a->b", v.INPUT_MESSAGES: {"k": 1}, v.OUTPUT_MESSAGES: float("nan")},
        v.OP_MODEL: {v.OUTPUT_MESSAGES: said, v.ATTEMPT: "x", v.INPUT_TOKENS: "many", v.LABEL_PREFIX + "k": 1},
    }
    spans = [
        Span(
            trace_id=b"t" * 16,
            span_id=bytes([number] * 8),
            parent_span_id=b"" if number == 1 else b"\x01" * 8,
            name=operation,
            start_time_unix_nano=time.time_ns(),
            end_time_unix_nano=time.time_ns() + 1000,
            attributes=[KeyValue(key=k, value=_any(x)) for k, x in {v.OPERATION: operation, **attributes}.items()],
        )
        for number, (operation, attributes) in enumerate(given.items(), start=1)
    ]
    body = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])]).SerializeToString()
    counts = Metrics()
    counts.take(decode(body).rows)
    assert store.ingest(body).result().spans == 4
    counted = {name for name, _ in counts.histograms}
    assert {"gen_ai.client.operation.duration", "gen_ai.execute_tool.duration"} <= counted
    assert "gen_ai.client.token.usage" not in counted  # "many" is no number
    with SpanReader(store.path) as reader:
        show = trace_show(reader.show(None))
    assert show["summary"]["query"] == "Sum?"
    for made in (show, jaeger.trace(show), chrome(show)):
        json.dumps(made, allow_nan=False)
    assert len(table(show).splitlines()) == 5
    out = io.StringIO()
    screen = Console(file=out, width=120)
    screen.print(render_trace(show))
    drawn = out.getvalue()
    assert "Q: Sum?" in drawn and '{"a":1} -> ["x","-Infinity"]' in drawn
