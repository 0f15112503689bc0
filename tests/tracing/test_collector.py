from __future__ import annotations

import asyncio
import gzip
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from starlette.requests import Request

from teamwright.errors import Refused, TokenRefused
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.storing.collector import Unacceptable, _Arriving
from teamwright.tracing.storing.rows import Writer
from teamwright.tracing.storing.store import SpanStore, Stored
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

Serve = Callable[..., AbstractAsyncContextManager[str]]
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


@pytest.fixture
async def url(serve: Serve, listener: Callable[..., socket.socket], store: SpanStore) -> AsyncIterator[str]:
    async with serve(store, listener(), body_limit=1 << 20) as url:
        yield url


@pytest.fixture
def body(tracer: Tracer, spans: Spans) -> bytes:
    with tracer.query("team", text="x"), tracer.agent(message="x"):
        pass
    return spans.body


async def test_what_is_answered_with_200_is_in_the_store(
    client: httpx.AsyncClient, url: str, body: bytes, store: SpanStore
) -> None:
    for data, more in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        answer = await client.post(f"{url}/v1/traces", content=data, headers=PROTOBUF | more)
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-protobuf"
        assert not ExportTraceServiceResponse.FromString(answer.content).HasField("partial_success")
        with SpanReader(store.path) as reader:
            assert [summary["spans"] for summary in reader.list_traces()] == [2]


async def test_a_part_that_is_refused_is_told(client: httpx.AsyncClient, url: str, body: bytes) -> None:
    request = TracesData.FromString(body)
    request.resource_spans[0].scope_spans[0].spans[0].span_id = b"x"
    answer = await client.post(f"{url}/v1/traces", content=request.SerializeToString(), headers=PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert answer.status_code == 200 and partial.rejected_spans == 1 and "span_id" in partial.error_message


BAD: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"{}", {"content-type": "application/json"}, 415, "content type application/json"),
    (b"", {"content-type": ""}, 415, "content type missing"),
    (b"x", PROTOBUF, 400, "not an OTLP trace request"),
    (b"x", PROTOBUF | {"content-encoding": "br"}, 415, "content encoding br"),
    (b"this is no gzip", PROTOBUF | {"content-encoding": "gzip"}, 400, "not gzip"),
    (gzip.compress(b"", mtime=0)[:-3], PROTOBUF | {"content-encoding": "gzip"}, 400, "cut off"),
    (gzip.compress(b"", mtime=0) + b"more", PROTOBUF | {"content-encoding": "gzip"}, 400, "more after"),
    (b"x" * (2 << 20), PROTOBUF, 413, "larger than 1 MiB"),
    (gzip.compress(b"\0" * (64 << 20), mtime=0), PROTOBUF | {"content-encoding": "gzip"}, 413, "larger than 1 MiB"),
]


@pytest.mark.parametrize(("data", "headers", "status", "message"), BAD)
async def test_bad_input_gets_a_clear_answer(
    client: httpx.AsyncClient, url: str, data: bytes, headers: dict[str, str], status: int, message: str, body: bytes
) -> None:
    for path in ("/v1/traces", "/v1/started"):
        answer = await client.post(url + path, content=data, headers=headers)
        assert answer.status_code == status and message in answer.json()["error"]["message"]
    assert (await client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF)).status_code == 200


async def test_a_body_without_a_length_is_bounded_too(client: httpx.AsyncClient, url: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * (64 << 10)

    try:
        answer = await client.post(f"{url}/v1/traces", content=endless(), headers=PROTOBUF)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it was closed on us while we wrote: as good


async def test_who_may_not_is_told_so(
    client: httpx.AsyncClient, serve: Serve, listener: Callable[..., socket.socket], store: SpanStore, body: bytes
) -> None:
    def authorize(request: Request) -> None:
        token = request.headers.get("authorization")
        if token is None:
            raise TokenRefused("no token")
        if token != "Bearer good":
            raise Refused("not for you")

    async with serve(store, listener(), authorize=authorize) as url:
        statuses: list[int] = []
        for token in (None, "Bearer bad", "Bearer good"):
            headers = PROTOBUF | ({"authorization": token} if token else {})
            statuses.append((await client.post(f"{url}/v1/traces", content=body, headers=headers)).status_code)
    assert statuses == [401, 403, 200]


async def test_a_writer_that_is_behind_says_when_to_come_again(
    client: httpx.AsyncClient, serve: Serve, listener: Callable[..., socket.socket], body: bytes, tmp_path: Any
) -> None:
    taken = asyncio.Event()

    class Telling(SpanStore):
        def ingest(self, body: bytes, *, started: bool = False, writer: Writer | None = None) -> Future[Stored]:
            taken.set()
            return super().ingest(body, started=started, writer=writer)

    store = Telling(tmp_path / "busy.db", capacity=len(body))
    gate = threading.Event()
    held = store._writer.submit(lambda db: gate.wait())
    async with serve(store, listener()) as url:
        first = asyncio.create_task(client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF))
        await taken.wait()
        busy = await client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF)
        assert busy.status_code == 503 and float(busy.headers["retry-after"]) > 0
        assert "behind" in busy.json()["error"]["message"]
        gate.set()
        assert (await first).status_code == 200
    held.result()
    store.close()


