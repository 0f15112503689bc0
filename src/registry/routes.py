"""The registry over HTTP.

POST   /agents/register          {url, incarnation, name, description, version, skills, load}
                                 → the entry, "lease", "tokens"
                                 {url} with a registration token, {url, id, group} of an operator: its card is fetched
POST   /agents/{id}/heartbeat    {incarnation, load: {working, waiting}}
                                 → {"lease" in seconds, "tokens": new ones when half the life of the old is over}
DELETE /agents/{id}[?incarnation=]   the agent, or the one process of it
GET    /agents, /agents/search   ?skill=&tag=&name=&q=&job=&group=&health=&limit=&cursor=
                                 → {"agents", "total", "next": the next page's cursor or null, "revision"}
GET    /agents/changes[?job=&since=REVISION]   server-sent events, see `changes` below
GET    /agents/{id}              → the entry
POST   /agents/{id}/introduction → {"agent": the entry, "token" to call it with, "expires_in" seconds}, for agents

An agent sees its own entry, those of the agents it is wired to, and those that both sides' `discover` allows.

Lists and entries have an ETag that changes with what they tell, heartbeats apart. Who asks too often gets 429.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from teamwright.errors import EngineError, Refused, TooMany, UnknownJob, UserError
from teamwright.registry.finding import LARGEST_PAGE, PAGE, Wanted
from teamwright.registry.floods import Floods
from teamwright.registry.records import OUTSIDE, AgentEntry
from teamwright.registry.service import Registry, Sees
from teamwright.safety.tokens import Claims

Authorize = Callable[[Request], Claims]
Renew = Callable[[Claims], Mapping[str, str]]

#: Bytes that a registration may have.
_LARGEST = 512 * 1024
#: Seconds between two signs of life in a stream of changes; watchers at a time.
_SIGN, _WATCHERS = 15.0, 200


class Host(Protocol):
    """Who brings agents together."""

    def sees(self, claims: Claims, entry: AgentEntry) -> bool:
        """Whether the bearer of a token may read that entry."""

    def introduce(self, claims: Claims, entry: AgentEntry) -> Mapping[str, Any]:
        """What the bearer needs to call that agent. Raises Refused."""


class Guests(Protocol):
    """Who lists agents that no job has."""

    async def add(self, url: str, name: str | None, group: str | None) -> AgentEntry:
        """List the agent at an address, for an operator. Raises UserError, Refused, EngineError."""

    async def register(self, url: Any, claims: Claims, host: str | None) -> AgentEntry:
        """List the agent that a registration token is for, which calls from `host`. Raises the same, and TooMany."""

    def remove(self, name: str) -> None:
        """Its entry was taken off."""


class _Strangers:
    """Where nobody brings agents together: each sees itself."""

    def sees(self, claims: Claims, entry: AgentEntry) -> bool:
        return (entry.job, entry.agent) == (claims.job, claims.agent)

    def introduce(self, claims: Claims, entry: AgentEntry) -> Mapping[str, Any]:
        raise Refused(f"{claims.sub} may not call {entry.id}")


def routes(
    registry: Registry,
    authorize: Authorize,
    renew: Renew,
    host: Host | None = None,
    guests: Guests | None = None,
    *,
    reads: Authorize | None = None,
) -> list[Route]:
    """`authorize` returns the caller's claims or raises; so does `reads` for whoever only looks something up.

    `renew` mints an agent's tokens anew.
    """
    host = host or _Strangers()
    registrations = Floods(rate=1, burst=20, what="registrations")
    beats = Floods(rate=10, burst=100, what="heartbeats")
    searches = Floods(rate=100, burst=500, what="searches")

    def answer(claims: Claims) -> dict[str, Any]:
        fresh = claims.role == "agent" and due(claims, time.time())
        return {"lease": registry.lease, "tokens": dict(renew(claims)) if fresh else {}}

    def reader(request: Request) -> Claims:
        claims = (reads or authorize)(request)
        if claims.role != "operator":
            searches.check(claims.sub)
        return claims

    async def register(request: Request) -> Response:
        claims = authorize(request)
        registrations.check(claims.sub)
        data = await _json(request)
        if guests is not None and claims.role in ("operator", "guest"):
            entry = await _outsider(guests, data, claims, request.client.host if request.client else None)
        else:
            entry = registry.register(data, claims)
        return JSONResponse({**entry.to_dict(), **answer(claims)}, status_code=201)

    async def heartbeat(request: Request) -> Response:
        claims = authorize(request)
        beats.check(claims.sub)
        registry.heartbeat(request.path_params["id"], await _json(request), claims)
        return JSONResponse(answer(claims))

    async def remove(request: Request) -> Response:
        claims = authorize(request)
        entry_id = request.path_params["id"]
        found = registry.remove(entry_id, claims, request.query_params.get("incarnation"))
        job, _, name = entry_id.partition(".")
        if guests is not None and job == OUTSIDE:
            guests.remove(name)
        return JSONResponse({"removed": found})

    async def listing(request: Request) -> Response:
        sees = _eyes(host, reader(request))
        given = dict(request.query_params)
        limit, cursor = _limit(given.pop("limit", None)), given.pop("cursor", None) or None
        found = registry.find(Wanted.of(given), limit=limit, cursor=cursor, sees=sees)
        revision = registry.changes.revision
        return _tagged(request, {**found.to_dict(), "revision": revision}, revision)

    async def get(request: Request) -> Response:
        sees = _eyes(host, reader(request))
        entry = registry.get(request.path_params["id"])
        if sees is not None and not sees(entry):
            raise UnknownJob(f"no agent {entry.id} is registered")
        return _tagged(request, entry.to_dict(), registry.changes.revision)

    async def changes(request: Request) -> Response:
        """`ready` first; then `listed`, `changed`, `delisted`; `reset` = too much was missed, read the list again.

        Goes on behind `since` or the header Last-Event-ID. Ends with the token that opened it, or when that is revoked.
        """
        claims = reader(request)
        if registry.changes.watchers >= _WATCHERS:
            raise TooMany(f"there are {_WATCHERS} watchers already", retry_after=_SIGN)
        since = request.query_params.get("since") or request.headers.get("last-event-id") or None
        job, again = request.query_params.get("job"), partial(reads or authorize, request)
        stream = _stream(registry, since, job, claims.exp, again, _eyes(host, claims))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def introduction(request: Request) -> Response:
        claims = reader(request)
        return JSONResponse(dict(host.introduce(claims, registry.get(request.path_params["id"]))))

    return [
        Route("/agents/register", register, methods=["POST"]),
        Route("/agents/{id}/heartbeat", heartbeat, methods=["POST"]),
        Route("/agents/{id}/introduction", introduction, methods=["POST"]),
        Route("/agents/search", listing, methods=["GET"]),
        Route("/agents/changes", changes, methods=["GET"]),
        Route("/agents/{id}", remove, methods=["DELETE"]),
        Route("/agents", listing, methods=["GET"]),
        Route("/agents/{id}", get, methods=["GET"]),
    ]


async def _outsider(guests: Guests, data: Any, claims: Claims, host: str | None) -> AgentEntry:
    given = data if isinstance(data, dict) else {}
    if claims.role == "guest":
        return await guests.register(given.get("url"), claims, host)
    texts = [given.get(key) for key in ("url", "id", "group")]
    if not isinstance(texts[0], str) or not all(text is None or isinstance(text, str) for text in texts):
        raise UserError("an operator adds an agent with its url, and if need be id and group: texts")
    return await guests.add(texts[0], texts[1], texts[2])


def due(claims: Claims, now: float) -> bool:
    """Whether less than half of a token's life is left."""
    return claims.exp - now < (claims.exp - claims.iat) / 2


