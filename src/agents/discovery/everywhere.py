"""Two registries as one: the engine's own, and that of another engine (`registry_url`)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from teamwright.agents.discovery.cards import Found
from teamwright.agents.discovery.finder import MOST, REMOTE, Finder
from teamwright.agents.spec import PeerSpec
from teamwright.errors import PeerError

log = logging.getLogger(__name__)


class Everywhere:
    """Finds agents here and there: those of the own engine come first. The other engine may be away."""

    def __init__(self, here: Finder, there: Finder) -> None:
        self._here = here
        self._there = there

    async def find(self, skill: str = "", text: str = "") -> Sequence[Found]:
        """The agents of both that fit. Raises PeerError when the own registry does not answer."""
        found = await self._here.find(skill, text)
        try:
            found += await self._there.find(skill, text)
        except PeerError as error:
            log.warning("the other registry is left out: %s", error.message)
        return sorted(found, key=lambda agent: not agent.healthy)[:MOST]

    async def contact(self, agent: str) -> PeerSpec:
        """The agent of that id. Raises PeerError."""
        return await self._of(agent.strip()).contact(agent)

    def token(self, peer: PeerSpec) -> str | None:
        """What it is shown."""
        return self._of(peer.id).token(peer)

    def forget(self, peer: PeerSpec) -> bool:
        """Look it up anew at the next call."""
        return self._of(peer.id).forget(peer)

    async def like(self, agent: str, tried: Collection[str]) -> str | None:
        """Another agent with a skill of that one, where that one was found."""
        return await self._of(agent).like(agent, tried)

    def _of(self, agent: str) -> Finder:
        return self._there if agent.endswith(REMOTE) else self._here
