"""From an ended span of the OpenTelemetry SDK to OTLP protobuf, straight, without the exporter's classes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from opentelemetry.sdk.trace import ReadableSpan

from teamwright.tracing.content import Policy, redact
from teamwright.tracing.recording import RecordedSpan
from teamwright.tracing.vocabulary import DROPPED_NOTE, DROPPED_SPANS, NEVER_SECRET, SCOPE

#: A span of ours, or one of other instrumentation.
Encodable = ReadableSpan | RecordedSpan

_DESCRIPTION_LIMIT = 4096


class Encoder:
    """Encodes the spans of one process: its resource is serialised once.

    The result is an ExportTraceServiceRequest with one span; joined together, results are one request again.
    """

    def __init__(self, resource: Mapping[str, Any], policy: Policy | None = None) -> None:
        message = Resource(attributes=[_pair(key, value) for key, value in resource.items()])
        self._resource = _field(0x0A, message.SerializeToString())
        self._scopes: dict[tuple[str, str], bytes] = {}
        self._policy = policy

    def encode(self, span: Encodable, *, started: bool = False) -> bytes:
        """One ended span; with `started` one that still runs (its end is 0)."""
        context, parent, status = span.context, span.parent, span.status
        scope = span.instrumentation_scope
        assert context is not None
        start = span.start_time or 0
        message = Span(
            trace_id=context.trace_id.to_bytes(16, "big"),
            span_id=context.span_id.to_bytes(8, "big"),
            name=span.name,
            kind=span.kind.value + 1,  # type: ignore[arg-type]  # the SDK counts from 0, OTLP from 1
            start_time_unix_nano=start,
            flags=0x100 | (0x200 if parent is not None and parent.is_remote else 0) | context.trace_flags,
        )
        if not started:
            # No span of no duration: two clock readings can be equal.
            message.end_time_unix_nano = max(span.end_time or 0, start + 1)
        if parent is not None:
            message.parent_span_id = parent.span_id.to_bytes(8, "big")
        if context.trace_state:
            message.trace_state = context.trace_state.to_header()
        # The SDK's public one is a proxy, made anew each time.
        self._attributes(message.attributes, span._attributes if isinstance(span, ReadableSpan) else span.attributes)
        for event in span.events:
            item = message.events.add(time_unix_nano=event.timestamp, name=event.name)
            self._attributes(item.attributes, event.attributes)
        for link in span.links:
            other = message.links.add(
                trace_id=link.context.trace_id.to_bytes(16, "big"), span_id=link.context.span_id.to_bytes(8, "big")
            )
            self._attributes(other.attributes, link.attributes)
        if status.status_code.value:
            # 1 = ok, 2 = error in both
            text = (status.description or "")[:_DESCRIPTION_LIMIT]
            message.status.CopyFrom(
                Status(code=status.status_code.value, message=redact(text) if self._policy else text)  # type: ignore[arg-type]
            )
        if dropped := span.dropped_attributes:
            message.dropped_attributes_count = dropped
        if dropped := span.dropped_events:
            message.dropped_events_count = dropped
        return self.frame(message.SerializeToString(), *((scope.name, scope.version or "") if scope else ("", "")))

    def note(self, trace_id: int, count: int) -> bytes:
        """The record that says how many spans of a trace were lost for want of room."""
        now = time.time_ns()
        message = Span(
            trace_id=trace_id.to_bytes(16, "big"),
            span_id=os.urandom(8),
            name=DROPPED_NOTE,
            start_time_unix_nano=now,
            end_time_unix_nano=now,
            attributes=[_pair(DROPPED_SPANS, count)],
        )
        return self.frame(message.SerializeToString(), SCOPE)

    def frame(self, span: bytes, scope: str, version: str = "") -> bytes:
        """An already serialised span, in its scope and resource."""
        head = self._scopes.get((scope, version))
        if head is None:
            head = _field(0x0A, InstrumentationScope(name=scope, version=version).SerializeToString())
            self._scopes[scope, version] = head
        scoped = head + _field(0x12, span)
        return _field(0x0A, self._resource + _field(0x12, scoped))

    def _attributes(self, target: Any, attributes: Mapping[str, Any] | None) -> None:
        if not attributes:
            return
        # A span that still runs may get more in another thread; and the SDK's own items() is slow.
        held: Mapping[str, Any] = attributes.copy() if isinstance(attributes, dict | BoundedAttributes) else attributes
        policy = self._policy
        add = target.add
        value: Any
        for key, value in held.items():
            if policy is not None and key not in NEVER_SECRET:
                value = policy(key, value)
                if value is None:
                    continue
            kind: type[Any] = type(value)
            place = add(key=key).value
            try:
                if kind is str:
                    place.string_value = value
                elif kind is bool:
                    place.bool_value = value
                elif kind is int:
                    place.int_value = value
                elif kind is float:
                    place.double_value = value
                elif kind is list:
                    for item in value:
                        place.array_value.values.add().string_value = item
                    if not value:
                        place.array_value.SetInParent()
                else:
                    place.CopyFrom(any_value(value))
            except (ValueError, TypeError):  # half a surrogate pair, an integer of over 64 bits, a list of others
                place.CopyFrom(any_value(value))


def encoded_span_id(payload: bytes) -> int | None:
    """The id of the one span in an encoded record."""
    try:
        span = TracesData.FromString(payload).resource_spans[0].scope_spans[0].spans[0]
    except (DecodeError, IndexError):
        return None
    return int.from_bytes(span.span_id, "big")


def any_value(value: Any) -> AnyValue:
    """An attribute's value as OTLP has it; what it has no type for becomes text."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value) if -(1 << 63) <= value < 1 << 63 else AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=[_pair(str(key), item) for key, item in value.items()]))
    if isinstance(value, list | tuple):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(string_value=str(value).encode(errors="replace").decode())


def _pair(key: str, value: Any) -> KeyValue:
    return KeyValue(key=key, value=any_value(value))


def _field(tag: int, body: bytes) -> bytes:
    size = len(body)
    head = bytearray((tag,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + body
