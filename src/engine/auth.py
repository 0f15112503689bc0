"""Who may ask the engine what: bearer tokens, and requests that a browser was tricked into."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from teamwright.engine.store.diary import ACTOR, actor
from teamwright.errors import Refused, TooMany
from teamwright.safety.tokens import ENGINE_AUDIENCE, LONGEST_GRACE, Claims, Verifier, unverified
from teamwright.settings import ACTOR_HEADER

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Gate:
    """Checks the tokens of requests; each method returns the claims or raises Refused.

    `rpm` is how many calls a minute a person's token may make at the front door if it says nothing itself; 0 = any.
    """

    def __init__(self, verifier: Verifier, *, rpm: int = 0) -> None:
        self._verifier = verifier
        self._rpm = rpm
        self._calls = PerMinute()

    def operator(self, request: Request) -> Claims:
        """Whoever runs this home."""
        claims = self._verifier.check(bearer(request), ENGINE_AUDIENCE)
        if claims.role != "operator":
            raise Refused(f"only an operator may do this, not {claims.sub}")
        ACTOR.set(actor(claims.sub, request.headers.get(ACTOR_HEADER)))
        return claims

    def member(self, request: Request) -> Claims:
        """An operator, or an agent of this engine: it may come late, when the engine was away meanwhile."""
        claims = self.registrant(request)
        if claims.role == "guest":
            raise Refused(f"{claims.sub} may only ask the registry")
        return claims

    def registrant(self, request: Request) -> Claims:
        """A member, or an agent that was started by others and has a registration token."""
        return self._verifier.check(bearer(request), ENGINE_AUDIENCE, grace=LONGEST_GRACE)

    def reader(self, request: Request) -> Claims:
        """Whoever may look something up: a member, or a person with a token of some job."""
        token = bearer(request)
        said = unverified(token) if token else None
        if said is not None and said.role == "user" and said.job:
            return self._verifier.check(token, said.job)
        return self.registrant(request)

    def writer(self, request: Request) -> tuple[str, str] | None:
        """Whose spans a member may write, as (job, agent); None = anybody's, for an operator."""
        claims = self.member(request)
        if claims.role == "operator":
            return None
        if not (claims.job and claims.agent):
            raise Refused(f"{claims.sub} has no spans to write")
        return claims.job, claims.agent

    def front_door(self, request: Request, job: str) -> Claims:
        """Somebody who may ask the job's agents. Raises TooMany."""
        claims = self._verifier.check(bearer(request), job)
        if most := claims.rpm or (self._rpm if claims.role == "user" else 0):
            self._calls.count(claims.jti, most, who=claims.sub)
        return claims


class PerMinute:
    """So many calls in any 60 seconds, for each caller.

    >>> PerMinute().count("a-token", 600, who="ada")
    """

    #: Callers remembered; those without a call in the last minute are forgotten first.
    CALLERS = 20_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: dict[str, deque[float]] = {}

    def count(self, caller: str, most: int, *, who: str) -> None:
        """Count one call. Raises TooMany, and such a call doesn't count."""
        now = self._clock()
        times = self._times.get(caller)
        if times is None:
            if len(self._times) >= self.CALLERS:
                self._times = {key: kept for key, kept in self._times.items() if kept[-1] > now - 60}
            times = self._times[caller] = deque()
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= most:
            raise TooMany(f"{who} may make {most} calls a minute with this token", retry_after=times[0] + 60 - now)
        times.append(now)


def bearer(request: Request) -> str | None:
    """The request's bearer token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class OwnHostOnly:
    """Refuses requests with a foreign Host or Origin: rebound names and other sites' pages.

    `public_url` is the engine's address behind a proxy: its name is ours too.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK, *, public_url: str | None = None) -> None:
        public = urlsplit(public_url or "")
        self._app = app
        self._hosts = frozenset([*hosts, *([public.hostname] if public.hostname else [])])
        self._origin = f"{public.scheme}://{public.netloc}" if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := self._wrong(scope)):
            answer = JSONResponse({"error": {"message": why, "type": "Refused", "hint": None, "tail": []}}, 403)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _wrong(self, scope: Scope) -> str | None:
        host = origin = None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        if host is None or _name(host) not in self._hosts:
            return f"this engine does not answer as {host}"
        if origin is not None and origin not in (f"{scope.get('scheme', 'http')}://{host}", self._origin):
            return f"this engine does not answer pages from {origin}"
        return None


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
