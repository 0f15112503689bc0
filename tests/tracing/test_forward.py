from __future__ import annotations

import asyncio
import gzip
import json
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

from teamwright.cli.receivers import unreachable
from teamwright.errors import UserError
from teamwright.tracing import glossary
from teamwright.tracing import vocabulary as v
from teamwright.tracing.forwarding.endpoints import Endpoint, endpoints
from teamwright.tracing.forwarding.forward import Forwarding
from teamwright.tracing.forwarding.outward import described, without_content
from teamwright.tracing.messages import message, text, tool_result
from teamwright.tracing.storing.store import SpanStore
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
        async with asyncio.timeout(60), self.came:
            await self.came.wait_for(lambda: len(self.spans) >= count)

    @asynccontextmanager
    async def serve(self, listener: socket.socket, certificate: Path | None = None) -> AsyncIterator[str]:
        app = Starlette(routes=[Route("/v1/traces", self.post, methods=["POST"])])
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", ssl_certfile=certificate)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{listener.getsockname()[1]}"
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
    sent = b"".join(request.SerializeToString() for request in receiver.requests)
    assert (b"secret answer" in sent) is (b"secret words" in sent) is content


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


@pytest.mark.parametrize("tls", [False, True])
async def test_grpc(
    tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path, certificate: Path, other: Path, tls: bool
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
    if tls:
        pair = await asyncio.to_thread(certificate.read_bytes)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair, pair)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    url = f"grpc{'s' if tls else ''}://127.0.0.1:{port}"
    try:
        trusted = str(certificate) if tls else None
        async with forwarding(store, tmp_path, Endpoint(url, {"x-key": "abc"}, trusted)) as line:
            if tls:  # first the wrong authorities, then the right ones: nothing is lost in between
                await line.add(Endpoint(url, {"x-key": "abc"}, str(other)))
            ask(tracer)
            await asyncio.wrap_future(store.ingest(spans.body))
            if tls:
                assert "CERTIFICATE_VERIFY_FAILED" in await trouble(line) or "UNAVAILABLE" in await trouble(line)
                await line.add(Endpoint(url, {"x-key": "abc"}, trusted))
            await receiver.wait_for(4)
    finally:
        await server.stop(None)
    assert receiver.headers[0]["x-key"] == "abc" and len(receiver.spans) == 4
    for span in receiver.spans:
        assert set(attributes(span)) <= set(glossary.ATTRIBUTES)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def trouble(line: Forwarding) -> str:
    """Why the first endpoint gets nothing, as soon as that is known."""
    await until(lambda: line.lines[0].trouble is not None)
    return str(line.lines[0].view()["trouble"])


async def test_tls(
    tracer: Tracer,
    spans: Spans,
    store: SpanStore,
    tmp_path: Path,
    listener: Callable[..., socket.socket],
    certificate: Path,
    other: Path,
) -> None:
    receiver = Receiver()
    async with receiver.serve(listener(), certificate) as url:
        (good,) = endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": url, "TEAMWRIGHT_OTLP_CERTIFICATE": str(certificate)})
        assert await asyncio.to_thread(unreachable, good) is None
        (wrong,) = endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": url, "TEAMWRIGHT_OTLP_CERTIFICATE": str(other)})
        async with forwarding(store, tmp_path / "forward", wrong) as line:
            ask(tracer)
            await asyncio.wrap_future(store.ingest(spans.body))
            said = await trouble(line)
            assert said.startswith("its certificate is not accepted: self-signed certificate"), said
            assert "its certificate is not accepted: self-signed" in str(await asyncio.to_thread(unreachable, wrong))
            await line.add(good)
            await receiver.wait_for(4)
            await until(lambda: line.lines[0].trouble is None)
            assert len(line.lines) == 1
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    for file, why in ((no_pem, "no certificate in PEM"), (tmp_path / "none.pem", "No such file")):
        with pytest.raises(UserError, match=why):
            endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": url, "TEAMWRIGHT_OTLP_CERTIFICATE": str(file)})


