"""From an ended span to OTLP protobuf, written byte by byte: most of what a span costs is here.

The field numbers are those of opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto; a test reads
everything back with the generated classes. What is written again and again (resource, scope, the name of an
attribute, an attribute with a short text) is written once and kept.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from opentelemetry.sdk.trace import ReadableSpan

from teamwright.tracing.content import STATUS_MESSAGE, Policy
from teamwright.tracing.recording import RecordedSpan
from teamwright.tracing.storing.parts import LARGE, Parts
from teamwright.tracing.vocabulary import DROPPED_NOTE, DROPPED_SPANS, NEVER_SECRET, SCOPE

#: A span of ours, or one of other instrumentation.
Encodable = ReadableSpan | RecordedSpan

_DESCRIPTION_LIMIT = 4096
_SHORT = 64  # characters of a text that is kept
_KEPT = 2048  # attributes that are

# Tags: field number and wire type (0 number, 1 eight bytes, 2 bytes, 5 four bytes).
_TRACE_ID, _SPAN_ID, _PARENT = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_TRACE_STATE, _NAME, _ATTRIBUTE, _EVENT, _LINK, _STATUS = 0x1A, 0x2A, 0x4A, 0x5A, 0x6A, 0x7A
_DROPPED_ATTRIBUTES, _DROPPED_EVENTS = b"\x50", b"\x60"
_KIND_AND_START = struct.Struct("<BBBQ").pack  # kind, start_time_unix_nano
_END = struct.Struct("<BQ").pack  # end_time_unix_nano
_FLAGS = struct.Struct("<HI").pack
_DOUBLE = struct.Struct("<Bd").pack
_SIZES = tuple(bytes((size,)) for size in range(128))


class Encoder:
    """Encodes the spans of one process.

    The result is an ExportTraceServiceRequest with one span; joined together, results are one request again.
    """

    def __init__(self, resource: Mapping[str, Any], policy: Policy | None = None, files: Parts | None = None) -> None:
        message = Resource(attributes=[_pair(key, value) for key, value in resource.items()])
        self._resource = _field(0x0A, message.SerializeToString())
        self._scopes: dict[tuple[str, str], bytes] = {}
        self._policy = policy
        self._files = files
        self._keys: dict[str, bytes] = {}
        self._kept: dict[int, dict[tuple[str, type[Any], Any], bytes]] = {}

    def encode(self, span: Encodable, *, started: bool = False) -> bytes:
        """One ended span; with `started` one that still runs (its end is 0)."""
        context, parent, status = span.context, span.parent, span.status
        scope = span.instrumentation_scope
        assert context is not None
        start = span.start_time or 0
        parts = [
            _TRACE_ID,
            context.trace_id.to_bytes(16, "big"),
            _SPAN_ID,
            context.span_id.to_bytes(8, "big"),
            _field(_NAME, _utf8(span.name)),
            # The SDK counts kinds from 0, OTLP from 1.
            _KIND_AND_START(0x30, span.kind._value_ + 1, 0x39, start),
        ]
        if not started:
            # No span of no duration: two clock readings can be equal.
            parts.append(_END(0x41, max(span.end_time or 0, start + 1)))
        flags = 0x100 | context.trace_flags
        if parent is not None:
            parts += (_PARENT, parent.span_id.to_bytes(8, "big"))
            if parent.is_remote:
                flags |= 0x200
        if context.trace_state:
            parts.append(_field(_TRACE_STATE, _utf8(context.trace_state.to_header())))
        # The SDK's public one is a proxy, made anew each time.
        self._attributes(parts, _ATTRIBUTE, span._attributes if isinstance(span, ReadableSpan) else span.attributes)
        for event in span.events:
            inner = [_END(0x09, event.timestamp), _field(0x12, _utf8(event.name))]
            self._attributes(inner, 0x1A, event.attributes)
            parts.append(_field(_EVENT, b"".join(inner)))
        for link in span.links:
            inner = [
                _TRACE_ID,
                link.context.trace_id.to_bytes(16, "big"),
                _SPAN_ID,
                link.context.span_id.to_bytes(8, "big"),
            ]
            self._attributes(inner, 0x22, link.attributes)
            parts.append(_field(_LINK, b"".join(inner)))
        if code := status.status_code._value_:
            # 1 = ok, 2 = error in both
            text = (status.description or "")[:_DESCRIPTION_LIMIT]
            if self._policy is not None:
                text = str(self._policy(STATUS_MESSAGE, text) or "")
            said = _field(0x12, _utf8(text)) if text else b""
            parts.append(_field(_STATUS, said + b"\x18" + _SIZES[code]))
        if dropped := span.dropped_attributes:
            parts.append(_DROPPED_ATTRIBUTES + _varint(dropped))
        if dropped := span.dropped_events:
            parts.append(_DROPPED_EVENTS + _varint(dropped))
        parts.append(_FLAGS(0x0185, flags))
        return self.frame(b"".join(parts), *((scope.name, scope.version or "") if scope else ("", "")))

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
        size = _varint(len(span))
        scoped = len(head) + 1 + len(size) + len(span)
        inner = _varint(scoped)
        whole = _varint(len(self._resource) + 1 + len(inner) + scoped)
        return b"".join((b"\x0a", whole, self._resource, b"\x12", inner, head, b"\x12", size, span))

    def _attributes(self, parts: list[bytes], tag: int, attributes: Mapping[str, Any] | None) -> None:
        """Append each attribute as a field of that tag."""
        if not attributes:
            return
        # A span that still runs may get more in another thread; and the SDK's own items() is slow.
        held: Mapping[str, Any] = attributes.copy() if isinstance(attributes, dict | BoundedAttributes) else attributes
        policy, kept = self._policy, self._kept.setdefault(tag, {})
        value: Any
        for key, value in held.items():
            if policy is not None and key not in NEVER_SECRET:
                value = policy(key, value)
                if value is None:
                    continue
            kind: type[Any] = type(value)
            if kind is str and len(value) > LARGE and self._files is not None:
                value = self._files.fold(key, value)
            if kind is list or kind is tuple:
                value = tuple(value)
                keep = bool(value) and type(value[0]) is str
            else:
                keep = kind is int or kind is bool or (kind is str and len(value) <= _SHORT)
            if not keep:
                parts.append(_field(tag, self._key(key) + _value(kind, value)))
                continue
            # By type too: True, 1 and 1.0 are one and the same key otherwise.
            known = (key, kind, value)
            whole = kept.get(known)
            if whole is None:
                whole = _field(tag, self._key(key) + _value(kind, value))
                if len(whole) < 2 * _SHORT:
                    if len(kept) >= _KEPT:
                        kept.clear()
                    kept[known] = whole
            parts.append(whole)

    def _key(self, key: str) -> bytes:
        """The field of an attribute that holds its name."""
        found = self._keys.get(key)
        if found is None:
            if len(self._keys) >= _KEPT:
                self._keys.clear()
            found = self._keys[key] = _field(0x0A, _utf8(key))
        return found


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
    """A field of bytes, whose tag is one byte."""
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    return bytes((tag,)) + _varint(size) + body


def _varint(number: int) -> bytes:
    if number < 16384:
        return _SIZES[number] if number < 128 else bytes((number & 127 | 128, number >> 7))
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _value(kind: type[Any], value: Any) -> bytes:
    """The field of an attribute that holds its value."""
    if kind is str:
        return _field(0x12, _field(0x0A, _utf8(value)))
    if kind is float:
        return b"\x12\x09" + _DOUBLE(0x21, value)
    return _field(0x12, any_value(value).SerializeToString())


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return text.encode(errors="replace")
