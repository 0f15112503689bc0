"""Where the engine's orders come in and the agents' changes go out (`api.py` has the words)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from teamwright.errors import TeamwrightError
from teamwright.host.api import AgentState, Cause, LaunchOrder, PortRequest
from teamwright.host.fleet import Fleet
from teamwright.host.link import LINE_LIMIT
from teamwright.host.proc import boot

_log = logging.getLogger(__name__)

#: Changes kept for an engine that isn't there; the oldest go first.
_OUTBOX = 10_000
#: Seconds that the last changes may take to be read by the engine when the host leaves.
_FLUSH = 1.0
GRACE = 5.0


class Desk:
    """Serves one engine at a time; a newer connection replaces the older.

    `report` is called for each change of an agent; it is sent now, or when an engine comes, until that acknowledges it.
    """

    def __init__(self, on_leave: Callable[[], Awaitable[None]]) -> None:
        self._on_leave = on_leave
        self._instance = secrets.token_hex(6)
        self._outbox: deque[tuple[int, bytes]] = deque(maxlen=_OUTBOX)
        self._seq = 0
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._fleet: Fleet | None = None
        self._zygote: int | None = None
        self._closed = False

    async def open(self, listener: socket.socket, fleet: Fleet) -> None:
        """Begin to serve."""
        self._fleet = fleet
        # The file is the guard's, which outlives us: it must never be removed here.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_LIMIT, **options)

    def report(self, state: AgentState, cause: Cause) -> None:
        """An agent has changed."""
        self._seq += 1
        event = {"event": "agent", "seq": self._seq, "state": state.to_dict(), "cause": cause}
        line = json.dumps(event).encode() + b"\n"
        self._outbox.append((self._seq, line))
        self._empty.clear()
        self._write(line)
        _log.info("%s is %s (%s)%s", state.id, state.status, cause, f", pid {state.pid}" if state.pid else "")

    def zygote(self, pid: int | None) -> None:
        """There is another zygote."""
        self._zygote = pid
        self._write(json.dumps({"event": "zygote", "pid": pid}).encode() + b"\n")

    async def flush(self) -> None:
        """Wait a little until the engine, if there is one, has everything."""
        if self._outbox and self._writer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), _FLUSH)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if _peer(writer) != os.getuid():
            writer.close()
            return
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        try:
            self._hello()
            while line := await reader.readline():
                self._take(line, writer)
        except (OSError, ValueError) as error:
            _log.warning("the line to the engine broke: %s", error)
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None

    def _hello(self) -> None:
        assert self._fleet is not None
        hello = {
            "event": "hello",
            "pid": os.getpid(),
            "zygote_pid": self._zygote,
            "boot_id": boot().partition("/")[0],
            "instance": self._instance,
            "agents": [state.to_dict() for state in self._fleet.states],
            "beside": [state.to_dict() for state in self._fleet.successors.states],
        }
        self._write(json.dumps(hello).encode() + b"\n")
        for _, line in self._outbox:
            self._write(line)

    def _take(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        message = json.loads(line)
        if "ack" in message:
            while self._outbox and self._outbox[0][0] <= message["ack"]:
                self._outbox.popleft()
            if not self._outbox:
                self._empty.set()
            return
        task = asyncio.get_running_loop().create_task(self._answer(message, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            answer = {"ok": True, **(await self._carry_out(message))}
        except TeamwrightError as error:
            answer = {"error": error.message, "hint": error.hint}
        except Exception as error:
            _log.exception("could not carry out %s", message.get("op"))
            answer = {"error": f"the host failed: {error!r}", "hint": "see host.log in the home"}
        if not writer.is_closing():
            writer.write(json.dumps({"ref": message.get("ref"), **answer}).encode() + b"\n")
        if message.get("op") == "leave":
            await self._on_leave()

    async def _carry_out(self, message: dict[str, Any]) -> dict[str, Any]:
        fleet = self._fleet
        assert fleet is not None
        match message["op"]:
            case "bind":
                return {"ports": fleet.bind([PortRequest(**item) for item in message["agents"]])}
            case "launch":
                fleet.launch([LaunchOrder.from_dict(item) for item in message["agents"]])
            case "stop":
                await fleet.stop(message["agents"], message.get("grace", GRACE), message.get("drain", 0.0))
            case "replace":
                orders = [LaunchOrder.from_dict(item) for item in message["agents"]]
                await fleet.replace(orders, message.get("grace", GRACE))
            case "commit":
                await fleet.successors.commit(message["agents"], message.get("grace", GRACE), message.get("drain", 0.0))
            case "undo":
                await fleet.successors.undo(message["agents"])
            case "restart":
                orders = [LaunchOrder.from_dict(item) for item in message["agents"]]
                await fleet.restart(orders, message.get("grace", GRACE))
            case "release":
                await fleet.release(message["agents"])
            case "tokens":
                fleet.renew(message["tokens"])
            case "leave":
                await fleet.leave(GRACE)
            case other:
                raise TeamwrightError(f"unknown order {other!r}")
        return {}

    def _write(self, line: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line)


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user at the other end."""
    sock = writer.get_extra_info("socket")
    _, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(user)
