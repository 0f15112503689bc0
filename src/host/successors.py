"""New processes for agents that run: each comes up beside the old one, which stands aside until it is known who stays.

Both have the same listening socket. The old one takes no more connections and works on; what comes meanwhile waits in
the socket's backlog. A successor on another port needs no such care. Where the old one can't stand aside (it is not
ready, or not our code), it is stopped, and started again should its successor fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from teamwright.errors import HostError
from teamwright.host.api import FORMER, NEXT, AgentState, Cause, LaunchOrder
from teamwright.host.ports import Borrowed
from teamwright.host.supervised import Means, Report, Supervised

#: What stands behind an agent's name for the port that only its successor has.
OWN = "~"


@dataclass(slots=True)
class _Change:
    """One agent's: the process that may follow, and the one that was there. `stopped` = it has been ended for it."""

    new: Supervised
    old: Supervised | None
    stopped: bool
    own: bool


class Successors:
    """The agents of a host that have two processes. `agents` are all agents of the host, by `job/agent`.

    >>> await successors.begin(orders)                  # what becomes of them is reported, marked NEXT
    >>> await successors.commit(["hello/lead"], 60.0)   # or undo(["hello/lead"])
    """

    def __init__(self, means: Means, agents: MutableMapping[str, Supervised]) -> None:
        self._means = means
        self._agents = agents
        self._changes: dict[str, _Change] = {}
        self._leaving: dict[Supervised, asyncio.Task[None]] = {}

    @property
    def states(self) -> list[AgentState]:
        """Those of the processes that may follow, and of those that end."""
        return [
            *(_marked(change.new.state, NEXT) for change in self._changes.values()),
            *(_marked(old.state, FORMER) for old in self._leaving),
        ]

    async def begin(self, orders: Sequence[LaunchOrder], grace: float) -> None:
        """Begin to start successors. Raises HostError, and then none is started."""
        for order in orders:
            self._means.ports.port(order.id)
            if order.id in self._changes:
                raise HostError(f"{order.id} is being replaced already")
        await asyncio.gather(*(self._begin(order, grace) for order in orders))

    async def _begin(self, order: LaunchOrder, grace: float) -> None:
        old = self._agents.get(order.id)
        living = old is not None and not old.over
        own = self._means.ports.has(order.id + OWN)
        report = partial(_report, self._means.report, NEXT)
        means = replace(self._means, report=report)
        if own:
            means = replace(means, ports=Borrowed(self._means.ports, order.id + OWN))
        elif old is not None and living and not order.foreign and old.step_aside():
            means = replace(means, ports=Borrowed(self._means.ports, order.id))
        stopped = living and not own and means.ports is self._means.ports
        # Noted before anything is awaited: it may be undone meanwhile.
        change = self._changes[order.id] = _Change(Supervised(order, means), old, stopped, own)
        if stopped and old is not None:
            await old.stop(grace, "restart")
        if self._changes.get(order.id) is change:
            change.new.start("launched")

    async def commit(self, agents: Iterable[str], grace: float, drain: float) -> None:
        """The successors stay. Returns when the old processes are gone, each with its work done or out of time."""
        olds = [old for agent in agents if (old := self._commit(agent)) is not None]
        await asyncio.gather(*(asyncio.shield(self._retire(old, grace, drain)) for old in olds))

    def _commit(self, agent: str) -> Supervised | None:
        change = self._changes.pop(agent, None)
        if change is None:
            return None
        ports = self._means.ports
        if change.own:
            ports.move(agent + OWN, agent)
        if change.old is not None:
            borrowed = Borrowed(ports, agent)
            change.old.entrust(Means(borrowed, self._means.launcher, self._means.trees, self._former))
        self._agents.pop(agent, None)
        self._agents[agent] = change.new
        change.new.entrust(self._means)
        if not change.new.order.foreign and change.new.state.status in ("healthy", "busy"):
            ports.open(agent)  # an old one that was in trouble may have shut it meanwhile
        return change.old

    def _retire(self, old: Supervised, grace: float, drain: float) -> asyncio.Task[None]:
        task = self._leaving[old] = asyncio.get_running_loop().create_task(self._end(old, grace, drain))
        return task

    async def _end(self, old: Supervised, grace: float, drain: float) -> None:
        try:
            await old.stop(grace, "restart", drain)
        finally:
            self._leaving.pop(old, None)
            self._former(replace(old.state, status="stopped", pid=None), "stop")

    def _former(self, state: AgentState, cause: Cause) -> None:
        _report(self._means.report, FORMER, state, cause)

    async def undo(self, agents: Iterable[str]) -> None:
        """The old processes stay. Returns when nothing of their successors is left."""
        await asyncio.gather(*(self._undo(agent) for agent in agents))

    async def _undo(self, agent: str) -> None:
        change = self._changes.pop(agent, None)
        if change is None:
            return
        await change.new.stop(0.0)
        if change.own:
            self._means.ports.release([agent + OWN])
        if change.old is None:
            return
        if change.stopped and self._agents.get(agent) is change.old:
            again = self._agents[agent] = Supervised(change.old.order, self._means)
            again.start("restart")
        else:
            change.old.come_back()

    async def end(self, agents: Iterable[str]) -> None:
        """End whatever else there is of these agents beside themselves, at once."""
        names = set(agents)
        await self.undo(names)
        leaving = [old for old in self._leaving if old.order.id in names]
        await asyncio.gather(*(old.stop(0.0, "restart") for old in leaving))


def _report(report: Report, mark: str, state: AgentState, cause: Cause) -> None:
    report(_marked(state, mark), cause)


def _marked(state: AgentState, mark: str) -> AgentState:
    return replace(state, details={**state.details, mark: True})