async def test_what_is_refused_takes_nothing_else_with_it(
    tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path, listener: Callable[..., socket.socket]
) -> None:
    class Picky(Receiver):
        """Refuses every request with a tool's span in it, and half of what it takes, in part."""

        async def post(self, request: Request) -> Response:
            body = gzip.decompress(await request.body())
            if b"execute_tool" in body:
                return Response(status_code=400)
            await self.take(body, {})
            answer = ExportTraceServiceResponse()
            answer.partial_success.rejected_spans = 1
            return Response(answer.SerializeToString())

    receiver = Picky()
    async with receiver.serve(listener()) as url:
        (endpoint,) = endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": url})
        async with forwarding(store, tmp_path, endpoint) as line:
            ask(tracer)
            await asyncio.wrap_future(store.ingest(spans.body))
            await receiver.wait_for(3)
            view = line.lines[0].view
            await until(lambda: not view()["waiting_bytes"])
            assert view()["refused_spans"] == 1 + len(receiver.requests)
    assert "execute_tool t" not in [span.name for span in receiver.spans]


def test_what_others_read() -> None:
    results = message("tool", tool_result("a", "c1"), tool_result("b", "c2"))
    spans = Spans()
    tracer = Tracer("lead", "team", "1", spans, strict=True)
    asked = [message("user", text("both?")), results]
    with tracer.model_call(model="gpt-4o", provider="openai", messages=asked) as call:
        call.answer("A and B").usage(
            input_tokens=10, output_tokens=5, cache_write_tokens=4, cache_read_tokens=2, reasoning_tokens=1
        )
    with tracer.tool_call(name="t", arguments={"q": 1}) as tool:
        tool.result("fine")
    model, used = spans.named("chat gpt-4o"), spans.named("execute_tool t")
    for span in (model, used):
        described(span)
        described(span)  # adds nothing twice
        assert len({item.key for item in span.attributes}) == len(span.attributes)
        assert set(attributes(span)) <= set(glossary.ATTRIBUTES)
    found = attributes(model)
    assert (found[v.OI_CACHE_WRITE_TOKENS], found[v.OI_REASONING_TOKENS]) == (4, 1)
    assert found[v.OI_COST] == found[v.COST_USD] > 0
    assert (found[v.OI_INPUT], found[v.OI_OUTPUT], found[v.OI_OUTPUT_TYPE]) == ("a b", "A and B", "text/plain")
    roles = [(one["role"], len(one["parts"])) for one in json.loads(found[v.INPUT_MESSAGES])]
    assert roles == [("user", 1), ("tool", 1), ("tool", 1)]
    found = attributes(used)
    assert (found[v.OI_INPUT], found[v.OI_INPUT_TYPE]) == ('{"q":1}', "application/json")
    assert (found[v.OI_OUTPUT], found[v.OI_OUTPUT_TYPE]) == ("fine", "text/plain")
    bare = spans.named("chat gpt-4o")
    without_content(bare)
    described(bare)
    assert not {v.OI_INPUT, v.OI_OUTPUT} & set(attributes(bare)) and v.OI_CACHE_WRITE_TOKENS in attributes(bare)


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
    assert of(AGENT_OTEL_ENABLED="true")[0].url == "http://127.0.0.1:4318/v1/traces"
    assert [one.url for one in endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": "http://a"}, ["http://b", "grpc://c:1"])] == [
        "http://b/v1/traces",
        "grpc://c:1",
    ]
    assert of(TEAMWRIGHT_OTLP_ENDPOINT="http://a:4318/v1/traces/")[0].address("metrics") == "http://a:4318/v1/metrics"
    (one,) = endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": "https://a;k=v"}, content=True)
    assert Endpoint.from_dict(json.loads(json.dumps(one.to_dict()))) == one and one.content
    for wrong in ("a:4318", "ftp://a", "http://a;novalue"):
        with pytest.raises(UserError):
            of(TEAMWRIGHT_OTLP_ENDPOINT=wrong)
    with pytest.raises(UserError, match="whose"):
        of(TEAMWRIGHT_OTLP_ENDPOINT="http://a http://b", TEAMWRIGHT_OTLP_HEADERS="a=1")
