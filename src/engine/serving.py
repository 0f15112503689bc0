"""An HTTP server on an inherited listener, as engine and collector run it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

#: Seconds that requests may take to end when the process does; streams are cut then.
_GRACE = 2
#: Longer than clients keep idle connections, so that none is closed just as it is used.
_KEEP_ALIVE = 75
_BACKLOG = 1024
#: What ends the process.
END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """A server whose signals are handled by us: uvicorn raises them again after its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: ASGIApp) -> Server:
    """A server of `app`; serve it on sockets, end it by `should_exit`."""
    config = uvicorn.Config(
        app,
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
    return Server(config)
