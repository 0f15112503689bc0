"""An MCP server for tests: `python mcp_server.py` speaks stdio, `python mcp_server.py http` prints its address."""

from __future__ import annotations

import os
import socket
import sys

import uvicorn
from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("words")


@server.tool()
def shout(text: str, ctx: Context) -> str:  # type: ignore[type-arg]
    """Says it loudly, and which trace it is called in; over HTTP also by which run, as the header has it."""
    meta, request = ctx.request_context.meta, ctx.request_context.request
    run = f" {request.headers.get('x-run-id')}" if request is not None else ""
    return f"{text.upper()}! {getattr(meta, 'traceparent', None)}{run}"


@server.tool()
def add(a: int, b: int) -> str:
    """Adds strangely."""
    return f"{a}{b}"


@server.tool()
def fail() -> str:
    """Fails."""
    raise RuntimeError("out of words")


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen()  # whoever reads the address may call at once
        sys.stdout.write(f"http://127.0.0.1:{sock.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[sock])
    else:
        server.run()
