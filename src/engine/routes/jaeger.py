"""/api/…: what Jaeger's UI and Grafana's Jaeger data source ask for. Operators only, with a bearer token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.errors import TeamwrightError, UnknownJob, UserError
from teamwright.home import Home
from teamwright.tracing.reading import jaeger
from teamwright.tracing.reading.filters import Filter, nanoseconds
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show

_LIMIT, _MOST = 20, 200
#: How many traces are looked into for tags before a search ends.
_LOOKED_AT = 1000
_DAY = 86_400_000  # milliseconds


def routes(home: Home, gate: Gate) -> list[Route]:
    """Services, their operations, who calls whom, traces."""

    def endpoint(find: Callable[[SpanReader, Request], list[Any]]) -> Callable[[Request], Any]:
        def read(request: Request) -> list[Any]:
            with SpanReader(home.spans_db, home.spool_dir) as reader:
                return find(reader, request)

        async def answer(request: Request) -> Response:
            gate.operator(request)
            try:
                return JSONResponse(jaeger.answer(await asyncio.to_thread(read, request)))
            except (UnknownJob, UserError) as error:
                return _error(404 if isinstance(error, UnknownJob) else 400, error)

        return answer

    return [
        Route("/api/services", endpoint(lambda reader, _: reader.services()), methods=["GET"]),
        Route("/api/services/{service}/operations", endpoint(_operations), methods=["GET"]),
        Route("/api/operations", endpoint(_named_operations), methods=["GET"]),
        Route("/api/dependencies", endpoint(_dependencies), methods=["GET"]),
        Route("/api/traces", endpoint(_traces), methods=["GET"]),
        Route("/api/traces/{id}", endpoint(_trace), methods=["GET"]),
    ]


def _error(status: int, error: TeamwrightError) -> Response:
    return JSONResponse(jaeger.error(status, error.message), status)


def _operations(reader: SpanReader, request: Request) -> list[Any]:
    return reader.operations(request.path_params["service"])


def _named_operations(reader: SpanReader, request: Request) -> list[Any]:
    names = reader.operations(request.query_params.get("service", ""))
    return [{"name": name, "spanKind": ""} for name in names]


def _dependencies(reader: SpanReader, request: Request) -> list[Any]:
    until = _whole(request.query_params.get("endTs")) or time.time_ns() // 10**6
    since = until - (_whole(request.query_params.get("lookback")) or _DAY)
    return [
        {"parent": caller or jaeger.ENGINE, "child": callee or jaeger.ENGINE, "callCount": count}
        for caller, callee, count in reader.calls(since * 10**6, until * 10**6)
    ]


def _traces(reader: SpanReader, request: Request) -> list[Any]:
    asked = request.query_params
    if ids := asked.getlist("traceID"):
        return [jaeger.trace(trace_show(reader.show(one))) for one in ids]
    service, operation, tags = asked.get("service"), asked.get("operation"), _tags(asked)
    limit = max(1, min(_whole(asked.get("limit")) or _LIMIT, _MOST))
    which = Filter(
        agent=None if service == jaeger.ENGINE else service,
        operation=operation,
        since_ns=_micro(asked.get("start")),
        until_ns=_micro(asked.get("end")),
        min_ns=_duration(asked.get("minDuration")),
        max_ns=_duration(asked.get("maxDuration")),
        kind=None,
    )
    found: list[Any] = []
    for row in reader.list_traces(which, limit=_LOOKED_AT if tags else limit):
        made = jaeger.trace(trace_show(reader.show(row["trace"].hex())))
        if not tags or jaeger.matches(made, service, operation, tags):
            found.append(made)
        if len(found) == limit:
            break
    return found


def _trace(reader: SpanReader, request: Request) -> list[Any]:
    return [jaeger.trace(trace_show(reader.show(request.path_params["id"])))]


def _tags(asked: QueryParams) -> Mapping[str, str]:
    """`tags={"key":"value"}`, as the UI and Grafana send it, and `tag=key:value`."""
    found: dict[str, str] = {}
    for text in asked.getlist("tags"):
        try:
            given = json.loads(text)
        except ValueError:
            raise UserError(f"tags={text!r} is not JSON") from None
        if not isinstance(given, dict):
            raise UserError("tags is an object of names and values")
        found |= {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    for text in asked.getlist("tag"):
        key, colon, value = text.partition(":")
        if not colon:
            raise UserError(f"tag={text!r} is not key:value")
        found[key] = value
    return found


def _whole(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdigit():
        raise UserError(f"{text!r} is not a whole number")
    return int(text)


def _micro(text: str | None) -> int | None:
    """A number of microseconds, in nanoseconds."""
    number = _whole(text)
    return None if number is None else min(number * 1000, (1 << 63) - 1)


def _duration(text: str | None) -> int | None:
    return nanoseconds(text) if text else None
