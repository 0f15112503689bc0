"""An agent that a test plays by hand, over a real socket, and the front door before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from teamwright.tracing.propagation import USAGE_EXT
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
from tests.engine.conftest import InProcess

Request = tuple[str, dict[str, str], bytes]
Reply = Callable[["Agent", Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Agent:
    """One that answers as `reply` says, and writes down what it was asked."""

    port: int
    reply: Reply
    asked: list[Request] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def call(self) -> Any:
        """The newest JSON-RPC call."""
        return json.loads(self.asked[-1][2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                raw = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((first, {key.lower(): value for key, value in raw.items()}, body))
                await self.reply(self, self.asked[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def whole(body: Any, status: str = "200 OK") -> Reply:
    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        data = json.dumps(body if "jsonrpc" not in body else {**body, "id": json.loads(request[2])["id"]}).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)

    return reply


def task(state: str, text: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": "task-1", "contextId": "ctx", "status": {"state": f"TASK_STATE_{state}"}, **more}
    if text:
        found["artifacts"] = [{"artifactId": "a", "parts": [{"text": text}]}]
    return found


def done(text: str = "Hi", **usage: Any) -> Any:
    return {"jsonrpc": "2.0", "result": {"task": task("COMPLETED", text, metadata={USAGE_EXT: usage})}}


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def frame(result: Any) -> bytes:
    data = b"data: " + json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}).encode() + b"\r\n\r\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def streamed(*frames: bytes, gate: asyncio.Event | None = None, cut: bool = False) -> Reply:
    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        for number, item in enumerate(frames):
            if gate is not None and number == len(frames) - 1:
                await gate.wait()
            writer.write(item)
            await writer.drain()
        if cut:
            writer.close()
        else:
            writer.write(b"0\r\n\r\n")

    return reply


def artifact(text: str, **more: Any) -> bytes:
    part = {"artifactId": "a", "parts": [{"text": text}]}
    return frame({"artifactUpdate": {"taskId": "task-1", "contextId": "ctx", "artifact": part, **more}})


_LAST = {
    "taskId": "task-1",
    "contextId": "ctx",
    "status": {"state": "TASK_STATE_COMPLETED"},
    "metadata": {USAGE_EXT: {"input_tokens": 5, "cost_usd": 0.25}},
}
STREAM = (
    frame({"task": task("SUBMITTED")}),
    artifact("Hel"),
    artifact("lo", append=True),
    frame({"statusUpdate": _LAST}),
)


@dataclass
class Door:
    """The engine with one job whose agent is played."""

    inside: InProcess
    agent: Agent
    server: asyncio.Server

    async def post(self, body: Any, path: str = "/a2a/team", **headers: str) -> httpx.Response:
        return await self.inside.http.post(
            path, json=body, headers={**self.inside.operator, "A2A-Version": "1.0", **headers}
        )

    async def ask(self, text: str = "Hello", method: str = "SendMessage", **message: Any) -> Any:
        answer = await self.post(question(text, method, **message))
        assert answer.status_code == 200
        if method == "SendMessage":
            return answer.json()
        return [json.loads(line[6:]) for line in answer.text.split("\r\n") if line.startswith("data: ")]

    async def traces(self) -> list[Any]:
        """Every whole trace of a query."""
        await self.inside.engine.spans.drain()
        with SpanReader(self.inside.home.spans_db) as reader:
            return [trace_show(reader.show(item["trace"].hex())) for item in reader.list_traces()]

    async def root(self) -> Any:
        """The root of the only trace."""
        (trace,) = await self.traces()
        (span,) = trace["spans"]
        return span

    @property
    def open(self) -> int:
        return len(self.inside.engine.state.tasks)


def question(text: str = "Hello", method: str = "SendMessage", **message: Any) -> Any:
    about = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}], **message}
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {"message": about}}
