"""What other tools read from the engine: Jaeger's API, Prometheus' page."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import quote

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
    wrong = await inside.http.get("/api/traces?service=lead&limit=many", headers=inside.operator)
    assert wrong.status_code == 400 and wrong.json()["errors"][0]["msg"] == "'many' is not a whole number"
    page = await inside.http.get("/metrics", headers=inside.operator)
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    counted = 'gen_ai_execute_tool_duration_seconds_count{teamwright_job="team",teamwright_agent="lead",'
    assert counted + 'gen_ai_tool_name="t"} 1' in page.text


async def test_what_jaegers_ui_and_grafana_ask_for(inside: InProcess) -> None:
    """The requests are those that Jaeger's UI (search form, trace page, system architecture) and Grafana make."""
    spans = Spans()
    lead, writer = (Tracer(name, "team", "1", spans, strict=True) for name in ("lead", "writer"))
    for fails in (False, True):
        with lead.query("team", text="x") as root, lead.agent(message="x"):
            with lead.peer_call(target="Writer", target_id="writer") as call, writer.agent(parent=call, message="x"):
                pass
            with lead.tool_call(name="t") as tool:
                tool.set({"shop": 7, "half": 0.5, "sure": True})
                if fails:
                    tool.fail(ValueError("no"))
    await asyncio.wrap_future(inside.engine.spans.local.store.ingest(spans.body))

    async def data(path: str) -> list[Any]:
        answer = (await inside.http.get(path, headers=inside.operator)).json()
        assert answer["errors"] is None and answer["total"] == len(answer["data"])
        found: list[Any] = answer["data"]
        return found

    now = time.time_ns() // 1000
    form = f"/api/traces?end={now}&limit=20&lookback=1h&maxDuration&minDuration&service=lead&start={now - 3600 * 10**6}"
    assert len(await data(form)) == 2
    for tags, count in (
        ({"error": "true"}, 1),
        ({"shop": "7", "sure": "true", "half": "0.5"}, 2),
        ({"shop": "7", "service.namespace": "team"}, 2),
        ({"shop": "8"}, 0),
        ({"span.kind": "client", "shop": "7"}, 0),
    ):
        assert len(await data(form + f"&tags={quote(json.dumps(tags))}")) == count, tags
    assert len(await data(form + "&tag=error:true&operation=execute_tool%20t")) == 1
    assert len(await data(form + "&tag=error:true&operation=invoke_agent%20lead")) == 0
    assert await data(form.replace("maxDuration&", "maxDuration=1us&")) == []
    assert {"name": "execute_tool t", "spanKind": ""} in await data("/api/operations?service=lead")
    assert await data(f"/api/dependencies?endTs={now // 1000 + 1000}&lookback=604800000") == [
        {"parent": "lead", "child": "writer", "callCount": 2}
    ]
    assert await data("/api/dependencies?endTs=1000&lookback=1000") == []

    (trace,) = await data(f"/api/traces?traceID={root.trace_id}")
    assert (await data(f"/api/traces/{root.trace_id}?prettyPrint=true")) == [trace]
    ids = {span["spanID"] for span in trace["spans"]}
    kinds = {"string": str, "bool": bool, "int64": int, "float64": float}
    for span in trace["spans"]:
        assert span["traceID"] == trace["traceID"] == root.trace_id and span["processID"] in trace["processes"]
        assert [ref["refType"] for ref in span["references"]] == ["CHILD_OF"] * (span["spanID"] != root.span_id)
        assert all(ref["spanID"] in ids and ref["traceID"] == root.trace_id for ref in span["references"])
        assert isinstance(span["startTime"], int) and isinstance(span["duration"], int) and span["duration"] >= 1
        for tag in [*span["tags"], *(field for log in span["logs"] for field in log["fields"])]:
            assert type(tag["value"]) is kinds[tag["type"]], tag
    (failed,) = [span for span in trace["spans"] if span["operationName"] == "execute_tool t"]
    assert {"key": "error", "type": "bool", "value": True} in failed["tags"]
    assert {"key": "shop", "type": "int64", "value": 7} in failed["tags"]
    assert failed["logs"][0]["fields"][0] == {"key": "event", "type": "string", "value": "exception"}
    assert {one["serviceName"] for one in trace["processes"].values()} == {"lead", "writer"}
