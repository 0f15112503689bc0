"""/traces and /runs: what store, spools and database hold of queries, as the commands print it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.spans import Spans
from teamwright.engine.state import EngineState
from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.tracing.reader import Filter, SpanReader
from teamwright.tracing.view import trace_list, trace_show

_MOST = 1000


def routes(home: Home, spans: Spans, state: EngineState, gate: Gate) -> list[Route]:
    """Listing, showing, draining."""

    async def listing(request: Request) -> Response:
        gate.operator(request)
        asked = request.query_params
        limit = _limit(request)
        which = Filter(job=asked.get("job"), kind="deployment" if asked.get("kind") == "deployment" else "query")
        return JSONResponse(await asyncio.to_thread(_list, which, limit))

    async def runs(request: Request) -> Response:
        gate.operator(request)
        asked = request.query_params
        found = await state.runs(session=asked.get("session"), job=asked.get("job"), limit=_limit(request))
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


def _limit(request: Request) -> int:
    try:
        return max(1, min(int(request.query_params.get("limit", "20")), _MOST))
    except ValueError:
        raise UserError("limit is a number") from None
