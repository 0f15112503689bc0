"""Agents that don't list themselves in the registry: the engine fetches their cards, lists them, and looks after them.

`command:` and `url:` agents of jobs are listed under their job. Others go by `outside.NAME`: addresses that an operator
has added, which are kept over restarts, and agents that registered themselves with a registration token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from teamwright.agents.own_code.foreign import endpoint, nobodys
from teamwright.engine.door.foreign import Foreign
from teamwright.engine.store.records import AgentRecord
from teamwright.engine.store.state import EngineState
from teamwright.errors import EngineError, PeerError, Refused, TooMany, UserError
from teamwright.jobs.names import name_fault, normalised
from teamwright.registry.records import OUTSIDE, AgentEntry, entry_from
from teamwright.registry.service import Registry
from teamwright.safety.tokens import Claims

log = logging.getLogger("teamwright.engine")

_ADDED = "added agents"
_WELL = frozenset(["healthy", "busy"])
#: Agents from outside, in all.
_MOST = 1000
_URL = 2000


@dataclass(frozen=True, slots=True)
class Outsider:
    """An agent that no job of ours has. `owner`: who registered it; None = an operator has added it.

    `token` is the `jti` of the token that it was last registered with.
    """

    name: str
    url: str
    group: str | None = None
    owner: str | None = None
    token: str | None = None


class Strangers:
    """Keeps them listed. Build it in the engine's loop; `run()` until cancelled, `wake()` after every change."""

    def __init__(self, state: EngineState, foreign: Foreign, registry: Registry, engine_url: str) -> None:
        self._state = state
        self._foreign = foreign
        self._registry = registry
        self._engine = urlsplit(engine_url)
        self._outside = {
            found["name"]: Outsider(**found) for found in json.loads(state.note_of(_ADDED) or "[]") if found["name"]
        }
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something has changed: look at once."""
        self._news.set()

    async def run(self) -> None:
        """List whoever answers, three times in a lease."""
        pause = self._registry.lease / 3
        while True:
            self._news.clear()
            looks = [*map(self._look, self._outside.values()), *map(self._of_job, self._ours())]
            for failed in await asyncio.gather(*(_within(pause, look) for look in looks), return_exceptions=True):
                if isinstance(failed, Exception):
                    log.info("an agent is not listed: %s", failed)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def add(self, url: str, name: str | None, group: str | None) -> AgentEntry:
        """List the agent at an address, for good. Raises UserError, Refused, EngineError when it is none."""
        _check(url, self._engine.port)
        return await self._take(url, name, group, None, None)

    async def register(self, url: Any, claims: Claims, host: str | None) -> AgentEntry:
        """List the agent that a registration token is for; its address is where it calls from.

        Raises UserError, Refused, TooMany, and EngineError when it is none.
        """
        if not isinstance(url, str):
            raise UserError("url is the address of your agent")
        _check(url, self._engine.port)
        if _digits(urlsplit(url).hostname) != _digits(host):
            raise Refused(f"{url} is not where you call from: an agent registers at its own address, by its digits")
        return await self._take(url, claims.agent, claims.group, claims.sub, claims.jti)

    def remove(self, name: str) -> None:
        """An entry was taken off the list: don't put it there again."""
        if self._outside.pop(name, None) is not None:
            self._keep()

    def revoked(self, token: str) -> None:
        """A registration token is good no more: what was listed with it goes."""
        for name in [found.name for found in self._outside.values() if found.token == token]:
            del self._outside[name]
            self._registry.drop(OUTSIDE, name)

    async def _take(
        self, url: str, name: str | None, group: str | None, owner: str | None, token: str | None
    ) -> AgentEntry:
        if name is not None and (fault := name_fault(name, identifier=True)):
            raise UserError(f"{name!r} {fault}")
        if len(self._outside) >= _MOST and name not in self._outside:
            raise TooMany(f"there are {_MOST} agents from outside already", retry_after=self._registry.lease)
        try:
            card = await self._foreign.card_at(url)
            endpoint(card, url)
        except PeerError as error:
            raise EngineError(f"{url} is no agent that can be called: {error.message}", status=502) from None
        name = name or normalised(str(card.get("name") or ""), identifier=True)
        if name is None:
            raise UserError("its card has no name", hint="give it one: --id NAME")
        if (known := self._outside.get(name)) is not None and known.owner != owner:
            raise Refused(f"{OUTSIDE}.{name} is somebody else's", hint="take another name")
        self._outside[name] = Outsider(name, url, group, owner, token)
        self._keep()
        return self._list(self._outside[name], card)

    def _keep(self) -> None:
        """Remember what an operator has added; who registers by himself does so again."""
        kept = [
            {"name": found.name, "url": found.url, "group": found.group, "owner": None}
            for found in self._outside.values()
            if found.owner is None
        ]
        self._state.keep_note(_ADDED, json.dumps(kept))

    async def _look(self, found: Outsider) -> None:
        """Prolong the entry of one that answers; one that doesn't loses its lease, and has to register again."""
        try:
            card = await self._foreign.card_at(found.url)
            endpoint(card, found.url)
        except PeerError:
            if found.owner is not None and self._registry.look(f"{OUTSIDE}.{found.name}") is None:
                self._outside.pop(found.name, None)
            raise
        if self._outside.get(found.name) == found:
            self._list(found, card)

    def _list(self, found: Outsider, card: dict[str, Any]) -> AgentEntry:
        entry = _entry({**card, "url": found.url}, OUTSIDE, found.name, found.group, self._registry.now)
        return self._registry.put(entry)

    def _ours(self) -> list[AgentRecord]:
        """One process of each agent of a job that is not ours."""
        found = [
            agent
            for job in self._state.active()
            for agent in job.agents.values()
            if agent.wanted and job.plan.agent(agent.agent).foreign and agent.state.status in _WELL
        ]
        return list({(agent.job, agent.agent): agent for agent in found}.values())

    async def _of_job(self, agent: AgentRecord) -> None:
        plan = self._foreign.plan(agent)
        url = plan.url if plan is not None and plan.url is not None else agent.url
        if plan is None or url is None:
            return
        card = await self._foreign.card(agent)
        if agent.state.status in _WELL and agent in self._ours():
            told = {**card, "url": url, "incarnation": agent.state.incarnation}
            entry = _entry(told, agent.job, agent.agent, plan.group, self._registry.now)
            self._registry.put(entry)


