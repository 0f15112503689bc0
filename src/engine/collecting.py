"""The collector as a process of its own: `python -I -m teamwright.engine.collecting ORDER`, started by the guard.

It takes in spans with the engine's tokens and limits, is the one that writes spans.db, and does for the engine what
has to be done with stored spans (`POST /keeper/…`). ORDER is the guard's JSON: home, `listener`, `control`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from teamwright.engine import answers
from teamwright.engine.auth import LOOPBACK, Gate, OwnHostOnly
from teamwright.engine.control import GuardLine
from teamwright.engine.keeper import LocalKeeper, forward_to, retention
from teamwright.engine.liveness import Incarnation
from teamwright.errors import TeamwrightError, UserError
from teamwright.home import Home
from teamwright.host.pulse import BEAT
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Issuer, Verifier
from teamwright.serving import END_SIGNALS, Server, allow_files, server
from teamwright.tracing.metrics.instruments import Gauge
from teamwright.tracing.shipping.spool import SpoolName
from teamwright.tracing.storing import collector

log = logging.getLogger("teamwright.spans")


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
    running: Server | None = None
    ending = asyncio.Event()

    def end() -> None:
        ending.set()
        if running is not None:
            running.should_exit = True

    allow_files()
    loop = asyncio.get_running_loop()
    for sign in END_SIGNALS:
        loop.add_signal_handler(sign, end)
    line = await GuardLine.open(int(order["control"]), on_event=lambda message: None)

    async def listen_to_guard() -> None:
        await line.run(order.get("beat", BEAT))
        end()

    listening = asyncio.create_task(listen_to_guard(), name="line to the guard")
    guard = Incarnation.of(os.getppid())
    keeper = LocalKeeper(home, retention(os.environ), forward_to(os.environ), guard=guard)
    keeper.start()
    running = server(app(home, keeper))
    if not ending.is_set():
        await running.serve(sockets=[socket.socket(fileno=int(order["listener"]))])
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await keeper.aclose()
    await line.close()


def main() -> None:
    """The entry of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    uvloop.run(serve(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
