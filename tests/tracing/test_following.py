from __future__ import annotations

from teamwright.tracing.following import Follower
from teamwright.tracing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


def test_each_end_is_told_once(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    with tracer.query("team", text="before"):
        pass
    store.ingest(spans.body).result()
    spans.payloads.clear()
    follower, other = Follower(store.path), Follower(store.path, "another")
    with tracer.query("team", text="x") as root:
        started = tracer.processor._encoder.encode(root.otel_span, started=True)  # type: ignore[arg-type]
        store.ingest(started, started=True).result()
        with tracer.tool_call(name="t") as tool:
            tool.fail("no")
        store.ingest(spans.body).result()
        (told,) = follower.ended()
        assert (told["name"], told["status"], told["agent"]) == ("execute_tool t", "error", "lead")
        assert follower.ended() == []
    store.ingest(spans.body).result()
    (told,) = follower.ended()
    assert told["name"] == "invoke_workflow team" and told["trace_id"] == root.trace_id and told["duration_ms"] > 0
    assert follower.ended() == [] and other.ended() == []
