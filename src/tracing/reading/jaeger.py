"""Traces in the JSON of Jaeger's query API, for its UI and Grafana's data source. Made from view.py's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teamwright.tracing.messages import to_json

#: The service of spans that no agent made.
ENGINE = "engine"


def answer(data: list[Any]) -> dict[str, Any]:
    """The envelope of every answer."""
    return {"data": data, "total": len(data), "limit": 0, "offset": 0, "errors": None}


def error(code: int, message: str) -> dict[str, Any]:
    """The envelope of an answer that is none."""
    return {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": code, "msg": message}]}


def matches(found: dict[str, Any], service: str | None, operation: str | None, tags: Mapping[str, str]) -> bool:
    """Whether a trace has a span of that service and name with all of these tags, as Jaeger compares them: as text."""
    for span in found["spans"]:
        process = found["processes"][span["processID"]]
        if (service and process["serviceName"] != service) or (operation and span["operationName"] != operation):
            continue
        held = {tag["key"]: _as_text(tag["value"]) for tag in (*process["tags"], *span["tags"])}
        if all(held.get(key) == value for key, value in tags.items()):
            return True
    return False


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def trace(show: dict[str, Any]) -> dict[str, Any]:
    """One trace; times are microseconds."""
    services = sorted({span["agent"] or ENGINE for span in show["spans"]})
    processes = {name: f"p{number}" for number, name in enumerate(services, start=1)}
    warnings = [] if show["complete"] else ["incomplete: it still runs, or spans are missing"]
    return {
        "traceID": show["trace_id"],
        "spans": [_span(show["trace_id"], span, processes[span["agent"] or ENGINE]) for span in show["spans"]],
        "processes": {
            id_: {"serviceName": name, "tags": [_tag("service.namespace", show["job"])]}
            for name, id_ in processes.items()
        },
        "warnings": warnings or None,
    }


def _span(trace_id: str, span: dict[str, Any], process: str) -> dict[str, Any]:
    tags = [_tag(key, value) for key, value in span["attributes"].items()]
    tags.append(_tag("span.kind", span["kind"].lower()))
    if span["status"] in ("error", "lost"):
        tags += [_tag("error", True), _tag("otel.status_code", "ERROR")]
    if span["message"]:
        tags.append(_tag("otel.status_description", span["message"]))
    parents = [("CHILD_OF", trace_id, span["parent_id"])] if span["parent_id"] else []
    links = [("FOLLOWS_FROM", link["trace_id"], link["span_id"]) for link in span["links"]]
    start = span["start_ns"]
    return {
        "traceID": trace_id,
        "spanID": span["span_id"],
        "flags": 1,
        "operationName": span["name"],
        "references": [
            {"refType": kind, "traceID": trace, "spanID": other} for kind, trace, other in (*parents, *links)
        ],
        "startTime": start // 1000,
        "duration": max(1, ((span["end_ns"] or start) - start) // 1000),
        "tags": tags,
        "logs": [
            {
                "timestamp": event["at_ns"] // 1000,
                "fields": [
                    _tag("event", event["name"]),
                    *(_tag(key, value) for key, value in event["attributes"].items()),
                ],
            }
            for event in span["events"]
        ],
        "processID": process,
        "warnings": None,
    }


def _tag(key: str, value: Any) -> dict[str, Any]:
    kinds: dict[type, str] = {bool: "bool", int: "int64", float: "float64", str: "string"}
    kind = kinds.get(type(value))
    return {"key": key, "type": kind or "string", "value": value if kind else to_json(value)}
