"""Whom an agent may call: those that the plan wired, and with discovery those that it finds, looked up at the call."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Protocol

from teamwright.agents.breaker import Breaker
from teamwright.agents.spec import PeerSpec
from teamwright.errors import PeerError

#: Characters of a name that a model made up.
NAME_LIMIT = 120
#: Breakers of agents that were found; the ones used longest ago are forgotten.
_BREAKERS = 1000


class Found(Protocol):
    """Agents beyond those of the plan."""

    async def contact(self, agent: str) -> PeerSpec:
        """The agent of that id, if this one may call it. Raises PeerError."""

    def token(self, peer: PeerSpec) -> str | None:
        """What it is shown."""


class Directory:
    """The agents this one may call, by id. `tokens` are those of the plan's, by `job/agent`."""

    def __init__(self, wired: Sequence[PeerSpec], tokens: Mapping[str, str], found: Found | None = None) -> None:
        self._wired = {peer.id: peer for peer in wired}
        self._tokens = tokens
        self._found = found
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
        if self._found is not None:
            return await self._found.contact(agent)
        raise self._unknown(agent)

    def token(self, peer: PeerSpec) -> str | None:
        """What a peer of ours is shown."""
        if peer.id in self._wired or self._found is None:
            return self._tokens.get(f"{peer.job}/{peer.agent}")
        return self._found.token(peer)

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
