from __future__ import annotations

import csv
import io

from teamwright.tracing.reading import jaeger
from teamwright.tracing.reading.export import COLUMNS, chrome, table
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
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
