"""The way to one receiver, over HTTP or gRPC, and what its answers say."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from teamwright.tracing.forwarding.endpoints import Endpoint, Signal


class Outlet(Protocol):
    """Sends OTLP bytes; gives the receiver's answer. Raises Later or Unwanted."""

    async def send(self, signal: Signal, body: bytes) -> bytes: ...
    async def aclose(self) -> None: ...


def open_outlet(endpoint: Endpoint, seconds: float) -> Outlet:
    """Build it in a loop; each request may take `seconds`. Raises Later without gRPC or with a useless certificate."""
    if endpoint.grpc:
        from teamwright.tracing.forwarding.grpc_export import GrpcOutlet

        return GrpcOutlet(endpoint, seconds)
    from teamwright.tracing.forwarding.http_export import HttpOutlet

    return HttpOutlet(endpoint, seconds)


def refusals(answer: bytes) -> tuple[int, str]:
    """How many spans of a request were not taken, and why."""
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return 0, ""  # some answer in JSON
    return partial.rejected_spans, partial.error_message
