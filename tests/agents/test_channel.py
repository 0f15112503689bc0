from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from teamwright import loopback
from teamwright.agents.calling import channel
from teamwright.agents.calling.channel import Broken, Channels, Reply, TooLong, Unreachable

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of its replies; None closes, "hang" never answers."""

    def __init__(self, *replies: bytes | str | None) -> None:
        self.replies = list(replies)
        self.connections = 0
        self.requests: list[bytes] = []
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                reply = self.replies.pop(0)
                self.arrived.set()
                if reply == "hang":
                    await reader.read()
                    self.gone.set()
                if not isinstance(reply, bytes):
                    return
                writer.write(reply)
                await writer.drain()
                if b"connection: close" in reply or b"close-delimited" in reply:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with httpx.AsyncClient() as http:
        made = Channels(http)
        yield made
        await made.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/path?x=1"
    try:
        yield server
    finally:
        listener.close()
        await asyncio.sleep(0.01)


async def test_a_connection_is_kept_and_used_again(channels: Channels) -> None:
    async with serving(Server(*[OK] * 5)) as server:
        for _ in range(3):
            assert await channels.post(server.url, {"x-a": "b"}, b"body") == Reply(200, b"ok")
        assert server.connections == 1
        await asyncio.gather(*(channels.post(server.url, {}, b"") for _ in range(2)))
        assert server.connections == 2
        assert server.requests[0].startswith(b"POST /path?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
        assert server.requests[0].endswith(b"x-a: b\r\n\r\nbody")
        await channels.close()


@pytest.mark.parametrize(
    ("reply", "content"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nx: close-delimited\r\n\r\nall of it", b"all of it"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
    ],
)
async def test_every_way_to_end_a_body(channels: Channels, reply: bytes, content: bytes) -> None:
    async with serving(Server(reply, OK)) as server:
        assert (await channels.post(server.url, {}, b"")).content == content
        assert (await channels.post(server.url, {}, b"")).content == b"ok"
        await channels.close()


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (None, "closed"),
        (b"nonsense\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\npart", "closed"),
    ],
)
async def test_broken_answers(channels: Channels, reply: bytes | None, why: str) -> None:
    async with serving(Server(reply, OK)) as server:
        with pytest.raises(Broken, match=why):
            await channels.post(server.url, {}, b"")
        assert (await channels.post(server.url, {}, b"")).content == b"ok"
        await channels.close()


async def test_an_endless_answer_is_cut_off(channels: Channels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "ANSWER_LIMIT", 1000)
    async with serving(Server(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000)) as server:
        with pytest.raises(TooLong, match="answered with more than"):
            await channels.post(server.url, {}, b"")


async def test_an_answer_that_never_ends_is_given_up(channels: Channels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_BODY", 0.05)
    async with serving(Server(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\npart", OK)) as server:
        with pytest.raises(Broken, match=r"not complete after 0\.05 s"):
            await channels.post(server.url, {}, b"")
        assert (await channels.post(server.url, {}, b"")).content == b"ok"
        await channels.close()


async def test_nobody_there(channels: Channels) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable):
            await channels.post(f"http://127.0.0.1:{closed.getsockname()[1]}/", {}, b"")


async def test_cancelling_closes_the_connection(channels: Channels) -> None:
    async with serving(Server("hang")) as server:
        work = asyncio.create_task(channels.post(server.url, {}, b""))
        async with asyncio.timeout(30):
            await server.arrived.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        async with asyncio.timeout(30):
            await server.gone.wait()


async def test_an_idle_connection_that_ended_is_replaced(channels: Channels, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Server(OK, OK, OK)) as server:
        await channels.post(server.url, {}, b"")
        monkeypatch.setattr(loopback, "_KEPT_FOR", -1.0)
        await channels.post(server.url, {}, b"")
        assert server.connections == 2
        await channels.close()


async def test_headers_can_not_be_smuggled_in(channels: Channels) -> None:
    async with serving(Server(OK)) as server:
        with pytest.raises(ValueError, match="line break"):
            await channels.post(server.url, {"x": "a\r\ny: b"}, b"")
        assert server.requests == []
        await channels.close()


async def test_other_schemes_go_through_httpx() -> None:
    answers: list[Callable[[], httpx.Response]] = [lambda: httpx.Response(200, content=b"tls")]

    def handle(request: httpx.Request) -> httpx.Response:
        if not answers:
            raise httpx.ConnectError("no")
        return answers.pop()()

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        channels = Channels(http)
        assert await channels.post("https://peer.example/", {}, b"") == Reply(200, b"tls")
        with pytest.raises(Unreachable):
            await channels.post("https://peer.example/", {}, b"")


async def test_a_strangers_name_is_looked_at_whenever_it_is_dialled() -> None:
    leads_to = ["127.0.0.1"]

    async def rebinding(host: str, port: int) -> list[str]:
        assert host == "stranger.example"
        return [leads_to[0]]

    last = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with serving(Server(last, last)) as server, httpx.AsyncClient() as http:
        channels = Channels(http, resolve=rebinding)
        url = server.url.replace("127.0.0.1", "stranger.example")
        assert (await channels.post(url, {}, b"x", wary=True)).content == b"ok"
        for metadata in ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"):
            leads_to[0] = metadata
            with pytest.raises(Unreachable, match="leads to no address of an agent"):
                await channels.post(url, {}, b"x", wary=True)
        leads_to[0] = "127.0.0.1"
        assert (await channels.post(url, {}, b"x", wary=True)).content == b"ok"
        assert server.connections == 2
        await channels.close()
