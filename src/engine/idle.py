"""When an on-demand engine leaves: after a while without jobs or clients, or at once when nobody needs it any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from teamwright.engine.routes.answers import error_body
from teamwright.errors import EngineUnavailable

#: Paths whose callers are no clients: probes, and agents about themselves.
_NOT_CLIENTS = ("/livez", "/readyz", "/v1/", "/agents/", "/providers/")


class Idle:
    """Watches for the moment to leave. As ASGI middleware it sees the clients.

    `busy` tells whether there are jobs, `leave` is called once. An engine with `stay` set never leaves by itself.
    """

    def __init__(
        self,
        busy: Callable[[], bool],
        leave: Callable[[], None],
        *,
        seconds: float,
        stay: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._busy = busy
        self._leave = leave
        self._seconds = seconds
        self.stay = stay
        self._clock = clock
        self._clients = 0
        self._since = clock()
        self._soon = False
        self._unless_asked = False
        self._left = False

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The app, counting who is being served. Once we leave, clients are told so: the next engine is theirs."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"].startswith(_NOT_CLIENTS):
                await app(scope, receive, send)
                return
            if self._left:
                error = EngineUnavailable("the engine is just leaving", status=503, hint="try again")
                await JSONResponse({"error": error_body(error)}, 503)(scope, receive, send)
                return
            if self._unless_asked:
                self._soon = self._unless_asked = False
            self._clients += 1
            try:
                await app(scope, receive, send)
            finally:
                self._clients -= 1
                self._since = self._clock()
                self.check()

        return counted

    def leave_when_empty(self, *, unless_asked: bool = False) -> bool:
        """Nobody needs us any more: don't wait once there is no job. Whether that is so already.

        `unless_asked` = but if a client comes before we have left, we are needed after all.
        """
        self._soon, self._unless_asked = True, unless_asked
        self.check()
        return not self.stay and not self._busy()

    def leave_now(self) -> None:
        """Somebody has ordered it: leave when the answers that are on their way have gone out, staying or not."""
        self.stay = False
        self.leave_when_empty()

    def check(self) -> None:
        """Leave if it is time."""
        if self._left or self.stay or self._clients or self._busy():
            return
        if self._soon or self._clock() - self._since >= self._seconds:
            self._left = True
            self._leave()

    def job_began(self) -> None:
        """Somebody needs us after all."""
        self._soon = self._unless_asked = False

    async def run(self) -> None:
        """Look from time to time."""
        pause = min(max(self._seconds / 4, 0.05), 5.0)
        while not self._left:
            await asyncio.sleep(pause)
            if self._busy():
                self._since = self._clock()
            self.check()
