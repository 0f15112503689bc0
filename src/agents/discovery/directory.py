"""Whom an agent may call: those that the plan wired, and with discovery those that it finds, looked up at the call."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from teamwright.agents.calling.breaker import Breaker
from teamwright.agents.discovery.cards import Found
from teamwright.agents.spec import PeerSpec
from teamwright.errors import PeerError

#: Characters of a name that a model made up.
NAME_LIMIT = 120
#: Breakers of agents that were found; the ones used longest ago are forgotten.
_BREAKERS = 1000


class Search(Protocol):
    """Agents beyond those of the plan."""

    async def find(self, skill: str = "", text: str = "") -> Sequence[Found]:
        """Those that fit. Raises PeerError."""

    async def contact(self, agent: str) -> PeerSpec:
        """The agent of that id, if this one may call it. Raises PeerError."""

    def token(self, peer: PeerSpec) -> str | None:
        """What it is shown."""

    def forget(self, peer: PeerSpec) -> bool:
        """Look the agent up anew at the next call; whether it was one that had been found."""

    async def like(self, agent: str, tried: Collection[str]) -> str | None:
        """The id of another agent with a skill of that one, if there is one."""


class Directory:
    """The agents this one may call, by id. `tokens` are those of the plan's, by `job/agent`."""

    def __init__(self, wired: Sequence[PeerSpec], tokens: Mapping[str, str], search: Search | None = None) -> None:
        self._wired = {peer.id: peer for peer in wired}
        self._tokens = tokens
        self._search = search
        self._breakers: dict[str, Breaker] = {}

    @property
    def wired(self) -> tuple[PeerSpec, ...]:
        """Those that the plan gave."""
        return tuple(self._wired.values())

    async def resolve(self, agent: str) -> PeerSpec:
        """The agent of that id. Raises PeerError: unknown_peer, blocked_url, and what a search for it came to."""
        if (peer := self._wired.get(agent)) is not None:
            return peer
        if "://" in agent:
            raise PeerError(f"{shown(agent)} is not called: agents are asked by name, not by URL", reason="blocked_url")
        if peer := next((peer for peer in self.wired if agent in (f"{peer.job}/{peer.agent}", peer.registry_id)), None):
            return peer
        if self._search is not None:
            return await self._search.contact(agent)
        raise self._unknown(agent)

    def token(self, peer: PeerSpec) -> str | None:
        """What a peer of ours is shown."""
        if peer.id in self._wired or self._search is None:
            return self._tokens.get(f"{peer.job}/{peer.agent}")
        return self._search.token(peer)

    async def find(self, skill: str, text: str) -> Sequence[Found]:
        """Agents that may be called. Raises PeerError."""
        if self._search is None:
            raise PeerError("this agent finds nobody: its job says nothing of `discover`", reason="forbidden")
        return await self._search.find(skill, text)

    def forget(self, peer: PeerSpec) -> bool:
        """Look a peer up anew at the next call; whether that may change anything."""
        return peer.id not in self._wired and self._search is not None and self._search.forget(peer)

    async def like(self, agent: str, tried: Collection[str]) -> str | None:
        """The id of another agent with a skill of that one, if there is one that may be found. Raises PeerError."""
        if self._search is None:
            return None
        wired = self._wired.get(agent)
        gone = [*tried, *(f"{peer.job}/{peer.agent}" for peer in self.wired if peer.id in tried)]
        return await self._search.like(f"{wired.job}/{wired.agent}" if wired else agent, gone)

    def breaker(self, peer: PeerSpec) -> Breaker:
        """The peer's circuit breaker."""
        if (breaker := self._breakers.pop(peer.id, None)) is None:
            breaker = Breaker(peer.id)
            if len(self._breakers) >= _BREAKERS:
                self._breakers.pop(next(iter(self._breakers)))
        self._breakers[peer.id] = breaker
        return breaker

    def _unknown(self, agent: str) -> PeerError:
        if not self._wired:
            message = f"there is no agent {shown(agent)} to ask: this agent may call nobody"
            return PeerError(message, reason="unknown_peer")
        close = difflib.get_close_matches(agent[:NAME_LIMIT], self._wired, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return PeerError(
            f"there is no agent {shown(agent)} to ask; {hint}this agent may call {', '.join(self._wired)}",
            reason="unknown_peer",
        )


def shown(agent: str) -> str:
    """A name that a model made up, as an error has it."""
    return repr(agent if len(agent) <= NAME_LIMIT else f"{agent[:NAME_LIMIT]}…")
