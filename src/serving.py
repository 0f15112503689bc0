"""An HTTP server on an inherited listener, as engine, collector and agents run it."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

#: Seconds that requests may take to end when the process does; streams are cut then.
GRACE = 2.0
#: Longer than clients keep idle connections, so that none is closed just as it is used.
_KEEP_ALIVE = 75
_BACKLOG = 1024
#: Open files that a process may have, where the system lets it: each client that waits is two at the front door.
FILES = 65_536
#: What ends the process.
END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """A server whose signals are handled by us: uvicorn raises them again after its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: ASGIApp, *, grace: float = GRACE) -> Server:
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
        timeout_graceful_shutdown=int(grace),
    )
    return Server(config)


def allow_files(most: int = FILES) -> None:
    """Raise this process's limit of open files, which is often 1024, to what it may have and no more than `most`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
