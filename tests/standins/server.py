"""The HTTP server below every stand-in: one thread with a loop, full control over bytes, cuts and silences."""

from __future__ import annotations

import asyncio
import json
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from tests.standins.script import Line, Reply, Seen

_PATIENCE = 60.0
#: The most seconds that a reply is held.
_HELD = 120.0
#: 529 is Anthropic's own.
_PHRASES = {**{int(status): status.phrase for status in HTTPStatus}, 529: "Overloaded"}


class StandIn(ABC):
    """A scripted model on 127.0.0.1. Start it with `with`; `url` is what a base URL is set to.

    `say` gives the next replies, in order; `always` a function for every request beyond them. A request without a
    line gets HTTP 400 and stands in `unexpected`.

    A wire format brings `read` (a request → Seen, None = not a model call: 404), `frames` (a streamed reply),
    `whole` (one that isn't), `error` (the body of an error).
    """

    #: Put behind the address to make `url`.
    prefix = ""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.unexpected: list[str] = []
        self._lines: deque[Line] = deque()
        self._always: Line | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    # --- what a wire format brings --------------------------------------------------------------------

    @abstractmethod
    def read(self, number: int, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Seen | None: ...

    @abstractmethod
    def frames(self, seen: Seen, reply: Reply) -> Iterable[bytes]: ...

    @abstractmethod
    def whole(self, seen: Seen, reply: Reply) -> Mapping[str, Any]: ...

    @abstractmethod
    def error(self, seen: Seen, reply: Reply) -> Mapping[str, Any]: ...

    # --- what a test uses -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def say(self, *lines: Line) -> None:
        """The next replies, in order, each for one request; what was left of earlier ones is dropped."""
        with self._changed:
            self._lines = deque(lines)
            self._always = None
            self.requests = []
            self.unexpected = []

    def always(self, line: Line) -> None:
        """The reply to every request for which there is no line left."""
        self.say()
        self._always = line

    @property
    def unsaid(self) -> int:
        """How many of the replies nobody has asked for."""
        return len(self._lines)

    def wait(self, count: int = 1, seconds: float = _PATIENCE) -> Seen:
        """Request number `count` since `say`, as soon as it is here."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, seconds), (
                f"only {len(self.requests)} requests of {count} came in {seconds:g} s"
            )
            return self.requests[count - 1]

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens at its address while the block runs."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PATIENCE)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(_PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(_PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    # --- the server -------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**26)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the stand-in ends
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request of a connection; whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await _body(reader, headers)
        seen, reply = self._line(method, path, headers, body)
        if seen is None:
            _whole(writer, 404, {}, json.dumps({"error": {"message": f"no {method} {path} here", "code": 404}}))
            return True
        answering = asyncio.ensure_future(self._answer(writer, seen, reply))
        leaving = asyncio.ensure_future(_left(reader))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() or isinstance(answering.exception(), ConnectionError):
                seen.gone.set()
        finally:
            answering.cancel()
            leaving.cancel()
            results = await asyncio.gather(answering, leaving, return_exceptions=True)
        if results[0] is not True:
            if isinstance(results[0], Exception) and not isinstance(results[0], ConnectionError):
                self.unexpected.append(f"the stand-in failed: {results[0]!r}")
            return False
        seen.answered.set()
        return True

    def _line(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[Seen | None, Reply]:
        with self._changed:
            seen = self.read(len(self.requests) + 1, path, headers, body) if method == "POST" else None
            if seen is None:
                return None, Reply()
            self.requests.append(seen)
            line = self._lines.popleft() if self._lines else self._always
            self._changed.notify_all()
        if line is None:
            self.unexpected.append(f"request {seen.number} was not expected: {seen.user[:80]!r}, {seen.results}")
            return seen, Reply(status=400, error="the test's script has no reply for this request")
        try:
            return seen, line if isinstance(line, Reply) else line(seen)
        except Exception as error:
            self.unexpected.append(f"request {seen.number}: {type(error).__name__}: {error}")
            return seen, Reply(status=400, error=f"the test's script failed: {error!r}")

    async def _answer(self, writer: asyncio.StreamWriter, seen: Seen, reply: Reply) -> bool:
        if reply.held and not (reply.end == "well" and reply.after):
            await asyncio.to_thread(reply.held.wait, _HELD)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.end == "hang" and reply.after is None:
            await asyncio.Event().wait()
        if reply.raw is not None:
            _whole(writer, reply.status, reply.headers, reply.raw)
        elif reply.status >= 400:
            _whole(writer, reply.status, reply.headers, json.dumps(self.error(seen, reply)))
        elif not seen.streaming:
            if reply.end == "cut":
                return False
            _whole(writer, reply.status, reply.headers, json.dumps(self.whole(seen, reply)))
        else:
            return await self._stream(writer, seen, reply)
        await writer.drain()
        return True

    async def _stream(self, writer: asyncio.StreamWriter, seen: Seen, reply: Reply) -> bool:
        writer.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **reply.headers}))
        await writer.drain()
        for number, frame in enumerate(self.frames(seen, reply)):
            if reply.end != "well" and number == (reply.after or 0):
                break
            if reply.held and number == reply.after:
                await asyncio.to_thread(reply.held.wait, _HELD)
            if number and reply.pause:
                await asyncio.sleep(reply.pause)
            writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            await writer.drain()
        if reply.end == "hang":
            await asyncio.Event().wait()
        if reply.end == "cut":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def sse(data: Any, event: str | None = None) -> bytes:
    """A server-sent event: `data` as JSON, or as it is when it is a str."""
    text = data if isinstance(data, str) else json.dumps(data)
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {text}\n\n".encode()


async def _left(reader: asyncio.StreamReader) -> None:
    """Returns when the other side has closed the connection."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110  # streams tell nobody of their end
        await asyncio.sleep(0.02)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> Mapping[str, Any]:
    if "chunked" in headers.get("transfer-encoding", ""):
        data = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            data += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        data = await reader.readexactly(int(headers.get("content-length") or 0))
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _whole(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: str | bytes) -> None:
    data = body.encode() if isinstance(body, str) else body
    given = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    writer.write(_head(status, given) + data)
