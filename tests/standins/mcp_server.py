"""An MCP server for tests: `python mcp_server.py` speaks stdio, `python mcp_server.py http` prints its address.

`few` has but one tool; `stubborn` does not end by itself, and has a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
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


@server.tool()
def getenv(text: str) -> str:
    """One of its variables."""
    return str(os.environ.get(text))


@server.tool()
async def hang() -> str:
    """Never answers."""
    try:
        await asyncio.Event().wait()
    except BaseException:
        sys.stderr.write("cancelled: hang\n")
        sys.stderr.flush()
        raise
    return ""


@server.tool()
def block() -> str:
    """Hears nothing any more."""
    signal.pause()
    return ""


@server.tool()
async def learn(ctx: Context) -> str:  # type: ignore[type-arg]
    """From now on it can whisper."""
    server.add_tool(whisper)
    await ctx.session.send_tool_list_changed()
    return "learnt"


def whisper(text: str) -> str:
    """Says it quietly."""
    return text.lower()


def stay() -> None:
    """Be hard to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)


if __name__ == "__main__":
    sys.stderr.write("I am here\n")
    sys.stderr.flush()
    if sys.argv[1:] == ["few"]:
        for name in ("add", "fail", "block", "die", "getenv", "hang", "learn"):
            server.remove_tool(name)
    if sys.argv[1:] == ["stubborn"]:
        stay()
    if sys.argv[1:] == ["http"]:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen()  # whoever reads the address may call at once
        sys.stdout.write(f"http://127.0.0.1:{sock.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[sock])
    else:
        server.run()
        if sys.argv[1:] == ["stubborn"]:
            signal.pause()
