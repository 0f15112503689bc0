"""OTLP's JSON encoding: ids in hex, names in camel case, 64-bit integers as text."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from math import isfinite, isnan
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


def traces(spans: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """{"resourceSpans": …} of (span, origin) pairs as the store has them; spans of one origin stand together."""
    groups: dict[bytes, list[bytes]] = {}
    for data, origin in spans:
        groups.setdefault(origin, []).append(data)
    return {"resourceSpans": [_resource_spans(origin, group) for origin, group in groups.items()]}


def plain_value(value: AnyValue) -> Any:
    """An attribute's value as JSON has it."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: plain_value(item.value) for item in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "double_value":
        return _double(value.double_value)
    return getattr(value, kind)


def _double(number: float) -> float | str:
    """JSON has no words for what is not finite; protobuf's JSON spells it so."""
    if isfinite(number):
        return number
    return "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _resource_spans(origin: bytes, spans: list[bytes]) -> dict[str, Any]:
    item = ResourceSpans.FromString(origin)
    scope = item.scope_spans[0].scope
    return {
        "resource": {"attributes": _attributes(item.resource.attributes)},
        "scopeSpans": [
            {
                "scope": {"name": scope.name, "version": scope.version},
                "spans": [_span(Span.FromString(data)) for data in spans],
            }
        ],
    }


def _span(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "traceState": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start_time_unix_nano),
        "endTimeUnixNano": str(span.end_time_unix_nano),
        "attributes": _attributes(span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": [
            {"timeUnixNano": str(event.time_unix_nano), "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ],
        "droppedEventsCount": span.dropped_events_count,
        "links": [
            {"traceId": link.trace_id.hex(), "spanId": link.span_id.hex(), "attributes": _attributes(link.attributes)}
            for link in span.links
        ],
        "status": {"code": int(span.status.code), "message": span.status.message},
    }
    # As protobuf's JSON does: what says nothing is left out. A name, times and status are always there.
    kept = ("name", "kind", "startTimeUnixNano", "endTimeUnixNano", "status")
    return {key: value for key, value in made.items() if value or key in kept}


def _attributes(attributes: Iterable[KeyValue]) -> list[dict[str, Any]]:
    return [{"key": item.key, "value": _value(item.value)} for item in attributes]


def _value(value: AnyValue) -> dict[str, Any]:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return {"stringValue": value.string_value}
    if kind == "int_value":
        return {"intValue": str(value.int_value)}
    if kind == "double_value":
        return {"doubleValue": _double(value.double_value)}
    if kind == "bool_value":
        return {"boolValue": value.bool_value}
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    if kind == "array_value":
        return {"arrayValue": {"values": [_value(item) for item in value.array_value.values]}}
    if kind == "kvlist_value":
        return {"kvlistValue": {"values": _attributes(value.kvlist_value.values)}}
    return {}
