"""The encoder writes protobuf by hand: the generated classes must read the same back."""

from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from teamwright.tracing.recording import RecordedLink, RecordedSpan
from teamwright.tracing.shipping.encoding import Encoder, any_value
from teamwright.tracing.vocabulary import SCOPE

VALUES: list[Any] = [
    "", "a", "ä€😀", "x" * 64, "x" * 65, "y" * 127, "z" * 128, "w" * 20_000, "a\0b", "half \ud83d",
    True, False, 0, 1, 127, 128, -1, 2**31, 2**63 - 1, -(2**63), 2**63, 10**30,
    0.0, -0.0, 1.0, 1e300, float("inf"), [], ["stop"], ["a", "b"], [1, 2], [True], [1.5], ("t", "u"),
]  # fmt: skip


def read(data: bytes) -> Span:
    (resource,) = TracesData.FromString(data).resource_spans
    assert [item.key for item in resource.resource.attributes] == ["service.name"]
    (scoped,) = resource.scope_spans
    assert scoped.scope.name == SCOPE
    return scoped.spans[0]


def spans(count: int, seed: int) -> list[RecordedSpan]:
    rng = random.Random(seed)

    def context() -> SpanContext:
        state = TraceState([("vendor", "value")]) if rng.random() < 0.3 else None
        return SpanContext(
            rng.getrandbits(128) or 1, rng.getrandbits(64) or 1, rng.random() < 0.5, TraceFlags(rng.randrange(2)), state
        )

    def attributes() -> dict[str, Any]:
        return {
            f"key.{rng.randrange(12)}" * rng.choice((1, 1, 20)): rng.choice(VALUES) for _ in range(rng.randrange(9))
        }

    made = []
    for _ in range(count):
        parent = context() if rng.random() < 0.7 else None
        start = rng.randrange(1, 1 << 62)
        span = RecordedSpan(
            rng.choice(("chat m", "ä" * 90, "")),
            context(),
            parent,
            rng.choice(list(SpanKind)),
            {},
            start,
            lambda _: None,
        )
        span.attributes = attributes()
        for _ in range(rng.randrange(3)):
            span.add_event("first token", {}, start + 5)
            span.events[-1] = span.events[-1]._replace(attributes=attributes())
        span.links = [RecordedLink(context(), attributes()) for _ in range(rng.randrange(2))]
        span.set_status(rng.choice(list(StatusCode)), rng.choice((None, "", "it failed", "ü" * 5000)))
        span.dropped_attributes = rng.choice((0, 3, 300))
        span.dropped_events = rng.choice((0, 1, 20_000))
        span.end_time = start + rng.choice((0, 1, 10**9))
        made.append(span)
    return made


def expected(span: RecordedSpan, started: bool) -> Span:
    """What `span` is in OTLP, by the generated classes."""
    message = Span(
        trace_id=span.context.trace_id.to_bytes(16, "big"),
        span_id=span.context.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=span.kind.value + 1,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=0 if started else max(span.end_time or 0, span.start_time + 1),
        flags=0x100 | (0x200 if span.parent is not None and span.parent.is_remote else 0) | span.context.trace_flags,
        dropped_attributes_count=span.dropped_attributes,
        dropped_events_count=span.dropped_events,
        trace_state=span.context.trace_state.to_header(),
    )
    if span.parent is not None:
        message.parent_span_id = span.parent.span_id.to_bytes(8, "big")
    put(message.attributes, span.attributes)
    for event in span.events:
        put(message.events.add(time_unix_nano=event.timestamp, name=event.name).attributes, event.attributes)
    for link in span.links:
        other = message.links.add(
            trace_id=link.context.trace_id.to_bytes(16, "big"), span_id=link.context.span_id.to_bytes(8, "big")
        )
        put(other.attributes, link.attributes)
    if span.status.status_code is not StatusCode.UNSET:
        text = (span.status.description or "")[:4096]
        message.status.CopyFrom(Status(code=span.status.status_code.value, message=text))
    return message


def put(target: Any, attributes: Any) -> None:
    for key, value in attributes.items():
        target.add(key=key).value.CopyFrom(any_value(value))


@pytest.mark.parametrize("started", [False, True])
def test_read_back(started: bool) -> None:
    """Whatever a span holds; twice, since the second time much of it is known."""
    encoder = Encoder({"service.name": "lead"})
    for span in spans(300, seed=7) * 2:
        assert read(encoder.encode(span, started=started)) == expected(span, started)


def test_equal_values_of_other_types_are_told_apart() -> None:
    encoder = Encoder({"service.name": "lead"})
    for value, kind in ((1, "int_value"), (True, "bool_value"), (1.0, "double_value"), ("1", "string_value")) * 2:
        span = RecordedSpan(
            "s", SpanContext(1, 1, False), None, otel.SpanKind.INTERNAL, {"k": value}, 1, lambda _: None
        )
        (attribute,) = read(encoder.encode(span)).attributes
        assert attribute.value.WhichOneof("value") == kind
