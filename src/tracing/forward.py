"""Sends what is stored on to OTLP receivers outside: each has its own queue, spool and retries, none holds up ingest.

Real and synthetic ends are sent, once each, in batches; started records stay here. What people and models said is
taken out first, unless the endpoint is to have it.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData

from teamwright.errors import SpoolFull
from teamwright.tracing import vocabulary as v
from teamwright.tracing.content import redact
from teamwright.tracing.endpoints import Endpoint
from teamwright.tracing.exporter import Later, Send, Shipper, Unwanted
from teamwright.tracing.rows import Row
from teamwright.tracing.spool import Spool

log = logging.getLogger(__name__)

QUEUE_SPANS = 20_000
SPOOL_LIMIT = 256 << 20
BATCH_SPANS = 256
_SECONDS = 30.0
_FINAL = (400, 413, 415, 422)
#: In the text of errors there may be anything.
_TELLING = frozenset([v.EXCEPTION_MESSAGE, v.EXCEPTION_STACKTRACE])


class Forwarding:
    """All endpoints of a home. Build it in the engine's loop; give `take` to the store; `start()`.

    Between `take` and the spool rows are in memory: those of the last moments are lost when the engine is killed.
    """

    def __init__(self, wanted: Iterable[Endpoint], folder: Path) -> None:
        self.lines = [Line(endpoint, folder) for endpoint in wanted]
        self._rows: deque[Row] = deque()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def take(self, rows: Sequence[Row]) -> None:
        """These have been committed. From the store's thread; never waits."""
        if not self.lines or self._loop.is_closed():
            return
        room = QUEUE_SPANS - len(self._rows)
        ended = [row for row in rows if row.state]
        self._rows.extend(ended[:room])
        self.dropped += max(0, len(ended) - room)
        self._loop.call_soon_threadsafe(self._news.set)

    def start(self) -> None:
        for line in self.lines:
            line.start()
        self._task = asyncio.create_task(self._run(), name="forwarding")

    async def aclose(self, within: float = 2.0) -> None:
        """What can't be sent within so many seconds waits in the spools."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._spool)
        await asyncio.gather(*(line.aclose(within) for line in self.lines))

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.to_thread(self._spool)
            for line in self.lines:
                line.shipper.wake()

    def _spool(self) -> None:
        while self._rows:
            rows = [self._rows.popleft() for _ in range(min(len(self._rows), BATCH_SPANS))]
            for line in self.lines:
                line.put(rows)


class Line:
    """The way to one endpoint."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.spool = Spool(folder / f"{endpoint.key}.spool")
        self._end: Callable[[], Any] | None = None
        self.shipper = Shipper(self.spool, self._send)
        self._sender: Send | None = None
        self.dropped = 0

    def start(self) -> None:
        self.shipper.start()

    def put(self, rows: Sequence[Row]) -> None:
        """Into the spool; dropped and counted when that is full."""
        try:
            if self.spool.size > SPOOL_LIMIT:
                raise SpoolFull(f"{self.spool.path} holds {self.spool.size >> 20} MiB")
            self.spool.append(encode(rows, content=self.endpoint.content))
        except SpoolFull as error:
            if not self.dropped:
                log.warning("spans for %s are dropped: %s", self.endpoint.key, error.message)
            self.dropped += len(rows)

    async def aclose(self, within: float) -> None:
        await self.shipper.aclose(within)
        self.spool.close()
        if self._end is not None:
            await self._end()

    async def _send(self, body: bytes, started: bool) -> None:
        if self._sender is None:
            self._sender = self._open_grpc() if self.endpoint.grpc else self._open_http()
        await self._sender(body, started)

    def _open_http(self) -> Send:
        import ssl

        endpoint = self.endpoint
        verify = ssl.create_default_context(cafile=endpoint.certificate) if endpoint.url.startswith("https") else False
        client = httpx.AsyncClient(verify=verify, timeout=_SECONDS)
        self._end = client.aclose
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip", **endpoint.headers}

        async def send(body: bytes, started: bool) -> None:
            try:
                packed = await asyncio.to_thread(gzip.compress, body, 1)
                answer = await client.post(endpoint.url, content=packed, headers=headers)
            except (httpx.HTTPError, RuntimeError) as error:
                raise Later(f"{type(error).__name__}: {error}") from error
            if answer.status_code in _FINAL:
                raise Unwanted(f"HTTP {answer.status_code} from {endpoint.key}: {answer.text[:300]}")
            if not answer.is_success:
                after = answer.headers.get("retry-after", "")
                raise Later(f"HTTP {answer.status_code}", float(after) if after.isdigit() else None)

        return send

    def _open_grpc(self) -> Send:
        from teamwright.tracing.grpc_export import open_channel

        send, self._end = open_channel(self.endpoint, _SECONDS)
        return send


def encode(rows: Iterable[Row], *, content: bool) -> bytes:
    """An OTLP request of these spans, those of one origin together."""
    groups: dict[bytes, ResourceSpans] = {}
    for row in rows:
        group = groups.get(row.origin)
        if group is None:
            group = groups[row.origin] = ResourceSpans.FromString(row.origin)
        span = Span.FromString(row.data)
        if not content:
            without_content(span)
        group.scope_spans[0].spans.append(span)
    return TracesData(resource_spans=groups.values()).SerializeToString()


def without_content(span: Span) -> None:
    """Take out what people and models said, and the words of exceptions; mask secrets in what is left."""
    holders: list[Any] = [span, *span.events, *span.links]
    for holder in holders:
        for at in reversed(range(len(holder.attributes))):
            item = holder.attributes[at]
            if item.key in v.CONTENT or item.key in _TELLING or item.key.startswith(v.CONTENT_PREFIXES):
                del holder.attributes[at]
            elif item.key not in v.NEVER_SECRET and item.value.string_value:
                item.value.string_value = redact(item.value.string_value)
    span.status.message = redact(span.status.message)
