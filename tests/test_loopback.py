"""The pool against a server that a test plays by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from teamwright.loopback import LoopbackError, NotConnected, Pool

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Reads requests and acts."""

    act: Act
    address: tuple[str, int] = ("127.0.0.1", 0)
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.act(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answers(data: bytes, *, close: bool = False) -> Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()

    return act


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-One: a\r\nx-one: b\r\n\r\nok"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(answers(OK))
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.address = listening.sockets[0].getsockname()
    yield made
    listening.close()
    for writer in made.writers:
        writer.close()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(connect=1.0)
    yield made
    made.close()


async def get(pool: Pool, server: Server, body: bytes = b"") -> bytes:
    async with await pool.request("POST", server.address, "/x", {"a": "b"}, body) as response:
        return await response.read()


async def test_connections_are_kept(pool: Pool, server: Server) -> None:
    async with await pool.request("POST", server.address, "/x", {"a": "b"}, b"body") as response:
        assert response.status == 200 and response.headers["x-one"] == "a, b"
        assert await response.read() == b"ok" and await response.read() == b""
    first = server.requests[0]
    assert first.startswith(b"POST /x HTTP/1.1\r\nhost: 127.0.0.1:") and first.endswith(b"a: b\r\n\r\nbody")
    for _ in range(5):
        assert await get(pool, server) == b"ok"
    assert server.connections == 1
    await asyncio.gather(*(get(pool, server) for _ in range(20)))
    assert 1 < server.connections <= 21


async def test_kept_connections_that_were_closed_are_not_used(pool: Pool, server: Server) -> None:
    await get(pool, server)
    server.writers[0].close()
    await asyncio.sleep(0.02)
    assert await get(pool, server) == b"ok" and server.connections == 2


@pytest.mark.parametrize("head", [b"connection: close\r\n", b""])
async def test_a_body_without_length_ends_with_the_connection(pool: Pool, server: Server, head: bytes) -> None:
    server.act = answers(b"HTTP/1.1 200 OK\r\n" + head + b"content-type: x\r\n\r\nall of it", close=True)
    if head:
        assert await get(pool, server) == b"all of it"
        await get(pool, server)
        assert server.connections == 2


async def test_chunks_come_as_they_are_sent(pool: Pool, server: Server) -> None:
    go = asyncio.Event()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    server.act = act
    async with await pool.request("GET", server.address, "/", {}) as response:
        pieces = response.chunks()
        assert await anext(pieces) == b"one"
        go.set()
        assert [piece async for piece in pieces] == [b"two"]
    await get(pool, server)
    assert server.connections == 1


async def test_who_stops_reading_closes_the_connection(pool: Pool, server: Server) -> None:
    async with await pool.request("GET", server.address, "/", {}) as response:
        assert response.status == 200
    await get(pool, server)
    assert server.connections == 2


async def test_a_slow_reader_slows_the_sender(pool: Pool, server: Server) -> None:
    size = 64 << 20
    sent = 0

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
        for _ in range(size >> 16):
            writer.write(b"x" * (1 << 16))
            await writer.drain()
            sent += 1 << 16

    server.act = act
    async with await pool.request("GET", server.address, "/", {}) as response:
        await asyncio.sleep(0.2)
        assert sent < size / 2
        assert sum([len(piece) async for piece in response.chunks()]) == size


async def test_large_bodies_go_out(pool: Pool, server: Server) -> None:
    body = b"x" * (5 << 20)
    assert await get(pool, server, body) == b"ok" and server.requests[0].endswith(body)


async def test_early_hints_are_skipped(pool: Pool, server: Server) -> None:
    server.act = answers(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
    async with await pool.request("GET", server.address, "/", {}) as response:
        assert response.status == 200 and "link" not in response.headers and await response.read() == b"ok"


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", b"nonsense\r\n\r\n"],
)
async def test_answers_that_break_off(pool: Pool, server: Server, data: bytes) -> None:
    server.act = answers(data, close=True)
    with pytest.raises(LoopbackError) as caught:
        await get(pool, server)
    assert caught.value.sent


async def test_nobody_there(pool: Pool, server: Server) -> None:
    with pytest.raises(NotConnected) as caught:
        await pool.request("GET", ("127.0.0.1", 1), "/", {})
    assert not caught.value.sent and not caught.value.timeout


async def test_cancelling_closes(pool: Pool, server: Server) -> None:
    never = asyncio.Event()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    server.act = act
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await get(pool, server)
    assert not pool._all


async def test_headers_hold_no_line_breaks(pool: Pool, server: Server) -> None:
    with pytest.raises(ValueError, match="line break"):
        await pool.request("GET", server.address, "/", {"a": "b\r\nc: d"})
