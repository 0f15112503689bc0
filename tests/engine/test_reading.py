"""What other tools read from the engine: Jaeger's API, Prometheus' page."""

from __future__ import annotations

import asyncio

from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

from .conftest import InProcess


async def test_jaeger_and_metrics(inside: InProcess) -> None:
    spans = Spans()
    tracer = Tracer("lead", "team", "1", spans, strict=True)
    with tracer.query("team", text="x") as root, tracer.tool_call(name="t"):
        pass
    await asyncio.wrap_future(inside.engine.spans.local.store.ingest(spans.body))
    for path in ("/api/services", "/api/traces", "/metrics"):
        assert (await inside.http.get(path)).status_code == 401
    assert (await inside.http.get("/api/services", headers=inside.operator)).json()["data"] == ["engine", "lead"]
    names = (await inside.http.get("/api/services/lead/operations", headers=inside.operator)).json()["data"]
    assert names == ["execute_tool t", "invoke_workflow team"]
    for query, count in (("service=lead", 1), ("service=lead&minDuration=10s", 0), ("service=nobody", 0)):
        found = (await inside.http.get(f"/api/traces?{query}&limit=20", headers=inside.operator)).json()["data"]
        assert len(found) == count, query
    one = await inside.http.get(f"/api/traces/{root.trace_id}", headers=inside.operator)
    assert [span["operationName"] for span in one.json()["data"][0]["spans"]] == names[::-1]
    assert (await inside.http.get(f"/api/traces/{'a' * 32}", headers=inside.operator)).status_code == 404
    page = await inside.http.get("/metrics", headers=inside.operator)
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'teamwright_tool_duration_seconds_count{job="team",agent="lead",gen_ai_tool_name="t"} 1' in page.text
