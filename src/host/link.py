"""The engine's end of the line to the host: orders out, events in, over any number of hosts' lives."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from teamwright.errors import HostError
from teamwright.host.api import AgentState, Cause, LaunchOrder, PortRequest

#: The longest line either side takes: an order carries whole prompts.
LINE_LIMIT = 64 * 1024 * 1024
#: Seconds an order waits for a host to be there (its zygote is not needed for that).
CONNECT_DEADLINE = 30.0
#: Seconds that the answer to an order may take, on top of the grace that agents are given to end.
ANSWER_DEADLINE = 30.0
#: Seconds between two tries when nobody listens (the guard is leaving).
_RETRY = 0.5
#: Seconds after a lost connection: two engines that push each other away must not do it all the time.
_PAUSE = 0.05

_log = logging.getLogger(__name__)

#: Called with cause, state, and the event's number within this life of the host.
OnEvent = Callable[[Cause, AgentState, int], None]
#: Called on each new connection, before any event: the hello, and the states in it. Its "new" says whether this is
#: another host than the one before (or the first): whatever the last one ran is gone. It may give orders.
OnHello = Callable[[dict[str, Any], list[AgentState]], Awaitable[None]]


class HostLink:
    """Talks to whichever host is alive.

    >>> link = HostLink(home.host_socket, on_event=…, on_hello=…, on_lost=…)
    >>> task = asyncio.create_task(link.run())
    >>> await link.bind([PortRequest("hello/lead")])
    {'hello/lead': 8600}

    The guard holds the listener, so connecting always works and a host that isn't there yet is simply waited for: no
    polling. `on_lost` comes when the connection breaks: the host died, and its agents with it, unless the next hello
    says `new: False`. Orders raise HostError when the host refuses, or goes away before it has answered.
    """

    def __init__(self, path: Path | str, on_event: OnEvent, on_hello: OnHello, on_lost: Callable[[], None]) -> None:
        self._path = str(path)
        self._on_event = on_event
        self._on_hello = on_hello
        self._on_lost = on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._last_ref = 0
        self._instance: str | None = None
        self._hellos: set[asyncio.Future[None]] = set()
        self.pid: int | None = None
        self.zygote_pid: int | None = None

    @property
    def connected(self) -> bool:
        """Whether a host has said hello and is still there."""
        return self._connected.is_set()

    async def run(self) -> None:
        """Connect, and again whenever the host is lost; cancel to end."""
        try:
            await self._run()
        finally:
            for task in self._hellos:
                task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=LINE_LIMIT)
            except OSError:
                await asyncio.sleep(_RETRY)
                continue
            try:
                await self._talk(reader, writer)
            except (OSError, ValueError) as error:
                _log.warning("the line to the host broke: %s", error)
            finally:
                self._drop(writer)
            await asyncio.sleep(_PAUSE)

    async def bind(self, requests: list[PortRequest]) -> dict[str, int]:
        """Open the agents' ports, all or none; by `job/agent`. Raises HostError naming the holder of one taken."""
        agents = [{"id": item.id, "port": item.port, "explicit": item.explicit} for item in requests]
        answer = await self._ask({"op": "bind", "agents": agents})
        return cast("dict[str, int]", answer["ports"])

    async def launch(self, orders: list[LaunchOrder]) -> None:
        """Begin to start agents whose ports are bound; how they fare comes as events."""
        await self._ask({"op": "launch", "agents": [order.to_dict() for order in orders]})

    async def stop(self, agents: list[str], grace: float = 5.0, drain: float = 0.0) -> None:
        """End agents and everything below them; returns when they are gone. Unknown ones count as gone.

        What they work on gets `drain` seconds more to come to its end.
        """
        await self._ask({"op": "stop", "agents": agents, "grace": grace, "drain": drain}, grace + drain)

    async def replace(self, orders: list[LaunchOrder]) -> None:
        """Start other processes beside those that the agents are; how they fare comes as events marked NEXT."""
        await self._ask({"op": "replace", "agents": [order.to_dict() for order in orders]}, 5.0)

    async def commit(self, agents: list[str], drain: float) -> None:
        """The other processes are the agents from now on. Returns when the old ones are gone, their work done."""
        await self._ask({"op": "commit", "agents": agents, "drain": drain}, drain)

    async def undo(self, agents: list[str]) -> None:
        """End the other processes; the agents go on as they are."""
        await self._ask({"op": "undo", "agents": agents})

    async def restart(self, orders: list[LaunchOrder], grace: float = 5.0) -> None:
        """Stop agents and launch them anew on the same ports; returns when the old ones are gone."""
        await self._ask({"op": "restart", "agents": [order.to_dict() for order in orders], "grace": grace}, grace)

    async def release(self, agents: list[str]) -> None:
        """Close the agents' ports and forget the agents. Those still alive are stopped first."""
        await self._ask({"op": "release", "agents": agents})

    async def retire(self, agents: list[str], drain: float) -> None:
        """Stop agents when they have ended what they are working on, or `drain` seconds have passed."""
        await self.stop(agents, drain=drain)

    async def tokens(self, tokens: Mapping[str, Mapping[str, str]]) -> None:
        """Hand over fresh tokens, by `job/agent` and audience, for when the host has to restart an agent."""
        await self._ask({"op": "tokens", "tokens": {agent: dict(found) for agent, found in tokens.items()}})

    async def leave(self) -> None:
        """Have the host stop everything and exit; returns when it has gone."""
        with suppress(HostError):
            await self._ask({"op": "leave"})

    async def _ask(self, order: dict[str, Any], grace: float = 0.0) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await self._connected.wait()
        except TimeoutError:
            raise HostError(
                f"no host answered within {CONNECT_DEADLINE:g} s", hint="see host.log in the home"
            ) from None
        assert self._writer is not None
        self._last_ref += 1
        ref = self._last_ref
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[ref] = future
        try:
            self._send(self._writer, {"ref": ref, **order})
            async with asyncio.timeout(ANSWER_DEADLINE + grace):
                return await future
        except TimeoutError:
            raise HostError(f"the host did not answer to {order['op']!r}", hint="see host.log in the home") from None
        finally:
            self._pending.pop(ref, None)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            event = message.get("event")
            if event == "agent":
                self._on_event(message["cause"], AgentState.from_dict(message["state"]), message["seq"])
                self._send(writer, {"ack": message["seq"]})
            elif event == "hello":
                await self._hello(message, writer)
            elif event == "zygote":
                self.zygote_pid = message["pid"]
            elif (future := self._pending.get(message.get("ref", 0))) and not future.done():
                if "error" in message:
                    future.set_exception(HostError(message["error"], hint=message.get("hint")))
                else:
                    future.set_result(message)

    async def _hello(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.pid, self.zygote_pid = message["pid"], message.get("zygote_pid")
        message["new"] = message["instance"] != self._instance
        self._instance = message["instance"]
        states = [AgentState.from_dict(state) for state in message["agents"]]
        self._writer = writer
        self._connected.set()
        # It may give orders (jobs are started again), whose answers are read here: so it runs beside the reading.
        # The short sleep lets it get to its first await before any event is handed out.
        task = asyncio.ensure_future(self._on_hello(message, states))
        self._hellos.add(task)
        task.add_done_callback(self._said)
        await asyncio.sleep(0)

    def _said(self, task: asyncio.Future[None]) -> None:
        self._hellos.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("could not take over from the host", exc_info=error)

    @staticmethod
    def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        was_connected = self._connected.is_set()
        self._connected.clear()
        self._writer = self.pid = self.zygote_pid = None
        for future in self._pending.values():
            if not future.done():
                future.set_exception(HostError("the host ended before it answered"))
        if was_connected:
            self._on_lost()
