"""All agents of a host: carries out the engine's orders."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from teamwright.errors import HostError
from teamwright.host.api import AgentState, LaunchOrder, PortRequest
from teamwright.host.successors import Successors
from teamwright.host.supervised import Means, Supervised


class Fleet:
    """The agents by `job/agent`. Those that ended are remembered until they are released."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._agents: dict[str, Supervised] = {}
        #: New processes beside those that the agents are.
        self.successors = Successors(means, self._agents)
        self._leaving = False

    @property
    def states(self) -> list[AgentState]:
        """Every agent's, in the order they were launched."""
        return [agent.state for agent in self._agents.values()]

    def bind(self, requests: Sequence[PortRequest]) -> dict[str, int]:
        """Open ports; by `job/agent`. Raises HostError, and then none is open."""
        for request in requests:
            agent = self._agents.get(request.id)
            if agent and not agent.over and request.port not in (None, self._means.ports.port(request.id)):
                raise HostError(f"{request.id} is running on port {self._means.ports.port(request.id)}")
        return self._means.ports.bind(requests)

    def launch(self, orders: Sequence[LaunchOrder]) -> None:
        """Begin to start agents. Raises HostError, and then none is started."""
        if self._leaving:
            raise HostError("the host is leaving")
        for order in orders:
            self._means.ports.port(order.id)
            if (agent := self._agents.get(order.id)) and not agent.over:
                raise HostError(f"{order.id} is already running")
        for order in orders:
            self._begin(order, again=False)

    async def stop(self, agents: Sequence[str], grace: float, drain: float = 0.0) -> None:
        """End agents, after `drain` seconds at most for what they work on; returns when they are gone.

        Unknown ones count as gone.
        """
        known = [self._agents[agent] for agent in agents if agent in self._agents]
        await asyncio.gather(*(agent.stop(grace, drain=drain) for agent in known), self.successors.end(agents))

    async def replace(self, orders: Sequence[LaunchOrder], grace: float) -> None:
        """Begin to start other processes for agents, beside those they have. Raises HostError."""
        if self._leaving:
            raise HostError("the host is leaving")
        await self.successors.begin(orders, grace)

    async def restart(self, orders: Sequence[LaunchOrder], grace: float) -> None:
        """Stop agents and launch them anew; returns when the old ones are gone. Raises HostError."""
        for order in orders:
            self._means.ports.port(order.id)
        old = {order.id: self._agents[order.id] for order in orders if order.id in self._agents}
        await asyncio.gather(*(agent.stop(grace, "restart") for agent in old.values()))
        for order in orders:
            before = old.get(order.id)
            # Not if it was stopped, released or launched meanwhile.
            if self._agents.get(order.id) is before and (before is None or before.stop_cause == "restart"):
                self._begin(order, again=True)

    async def release(self, agents: Sequence[str]) -> None:
        """Forget agents and close their ports; those still alive are stopped first."""
        await self.stop(agents, 0.0)
        for agent in agents:
            self._agents.pop(agent, None)
        self._means.ports.release(agents)

    def renew(self, tokens: Mapping[str, dict[str, str]]) -> None:
        """Tokens for when an agent has to be started again."""
        for agent, found in tokens.items():
            if agent in self._agents:
                self._agents[agent].renew(found)

    async def leave(self, grace: float) -> None:
        """Stop everything; nothing is started any more."""
        self._leaving = True
        await self.stop(list(self._agents), grace)

    def _begin(self, order: LaunchOrder, *, again: bool) -> None:
        agent = Supervised(order, self._means)
        self._agents.pop(order.id, None)
        self._agents[order.id] = agent
        agent.start("restart" if again else "launched")
