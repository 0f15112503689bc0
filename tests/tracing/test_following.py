from __future__ import annotations

from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.following import Follower
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


def test_each_end_is_told_once(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    with tracer.query("team", text="before"):
        pass
    store.ingest(spans.body).result()
    spans.payloads.clear()
    follower, other = Follower(store.path), Follower(store.path, Filter(job="another"))
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


def test_a_span_is_told_when_it_is_known_for_whom_it_is(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    followers = {
        "ann": Follower(store.path, Filter(user="ann", labels={"team": "a"}, text="WHALE")),
        "bob": Follower(store.path, Filter(user="bob")),
        "tools": Follower(store.path, Filter(agent="lead", status="error", session="s1")),
        "slow": Follower(store.path, Filter(min_ns=3600 * 10**9)),
    }
    with tracer.query("team", text="a whale?", user="ann", labels={"team": "a"}, session="s1"):
        with tracer.tool_call(name="t") as tool:
            tool.fail("no")
        store.ingest(spans.body).result()
        assert [follower.ended() for follower in followers.values()] == [[], [], [], []]
        spans.payloads.clear()
    store.ingest(spans.body).result()
    told = {name: [span["name"] for span in follower.ended()] for name, follower in followers.items()}
    assert told == {
        "ann": ["execute_tool t", "invoke_workflow team"], "bob": [], "tools": ["execute_tool t"], "slow": [],
    }  # fmt: skip
    assert followers["ann"].ended() == []
