"""OTLP over gRPC: the bytes are ready, so all it takes is a channel. Needs the extra `otlp-grpc`."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

from teamwright.tracing.forwarding.endpoints import Endpoint, Signal
from teamwright.tracing.shipping.exporter import Later, Unwanted

_METHODS: dict[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
_FINAL = ("INVALID_ARGUMENT", "OUT_OF_RANGE")


class GrpcOutlet:
    """Calls one endpoint. Build it in a loop. Raises Later without the package or a certificate file."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        try:
            self._grpc: Any = import_module("grpc")
        except ImportError:
            raise Later("gRPC is not installed: pip install 'teamwright[otlp-grpc]'", 60.0) from None
        grpc = self._grpc
        self._endpoint = endpoint
        self._seconds = seconds
        target = endpoint.url.partition("://")[2].partition("/")[0]
        if endpoint.tls:
            try:
                roots = Path(endpoint.certificate).read_bytes() if endpoint.certificate else None
            except OSError as error:
                raise Later(f"the authorities in {endpoint.certificate}: {error.strerror}", 60.0) from None
            self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots))
        else:
            self._channel = grpc.aio.insecure_channel(target)
        self._calls = {signal: self._channel.unary_unary(method) for signal, method in _METHODS.items()}
        self._metadata = tuple(endpoint.headers.items())

    async def send(self, signal: Signal, body: bytes) -> bytes:
        """The receiver's answer. Raises Later or Unwanted."""
        grpc = self._grpc
        try:
            async with asyncio.timeout(self._seconds):
                call = self._calls[signal](body, metadata=self._metadata, compression=grpc.Compression.Gzip)
                answer: bytes = await call
        except TimeoutError:
            raise Later(f"no answer in {self._seconds:g} s") from None
        except grpc.RpcError as error:
            name, why = error.code().name, error.details() or ""
            text = f"{name}: {why[:300]}" if why else name
            if "CERTIFICATE_VERIFY_FAILED" in why:
                text = "its certificate is not accepted (TEAMWRIGHT_OTLP_CERTIFICATE names authorities): " + text
            if name in _FINAL or (signal == "metrics" and name == "UNIMPLEMENTED"):
                raise Unwanted(f"{text} from {self._endpoint.key}") from error
            raise Later(text) from error
        return answer

    async def aclose(self) -> None:
        await self._channel.close()
