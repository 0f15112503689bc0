"""MCP servers of a job as tools: each is started once for an agent, and its tools are called like the agent's own.

Each call is an `execute_tool` span of ours, and its trace context goes along as `_meta.traceparent`. A server that has
died is started again by the next message. The package `mcp` is imported when there is a server, not before.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from teamwright.backends.api import Answer, File, Tool, Turn
from teamwright.errors import ToolError
from teamwright.tracing.outgoing import mcp_meta, stamp_mcp

log = logging.getLogger(__name__)

#: Seconds until a server must have said what tools it has, and until it must be gone.
_READY, _GONE = 30.0, 0.8
_NAME = re.compile(r"[^A-Za-z0-9_-]")


class McpServers:
    """All servers of an agent, by their names in the job file."""

    def __init__(self, servers: Mapping[str, Mapping[str, Any]]) -> None:
        self._servers = [_Server(name, given) for name, given in servers.items()]

    async def tools(self, taken: Sequence[str]) -> list[Tool]:
        """The tools of all servers that answer; one whose name is `taken` goes by its server's name as well."""
        offered = await asyncio.gather(*(server.offered() for server in self._servers))
        names, made = set(taken), []
        for server, described in zip(self._servers, offered, strict=True):
            for about in described:
                name = _NAME.sub("_", about.name)[:64]
                if name in names:
                    name = _NAME.sub("_", f"{server.name}_{about.name}")[:64]
                names.add(name)
                made.append(server.tool(name, about))
        return made

    async def close(self) -> None:
        """End all servers."""
        await asyncio.gather(*(server.stop() for server in self._servers))


class _Server:
    """One server. Its connection lives in a task of its own, which `mcp` wants to be left where it was entered."""

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        self.name = name
        self._given = given
        self._session: Any = None
        self._described: list[Any] = []
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()

    async def offered(self) -> list[Any]:
        """What it says of its tools; started (again) where it does not run. Nothing when it can't be had."""
        if self._task is None or self._task.done():
            self._ready, self._stop = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._serve(), name=f"mcp:{self.name}", context=contextvars.Context())
        try:
            async with asyncio.timeout(_READY):
                await self._ready.wait()
        except TimeoutError:
            log.warning("the MCP server %s did not answer in %g s: its tools are left out", self.name, _READY)
            await self.stop()
            return []
        return self._described

    def tool(self, name: str, about: Any) -> Tool:
        """One of its tools, called `name` here."""

        async def call(arguments: Mapping[str, Any], turn: Turn) -> Any:
            if self._session is None:
                await self.offered()
            if (session := self._session) is None:
                raise ToolError(f"the MCP server {self.name} is not there")
            span = turn.tracer.current()
            meta = {"traceparent": span.traceparent, **({"tracestate": span.trace_state} if span.trace_state else {})}
            meta.update(mcp_meta(turn.run))
            span.announce()
            try:
                found = await session.call_tool(about.name, dict(arguments), meta=meta)
            except Exception as error:
                self._stop.set()  # whatever it was, the next call begins with a fresh connection
                raise ToolError(f"the MCP server {self.name} failed: {error or type(error).__name__}") from error
            return _result(found)

        return Tool(
            name=name,
            description=about.description or about.name,
            parameters=about.inputSchema,
            call=call,
            source="mcp",
            server=self.name,
        )

    async def stop(self) -> None:
        """End the connection, and the process where there is one."""
        self._stop.set()
        if self._task is not None and not self._task.done():
            _, pending = await asyncio.wait([self._task], timeout=_GONE)
            for task in pending:
                task.cancel()
            await asyncio.wait([self._task], timeout=_GONE)

    async def _serve(self) -> None:
        from mcp.client.session import ClientSession

        try:
            async with self._streams() as (read, write), ClientSession(read, write) as session:
                await session.initialize()
                self._described = list((await session.list_tools()).tools)
                self._session = session
                self._ready.set()
                await self._stop.wait()
        except Exception as error:
            cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            log.warning("the MCP server %s: %s", self.name, str(cause) or type(cause).__name__)
            self._described = []
        finally:
            self._session = None
            self._ready.set()

    def _streams(self) -> AbstractAsyncContextManager[tuple[Any, Any]]:
        return self._http() if self._given.get("url") else self._stdio()

    @asynccontextmanager
    async def _stdio(self) -> AsyncIterator[tuple[Any, Any]]:
        from mcp.client.stdio import StdioServerParameters, stdio_client

        given = self._given
        about = StdioServerParameters(
            command=given["command"], args=list(given.get("args") or ()), env=dict(given.get("env") or {}) or None
        )
        async with stdio_client(about) as streams, streams[0], streams[1]:
            yield streams[0], streams[1]

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[tuple[Any, Any]]:
        import httpx
        from mcp.client.streamable_http import streamable_http_client

        headers = dict(self._given.get("headers") or {})
        async with (
            httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(_READY, read=None),
                follow_redirects=True,
                event_hooks={"request": [stamp_mcp]},
            ) as client,
            streamable_http_client(self._given["url"], http_client=client) as streams,
            streams[0],
            streams[1],
        ):
            yield streams[0], streams[1]


def _result(found: Any) -> Any:
    """A tool's result as ours: its text, files beside it. Raises ToolError where it says that it failed."""
    texts: list[str] = []
    files: list[File] = []
    for block in found.content:
        if block.type == "text":
            texts.append(block.text)
        elif block.type in ("image", "audio"):
            name = f"{block.type}-{len(files) + 1}.{block.mimeType.rpartition('/')[2]}"
            files.append(File(name, block.mimeType, base64.b64decode(block.data)))
        elif block.type == "resource" and getattr(block.resource, "text", None) is not None:
            texts.append(block.resource.text)
        elif block.type == "resource_link":
            texts.append(f"{block.name}: {block.uri}")
    text = "\n".join(texts)
    if found.isError:
        raise ToolError(text or "the tool failed and did not say why")
    return Answer(text, tuple(files)) if files else text
