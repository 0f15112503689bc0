"""How the MCP server is reached: through pipes, or over streamable HTTP with a bearer token."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import uvicorn
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from teamwright.client.mcp.server import Team, build
from teamwright.engine.auth import OwnHostOnly, bearer
from teamwright.errors import TokenRefused, UserError
from teamwright.safety.tokens import ENGINE_AUDIENCE, Verifier, unverified

PATH = "/mcp"
#: Seconds that a client's session is kept unused.
_IDLE = 1800.0


async def over_pipes(team: Team) -> None:
    """Serve stdin and stdout until stdin ends; whatever else is printed meanwhile goes to stderr."""
    server = build(team)
    sys.stdout.flush()
    with (
        os.fdopen(os.dup(0), encoding="utf-8", errors="replace") as told,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as said,
    ):
        os.dup2(2, 1)
        try:
            async with stdio_server(anyio.wrap_file(told), anyio.wrap_file(said)) as (read, write):
                await server.run(read, write, server.create_initialization_options())
        finally:
            await team.aclose()
            os.dup2(said.fileno(), 1)


async def over_http(team: Team, verifier: Verifier, port: int, listening: Callable[[str], None]) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM; `listening` hears the address. Raises UserError for a taken port."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it logs tracebacks of streams that we end
    with listener(port) as sock:
        config = uvicorn.Config(app(team, verifier), lifespan="on", ws="none", log_config=None, access_log=False,
                                server_header=False, timeout_graceful_shutdown=1)  # fmt: skip
        listening(f"http://127.0.0.1:{sock.getsockname()[1]}{PATH}")
        await uvicorn.Server(config).serve(sockets=[sock])


def listener(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1; 0 = any free port. Raises UserError."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"can't be had: {os.strerror(error.errno or 0)}"
        raise UserError(f"port {port} {why}", hint="another --port, or --port 0 for any free one") from None


def app(team: Team, verifier: Verifier, *, public_url: str | None = None) -> ASGIApp:
    """The same at `/mcp`; run it with its lifespan. Whoever calls needs a token of the home."""
    server = build(team, token=lambda request: bearer(request) if request is not None else None)
    manager = StreamableHTTPSessionManager(server, session_idle_timeout=_IDLE)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield
        await team.aclose()

    inner = Starlette(routes=[Route(PATH, endpoint=_Guarded(manager.handle_request, verifier))], lifespan=lifespan)
    return OwnHostOnly(inner, public_url=public_url)


class _Guarded:
    """Lets nobody in without a good token, before anything of MCP is looked at."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], verifier: Verifier) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(bearer(Request(scope)))
        except TokenRefused as error:
            answer = JSONResponse({"error": error.message}, 401, headers={"www-authenticate": "Bearer"})
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, token: str | None) -> None:
        claims = unverified(token) if token else None
        if claims is not None and claims.role == "user" and claims.job:
            self._verifier.check(token, claims.job)
        elif self._verifier.check(token, ENGINE_AUDIENCE).role != "operator":
            raise TokenRefused("this is an agent's token, not a person's")
