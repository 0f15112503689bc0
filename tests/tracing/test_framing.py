"""Requests cut into spans: the same as decoding them, for whatever is framed like ours, and left alone otherwise."""

from __future__ import annotations

import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from teamwright.tracing.storing.framing import framed
from teamwright.tracing.storing.rows import BadSpans, decode
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


def made(service: str, count: int, size: int = 10) -> bytes:
    spans = Spans()
    tracer = Tracer(service, "team", "1", spans)
    for number in range(count):
        with tracer.tool_call(name="t", call_id=str(number), arguments={"n": "x" * size}):
            pass
    return spans.body


def plain(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (scoped.scope.SerializeToString(), span.SerializeToString())
        for item in TracesData.FromString(body).resource_spans
        for scoped in item.scope_spans
        for span in scoped.spans
    ]


@pytest.mark.parametrize("size", [0, 60, 200, 20_000, 3_000_000])
def test_cut_as_decoded(size: int) -> None:
    body = made("lead", 3, size) + made("other", 2, size) + made("lead", 1, size)
    found = framed(body)
    assert found is not None
    assert [len(one.spans) for one in found] == [3, 2, 1]
    whole = [
        (ResourceSpans.FromString(head).scope_spans[0].scope.SerializeToString(), data)
        for head, spans in found
        for _, data in spans
    ]
    assert whole == plain(body)
    assert all(span.SerializeToString() == data for _, spans in found for span, data in spans)


def test_every_cut_off_request_is_refused_or_left_to_the_decoder() -> None:
    body = made("lead", 3)
    whole = len(decode(body).rows)
    for end in range(1, len(body)):
        try:
            rows = decode(body[:end]).rows
        except BadSpans:
            continue
        assert len(rows) < whole


def test_others_are_left_alone() -> None:
    """As other exporters write them: several scopes, a schema, no scope, no resource."""
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n", start_time_unix_nano=10**18, end_time_unix_nano=2**60)
    scoped = ScopeSpans(scope=InstrumentationScope(name="x"), spans=[span, span])
    (item,) = TracesData.FromString(made("lead", 1)).resource_spans
    for request in (
        ResourceSpans(resource=item.resource, scope_spans=[scoped, scoped]),
        ResourceSpans(resource=item.resource, scope_spans=[scoped], schema_url="s"),
        ResourceSpans(resource=item.resource, scope_spans=[ScopeSpans(spans=[span])]),
        ResourceSpans(scope_spans=[scoped]),
        ResourceSpans(resource=item.resource),
    ):
        assert framed(TracesData(resource_spans=[request]).SerializeToString()) is None
    several = TracesData(resource_spans=[ResourceSpans(resource=item.resource, scope_spans=[scoped])])
    found = framed(several.SerializeToString())
    assert found is not None
    assert [data for _, data in found[0].spans] == [span.SerializeToString()] * 2
