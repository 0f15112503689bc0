"""For tests of tracing, ours and users': spans kept in memory, clocks and ids that can be foretold.

>>> spans = Spans()
>>> tracer = Tracer("lead", "team", "1", spans, strict=True, now=Clock(), ids=Ids())
"""

from __future__ import annotations

import itertools
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.id_generator import IdGenerator

from teamwright.tracing.otlp_json import plain_value


class Spans:
    """A sink: keeps the ended spans, and decodes them with OpenTelemetry's own classes."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def __call__(self, payload: bytes) -> None:
        self.payloads.append(payload)

    @property
    def body(self) -> bytes:
        """All of them as one OTLP request."""
        return b"".join(self.payloads)

    def all(self) -> list[Span]:
        """In the order they ended."""
        request = ExportTraceServiceRequest.FromString(self.body)
        return [span for item in request.resource_spans for scoped in item.scope_spans for span in scoped.spans]

    def named(self, name: str) -> Span:
        """The one of that name. Raises ValueError when there are none or several."""
        (span,) = [span for span in self.all() if span.name == name]
        return span


class Clock:
    """Unix time in ns that goes on by `step` at each look."""

    def __init__(self, start: int = 1_795_000_000_000_000_000, step: int = 1_000_000) -> None:
        self.now = start
        self.step = step

    def __call__(self) -> int:
        self.now += self.step
        return self.now


class Ids(IdGenerator):
    """Trace and span ids that count up from 1."""

    def __init__(self) -> None:
        self._traces = itertools.count(1)
        self._spans = itertools.count(1)

    def generate_trace_id(self) -> int:
        return next(self._traces)

    def generate_span_id(self) -> int:
        return next(self._spans)


def attributes(span: Span | Span.Event) -> dict[str, Any]:
    """A span's attributes as Python has them."""
    return {item.key: plain_value(item.value) for item in span.attributes}
