"""What the engine says to the host about the agents of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from teamwright.host.api import LaunchOrder
from teamwright.jobs.deployer import Hosts


class Line(Hosts, Protocol):
    """What jobs need of the line to the host."""

    async def restart(self, orders: list[LaunchOrder], grace: float = 5.0) -> None:
        """Stop agents and launch them again on the same ports."""

    async def replace(self, orders: list[LaunchOrder]) -> None:
        """Start successors beside the agents."""

    async def commit(self, agents: list[str], drain: float) -> None:
        """The successors are the agents; returns when the old ones are gone."""

    async def undo(self, agents: list[str]) -> None:
        """End successors; the old ones go on."""

    async def retire(self, agents: list[str], drain: float) -> None:
        """Stop agents that may first end what they are working on."""

    async def tokens(self, tokens: Mapping[str, Mapping[str, str]]) -> None:
        """What a later restart by the host gives the agents."""


@dataclass(frozen=True, slots=True)
class Restarting:
    """A line that restarts where a deployment would launch."""

    line: Line

    async def launch(self, orders: list[LaunchOrder]) -> None:
        await self.line.restart(orders)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.line, name)
