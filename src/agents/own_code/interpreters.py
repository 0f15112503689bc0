"""`run:` with `python:`: the user's function in an interpreter of its own, through `worker.py`.

One worker is started with the agent and shows that everything is there; more come when several messages are worked
on at once, and leave when they have had nothing to do. A worker whose call is cancelled ends with all it has started.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from teamwright.agents.own_code import worker_turns
from teamwright.agents.own_code.children import Child
from teamwright.agents.spec import AgentSpec
from teamwright.backends.api import Answer, BackendConfig, File, Turn
from teamwright.backends.observed import Observer, watch
from teamwright.errors import CodeError, LimitReached, PeerError, TeamwrightError, UserError

log = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("worker.py")

#: Seconds: a cancelled call may clean up; then after SIGTERM; a worker beyond the first may idle.
_CANCEL, _TERMINATE, _IDLE = 0.06, 0.04, 30.0
#: Bytes of one frame.
_LIMIT = 64 << 20


class InterpreterCode:
    """A function in another interpreter, as a Backend."""

    name: ClassVar[str] = "run"
    description = ""

    def __init__(self, spec: AgentSpec, *, idle: float = _IDLE) -> None:
        self._spec = spec
        self._idle_seconds = idle
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._spare: asyncio.Task[Worker] | None = None
        self._closed = False

    async def open(self, config: BackendConfig) -> None:
        """Start the first worker. Raises UserError when interpreter, module or function are not there."""
        self._idle.append(await self._start())

    async def run(self, turn: Turn) -> Answer:
        """Hand the message to a worker. Raises CodeError."""
        worker = await self._take()
        try:
            async with watch(turn, here=False) as observer:
                answer = await worker.call(turn, observer)
        except BaseException:
            await self._settle(worker)
            raise
        await self._settle(worker)
        return answer

    async def close(self) -> None:
        """End all workers and what they have started."""
        self._closed = True
        if self._spare is not None:
            self._spare.cancel()
            await asyncio.gather(self._spare, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers))

    async def _start(self) -> Worker:
        worker = Worker(self._spec)
        self._workers.add(worker)
        try:
            await worker.open()
        except BaseException:
            self._workers.discard(worker)
            await worker.end()
            raise
        return worker

    async def _take(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            await self._drop(worker)
        if self._spare is not None:
            spare, self._spare = self._spare, None
            try:
                return await asyncio.shield(spare)
            except asyncio.CancelledError:
                spare.add_done_callback(self._keep)
                raise
        try:
            return await self._start()
        except UserError as error:
            raise CodeError(error.message) from None

    async def _settle(self, worker: Worker) -> None:
        """A call is over: the worker waits for the next one, or another takes its place."""
        if worker.alive and not self._closed:
            self._put(worker)
            return
        await self._drop(worker)
        if not self._idle and self._spare is None and not self._closed:
            self._spare = asyncio.create_task(self._start(), name="spare worker")
            self._spare.add_done_callback(_looked_at)

    def _put(self, worker: Worker) -> None:
        self._idle.append(worker)
        if len(self._idle) > 1:
            oldest = self._idle[0]
            asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, oldest, oldest.calls)

    def _keep(self, spare: asyncio.Task[Worker]) -> None:
        if not spare.cancelled() and spare.exception() is None:
            self._put(spare.result())

    def _retire(self, worker: Worker, calls: int) -> None:
        if worker in self._idle and worker.calls == calls and len(self._idle) > 1:
            self._idle.remove(worker)
            self._leaving = asyncio.ensure_future(self._drop(worker))

    async def _drop(self, worker: Worker) -> None:
        await worker.end()
        self._workers.discard(worker)


class Worker:
    """One process that runs the function, one call at a time."""

    def __init__(self, spec: AgentSpec) -> None:
        self._spec = spec
        self._child: Child | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._done = False
        self.calls = 0

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""
        return not self._done and self._child is not None and not self._child.ended.done()

    async def open(self) -> None:
        """Start it and wait until the function is loaded. Raises UserError with one line."""
        spec = self._spec
        python = spec.python or ""
        ours, theirs = socket.socketpair()
        try:
            self._child = Child(
                [python, str(WORKER), str(os.getpid()), str(theirs.fileno())],
                folder=spec.job_folder,
                environment={**os.environ, "PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
            )
        except OSError as error:
            ours.close()
            raise UserError(f"python: {python} can't be run: {error.strerror}") from None
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        try:
            order = {"run": spec.run, "search_path": list(spec.search_path), "instrument": spec.instrument}
            await self._send(order)
            frame = await self._receive()
        except (OSError, EOFError):
            code = await self._child.end()
            raise UserError(
                f"python: {python} ended with {_ending(code)} before it was ready", hint="its own words are in the log"
            ) from None
        if "unusable" in frame:
            raise UserError(str(frame["unusable"]))
        log.info("%s runs in %s (Python %s, pid %d)", spec.run, python, frame["ready"]["python"], self._child.pid)

    async def call(self, turn: Turn, observer: Observer) -> Answer:
        """Have it handle a message; `observer` hears what it does.

        Raises CodeError for what the function raises, or when the process dies.
        """
        self.calls += 1
        asked: set[asyncio.Task[None]] = set()
        pieces: list[str] = []
        try:
            await self._send({"call": _values(turn)})
            while True:
                frame = await self._receive()
                if "seen" in frame:
                    seen = frame["seen"]
                    observer.take(seen)
                    if seen.get("kind") == "model":
                        await self._send({"heard": seen["begin"], "stop": observer.over is not None})
                elif "stream" in frame:
                    pieces.append(frame["stream"])
                    await turn.stream(frame["stream"])
                elif "ask" in frame:
                    task = asyncio.create_task(self._ask(turn, frame, observer), name="question of a worker")
                    asked.add(task)
                    task.add_done_callback(asked.discard)
                elif "done" in frame:
                    return _answer(frame["done"], pieces)
                elif "failed" in frame:
                    raise CodeError(frame["failed"])
                else:
                    raise CodeError("it was cancelled from inside")
        except asyncio.CancelledError:
            await self._cancel()
            raise
        except (OSError, EOFError, ValueError):
            self._done = True
            code = await self._child.end() if self._child is not None else 1
            message = f"its process ended with {_ending(code)} in the middle of a message"
            raise CodeError(message, reason="process_lost") from None
        finally:
            for task in asked:
                task.cancel()

    async def end(self) -> None:
        """End it, and everything it has started."""
        self._done = True
        if self._child is not None:
            await self._child.end(_TERMINATE)
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _cancel(self) -> None:
        self._done = True
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(_CANCEL):
                await self._send({"cancel": True})
                while not {"done", "failed", "cancelled"} & (await self._receive()).keys():
                    pass
        if self._child is not None:
            await self._child.end(_TERMINATE)

    async def _ask(self, turn: Turn, frame: Mapping[str, Any], observer: Observer) -> None:
        reply: dict[str, Any]
        try:
            with observer.below(frame.get("below")):
                reply = await _put(turn, frame)
        except (PeerError, LimitReached) as error:
            reply = {"error": error.message, "reason": getattr(error, "reason", "limit")}
        except TeamwrightError as error:
            reply = {"error": error.message, "reason": "failed"}
        with suppress(OSError):
            await self._send({"reply": frame["ask"], **reply})

    async def _send(self, frame: Mapping[str, Any]) -> None:
        assert self._writer is not None
        data = json.dumps(frame, default=str).encode()
        self._writer.write(struct.pack(">I", len(data)) + data)
        await self._writer.drain()

    async def _receive(self) -> dict[str, Any]:
        assert self._reader is not None
        (size,) = struct.unpack(">I", await self._reader.readexactly(4))
        if size > _LIMIT:
            raise EOFError
        frame: dict[str, Any] = json.loads(await self._reader.readexactly(size))
        return frame


async def _put(turn: Turn, frame: Mapping[str, Any]) -> dict[str, Any]:
    """What a question of a worker comes to, to another agent or for one. Raises PeerError or LimitReached."""
    if "find" in frame:
        found = await turn.find_agents(str(frame["find"]["skill"]), str(frame["find"]["text"]))
        return {"agents": [agent.to_dict() for agent in found]}
    files = [_file(one) for one in frame["files"]]
    answer = await turn.ask_peer(str(frame["agent"]), str(frame["message"]), files=files)
    return {"text": answer.text, "data": answer.data, "files": [_packed(file) for file in answer.files]}


def _values(turn: Turn) -> dict[str, Any]:
    return {
        "text": turn.text,
        "session": turn.session,
        "user": turn.user,
        "run_id": str(turn.run.run_id),
        "traceparent": turn.tracer.current().traceparent,
        "history": [{"role": word.role, "text": word.text} for word in turn.history],
        "files": [_packed(file) for file in turn.files],
    }


def _packed(file: File) -> dict[str, Any]:
    return worker_turns.File(file.name, file.media_type, file.data, file.uri).packed()


def _file(packed: dict[str, Any]) -> File:
    found = worker_turns.unpacked(packed)
    return File(found.name, found.media_type, found.data, found.uri)


def _answer(result: Mapping[str, Any], pieces: list[str]) -> Answer:
    files = tuple(_file(one) for one in result["files"])
    if result.get("streamed"):
        return Answer("".join(pieces), files)
    return Answer(result.get("text", ""), files, result.get("data"))


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _looked_at(task: asyncio.Task[Worker]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("no worker could be started: %s", error)
