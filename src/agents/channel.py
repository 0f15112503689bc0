"""The way to peers on plain HTTP: kept connections, one request at a time on each, parsed by httptools.

A call through httpx costs a millisecond of CPU, most of it in pools and models of things that calls between agents
don't use; this costs a sixth. Addresses that are not `http://` still go through httpx.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

import httptools
import httpx

#: Seconds. Idle connections are used again for so long; servers of ours keep theirs open longer.
_IDLE = 30.0
_CONNECT = 3.0
#: Seconds from the headers of an answer to its end: the work is done by then, only its bytes are on their way.
_BODY = 60.0
#: Bytes. No answer is longer.
_LIMIT = 64 << 20


class Unreachable(Exception):
    """No connection could be made; nothing was sent."""


class Broken(Exception):
    """The connection ended, or said something that isn't HTTP, before the whole answer was there."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response."""

    status: int
    content: bytes


class Channels:
    """Connections to peers, by address."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._idle: dict[tuple[str, int], list[_Channel]] = {}
        self._open: set[_Channel] = set()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a request and wait for its response, as long as it takes. Raises Unreachable or Broken."""
        scheme, host, port, path = _split(url)
        if scheme != "http":
            return await self._through_httpx(url, headers, body)
        head = [f"POST {path} HTTP/1.1", f"host: {host}:{port}", f"content-length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in head):
            raise ValueError("a header holds a line break")
        address = (host, port)
        channel = self._kept(address) or await self._connect(address)
        try:
            reply = await channel.exchange("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        except BaseException:
            channel.close()
            raise
        if channel.reusable:
            self._idle.setdefault(address, []).append(channel)
        else:
            channel.close()
        return reply

    async def close(self) -> None:
        """End all connections."""
        for channel in list(self._open):
            channel.close()
        self._idle.clear()
        await asyncio.sleep(0)

    def _kept(self, address: tuple[str, int]) -> _Channel | None:
        idle = self._idle.get(address, [])
        oldest = asyncio.get_running_loop().time() - _IDLE
        while idle:
            channel = idle.pop()
            if channel.alive and channel.used > oldest:
                return channel
            channel.close()
        return None

    async def _connect(self, address: tuple[str, int]) -> _Channel:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT):
                _, channel = await loop.create_connection(lambda: _Channel(self._open), *address)
        except TimeoutError:
            raise Unreachable("no connection in time") from None
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from None
        return channel

    async def _through_httpx(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            response = await self._http.post(url, content=body, headers=dict(headers))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(str(error) or "no connection in time") from None
        except httpx.HTTPError as error:
            raise Broken(str(error) or type(error).__name__) from None
        return Reply(response.status_code, response.content)


class _Channel(asyncio.Protocol):
    """One connection. httptools calls its `on_…` methods while it parses."""

    def __init__(self, registry: set[_Channel]) -> None:
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self.alive = False
        self.reusable = False
        self.used = 0.0
        self._slow: asyncio.TimerHandle | None = None

    async def exchange(self, request: bytes) -> Reply:
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = 0
        self._framed = False
        self._headers_done = False
        self.reusable = False
        if self._transport is None or not self.alive:
            raise Broken("the connection was closed")
        self._transport.write(request)
        try:
            reply = await self._answer
        finally:
            if self._slow is not None:
                self._slow.cancel()
                self._slow = None
        self.used = loop.time()
        return reply

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._registry.discard(self)

    # --- asyncio ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.alive = True
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # words that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"what came back is not HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self.alive = False
        self._registry.discard(self)
        if self._answer is not None and not self._answer.done():
            if self._headers_done and not self._framed:
                self._answer.set_result(Reply(self._parser.get_status_code(), b"".join(self._body)))
            else:
                self._fail(str(error) if error else "it was closed before the answer")

    # --- httptools ----------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._headers_done = True
        if self._parser.get_status_code() >= 200:
            loop = asyncio.get_running_loop()
            self._slow = loop.call_later(_BODY, self._fail, f"the answer was not complete after {_BODY:g} s")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > _LIMIT:
            self._fail(f"the answer is longer than {_LIMIT >> 20} MB")
            self.close()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._framed = self._headers_done = False  # 100 Continue and the like: the answer is still to come
            return
        self.reusable = self.alive and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(status, b"".join(self._body)))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(why))


@lru_cache(maxsize=1024)
def _split(url: str) -> tuple[str, str, int, str]:
    parts = urlsplit(url)
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), path