def _eyes(host: Host, claims: Claims) -> Sees | None:
    """What the bearer sees; None = everything."""
    return None if claims.role == "operator" else partial(host.sees, claims)


async def _stream(
    registry: Registry, since: str | None, job: str | None, until: float, again: Callable[[], Claims], sees: Sees | None
) -> AsyncIterator[str]:
    """`again` checks the token anew, before each word to its bearer: it may have been revoked meanwhile."""
    changes = registry.changes
    with changes.news() as news:
        registry.sweep()
        # What is no place of ours is not repeated: it may hold lines of its own.
        lost = since is not None and changes.since(since) is None
        place = changes.revision if since is None or lost else since
        yield _event("ready", place, {"revision": changes.revision})
        if lost:
            yield _event("reset", place, {"revision": changes.revision})
        signed = time.monotonic()
        while time.time() < until:
            news.clear()
            next_end = registry.sweep()
            found = changes.since(place)
            try:
                again()
            except Refused:
                return
            if found is None:
                yield _event("reset", changes.revision, {"revision": changes.revision})
            for change in found or ():
                if job in (None, change.entry.job) and (sees is None or sees(change.entry)):
                    yield _event(change.kind, changes.place(change.revision), change.to_dict())
            if found is None or found:
                place = changes.revision if found is None else changes.place(found[-1].revision)
                continue
            if time.monotonic() - signed >= _SIGN:
                signed = time.monotonic()
                yield ": here\n\n"
            pause = min(_SIGN, next_end + 0.01, max(0.01, until - time.time()))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await news.wait()


def _event(kind: str, place: str, data: Mapping[str, Any]) -> str:
    return f"event: {kind}\nid: {place}\ndata: {json.dumps(data)}\n\n"


def _tagged(request: Request, body: Mapping[str, Any], revision: str) -> Response:
    """The body, or 304 for whoever has it. Weak: times and load in it may be older."""
    tag = f'W/"{revision}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization"}
    known = [item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")]
    if f'"{revision}"' in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return JSONResponse(dict(body), headers=headers)


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LARGEST_PAGE:
        raise UserError(f"limit: a number from 1 to {LARGEST_PAGE}")
    return int(text)


async def _json(request: Request) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise EngineError(f"more than {_LARGEST // 1024} KiB", status=413)
    try:
        return json.loads(body) if body else {}
    except ValueError:
        raise UserError("the body is not JSON") from None
