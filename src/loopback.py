"""HTTP/1.1 to our own processes on this machine: kept connections, streamed bodies, a deadline on connecting.

General clients look through their whole pool at every request, which at a hundred connections costs more than the
request itself; here it is a stack per address. No TLS, no redirects, no proxies, no cookies: we know whom we call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, cast

import httptools

#: Bytes of a body that may wait for whoever reads it, before the sender has to wait.
_BUFFER = 256 * 1024
#: Idle connections kept per address, and seconds each is kept: less than any server of ours keeps them.
_KEPT, _KEPT_FOR = 256, 30.0

Address = tuple[str, int]


class LoopbackError(Exception):
    """The call could not be made, or broke off. `sent` = the other side may have begun to work on it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class NotConnected(LoopbackError):
    """Nobody took the connection; `timeout` = nobody in time."""

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message, sent=False)
        self.timeout = timeout


class Response:
    """A response whose head has come. Read its body with `read()` or `chunks()`; use `async with` or `close()`.

    Header names are in lower case.
    """

    def __init__(self, connection: _Connection, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._connection: _Connection | None = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces it comes in. Raises LoopbackError when it breaks off."""
        while self._connection is not None and (chunk := await self._connection.next_chunk()):
            yield chunk

    async def read(self) -> bytes:
        """The whole body. Raises LoopbackError when it breaks off."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Give the connection back if the body was read to its end; else it is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


class Pool:
    """Calls and the connections they leave behind. Belongs to one loop; `close()` it at the end.

    >>> async with await pool.request("POST", ("127.0.0.1", 8600), "/", {"content-type": "…"}, body) as response:
    ...     async for chunk in response.chunks(): ...
    """

    def __init__(self, *, connect: float = 5.0) -> None:
        self._connect = connect
        self._idle: dict[Address, list[_Connection]] = {}
        self._all: set[_Connection] = set()

    async def request(
        self, method: str, address: Address, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Response:
        """Send a request; returns when the head of its response has come. Raises LoopbackError."""
        connection = self._take(address) or await self._open(address)
        try:
            return await connection.send(_head(method, address, path, headers, body))
        except BaseException:
            connection.abort()
            raise

    def close(self) -> None:
        """Close all connections, used ones too."""
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()

    def _take(self, address: Address) -> _Connection | None:
        kept = self._idle.get(address)
        now = asyncio.get_running_loop().time()
        while kept:
            connection = kept.pop()
            if connection.usable and now - connection.idle_since < _KEPT_FOR:
                return connection
            connection.abort()
        return None

    async def _open(self, address: Address) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await loop.create_connection(lambda: _Connection(self, address), *address)
        except TimeoutError:
            raise NotConnected(f"not taken within {self._connect:g} s", timeout=True) from None
        except OSError as error:
            raise NotConnected(error.strerror or str(error)) from error
        self._all.add(connection)
        return connection

    def _give(self, connection: _Connection) -> None:
        kept = self._idle.setdefault(connection.address, [])
        if len(kept) >= _KEPT:
            # The oldest is at the bottom of the stack.
            kept.pop(0).abort()
        connection.idle_since = asyncio.get_running_loop().time()
        kept.append(connection)

    def _forget(self, connection: _Connection) -> None:
        self._all.discard(connection)


class _Connection(asyncio.Protocol):
    """One connection: at most one response at a time."""

    def __init__(self, pool: Pool, address: Address) -> None:
        self.address = address
        self.idle_since = 0.0
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._lost: str | None = None
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(cast("Any", self))
        self._head: asyncio.Future[Response] | None = None
        self._headers: dict[str, str] = {}
        self._body: deque[bytes] = deque()
        self._size = 0
        self._complete = False
        self._keep = False
        self._news = asyncio.Event()

    @property
    def usable(self) -> bool:
        return self._lost is None and self._transport is not None and not self._transport.is_closing()

    @property
    def _open_ended(self) -> bool:
        """Whether the body being read has no end but that of the connection."""
        begun = self._head is not None and self._head.done() and not self._head.cancelled()
        return begun and not self._headers.keys() & {"content-length", "transfer-encoding"}

    async def send(self, data: bytes) -> Response:
        assert self._transport is not None
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        await self._writable.wait()
        if self._lost is not None and not self._head.done():
            raise LoopbackError(self._lost, sent=True)
        return await self._head

    async def next_chunk(self) -> bytes:
        """The next piece of the body, b"" at its end."""
        while not self._body:
            if self._complete:
                return b""
            if self._lost is not None:
                raise LoopbackError(self._lost, sent=True)
            self._news.clear()
            await self._news.wait()
        chunk = self._body.popleft()
        self._size -= len(chunk)
        if not self._reading and self._size < _BUFFER and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
        return chunk

    def release(self) -> None:
        if self._complete and self._keep and self.usable and not self._body:
            self._reset()
            self._pool._give(self)
        else:
            self.abort()

    def abort(self) -> None:
        self._pool._forget(self)
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self.abort()  # nobody has asked anything
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"not HTTP: {error}")
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._pool._forget(self)
        if error is None and self._open_ended:
            self._complete = True
            self._news.set()
        self._break(str(error) if error else "the connection was closed")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _break(self, why: str) -> None:
        self._lost = self._lost or why
        self._writable.set()
        self._news.set()
        if self._head is not None and not self._head.done():
            self._head.set_exception(LoopbackError(self._lost, sent=True))
            self._head.exception()  # whoever waits for it gets it; nobody may wait any more

    # --- httptools -----------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and self._head is not None and not self._head.done():
            self._keep = self._parser.should_keep_alive()
            self._head.set_result(Response(self, status, self._headers))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._reading and self._size >= _BUFFER and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
        self._news.set()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._complete = True
            self._news.set()
        else:
            self._headers = {}


def _head(method: str, address: Address, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {address[0]}:{address[1]}", f"content-length: {len(body)}"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise ValueError(f"header {name} holds a line break")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body
