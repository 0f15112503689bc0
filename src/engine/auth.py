"""Who may ask the engine what: bearer tokens, and requests that a browser was tricked into."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from teamwright.errors import Refused
from teamwright.safety.tokens import ENGINE_AUDIENCE, LONGEST_GRACE, Claims, Verifier

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Gate:
    """Checks the tokens of requests; each method returns the claims or raises Refused."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def operator(self, request: Request) -> Claims:
        """Whoever runs this home."""
        claims = self._verifier.check(bearer(request), ENGINE_AUDIENCE)
        if claims.role != "operator":
            raise Refused(f"only an operator may do this, not {claims.sub}")
        return claims

    def member(self, request: Request) -> Claims:
        """An operator, or an agent of this engine: it may come late, when the engine was away meanwhile."""
        return self._verifier.check(bearer(request), ENGINE_AUDIENCE, grace=LONGEST_GRACE)

    def writer(self, request: Request) -> tuple[str, str] | None:
        """Whose spans a member may write, as (job, agent); None = anybody's, for an operator."""
        claims = self.member(request)
        if claims.role == "operator":
            return None
        if not (claims.job and claims.agent):
            raise Refused(f"{claims.sub} has no spans to write")
        return claims.job, claims.agent

    def front_door(self, request: Request, job: str) -> Claims:
        """Somebody who may ask the job's agents."""
        return self._verifier.check(bearer(request), job)


def bearer(request: Request) -> str | None:
    """The request's bearer token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class OwnHostOnly:
    """Refuses requests with a foreign Host or Origin: rebound names and other sites' pages."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

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
        if origin is not None and origin != f"{scope.get('scheme', 'http')}://{host}":
            return f"this engine does not answer pages from {origin}"
        return None


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
