"""/traces and /runs: what store, spools and database hold of queries, as the commands print it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.store.state import EngineState
from teamwright.engine.telemetry.spans import Spans
from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.tracing.reading.filters import STATUSES, Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_list, trace_show

_MOST = 1000


def routes(home: Home, spans: Spans, state: EngineState, gate: Gate) -> list[Route]:
    """Listing, showing, draining."""

    async def listing(request: Request) -> Response:
        gate.operator(request)
        limit, which = _limit(request), _filter(request)
        return JSONResponse(await asyncio.to_thread(_list, which, limit))

    async def runs(request: Request) -> Response:
        gate.operator(request)
        found = await state.runs(_filter(request), limit=_limit(request))
        return JSONResponse({"runs": found})

    async def show(request: Request) -> Response:
        gate.operator(request)
        await spans.drain()
        return JSONResponse(await asyncio.to_thread(_show, request.path_params["id"]))

    async def drain(request: Request) -> Response:
        gate.operator(request)
        return JSONResponse({"records": await spans.drain()})

    def _list(which: Filter, limit: int) -> dict[str, Any]:
        with SpanReader(home.spans_db, home.spool_dir) as reader:
            return trace_list(reader.list_traces(which, limit=limit))

    def _show(trace_id: str) -> dict[str, Any]:
        with SpanReader(home.spans_db, home.spool_dir) as reader:
            return trace_show(reader.show(trace_id))

    return [
        Route("/traces", listing, methods=["GET"]),
        Route("/traces/drain", drain, methods=["POST"]),
        Route("/traces/{id}", show, methods=["GET"]),
        Route("/runs", runs, methods=["GET"]),
    ]


def _filter(request: Request) -> Filter:
    """job, agent, session, user, status, text, kind, and label=KEY=VALUE as often as wanted."""
    asked = request.query_params
    status = asked.get("status")
    if status is not None and status not in STATUSES:
        raise UserError(f"{status!r} is not a status", hint=", ".join(STATUSES))
    pairs = [pair.partition("=") for pair in asked.getlist("label")]
    return Filter(
        job=asked.get("job"),
        agent=asked.get("agent"),
        session=asked.get("session"),
        user=asked.get("user"),
        status=status,
        text=asked.get("text"),
        labels={key: value for key, _, value in pairs},
        kind="deployment" if asked.get("kind") == "deployment" else "query",
    )


def _limit(request: Request) -> int:
    try:
        return max(1, min(int(request.query_params.get("limit", "20")), _MOST))
    except ValueError:
        raise UserError("limit is a number") from None
