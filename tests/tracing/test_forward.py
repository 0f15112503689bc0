from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from teamwright.errors import UserError
from teamwright.tracing import glossary
from teamwright.tracing import vocabulary as v
from teamwright.tracing.endpoints import Endpoint, endpoints
from teamwright.tracing.forward import Forwarding
from teamwright.tracing.store import SpanStore
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer


class Receiver:
    """Somebody else's OTLP server: decodes with OpenTelemetry's own classes; `refuse` answers come first."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.refuse: list[int] = []
        self.came = asyncio.Condition()

    @property
    def spans(self) -> list[Span]:
        return [span for request in self.requests for block in request.resource_spans
                for scoped in block.scope_spans for span in scoped.spans]  # fmt: skip

    async def post(self, request: Request) -> Response:
        body = gzip.decompress(await request.body())
        if self.refuse:
            return Response(status_code=self.refuse.pop(0), headers={"retry-after": "0"})
        await self.take(body, dict(request.headers))
        return Response(b"", media_type="application/x-protobuf")

    async def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        self.headers.append(headers)
        async with self.came:
            self.came.notify_all()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20), self.came:
            await self.came.wait_for(lambda: len(self.spans) >= count)

    @asynccontextmanager
    async def serve(self, listener: socket.socket) -> AsyncIterator[str]:
        app = Starlette(routes=[Route("/v1/traces", self.post, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def forwarding(store: SpanStore, folder: Path, *to: Endpoint) -> AsyncIterator[Forwarding]:
    made = Forwarding(to, folder)
    store.listen_to_spans(made.take)
    made.start()
    try:
        yield made
    finally:
        await made.aclose(0.5)


def ask(tracer: Tracer) -> None:
    with tracer.query("team", text="secret question") as root, tracer.agent(message="secret question"):
        with tracer.model_call(model="gpt-4o", provider="openai", messages="secret question") as call:
            call.answer("secret answer").usage(input_tokens=10, output_tokens=5)
        with tracer.tool_call(name="t", arguments={"q": "secret"}) as tool:
            tool.fail(ValueError("secret words"))
        root.answer("secret answer")


@pytest.mark.parametrize("content", [False, True])
async def test_what_a_receiver_gets(
    tracer: Tracer,
    spans: Spans,
    store: SpanStore,
    tmp_path: Path,
    listener: Callable[..., socket.socket],
    content: bool,
) -> None:
    receiver = Receiver()
    receiver.refuse = [503, 401]
    async with receiver.serve(listener()) as url:
        (endpoint,) = endpoints(
            {"TEAMWRIGHT_OTLP_ENDPOINT": f"{url};x-key=abc", "TEAMWRIGHT_OTLP_CONTENT": "on" if content else ""}
        )
        async with forwarding(store, tmp_path / "forward", endpoint) as line:
            ask(tracer)
            await asyncio.wrap_future(store.ingest(spans.body))
            await asyncio.wrap_future(store.ingest(spans.body))  # a replay is not sent again
            await receiver.wait_for(4)
        assert line.dropped == 0
    names = [span.name for span in receiver.spans]
    assert sorted(names) == ["chat gpt-4o", "execute_tool t", "invoke_agent lead", "invoke_workflow team"]
    assert receiver.headers[0]["x-key"] == "abc"
    assert attributes_of_resource(receiver)[v.SERVICE_NAME] == "lead"
    for span in receiver.spans:
        assert set(attributes(span)) <= set(glossary.ATTRIBUTES)
        assert (v.INPUT_MESSAGES in attributes(span)) is (content and span.name != "execute_tool t")
    text = b"".join(request.SerializeToString() for request in receiver.requests)
    assert (b"secret answer" in text) is content


def attributes_of_resource(receiver: Receiver) -> dict[str, Any]:
    return {item.key: item.value.string_value for item in receiver.requests[0].resource_spans[0].resource.attributes}


async def test_a_receiver_that_is_away_holds_up_nobody_and_gets_all_later(
    tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path, listener: Callable[..., socket.socket]
) -> None:
    gone, there = listener(), Receiver()
    port = gone.getsockname()[1]
    gone.close()
    folder = tmp_path / "forward"
    async with there.serve(listener()) as url:
        away = Endpoint(f"http://127.0.0.1:{port}/v1/traces", {})
        async with forwarding(store, folder, away, Endpoint(f"{url}/v1/traces", {})):
            ask(tracer)
            await asyncio.wrap_future(store.ingest(spans.body))
            await there.wait_for(4)
    back = Receiver()
    async with back.serve(listener(port)), forwarding(store, folder, away):
        await back.wait_for(4)
    assert len(back.spans) == 4


async def test_grpc(
    tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path, listener: Callable[..., socket.socket]
) -> None:
    grpc = pytest.importorskip("grpc")
    service: Any = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc")

    receiver = Receiver()

    class Servicer(service.TraceServiceServicer):  # type: ignore[misc]
        async def Export(self, request: ExportTraceServiceRequest, context: Any) -> Any:
            await receiver.take(
                request.SerializeToString(), {key: str(val) for key, val in context.invocation_metadata()}
            )
            return ExportTraceServiceResponse()

    server = grpc.aio.server()
    service.add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with forwarding(store, tmp_path, Endpoint(f"grpc://127.0.0.1:{port}", {"x-key": "abc"})):
            ask(tracer)
            await asyncio.wrap_future(store.ingest(spans.body))
            await receiver.wait_for(4)
    finally:
        await server.stop(None)
    assert receiver.headers[0]["x-key"] == "abc" and len(receiver.spans) == 4


def test_settings() -> None:
    def of(**environ: str) -> list[Endpoint]:
        return endpoints(environ)

    assert of() == []
    assert [one.url for one in of(TEAMWRIGHT_OTLP_ENDPOINT="http://a:4318 grpc://b:4317;k=v%20w")] == [
        "http://a:4318/v1/traces",
        "grpc://b:4317",
    ]
    assert of(TEAMWRIGHT_OTLP_ENDPOINT="grpc://b:4317;K=v%20w")[0].headers == {"k": "v w"}
    assert of(TEAMWRIGHT_OTLP_ENDPOINT="https://a/x", TEAMWRIGHT_OTLP_HEADERS="a=1,b=2")[0].headers == {
        "a": "1",
        "b": "2",
    }
    assert of(AGENT_OTEL_ENDPOINT="http://a:4318/v1/traces")[0].url == "http://a:4318/v1/traces"
    assert of(AGENT_OTEL_ENDPOINT="http://a:4318", AGENT_OTEL_ENABLED="false") == []
    for wrong in ("a:4318", "ftp://a", "http://a;novalue"):
        with pytest.raises(UserError):
            of(TEAMWRIGHT_OTLP_ENDPOINT=wrong)
    with pytest.raises(UserError, match="whose"):
        of(TEAMWRIGHT_OTLP_ENDPOINT="http://a http://b", TEAMWRIGHT_OTLP_HEADERS="a=1")
