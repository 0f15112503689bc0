"""The engine's process: `python -I -m teamwright.engine.main ORDER`, started by the guard.

ORDER is the guard's JSON: home, url, guard (pid), stay, run_dir, and the numbers of two inherited descriptors,
`listener` (the listening socket) and `control` (the line to the guard).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvloop

from teamwright.engine.app import Engine, EngineOrder
from teamwright.engine.control import GuardLine
from teamwright.engine.keeper import forward_to, retention
from teamwright.engine.liveness import Incarnation
from teamwright.home import Home
from teamwright.host.pulse import BEAT
from teamwright.serving import END_SIGNALS, Server, allow_files, server
from teamwright.settings import IDLE, OTLP_METRICS, SESSION_DAYS, SESSION_SIZE, TOKEN_RPM, lease, number, public_url

log = logging.getLogger("teamwright.engine")


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
        lease=lease(os.environ),
        retention=retention(os.environ),
        sessions=retention(os.environ, SESSION_DAYS, SESSION_SIZE),
        forward_to=forward_to(os.environ),
        collector_url=data.get("collector_url"),
        metrics_every=number(OTLP_METRICS, os.environ),
        public_url=public_url(os.environ),
        token_rpm=int(number(TOKEN_RPM, os.environ)),
    )
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

    line = await GuardLine.open(int(data["control"]), on_event=lambda message: engine.on_guard(message))
    engine = Engine(order, line)

    async def listen_to_guard() -> None:
        await line.run(data.get("beat", BEAT))
        end()  # the guard is gone

    listening = asyncio.create_task(listen_to_guard(), name="line to the guard")
    await engine.start()
    running = server(engine.app)
    if not ending.is_set():
        await running.serve(sockets=[socket.socket(fileno=int(data["listener"]))])
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await engine.aclose()
    await line.close()


def main() -> None:
    """The entry of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    data = json.loads(sys.argv[1])
    uvloop.run(serve(data))


if __name__ == "__main__":
    main()
