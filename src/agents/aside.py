"""An agent's process that makes room for its successor: both share one listening socket.

SIGUSR1    take no more connections; what comes waits in the socket's backlog for whoever takes it
SIGUSR2    take connections again: the successor has failed
SIGHUP     take no more, end by itself when the work that is under way is done
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

    from teamwright.agents.runtime import Runtime

log = logging.getLogger("teamwright.agent")

#: Seconds between two looks whether the work is done.
_LOOK = 0.05
#: So many of them in a row: a request may be on its way on a connection that is still open.
_QUIET = 4
_CLOSE = (b"connection", b"close")


class Aside:
    """Steps aside for another process of the same agent, and comes back; `listen()` makes the signals do it."""

    def __init__(self, server: uvicorn.Server, runtime: Runtime, sock: socket.socket) -> None:
        self._server = server
        self._runtime = runtime
        # The server's own goes when it stops taking connections.
        self._spare = sock.dup()
        self._task: asyncio.Task[None] | None = None

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Obey the host's signals from now on."""
        loop.add_signal_handler(signal.SIGUSR1, self.step)
        loop.add_signal_handler(signal.SIGUSR2, self.come_back)
        loop.add_signal_handler(signal.SIGHUP, self.retire)

    def step(self) -> None:
        """Take no new connections; those that are open get their answers and are closed after them."""
        for server in self._server.servers:
            server.close()
        self._server.servers = []
        self._closing(True)

    def come_back(self) -> None:
        """Take connections again."""
        if self._server.servers or self._server.should_exit:
            return
        self._closing(False)
        self._task = asyncio.ensure_future(self._server.startup(sockets=[self._spare.dup()]))

    def retire(self) -> None:
        """End when nothing is under way any more."""
        self.step()
        self._runtime.replaced = True
        self._task = asyncio.ensure_future(self._retire())

    def _closing(self, wanted: bool) -> None:
        """Whether every response says that its connection ends with it."""
        # uvicorn makes the second of these anew from the first, once a second.
        for headers in (self._server.config.encoded_headers, self._server.server_state.default_headers):
            headers[:] = [*(header for header in headers if header != _CLOSE), *([_CLOSE] if wanted else [])]

    async def _retire(self) -> None:
        log.info("ending when the work under way is done")
        quiet = 0
        while quiet < _QUIET:
            await asyncio.sleep(_LOOK)
            under_way = self._runtime.runner.busy or self._server.server_state.tasks
            quiet = 0 if under_way else quiet + 1
        self._server.should_exit = True
