from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct

from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, ParentContext, extract, inject, run_from_metadata
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.tracer import Tracer

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_context_and_run_cross_in_header_and_metadata(tracer: Tracer) -> None:
    run = RunContext(RunId.generate(), "team", "lead", session="a b")
    headers: dict[str, str] = {}
    metadata: dict[str, object] = {}
    with tracer.peer_call(target="Writer") as call:
        inject(call, headers, metadata, run=run)
        here = ParentContext(call.trace_id, call.span_id)
    assert extract(headers) == here
    assert extract({}, metadata) == here
    assert headers["baggage"] == f"teamwright.run.id={run.run_id},session.id=a%20b"
    assert set(metadata) == {TRACE_EXT, RUN_EXT}


def test_the_metadata_may_be_a_protobuf_struct(tracer: Tracer) -> None:
    run = RunContext(RunId.generate(), "team", "lead", depth=3, deadline_ns=1_795_000_000_123_456_789)
    metadata: dict[str, object] = {}
    with tracer.peer_call(target="Writer") as call:
        inject(call, {}, metadata, run=run)
    struct = Struct()
    struct.update(metadata)  # type: ignore[arg-type]
    assert extract({}, struct) == ParentContext(call.trace_id, call.span_id)  # type: ignore[arg-type]
    found = run_from_metadata(struct)  # type: ignore[arg-type]
    assert found is not None and found.depth == 3 and found.deadline_ns == run.deadline_ns


def test_the_header_goes_before_the_metadata() -> None:
    other = {TRACE_EXT: {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00"}}
    found = extract({"Traceparent": GOOD, "Tracestate": "a=b"}, other)
    assert found is not None and found.traceparent == GOOD and found.trace_state == "a=b"
    without = extract({}, other)
    assert without is not None and not without.sampled


@pytest.mark.parametrize(
    "text",
    [
        "", "x", GOOD + "-x", "ff" + GOOD[2:], GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        GOOD.replace("00f067aa0ba902b7", "0" * 16), GOOD.upper(), GOOD[:-1], "0" * 10_000,
    ],
)  # fmt: skip
def test_malformed_context_is_no_context(text: str) -> None:
    assert extract({"traceparent": text}, {TRACE_EXT: {"traceparent": text}}) is None
    assert extract({}, {TRACE_EXT: text}) is None


def test_a_version_of_the_future_is_read() -> None:
    assert extract({"traceparent": "01" + GOOD[2:] + "-more"}) is not None
