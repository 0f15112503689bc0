"""The registry: who is there. Entries live by heartbeats; one without is no longer listed.

POST   /agents/register          {url, incarnation, name, description, version, skills, load}
                                 → the entry, "lease", "tokens"
POST   /agents/{id}/heartbeat    {load: {working, waiting}}
                                 → {"lease" in seconds, "tokens": new ones when half the life of the old is over}
DELETE /agents/{id}
GET    /agents[?job=&skill=&text=]      GET /agents/{id}

An agent changes its own entry only: who it is stands in its token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.errors import Refused, TokenRefused, UnknownJob, UserError
from teamwright.registry.records import AgentEntry, entry_from, load_from
from teamwright.safety.tokens import Claims

#: Seconds an entry stays listed without a heartbeat; agents beat three times in that time.
LEASE = 30.0

Authorize = Callable[[Request], Claims]
Renew = Callable[[Claims], Mapping[str, str]]


class Registry:
    """The entries, in memory: after a restart of the engine the agents' next heartbeats bring them back."""

    def __init__(self, *, lease: float = LEASE, clock: Callable[[], float] = time.time) -> None:
        self.lease = lease
        self._clock = clock
        self._entries: dict[str, AgentEntry] = {}

    def register(self, data: Any, claims: Claims) -> AgentEntry:
        """List the agent that the token speaks for. Raises UserError or Refused."""
        job, agent = _self(claims)
        entry = entry_from(data, job=job, agent=agent, now=self._clock())
        self._entries[entry.id] = entry
        return entry

    def heartbeat(self, entry_id: str, data: Any, claims: Claims) -> AgentEntry:
        """Prolong the lease. Raises UnknownJob when the entry is not (or no longer) there."""
        _own(entry_id, claims)
        entry = self._entries.get(entry_id)
        if entry is None:
            raise UnknownJob(f"{entry_id} is not registered", hint="register again")
        status = data.get("status") if isinstance(data, Mapping) else None
        entry = replace(
            entry,
            last_seen=self._clock(),
            status=status if isinstance(status, str) else entry.status,
            load=load_from(data),
        )
        self._entries[entry_id] = entry
        return entry

    def remove(self, entry_id: str, claims: Claims) -> bool:
        """Take the agent's own entry off the list; whether there was one."""
        if claims.role != "operator":
            _own(entry_id, claims)
        return self._entries.pop(entry_id, None) is not None

    def drop(self, job: str, agent: str, incarnation: str | None = None) -> None:
        """The engine knows that the agent's process is gone."""
        entry = self._entries.get(f"{job}.{agent}")
        if entry is not None and incarnation in (None, "", entry.incarnation):
            del self._entries[entry.id]

    def get(self, entry_id: str) -> AgentEntry:
        """One entry. Raises UnknownJob."""
        for entry in self.list():
            if entry.id == entry_id:
                return entry
        raise UnknownJob(f"no agent {entry_id} is registered")

    def list(self, *, job: str | None = None, skill: str | None = None, text: str | None = None) -> list[AgentEntry]:
        """The entries with a living lease; `skill` is an id or tag, `text` any words of name, description, skills."""
        now = self._clock()
        for entry in [entry for entry in self._entries.values() if now - entry.last_seen > self.lease]:
            del self._entries[entry.id]
        return [
            entry
            for _, entry in sorted(self._entries.items())
            if (job is None or entry.job == job)
            and (skill is None or _has_skill(entry, skill))
            and (text is None or _mentions(entry, text))
        ]


def routes(registry: Registry, authorize: Authorize, renew: Renew) -> list[Route]:
    """The HTTP side. `authorize` returns the caller's claims or raises; `renew` mints an agent's tokens anew."""

    def answer(claims: Claims) -> dict[str, Any]:
        return {"lease": registry.lease, "tokens": dict(renew(claims)) if due(claims, time.time()) else {}}

    async def register(request: Request) -> Response:
        claims = authorize(request)
        entry = registry.register(await _json(request), claims)
        return JSONResponse({**entry.to_dict(), **answer(claims)}, status_code=201)

    async def heartbeat(request: Request) -> Response:
        claims = authorize(request)
        registry.heartbeat(request.path_params["id"], await _json(request), claims)
        return JSONResponse(answer(claims))

    async def remove(request: Request) -> Response:
        claims = authorize(request)
        found = registry.remove(request.path_params["id"], claims)
        return JSONResponse({"removed": found})

    async def listing(request: Request) -> Response:
        authorize(request)
        asked = {key: request.query_params.get(key) for key in ("job", "skill", "text")}
        return JSONResponse({"agents": [entry.to_dict() for entry in registry.list(**asked)]})

    async def get(request: Request) -> Response:
        authorize(request)
        return JSONResponse(registry.get(request.path_params["id"]).to_dict())

    return [
        Route("/agents/register", register, methods=["POST"]),
        Route("/agents/{id}/heartbeat", heartbeat, methods=["POST"]),
        Route("/agents/{id}", remove, methods=["DELETE"]),
        Route("/agents", listing, methods=["GET"]),
        Route("/agents/{id}", get, methods=["GET"]),
    ]


def due(claims: Claims, now: float) -> bool:
    """Whether less than half of a token's life is left."""
    return claims.exp - now < (claims.exp - claims.iat) / 2


async def _json(request: Request) -> Any:
    body = await request.body()
    try:
        return await request.json() if body else {}
    except ValueError:
        raise UserError("the body is not JSON") from None


def _self(claims: Claims) -> tuple[str, str]:
    if claims.role != "agent" or not claims.job or not claims.agent:
        raise Refused("only agents register, with their own token")
    return claims.job, claims.agent


def _own(entry_id: str, claims: Claims) -> None:
    job, agent = _self(claims)
    if entry_id != f"{job}.{agent}":
        raise TokenRefused(f"{claims.sub} may not change the entry of {entry_id}")


def _has_skill(entry: AgentEntry, skill: str) -> bool:
    return any(skill == item.get("id") or skill in (item.get("tags") or ()) for item in entry.skills)


def _mentions(entry: AgentEntry, text: str) -> bool:
    skills = " ".join(f"{item.get('name', '')} {item.get('description', '')}" for item in entry.skills)
    words = f"{entry.id} {entry.name} {entry.description} {skills}".lower()
    return all(word in words for word in text.lower().split())
