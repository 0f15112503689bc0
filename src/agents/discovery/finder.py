"""An agent's view of the registry: whom it may find there, and how it comes to call one that it has found."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from teamwright.agents.discovery.cards import Found, found_from
from teamwright.agents.discovery.directory import shown
from teamwright.agents.spec import AgentSpec, Kind, PeerSpec
from teamwright.errors import PeerError
from teamwright.registry.policy import DiscoveryPolicy, tags_of

log = logging.getLogger(__name__)

#: Seconds that the registry has for an answer.
_DEADLINE = 5.0
#: Entries asked for, and shown; the others are those that this agent may not call, or itself.
_ASKED, MOST = 30, 10
#: Agents whose tokens are kept, and whose skills.
_KEPT = 1000
#: Tags that say in which order agents are asked, not what they can do.
_ORDER = "after:"
#: What the ids of another engine's agents end with.
REMOTE = "@remote"
_ID = re.compile(r"([a-z0-9][-a-z0-9]{0,62})[/.]([a-z0-9][-_a-z0-9]{0,62})")


@dataclass(frozen=True, slots=True)
class _Contact:
    """An agent that this one was introduced to; `until` is when to ask anew, on the clock of `Finder`."""

    peer: PeerSpec
    token: str
    until: float


class Finder:
    """Finds agents in an engine's registry, as `policy` allows, and gets the tokens to call them.

    `url` is the engine's, if it isn't this agent's own; ids of its agents end with `@remote` then, and only addresses
    on its own machine are taken from it.

    >>> [agent.id for agent in await finder.find("weather")]
    ['forecasts/sky']
    >>> await finder.contact("forecasts/sky")
    """

    def __init__(
        self,
        spec: AgentSpec,
        policy: DiscoveryPolicy,
        http: httpx.AsyncClient,
        token: Callable[[], str],
        *,
        url: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._policy = policy
        self._http = http
        self._base = f"{(url or spec.engine_url).rstrip('/')}/agents"
        self._where = REMOTE if url else ""
        self._token = token
        self._clock = clock
        self._contacts: dict[str, _Contact] = {}
        self._seen: dict[str, tuple[str, ...]] = {}

    async def find(self, skill: str = "", text: str = "") -> list[Found]:
        """The agents that fit, the best first, ten at most; those that are well before the others.

        `skill` is a skill's id, name or tag; where no agent has it, it is looked for as words. Raises PeerError
        (`registry_unavailable`, `bad_answer`).
        """
        skill, text = skill.strip(), text.strip()
        found = await self._search({"skill": skill, "q": text})
        if not found and skill:
            found = await self._search({"q": f"{skill} {text}".strip()})
        found.sort(key=lambda agent: not agent.healthy)
        for agent in found[:MOST]:
            self._note(agent, skill)
        return found[:MOST]

    async def contact(self, agent: str) -> PeerSpec:
        """The agent of that id. Raises PeerError: unknown_peer, forbidden, registry_unavailable."""
        job, name = self._split(agent)
        kept = self._contacts.get(f"{job}/{name}{self._where}")
        if kept is not None and self._clock() < kept.until:
            return kept.peer
        try:
            made = await self._introduction(job, name)
        except PeerError as error:
            # A token that still counts is good as long as the engine is away; it can't have been taken back.
            if kept is not None and error.reason == "registry_unavailable":
                return kept.peer
            self._contacts.pop(f"{job}/{name}{self._where}", None)
            raise
        if len(self._contacts) >= _KEPT:
            self._contacts.pop(next(iter(self._contacts)))
        self._contacts[made.peer.id] = made
        return made.peer

    def token(self, peer: PeerSpec) -> str | None:
        """What an agent that was found is shown."""
        kept = self._contacts.get(peer.id)
        return kept.token if kept is not None else None

    def forget(self, peer: PeerSpec) -> bool:
        """Ask the engine anew before the next call; whether the agent was one that had been found."""
        return self._contacts.pop(peer.id, None) is not None

    async def like(self, agent: str, tried: Collection[str]) -> str | None:
        """The id of an agent that is well and has a skill of that one; None where there is none.

        The skill that it was looked for with counts first, then those of its card, then their tags.
        """
        for skill in self._seen.get(agent, ()):
            for found in await self._search({"skill": skill}):
                if found.healthy and found.id not in tried:
                    self._note(found, skill)
                    return found.id
        return None

    def _note(self, agent: Found, skill: str) -> None:
        """Remember what an agent can do, for when it is gone."""
        words = [skill, *(str(each["id"]) for each in agent.skills)]
        words += [tag for tag in tags_of(agent.skills) if not tag.startswith(_ORDER)]
        self._seen.pop(agent.id, None)
        self._seen[agent.id] = tuple(dict.fromkeys(word for word in words if word))
        if len(self._seen) > _KEPT:
            self._seen.pop(next(iter(self._seen)))

    async def _introduction(self, job: str, name: str) -> _Contact:
        agent = f"{job}/{name}{self._where}"
        answer = await self._call("POST", f"{self._base}/{job}.{name}/introduction", {})
        if answer.status_code == 404:
            raise PeerError(f"there is no agent {agent} now; find_agents tells who is there", reason="unknown_peer")
        if answer.status_code in (401, 403):
            raise PeerError(f"{agent} may not be called: {_why(answer)}", reason="forbidden")
        try:
            body = _body(answer)
            entry = body["agent"]
            if not self._policy.admits(entry.get("group"), tags_of(entry["skills"])):
                raise PeerError(
                    f"{agent} may not be called: this agent's `discover` is not about it", reason="forbidden"
                )
            found = found_from(entry, self._where)
            if agent not in self._seen:
                self._note(found, "")
            kind: Kind = "url" if entry.get("foreign") else "declared"
            urls = tuple(self._address(str(replica["url"])) for replica in entry.get("replicas") or ())
            peer = PeerSpec(agent, job, name, self._address(str(entry["url"])), kind, name=found.name, urls=urls)
            return _Contact(peer, str(body["token"]), self._clock() + float(body["expires_in"]) / 2)
        except (LookupError, TypeError, ValueError):
            raise _not_ours() from None

    async def _search(self, wanted: Mapping[str, str]) -> list[Found]:
        given = {key: value for key, value in wanted.items() if value}
        answer = await self._call("GET", f"{self._base}/search", {**given, "limit": str(_ASKED)})
        try:
            return [found_from(entry, self._where) for entry in _body(answer)["agents"] if self._about(entry)]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise _not_ours() from None

    def _address(self, url: str) -> str:
        """Where an agent is called. Raises PeerError for a place that another engine has no business to name."""
        if self._where:
            given, own = urlsplit(url), urlsplit(self._base)
            if given.scheme not in ("http", "https") or _machine(given.hostname) != _machine(own.hostname):
                raise PeerError("the other registry names an address that is not its machine's", reason="blocked_url")
        return url

    def _about(self, entry: Mapping[str, Any]) -> bool:
        """Whether this agent's own policy lets it call that one: the engine's choice is not all that counts."""
        own = (entry["job"], entry["agent"]) == (self._spec.job, self._spec.agent) and not self._where
        return not own and self._policy.admits(entry.get("group"), tags_of(entry["skills"]))

    def _split(self, agent: str) -> tuple[str, str]:
        """Job and name of an id; one without a job is of this agent's."""
        text = agent.strip().removesuffix(self._where)
        found = _ID.fullmatch(text if "/" in text or "." in text else f"{self._spec.job}/{text}")
        if found is None:
            raise PeerError(
                f"there is no agent {shown(agent)} to ask; find_agents gives ids such as job/agent",
                reason="unknown_peer",
            )
        return found[1], found[2]

    async def _call(self, method: str, url: str, query: Mapping[str, str]) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token()}"}
        try:
            return await self._http.request(method, url, params=dict(query), headers=headers, timeout=_DEADLINE)
        except httpx.HTTPError as error:
            raise PeerError(
                f"the registry does not answer: {error or type(error).__name__}", reason="registry_unavailable"
            ) from None


def _machine(host: str | None) -> str | None:
    return "127.0.0.1" if host in ("localhost", "::1") else host


def _body(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        reason = "busy" if answer.status_code == 429 else "registry_unavailable"
        raise PeerError(f"the registry refused: {_why(answer)}", reason=reason)
    found: dict[str, Any] = answer.json()
    return found


def _why(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {answer.status_code}"


def _not_ours() -> PeerError:
    return PeerError("the registry answered with something that is none", reason="bad_answer")
