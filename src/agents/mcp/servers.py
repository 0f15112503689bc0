"""MCP servers of a job as tools: each is started once for an agent, and its tools are called like the agent's own.

Whatever thinks in the agent gets them with `turn.tools`. Each call is an `execute_tool` span, and its trace context
goes along as `_meta.traceparent`. A server that has died is started again, at once the first time and then after
pauses that double; a call meanwhile is an error that the model reads. `mcp` is imported when there is a server.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from importlib import import_module
from typing import Any, Literal
from urllib.parse import urlsplit

from teamwright.agents.mcp import transport
from teamwright.backends.api import Answer, File, Tool, Turn
from teamwright.backends.asking import ASK_USER
from teamwright.errors import ToolError
from teamwright.tracing import vocabulary as v
from teamwright.tracing.outgoing import mcp_meta

log = logging.getLogger(__name__)

#: Seconds until a server must have said what tools it has, where the job file doesn't say; until it must be gone.
READY = 30.0
_GONE = 0.8
#: Seconds: the first pause before it is started again, the longest; how long it must have run to count as well.
_FIRST, _LONGEST, _STEADY = 0.5, 30.0, 60.0
#: Seconds in which a process must answer a ping after a call that nobody waits for any more, else it is started again.
_DEAF = 30.0
_NAME = re.compile(r"[^A-Za-z0-9_-]")
#: JSON-RPC's codes for a request that the server has understood and refused: the connection is as good as before.
_REFUSALS = (-32601, -32602, -32603)

_BROKEN, _HANGS = "its connection broke off", "it did not answer any more"
_News = Literal["changed", "lost", "stop"]


class McpServers:
    """All servers of an agent, by their names in the job file; `taken` are the names of the agent's own tools."""

    def __init__(self, servers: Mapping[str, Mapping[str, Any]], taken: Sequence[str] = ()) -> None:
        self._servers = [_Server(name, given) for name, given in servers.items()]
        self._taken = {*taken, ASK_USER}

    def start(self) -> None:
        """Start all of them; nobody waits for that before the first message."""
        for server in self._servers:
            server.start()

    async def tools(self) -> list[Tool]:
        """The tools of all servers, as they are now; waits for those that are about to be there.

        A name that the agent's own tools or two servers have becomes `SERVER_TOOL`.
        """
        offered = await asyncio.gather(*(server.offered() for server in self._servers))
        often = Counter(_fit(about.name) for described in offered for about in described)
        names, made = set(self._taken), []
        for server, described in zip(self._servers, offered, strict=True):
            for about in described:
                name = _fit(about.name)
                if name in self._taken or often[name] > 1:
                    name = _fit(f"{server.name}_{about.name}")
                name = next(one for one in (name, *(f"{name[:60]}_{n}" for n in range(2, 999))) if one not in names)
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
        self._patience = float(given.get("start_timeout") or READY)
        self._session: Any = None
        #: Done when the connection of `_session` has broken off; another one for each connection.
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._described: list[Any] = []
        self._facts: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._news: asyncio.Queue[_News] = asyncio.Queue()
        #: Set while it is known what the server offers, or that it can't be had for now.
        self._settled = asyncio.Event()
        self._trouble = "it has not been started"
        self._again = 0.0
        self._notes: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._lost_as = _BROKEN

    def start(self) -> None:
        """Run it until `stop`."""
        self._task = asyncio.create_task(self._keep(), name=f"mcp:{self.name}", context=contextvars.Context())

    async def offered(self) -> list[Any]:
        """What it says of its tools, or said last; nothing as long as it could not be had."""
        await self._settled.wait()
        return self._described

    def tool(self, name: str, about: Any) -> Tool:
        """One of its tools, called `name` here."""

        async def call(arguments: Mapping[str, Any], turn: Turn) -> Any:
            span = turn.tracer.current()
            span.set({v.MCP_METHOD: "tools/call"})
            await self._settled.wait()
            if (session := self._session) is None:
                wait = max(0.0, self._again - time.monotonic())
                raise ToolError(f"the MCP server {self.name} is not there ({self._trouble}); next try in {wait:.0f} s")
            span.set(self._facts)
            meta = {"traceparent": span.traceparent, **({"tracestate": span.trace_state} if span.trace_state else {})}
            meta.update(mcp_meta(turn.run))
            span.announce()
            return await self._call(session, about.name, dict(arguments), meta)

        return Tool(
            name=name,
            description=about.description or about.name,
            parameters=about.inputSchema,
            call=call,
            timeout=self._given.get("timeout"),
            source="mcp",
            server=self.name,
        )

    async def _call(self, session: Any, tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> Any:
        number: list[int] = []

        async def ask() -> Any:
            number.append(session._request_id)
            return await session.call_tool(tool, arguments, meta=meta)

        broken = self._broken
        asking = asyncio.create_task(ask())
        self._under_way += 1
        try:
            await asyncio.wait([asking, broken], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ConnectionError(_BROKEN)
            return _result(asking.result())
        except asyncio.CancelledError:
            if number and not broken.done():
                note = asyncio.create_task(self._left(session, number[0]), context=contextvars.Context())
                self._notes.add(note)
                note.add_done_callback(self._notes.discard)
            raise
        except ToolError:
            raise
        except Exception as error:
            code = getattr(getattr(error, "error", None), "code", None)
            if code not in _REFUSALS:
                self._lost(session)
            raise ToolError(f"the MCP server {self.name} failed: {error or type(error).__name__}") from error
        finally:
            self._under_way -= 1
            asking.cancel()

    async def _left(self, session: Any, number: int) -> None:
        """Nobody waits for that call any more: tell the server, and start its process again where that hears nothing.

        While other calls are under way it is left alone: it may be busy with one of them.
        """
        await _cancelled(session, number)
        if self._given.get("url") or self._under_way:
            return
        try:
            async with asyncio.timeout(_DEAF):
                await session.send_ping()
        except TimeoutError:
            self._lost(session, _HANGS)
        except Exception as error:
            log.debug("the MCP server %s has no answer to a ping: %s", self.name, error)

    async def stop(self) -> None:
        """End the connection, and the process where there is one."""
        if self._task is None:
            return
        if self._session is not None:
            self._news.put_nowait("stop")
            await asyncio.wait([self._task], timeout=_GONE)
        self._task.cancel()  # it does not hear, or is not connected: what it has begun ends all the same
        await asyncio.wait([self._task], timeout=_GONE)

    async def _keep(self) -> None:
        failures = 0
        while True:
            self._settled.clear()
            began, self._session = time.monotonic(), None
            try:
                await self._connected()
                return
            except Exception as error:
                self._trouble = _words(error)
                self._break()
            was_there, self._session = self._session is not None or self._facts != {}, None
            self._facts = {}
            if was_there and time.monotonic() - began > _STEADY:
                failures = 0
            pause = 0.0 if was_there and not failures else min(_LONGEST, _FIRST * 2**failures)
            failures += 1
            log.warning("the MCP server %s: %s; next try in %g s", self.name, self._trouble, pause)
            if pause:
                self._again = time.monotonic() + pause
                self._settled.set()
            if await self._stopped_within(pause):
                return

    async def _stopped_within(self, seconds: float) -> bool:
        """Let so much time pass; whether it is to stop. What came of the old connection is forgotten."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._news.get() != "stop":
                    pass
            self._settled.set()
            return True
        return False

    async def _connected(self) -> None:
        """Connect, and stay so until `stop`. Raises whatever ends it before."""
        # Half a second, for which the agent must not be deaf.
        await asyncio.to_thread(import_module, "mcp.client.session")
        from mcp.client.session import ClientSession
        from mcp.types import Implementation

        client = Implementation(name="teamwright", version="1")
        async with (
            asyncio.timeout(self._patience) as limit,
            self._streams() as (read, write, session_id),
            ClientSession(read, write, message_handler=self._heard, client_info=client) as session,
        ):
            about = await session.initialize()
            self._described = await _listed(session)
            limit.reschedule(None)
            self._facts = {
                v.MCP_SESSION: session_id(),
                v.MCP_VERSION: str(about.protocolVersion),
                **_place(self._given.get("url")),
            }
            self._session, self._broken = session, asyncio.get_running_loop().create_future()
            self._settled.set()
            log.info("the MCP server %s is there: %d tools", self.name, len(self._described))
            while (news := await self._news.get()) == "changed":
                async with asyncio.timeout(self._patience):
                    self._described = await _listed(session)
                log.info("the MCP server %s has other tools now: %d", self.name, len(self._described))
                if self._news.empty():
                    self._settled.set()
            if news == "lost":
                raise ConnectionError(self._lost_as)

    def _streams(self) -> AbstractAsyncContextManager[transport.Streams]:
        if self._given.get("url"):
            return transport.http(self._given)
        return transport.stdio(self.name, self._given, lambda: self._lost(self._session))

    def _lost(self, session: Any, why: str = _BROKEN) -> None:
        """The connection is of no use any more."""
        if session is not None and session is self._session:
            self._lost_as = why
            self._session = None
            self._settled.clear()
            self._break()
            self._news.put_nowait("lost")

    def _break(self) -> None:
        """End the calls that wait for an answer."""
        if not self._broken.done():
            self._broken.set_result(None)

    async def _heard(self, message: Any) -> None:
        """What the server says unasked; the list can't be fetched here, as this holds up all it says."""
        if getattr(getattr(message, "root", None), "method", "") == "notifications/tools/list_changed":
            if self._session is not None:
                self._settled.clear()
            self._news.put_nowait("changed")


async def _listed(session: Any) -> list[Any]:
    """All its tools, page by page."""
    from mcp.types import PaginatedRequestParams

    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        found += page.tools
        cursor = page.nextCursor
        if not cursor:
            return found


async def _cancelled(session: Any, number: int) -> None:
    """Tell the server that nobody waits for that call any more."""
    from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification

    about = CancelledNotificationParams(requestId=number, reason="nobody waits for it any more")
    with suppress(Exception):
        async with asyncio.timeout(_GONE):
            await session.send_notification(ClientNotification(CancelledNotification(params=about)))


def _fit(name: str) -> str:
    return _NAME.sub("_", name)[:64]


def _place(url: str | None) -> dict[str, Any]:
    if url is None:
        return {v.NETWORK_TRANSPORT: "pipe"}
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {v.NETWORK_TRANSPORT: "tcp", v.SERVER_ADDRESS: parts.hostname, v.SERVER_PORT: port}


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(error) or type(error).__name__


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
