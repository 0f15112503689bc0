"""The engine's process: `python -I -m teamwright.engine.main ORDER`, started by the guard.

ORDER is the guard's JSON: home, url, guard (pid), stay, run_dir, and the numbers of two inherited descriptors,
`listener` (the listening socket) and `control` (the line to the guard).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from teamwright.engine.app import Engine, EngineOrder
from teamwright.engine.control import GuardLine
from teamwright.engine.liveness import Incarnation
from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.settings import IDLE, TRACE_DAYS, TRACE_SIZE, number
from teamwright.tracing.endpoints import Endpoint, endpoints
from teamwright.tracing.retention import Retention

#: Seconds that requests may take to end when the engine does; streams are cut then.
_GRACE = 2
#: Longer than clients keep idle connections, so that none is closed just as it is used.
_KEEP_ALIVE = 75
_BACKLOG = 1024

log = logging.getLogger("teamwright.engine")


class _Server(uvicorn.Server):
    """A server whose signals are handled by us: uvicorn raises them again after its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(data: dict[str, Any]) -> None:
    """Run one engine until it is told to end."""
    home = Home(Path(data["home"]))
    order = EngineOrder(
        home=home,
        url=data["url"],
        guard=Incarnation.of(int(data["guard"])),
        host_socket=Path(data["run_dir"]) / "host.sock",
        stay=bool(data.get("stay")),
        idle=number(IDLE, os.environ),
        retention=_retention(os.environ),
        forward_to=_forward_to(os.environ),
    )
    server: _Server | None = None
    ending = asyncio.Event()

    def end() -> None:
        ending.set()
        if server is not None:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, end)

    line = await GuardLine.open(int(data["control"]), on_event=lambda message: engine.on_guard(message))
    engine = Engine(order, line)

    async def listen_to_guard() -> None:
        await line.run()
        end()  # the guard is gone

    listening = asyncio.create_task(listen_to_guard(), name="line to the guard")
    await engine.start()
    config = uvicorn.Config(
        engine.app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config)
    if not ending.is_set():
        await server.serve(sockets=[socket.socket(fileno=int(data["listener"]))])
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await engine.aclose()
    await line.close()


def _retention(environ: Mapping[str, str]) -> Retention:
    days, size = number(TRACE_DAYS, environ), number(TRACE_SIZE, environ)
    return Retention(age=days * 86_400 or None, size=int(size * (1 << 20)) or None)


def _forward_to(environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    try:
        return tuple(endpoints(environ))
    except UserError as error:
        log.error("spans are not sent on: %s", error.message)
        return ()


def main() -> None:
    """The entry of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    data = json.loads(sys.argv[1])
    uvloop.run(serve(data))


if __name__ == "__main__":
    main()
