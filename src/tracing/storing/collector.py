"""The collector: OTLP/HTTP routes in front of a span store. A 200 means: committed."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sqlite3
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.errors import Refused, TokenRefused
from teamwright.tracing.storing.rows import BadSpans, Writer
from teamwright.tracing.storing.store import StoreBusy

if TYPE_CHECKING:
    from teamwright.tracing.storing.store import SpanStore

log = logging.getLogger(__name__)

#: Whose spans a request may send, as (job, agent); None = anybody's. Raises Refused for one that may send none.
#: May be a coroutine function.
Authorize = Callable[[Request], Awaitable[Writer | None] | Writer | None]

BODY_LIMIT = 16 << 20
#: Bytes of all bodies in memory at once.
ARRIVING_LIMIT = 64 << 20
COMMIT_SECONDS = 30.0
_PROTOBUF = "application/x-protobuf"
_SMALL = 256 << 10  # decompressed in the loop; more goes to a thread


class Unacceptable(Exception):
    """A request that is answered with `status` and one clear line."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class _Arriving:
    """Bytes of all bodies that are being read or waited for; too many at once are sent away."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0

    @contextmanager
    def one(self) -> Iterator[Callable[[int], None]]:
        """One request: call what it gives for each part that is held in memory. Raises Unacceptable."""
        mine = 0

        def more(size: int) -> None:
            nonlocal mine
            if mine + size < self._size + size > self._limit:  # one alone has a limit of its own
                raise Unacceptable(503, "too much comes in at once", {"retry-after": "1", "connection": "close"})
            mine += size
            self._size += size

        try:
            yield more
        finally:
            self._size -= mine


def routes(store: SpanStore, authorize: Authorize | None = None, *, body_limit: int = BODY_LIMIT) -> list[Route]:
    """`POST /v1/traces` (ended spans) and `POST /v1/started` (spans that still run, their end is 0)."""

    arriving = _Arriving(ARRIVING_LIMIT)

    def endpoint(started: bool) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            try:
                writer = await _authorize(request, authorize)
                with arriving.one() as more:
                    body = await _body(request, body_limit, more)
                    return await _ingest(store, body, started, writer)
            except Unacceptable as error:
                return _error(error.status, str(error), "BadRequest", error.headers)
            except BadSpans as error:
                return _error(400, str(error), "BadSpans")
            except StoreBusy as error:
                return _error(503, error.message, "StoreBusy", {"retry-after": f"{error.retry_after:g}"})
            except TokenRefused as error:
                return _error(401, error.message, "TokenRefused", {"www-authenticate": "Bearer"})
            except Refused as error:
                return _error(403, error.message, "Refused")
            except ClientDisconnect:
                return Response(status_code=400)
            except TimeoutError:
                return _error(503, "the span store did not commit in time", "StoreBusy", {"retry-after": "5"})
            except sqlite3.Error as error:
                log.warning("spans could not be stored: %s", error)
                return _error(503, f"spans could not be stored: {error}", "StoreFailed", {"retry-after": "5"})

        return take

    return [
        Route("/v1/traces", endpoint(started=False), methods=["POST"]),
        Route("/v1/started", endpoint(started=True), methods=["POST"]),
    ]


async def _authorize(request: Request, authorize: Authorize | None) -> Writer | None:
    if authorize is None:
        return None
    verdict = authorize(request)
    return await verdict if inspect.isawaitable(verdict) else verdict


async def _ingest(store: SpanStore, body: bytes, started: bool, writer: Writer | None) -> Response:
    async with asyncio.timeout(COMMIT_SECONDS):
        stored = await asyncio.wrap_future(store.ingest(body, started=started, writer=writer))
    answer = ExportTraceServiceResponse()
    if stored.rejected:
        answer.partial_success.rejected_spans = stored.rejected
        answer.partial_success.error_message = stored.reason
    return Response(answer.SerializeToString(), media_type=_PROTOBUF)


async def _body(request: Request, limit: int, more: Callable[[int], None]) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _PROTOBUF:
        raise Unacceptable(415, f"content type {kind or 'missing'}: send OTLP as {_PROTOBUF}")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise Unacceptable(415, f"content encoding {coding}: send gzip or none")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        more(len(chunk))
        parts.append(chunk)
    body = b"".join(parts)
    if coding == "identity":
        return body
    data = _inflate(body, limit) if size < _SMALL else await asyncio.to_thread(_inflate, body, limit)
    more(len(data))
    return data


def _inflate(body: bytes, limit: int) -> bytes:
    """Decompress gzip, never to more than `limit`."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Unacceptable(400, f"the body is not gzip: {error}") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not inflater.eof:
        raise Unacceptable(400, "the gzip body is cut off")
    if inflater.unused_data:
        raise Unacceptable(400, "there is more after the gzip body")
    return data


def _too_large(limit: int) -> Unacceptable:
    # The rest is never read: the connection can't be used again.
    return Unacceptable(413, f"the body is larger than {limit >> 20} MiB", {"connection": "close"})


def _error(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind}}, status, headers)
