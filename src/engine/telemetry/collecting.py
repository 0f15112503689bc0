"""The collector as a process of its own: `python -I -m teamwright.engine.telemetry.collecting`, by the guard.

It takes in spans with the engine's tokens and limits, is the one that writes spans.db, and does for the engine what
has to be done with stored spans (`POST /keeper/…`). ORDER is the guard's JSON: home, `listener`, `control`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from teamwright.engine.auth import LOOPBACK, Gate, OwnHostOnly
from teamwright.engine.guarded import guarded, run
from teamwright.engine.liveness import Incarnation
from teamwright.engine.routes import answers
from teamwright.engine.telemetry.keeper import LocalKeeper, forward_to, retention
from teamwright.errors import TeamwrightError, UserError
from teamwright.home import Home
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Issuer, Verifier
from teamwright.tracing.metrics.instruments import Gauge
from teamwright.tracing.shipping.spool import SpoolName
from teamwright.tracing.storing import collector


def app(home: Home, keeper: LocalKeeper) -> ASGIApp:
    """The collector's routes: `/v1/…`, and `/keeper/…` for operators."""
    issuer = Issuer.load(home)
    gate = Gate(Verifier(issuer.public_key, home.id, EpochFile.create(home.epoch_file)))
    found = Starlette(
        routes=[*collector.routes(keeper.store, gate.writer), *routes(keeper, gate)],
        exception_handlers={
            TeamwrightError: answers.on_error,
            HTTPException: answers.on_http_error,
            Exception: answers.on_bug,
        },
    )
    return OwnHostOnly(found, LOOPBACK)


def routes(keeper: LocalKeeper, gate: Gate) -> list[Route]:
    """What the engine asks for; `RemoteKeeper` has the other end."""

    async def open_processes(asked: Mapping[str, Any]) -> list[str]:
        return [name.text for name in await keeper.open_processes()]

    calls: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
        "drain": lambda asked: keeper.drain(_name(asked)),
        "bury": lambda asked: keeper.bury(_name(asked), str(asked["reason"])),
        "empty": lambda asked: keeper.empty(_name(asked)),
        "close_open": lambda asked: keeper.close_open(_name(asked)),
        "open_processes": open_processes,
        "metrics": lambda asked: keeper.metrics(),
        "send_metrics": lambda asked: keeper.send_metrics([Gauge(*gauge) for gauge in asked["gauges"]]),
        "forward": lambda asked: keeper.forward(asked["endpoints"]),
    }

    async def call(request: Request) -> Response:
        gate.operator(request)
        work = calls.get(request.path_params["call"])
        if work is None:
            raise HTTPException(404, "no such call")
        asked = await request.json()
        return JSONResponse({"result": await work(asked)})

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok")

    return [Route("/keeper/{call}", call, methods=["POST"]), Route("/livez", alive, methods=["GET"])]


def _name(asked: Mapping[str, Any]) -> SpoolName:
    name = SpoolName.from_text(str(asked.get("name")))
    if name is None:
        raise UserError("name is not that of a spool")
    return name


async def serve(order: Mapping[str, Any]) -> None:
    """Run one collector until it is told to end, or the guard is gone."""
    home = Home(Path(order["home"]))
    async with guarded(order, lambda message: None) as process:
        keeper = LocalKeeper(home, retention(os.environ), forward_to(os.environ), guard=Incarnation.of(os.getppid()))
        keeper.start()
        await process.serve(app(home, keeper))
        await keeper.aclose()


def main() -> None:
    """The entry of the process."""
    run(serve)


if __name__ == "__main__":
    main()
