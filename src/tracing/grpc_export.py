"""OTLP over gRPC: the bytes are ready, so all it takes is a channel. Needs the extra `otlp-grpc`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from teamwright.tracing.endpoints import Endpoint
from teamwright.tracing.exporter import Later, Send, Unwanted

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_FINAL = ("INVALID_ARGUMENT", "UNIMPLEMENTED", "OUT_OF_RANGE")


def open_channel(endpoint: Endpoint, seconds: float) -> tuple[Send, Callable[[], Awaitable[Any]]]:
    """What sends to the endpoint, and what closes the channel. Raises Later without the package."""
    try:
        grpc: Any = import_module("grpc")
    except ImportError:
        raise Later("gRPC is not installed: pip install 'teamwright[otlp-grpc]'", 60.0) from None
    scheme, _, rest = endpoint.url.partition("://")
    target = rest.partition("/")[0]
    if scheme == "grpcs":
        roots = Path(endpoint.certificate).read_bytes() if endpoint.certificate else None
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots))
    else:
        channel = grpc.aio.insecure_channel(target)
    export = channel.unary_unary(_METHOD)
    metadata = tuple(endpoint.headers.items())

    async def send(body: bytes, started: bool) -> None:
        try:
            async with asyncio.timeout(seconds):
                await export(body, metadata=metadata, compression=grpc.Compression.Gzip)
        except (grpc.RpcError, TimeoutError) as error:
            name = error.code().name if isinstance(error, grpc.RpcError) else "DEADLINE_EXCEEDED"
            if name in _FINAL:
                raise Unwanted(f"{name} from {endpoint.key}") from error
            raise Later(name) from error

    return send, channel.close
