"""Traces as JSON, in the keys that scripts rely on: what `trace list` and `trace show` print."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from teamwright.tracing.otlp_json import plain_value
from teamwright.tracing.reading import analysis, skew
from teamwright.tracing.reading.reader import Trace, status
from teamwright.tracing.storing.rows import ERROR, REAL, STARTED, SYNTHETIC
from teamwright.tracing.vocabulary import ENTRY

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def trace_list(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """{"traces": [...]} of summaries as `SpanReader.list_traces` gives them."""
    return {"traces": [_summary(summary) for summary in summaries]}


def trace_show(trace: Trace) -> dict[str, Any]:
    """One whole trace. `complete` is false while it runs, and when spans of it are missing.

    `duration_ms`, `query`, `cost_usd` … of the list stand in `summary`; `missing` counts what is known to lack;
    `time_ns` adds up to the root's duration.
    """
    spans = [_span(row["state"], row["agent"], span) for row, span in trace.spans]
    skew.correct(spans)
    return {
        "trace_id": trace.trace_id,
        "job": trace.summary["job"],
        "status": status(trace.summary),
        "complete": complete(trace.summary, spans),
        "spans": spans,
        "summary": _summary(trace.summary),
        "missing": _missing(trace.summary, spans),
        "time_ns": analysis.time_ns(spans),
        "critical_path": analysis.critical_path(spans),
        "costs": {"agents": analysis.costs(spans, "agent"), "runs": analysis.costs(spans, "run")},
    }


def complete(summary: Mapping[str, Any], spans: list[dict[str, Any]]) -> bool:
    """Whether the root has ended and no span is known to be missing."""
    return summary["root_state"] == REAL and not any(_missing(summary, spans).values())


def _missing(summary: Mapping[str, Any], spans: list[dict[str, Any]]) -> dict[str, int]:
    """`open`: still run; `lost`: their process died; `dropped`: a full disk; `orphans`: spans without parents."""
    known = {None} | {span["span_id"] for span in spans}
    return {
        "open": summary["open"],
        "lost": summary["synthetic"],
        "dropped": summary["dropped"],
        "orphans": sum(span["parent_id"] not in known and ENTRY not in span["attributes"] for span in spans),
    }


def _summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    agents = summary["agents"]
    started: int = summary["start"]
    end = max(summary["end"], time.time_ns()) if summary["root_state"] == STARTED else summary["end"]
    return {
        "trace_id": summary["trace"].hex(),
        "job": summary["job"],
        "query": summary["query"],
        "status": status(summary),
        "spans": summary["spans"],
        "agents": json.loads(agents) if isinstance(agents, str) else agents,
        "duration_ms": round((end - started) / 1e6, 3) if end else None,
        "cost_usd": cost(summary),
        "errors": summary["errors"],
        "started_at": datetime.fromtimestamp(started / 1e9, UTC).isoformat(timespec="milliseconds"),
        "input_tokens": summary["input_tokens"],
        "output_tokens": summary["output_tokens"],
        "user": summary["user"] or None,
        "session": summary["session"] or None,
        "run_id": summary["run"] or None,
        "labels": json.loads(summary["labels"]),
        "kind": summary["kind"],
        "cost_estimated": bool(summary["estimated"]),
        "dropped": summary["dropped"],
    }


def cost(summary: Mapping[str, Any]) -> float | None:
    """The root's figure; else the sum of the model calls'; None when a price is unknown, or spans are lost."""
    if summary["dropped"] or summary["synthetic"] > (summary["root_state"] == SYNTHETIC):
        return None  # what those used, nobody knows
    if summary["root_cost"] is not None:
        return float(summary["root_cost"])
    return None if summary["unpriced"] else round(summary["cost"], 9)


def _span(state: int, agent: str, span: Span) -> dict[str, Any]:
    return {
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex() or None,
        "name": span.name,
        "kind": _KINDS[span.kind] if span.kind < len(_KINDS) else "UNSPECIFIED",
        "agent": agent or None,
        "start_ns": span.start_time_unix_nano,
        "end_ns": None if state == STARTED else span.end_time_unix_nano,
        "status": _status(state, span.status.code),
        "message": span.status.message or None,
        "attributes": {item.key: plain_value(item.value) for item in span.attributes},
        "events": [
            {
                "name": event.name,
                "at_ns": event.time_unix_nano,
                "attributes": {item.key: plain_value(item.value) for item in event.attributes},
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": {item.key: plain_value(item.value) for item in link.attributes},
            }
            for link in span.links
        ],
    }


def _status(state: int, code: int) -> str:
    """running, lost (its process died), error or ok. OpenTelemetry's `unset` is ok: nothing went wrong."""
    if state == STARTED:
        return "running"
    if state == SYNTHETIC:
        return "lost"
    return "error" if code == ERROR else "ok"
