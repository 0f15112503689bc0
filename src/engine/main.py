"""The engine's process: `python -I -m teamwright.engine.main ORDER`, started by the guard.

ORDER is the guard's JSON: home, url, guard (pid), stay, run_dir, and the numbers of two inherited descriptors,
`listener` (the listening socket) and `control` (the line to the guard).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from teamwright.home import Home
from teamwright.lean import import_httpx
from teamwright.settings import IDLE, OTLP_METRICS, SESSION_DAYS, SESSION_SIZE, TOKEN_RPM, lease, number, public_url


async def serve(data: dict[str, Any]) -> None:
    """Run one engine until it is told to end."""
    from teamwright.engine.app import Engine, EngineOrder
    from teamwright.engine.guarded import guarded
    from teamwright.engine.liveness import Incarnation
    from teamwright.engine.telemetry.keeper import forward_to, retention

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
    async with guarded(data, lambda message: engine.on_guard(message)) as process:
        engine = Engine(order, process.line)
        await engine.start()
        await process.serve(engine.app)
        await engine.aclose()


def main() -> None:
    """The entry of the process."""
    import_httpx()
    from teamwright.engine.guarded import run

    run(serve)


if __name__ == "__main__":
    main()
