"""/api/…: what Jaeger's UI and Grafana's Jaeger data source ask for. Operators only, with a bearer token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.errors import UnknownJob, UserError
from teamwright.home import Home
from teamwright.tracing import jaeger
from teamwright.tracing.filters import Filter, nanoseconds
from teamwright.tracing.reader import SpanReader
from teamwright.tracing.view import trace_show

_MOST = 200


def routes(home: Home, gate: Gate) -> list[Route]:
    """Services, their operations, traces."""

    def endpoint(find: Callable[[SpanReader, Request], list[Any]]) -> Callable[[Request], Any]:
        def read(request: Request) -> list[Any]:
            with SpanReader(home.spans_db, home.spool_dir) as reader:
                return find(reader, request)

        async def answer(request: Request) -> Response:
            gate.operator(request)
            try:
                return JSONResponse(jaeger.answer(await asyncio.to_thread(read, request)))
            except UnknownJob as error:
                return JSONResponse({"data": None, "errors": [{"code": 404, "msg": error.message}]}, 404)

        return answer

    return [
        Route("/api/services", endpoint(lambda reader, _: reader.services()), methods=["GET"]),
        Route("/api/services/{service}/operations", endpoint(_operations), methods=["GET"]),
        Route("/api/operations", endpoint(_named_operations), methods=["GET"]),
        Route("/api/traces", endpoint(_traces), methods=["GET"]),
        Route("/api/traces/{id}", endpoint(_trace), methods=["GET"]),
    ]


def _operations(reader: SpanReader, request: Request) -> list[Any]:
    return reader.operations(request.path_params["service"])


def _named_operations(reader: SpanReader, request: Request) -> list[Any]:
    names = reader.operations(request.query_params.get("service", ""))
    return [{"name": name, "spanKind": ""} for name in names]


def _traces(reader: SpanReader, request: Request) -> list[Any]:
    asked = request.query_params
    ids = asked.getlist("traceID")
    if not ids:
        service = asked.get("service")
        which = Filter(
            agent=None if service == jaeger.ENGINE else service,
            operation=asked.get("operation"),
            since_ns=_micro(asked.get("start")),
            until_ns=_micro(asked.get("end")),
            min_ns=_duration(asked.get("minDuration")),
            kind=None,
        )
        limit = _micro(asked.get("limit")) or 20_000
        ids = [row["trace"].hex() for row in reader.list_traces(which, limit=max(1, min(limit // 1000, _MOST)))]
    return [jaeger.trace(trace_show(reader.show(one))) for one in ids]


def _trace(reader: SpanReader, request: Request) -> list[Any]:
    return [jaeger.trace(trace_show(reader.show(request.path_params["id"])))]


def _micro(text: str | None) -> int | None:
    """A number of microseconds, in nanoseconds."""
    if not text:
        return None
    if not text.isdigit():
        raise UserError(f"{text!r} is not a whole number")
    return int(text) * 1000


def _duration(text: str | None) -> int | None:
    return nanoseconds(text) if text else None
