"""Carries a plan out: launch level by level, wait for readiness by events, and undo everything on failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from teamwright.errors import StartFailed, TeamwrightError
from teamwright.host.api import AgentState, Cause, LaunchOrder, PortRequest
from teamwright.jobs.plan import Plan

#: Seconds on top of an agent's own time to ready, after which we no longer wait for the host's word.
_HOST_SLACK = 15.0
#: Seconds that undoing a start may take.
UNDO_DEADLINE = 20.0

_READY = frozenset(["healthy", "busy"])
_OVER = frozenset(["failed", "stopped", "halted", "lost"])

Progress = Callable[[dict[str, Any]], None]


class Hosts(Protocol):
    """What a deployment needs from whoever runs processes."""

    async def bind(self, requests: list[PortRequest]) -> dict[str, int]:
        """Open the agents' ports; by `job/agent`. Raises when an explicit one is taken, naming its holder."""

    async def launch(self, orders: list[LaunchOrder]) -> None:
        """Begin to start agents; how they fare comes as events."""

    async def stop(self, agents: list[str], grace: float = 5.0) -> None:
        """End agents; returns when they are gone."""

    async def release(self, agents: list[str]) -> None:
        """Close the agents' ports."""


def waves(plan: Plan) -> list[tuple[str, ...]]:
    """The agents in the order the plan's strategy starts them: those of a wave at once, wave after wave."""
    if plan.strategy == "parallel":
        return [tuple(agent for level in plan.levels for agent in level)]
    if plan.strategy == "sequential":
        return [(agent,) for level in plan.levels for agent in level]
    return [level for level in plan.levels if level]


class Deployment:
    """One start of a plan's agents, whose ports are bound and whose orders are made (by the name of the process).

    >>> deployment = Deployment(plan, orders, hosts, progress=print)
    >>> await deployment.run()          # while somebody passes the host's events to `feed`

    `run` raises StartFailed, or is cancelled: either way everything is stopped again, ports closed.
    """

    def __init__(
        self, plan: Plan, orders: Mapping[str, LaunchOrder], hosts: Hosts, *, progress: Progress = lambda line: None
    ) -> None:
        self.plan = plan
        self._orders = orders
        self._hosts = hosts
        self.progress = progress
        self._ready: dict[str, asyncio.Future[AgentState]] = {}

    @property
    def ids(self) -> list[str]:
        """`job/agent` of the agents it starts."""
        return [order.id for order in self._orders.values()]

    def feed(self, state: AgentState, cause: Cause) -> None:
        """Take note of a change that the host reported."""
        future = self._ready.get(state.id)
        if future is None or future.done():
            return
        if state.status in _READY:
            future.set_result(state)
        elif state.status in _OVER or (state.status == "backing_off" and not _killed(state)):
            future.set_exception(failure(state, self.plan.timeout))

    def host_lost(self) -> None:
        """The host is gone, and everything it ran with it."""
        for agent_id, future in self._ready.items():
            if not future.done():
                agent = agent_id.partition("/")[2]
                future.set_exception(StartFailed("the host ended while the job was starting", agent=agent))

    async def run(self) -> None:
        """Start everything and return when all agents are ready."""
        try:
            for number, wave in enumerate(waves(self.plan)):
                names = (name for agent in wave for name in self.plan.agent(agent).processes)
                if ours := [name for name in names if name in self._orders]:
                    self.progress({"event": "level", "level": number, "agents": ours})
                    await self._start(ours)
        except BaseException:
            await finish(self._undo())
            raise

    async def _start(self, agents: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        ids = [f"{self.plan.job}/{agent}" for agent in agents]
        self._ready = {agent_id: loop.create_future() for agent_id in ids}
        try:
            await self._hosts.launch([self._orders[agent] for agent in agents])
            done, late = await asyncio.wait(
                self._ready.values(), timeout=self.plan.timeout + _HOST_SLACK, return_when=asyncio.FIRST_EXCEPTION
            )
            for future in done:
                future.result()
            if late:
                names = sorted(id.partition("/")[2] for id, future in self._ready.items() if future in late)
                raise StartFailed(
                    f"{', '.join(names)} did not get ready, and the host says nothing about it", agent=names[0]
                )
        finally:
            discard(self._ready.values())
            self._ready = {}

    async def _undo(self) -> None:
        with suppress(TeamwrightError, TimeoutError):
            async with asyncio.timeout(UNDO_DEADLINE):
                await self._hosts.stop(self.ids)
                await self._hosts.release(self.ids)


def failure(state: AgentState, timeout: float) -> StartFailed:
    """Why an agent did not get ready, as one line, with its own last lines."""
    agent = state.id.partition("/")[2]
    ended = state.last_exit
    reason = ended.reason if ended else state.status
    if reason == "not_ready":
        what = f"was not ready after {timeout:g} s"
    elif reason == "hung":
        what = "hung while it started"
    elif reason == "memory_limit":
        what = "went over its memory limit while it started"
    elif ended and ended.signal is not None:
        what = f"was killed by signal {ended.signal} while it started"
    elif ended and ended.code is not None:
        what = f"ended with exit code {ended.code} before it was ready"
    else:
        what = f"could not be started ({reason})"
    job = state.id.partition("/")[0]
    return StartFailed(f"agent {agent} {what}", agent=agent, tail=state.tail, hint=f"deploy logs {job}/{agent}")


async def finish(work: Any) -> None:
    """Await `work` to its end, however often this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    if not task.cancelled():
        task.result()


def discard(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Let futures go that nobody waits for any more, without a word about what they hold."""
    for future in futures:
        if not future.done():
            future.cancel()
        elif not future.cancelled():
            future.exception()


def _killed(state: AgentState) -> bool:
    """Whether somebody else ended the process: then the host's restart policy gets its chance."""
    return state.last_exit is not None and state.last_exit.signal is not None and state.last_exit.reason == "signal"
