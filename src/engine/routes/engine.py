"""/livez, /readyz, /engine: the engine about itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from teamwright import __version__
from teamwright.engine.auth import Gate
from teamwright.engine.routes import asked
from teamwright.engine.store.state import EngineState
from teamwright.errors import EngineError, TeamwrightError, UserError


def routes(
    state: EngineState,
    gate: Gate,
    *,
    status: Callable[[], Mapping[str, Any]],
    waiting: Callable[[], str | None],
    stop: Callable[[], Awaitable[None]],
    restart: Callable[[str, str], None],
    stay: Callable[[], None],
    forward: Callable[[list[dict[str, Any]]], Awaitable[list[dict[str, Any]]]],
) -> list[Route]:
    """`status` is the JSON of GET /engine; `stop` ends all jobs and everything.

    `waiting` says what is still to come before all jobs of this home can be asked; None: nothing.
    `restart` replaces this engine by one of that version and fingerprint; `stay` keeps it without jobs; `forward`
    sends spans to more receivers, and gives how all of them fare.
    """

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(request: Request) -> Response:
        why = waiting()
        return PlainTextResponse("ok") if why is None else PlainTextResponse(why, status_code=503)

    async def show(request: Request) -> Response:
        gate.operator(request)
        try:
            sent_on = await forward([])
        except TeamwrightError:  # a collector that is being started again
            sent_on = []
        return JSONResponse({**status(), "forwarding": sent_on})

    async def end(request: Request) -> Response:
        gate.operator(request)
        data = await asked.body(request)
        if (active := [job.name for job in state.active()]) and data.get("force") is not True:
            raise EngineError(
                f"{len(active)} job{'s' if len(active) > 1 else ''} still running: {', '.join(active)}",
                status=409,
                hint="deploy stop --all, or --force",
            )
        await stop()
        return JSONResponse({"stopping": True})

    async def replace(request: Request) -> Response:
        gate.operator(request)
        data = await asked.body(request)
        restart(str(data.get("version") or __version__), str(data.get("fingerprint") or ""))
        return JSONResponse({"restarting": True})

    async def keep(request: Request) -> Response:
        gate.operator(request)
        stay()
        return JSONResponse(dict(status()))

    async def send_on(request: Request) -> Response:
        gate.operator(request)
        endpoints = (await asked.body(request)).get("endpoints")
        if not isinstance(endpoints, list) or not all(isinstance(one, dict) for one in endpoints):
            raise UserError("endpoints is a list of objects: url, headers, certificate, content")
        return JSONResponse({"forwarding": await forward(endpoints)})

    return [
        Route("/livez", alive, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/engine", show, methods=["GET"]),
        Route("/engine/stop", end, methods=["POST"]),
        Route("/engine/restart", replace, methods=["POST"]),
        Route("/engine/stay", keep, methods=["POST"]),
        Route("/engine/forward", send_on, methods=["POST"]),
    ]