async def _within(seconds: float, look: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(seconds):
        await look


def _entry(card: dict[str, Any], job: str, agent: str, group: str | None, now: Callable[[], float]) -> AgentEntry:
    """An entry of what a card says, as far as it is well-formed."""
    texts = {key: value for key in ("url", "incarnation", "version", "name") if isinstance(value := card.get(key), str)}
    found = card.get("skills")
    skills = [skill for skill in found if isinstance(skill, dict)] if isinstance(found, list) else []
    about = str(card.get("description") or "")
    known = {**{key: value[:_URL] for key, value in texts.items()}, "description": about, "skills": skills}
    return entry_from(known, job=job, agent=agent, group=group, now=now(), foreign=True)


def _check(url: str, own: int | None) -> None:
    """Raises UserError for what is no address of an agent: other schemes, our own port, addresses of the link."""
    try:
        found = urlsplit(url)
        host, port = found.hostname, found.port
    except ValueError:
        raise UserError(f"{url[:_URL]!r} is not an address") from None
    if found.scheme not in ("http", "https") or not host or found.username or len(url) > _URL:
        raise UserError(f"{url[:_URL]!r} is not an http address without name and password")
    digits = _digits(host)
    if digits is None:
        return
    address = ipaddress.ip_address(digits)
    if nobodys(digits):
        raise UserError(f"{host} is no address of an agent")
    if address.is_loopback and port == own:
        raise UserError(f"{url} is this engine itself")


def _digits(host: str | None) -> str | None:
    """An address in one form; None for a name."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        found = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