def pairs(count: int) -> bytes:
    """A span with so many empty attributes."""
    return _wrap(0x0A, _wrap(0x12, _wrap(0x12, b"\x4a\x00" * count)))


def _wrap(tag: int, body: bytes) -> bytes:
    size, head = len(body), bytearray((tag,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes((*head, size)) + body


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda body: body[:-7],
    "a million attributes": lambda body: pairs(1_000_000),
    "many attributes": lambda body: pairs(5_000),
    "a million spans": lambda body: _wrap(0x0A, _wrap(0x12, b"\x12\x00" * 1_000_000)),
    "attributes in attributes": lambda body: _nested(200_000),
    "millions of fields": lambda body: b"\x78\x00" * (7 << 20),
    "depth without end": lambda body: _nest(100_000),
    "a trace id of 15 bytes": lambda body: _change(body, trace_id=b"x" * 15),
    "a span id of 9 bytes": lambda body: _change(body, span_id=b"x" * 9),
    "a clock far ahead": lambda body: _at(body, 1 << 63),
    "another message": lambda body: b"\x0a\x05hello",
    "clock at 1970": lambda body: _at(body, 1_000_000_000),
}


def _nested(depth: int) -> bytes:
    value = b""
    for _ in range(300):
        value = _wrap(0x0A, _wrap(0x12, _wrap(0x32, value)))
    return _wrap(0x0A, _wrap(0x12, _wrap(0x12, _wrap(0x4A, value) * (depth // 300))))


def _nest(depth: int) -> bytes:
    """One value in another, so many times."""
    heads, size = [], 0
    for _ in range(depth):
        for tag in (0x0A, 0x2A):  # ArrayValue.values, AnyValue.array_value
            head = _wrap(tag, b"")[:1] + _size(size)
            heads.append(head)
            size += len(head)
    value = b"".join(reversed(heads))
    return _wrap(0x0A, _wrap(0x12, _wrap(0x12, _wrap(0x4A, b"\x0a\x01k" + _wrap(0x12, value)))))


def _size(size: int) -> bytes:
    found = bytearray()
    while size > 127:
        found.append(size & 127 | 128)
        size >>= 7
    return bytes((*found, size))


def _at(body: bytes, start: int) -> bytes:
    return _change(body, start_time_unix_nano=start)


def _change(body: bytes, **fields: Any) -> bytes:
    """The same spans with these fields."""
    request = TracesData.FromString(body)
    for block in request.resource_spans:
        for scoped in block.scope_spans:
            for span in scoped.spans:
                for name, value in fields.items():
                    setattr(span, name, value)
    return request.SerializeToString()


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_spans_are_refused_and_take_no_memory(
    client: httpx.AsyncClient,
    name: str,
    serve: Serve,
    listener: Callable[..., socket.socket],
    store: SpanStore,
    body: bytes,
) -> None:
    data = HOSTILE[name](body)
    async with serve(store, listener()) as url:
        # What it takes to send and to receive so much, whatever it is.
        assert (await client.post(f"{url}/v1/traces", content=b"\xff" * len(data), headers=PROTOBUF)).status_code == 400
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await client.post(f"{url}/v1/traces", content=data, headers=PROTOBUF)
        assert answer.status_code == 400 and answer.json()["error"]["message"]
        assert (await client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF)).status_code == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


async def test_many_large_bodies_at_once_take_little_memory(
    client: httpx.AsyncClient, serve: Serve, listener: Callable[..., socket.socket], store: SpanStore, body: bytes
) -> None:
    """Some get a clear 4xx, the others are asked to come again; who sends little is not held up for long."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = gzip.compress(b"\0" * (15 << 20))
    async with serve(store, listener()) as url:
        packed = PROTOBUF | {"content-encoding": "gzip"}
        answers = await asyncio.gather(
            *(client.post(f"{url}/v1/traces", content=bomb, headers=packed, timeout=60) for _ in range(30))
        )
        assert {answer.status_code for answer in answers} <= {400, 503}
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
        assert (await client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF)).status_code == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000  # KiB


async def test_what_arrives_at_once_has_a_limit() -> None:
    arriving = _Arriving(100)
    with arriving.one() as first, arriving.one() as second:
        first(150)  # one alone may be larger: it has a limit of its own
        with pytest.raises(Unacceptable, match="at once"):
            second(1)
    with arriving.one() as third, arriving.one() as fourth:
        third(60)
        fourth(40)
        with pytest.raises(Unacceptable):
            fourth(1)


async def test_an_agent_writes_only_its_own(
    client: httpx.AsyncClient, serve: Serve, listener: Callable[..., socket.socket], store: SpanStore, body: bytes
) -> None:
    async with serve(store, listener(), authorize=lambda request: ("team", "other")) as url:
        answer = await client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF)
        assert answer.status_code == 400 and "only its own" in answer.json()["error"]["message"]
    async with serve(store, listener(), authorize=lambda request: ("team", "lead")) as url:
        assert (await client.post(f"{url}/v1/traces", content=body, headers=PROTOBUF)).status_code == 200
