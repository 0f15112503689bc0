"""Connections to MCP servers: a process of ours that is talked to through pipes, or streamable HTTP.

The package `mcp` speaks the protocol; the process is one of `children.py`, so that nothing of it outlives us.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

import anyio
import httpx

from teamwright.agents.own_code.children import Child
from teamwright.agents.own_code.programs import find_program
from teamwright.backends.calls import is_local
from teamwright.errors import UserError
from teamwright.tracing.outgoing import stamp_mcp

log = logging.getLogger(__name__)

#: Streams as `mcp.ClientSession` takes them, and a function that gives the id of the session, if it has one.
Streams = tuple[Any, Any, Callable[[], str | None]]

#: Of our variables, those that a server gets beside its own `env:`: no keys, no tokens.
_PASSED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "TEAMWRIGHT_MARK")
#: Bytes of one message; characters of a line that a server writes to stderr, as the log has it.
_MESSAGE, _LINE = 64_000_000, 2_000
#: Seconds a server gets to end by itself when its stdin ends, and again after SIGTERM.
_GRACE = 0.25
_CONNECT = 10.0


@asynccontextmanager
async def stdio(name: str, given: Mapping[str, Any], on_end: Callable[[], None]) -> AsyncIterator[Streams]:
    """Run `command` in the current folder and talk to it; what it writes to stderr goes to the log.

    `on_end` is called when it says nothing any more. Raises UserError for a program that isn't there, OSError.
    """
    folder = os.getcwd()  # noqa: PTH109
    environment = {key: os.environ[key] for key in _PASSED if key in os.environ} | dict(given.get("env") or {})
    program = find_program(given["command"], folder, environment.get("PATH"))
    if program is None:
        raise UserError(f"no program {given['command']}")
    pipe = subprocess.PIPE
    child = Child(
        [program, *(given.get("args") or ())],
        folder=folder,
        environment=environment,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    told, read = anyio.create_memory_object_stream[Any](0)
    write, saying = anyio.create_memory_object_stream[Any](0)
    out, _ = await _reader(child.stdout)
    errors, _ = await _reader(child.stderr)
    writer = await _writer(child.stdin)
    tasks = [
        asyncio.create_task(_hear(name, out, told, on_end)),
        asyncio.create_task(_say(saying, writer)),
        asyncio.create_task(_log(name, errors)),
    ]
    try:
        yield read, write, lambda: None
    finally:
        try:
            writer.close()
            await asyncio.wait([child.ended], timeout=_GRACE)
        finally:
            await child.end(_GRACE)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (told, read, write, saying):
                stream.close()


@asynccontextmanager
async def http(given: Mapping[str, Any]) -> AsyncIterator[Streams]:
    """Talk to `url` by streamable HTTP. A call's limit of time is its own; only connecting has one here."""
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx.AsyncClient(
            headers=dict(given.get("headers") or {}),
            timeout=httpx.Timeout(_CONNECT, read=None),
            trust_env=not is_local(httpx.URL(given["url"]).host),
            event_hooks={"request": [stamp_mcp]},
        ) as client,
        streamable_http_client(given["url"], http_client=client) as (read, write, session_id),
        read,
        write,
    ):
        yield read, write, session_id


async def _reader(pipe: IO[bytes] | None) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader(limit=_MESSAGE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    return reader, transport


async def _writer(pipe: IO[bytes] | None) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _hear(name: str, out: asyncio.StreamReader, told: Any, on_end: Callable[[], None]) -> None:
    from mcp.shared.message import SessionMessage
    from mcp.types import JSONRPCMessage

    try:
        async with told:
            while line := await out.readline():
                try:
                    message = JSONRPCMessage.model_validate_json(line)
                except ValueError:
                    log.warning("the MCP server %s: no message: %.200r", name, line.decode(errors="replace"))
                    continue
                await told.send(SessionMessage(message))
    except (ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        log.warning("the MCP server %s: %s", name, str(error) or "nobody listens to it any more")
    finally:
        on_end()


async def _say(saying: Any, writer: asyncio.StreamWriter) -> None:
    async with saying:
        async for message in saying:
            writer.write(message.message.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
            try:
                await writer.drain()
            except OSError:
                return  # it has ended, which is seen where it is listened to


async def _log(name: str, errors: asyncio.StreamReader) -> None:
    while line := await errors.readline():
        log.info("%s: %s", name, line.decode(errors="replace").rstrip()[:_LINE])
