"""The agent's HTTP side: who may come in, and where what is answered.

GET  /livez /readyz     200 while the loop turns; open
GET  /.well-known/agent-card.json    the card; open
POST /                  A2A over JSON-RPC, with a bearer token for this agent from somebody on its list of callers
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from a2a.auth.user import User
from a2a.extensions.common import get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.types import AgentCard
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teamwright.agents.spec import FRONT_DOOR, AgentSpec
from teamwright.agents.wire import EXTENSIONS
from teamwright.errors import Refused, TokenRefused
from teamwright.safety.tokens import Claims, Verifier

CARD_PATH = "/.well-known/agent-card.json"
#: Bytes of a request, files in it included.
BODY_LIMIT = 16 << 20

_OPEN = frozenset(["/livez", "/readyz", CARD_PATH])
_SCOPE = "teamwright"


@dataclass(slots=True)
class Admitted:
    """A request that was let in: by whom it comes, and headers that its answer gets."""

    claims: Claims
    reply_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Door:
    """Checks bearer tokens against the agent's own list of callers.

    `grace` tells how long past its end an agent's token still counts: not at all while the engine can be reached.
    """

    def __init__(self, spec: AgentSpec, verifier: Verifier, grace: Callable[[], float]) -> None:
        self._spec = spec
        self._verifier = verifier
        self._grace = grace
        self._callers = frozenset(spec.callers)

    def admit(self, authorization: str | None) -> Claims:
        """Who calls. Raises TokenRefused, or Refused when the token is good but its bearer may not call this agent."""
        kind, _, token = (authorization or "").partition(" ")
        claims = self._verifier.check(
            token.strip() if kind.lower() == "bearer" else None, self._spec.id, grace=self._grace()
        )
        # The engine asks after tasks that it lost sight of; people and operators come as through the front door.
        wanted = claims.sub if claims.role == "agent" else FRONT_DOOR
        if claims.role != "engine" and wanted not in self._callers:
            raise Refused(f"{claims.sub} may not call {self._spec.id}")
        return claims


class Guarded:
    """The ASGI middleware in front of everything that is not open."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            claims = self._door.admit(headers.get(b"authorization", b"").decode("latin-1"))
        except TokenRefused as error:
            await _refuse(401, error, scope, receive, send)
            return
        except Refused as error:
            await _refuse(403, error, scope, receive, send)
            return
        if int(headers.get(b"content-length") or 0) > BODY_LIMIT:
            await _refuse(413, Refused(f"the request is larger than {BODY_LIMIT >> 20} MB"), scope, receive, send)
            return
        admitted = scope[_SCOPE] = Admitted(claims)
        if asked := headers.get(b"a2a-extensions"):
            wanted = get_requested_extensions([asked.decode("latin-1")])
            used = ", ".join(uri for uri in EXTENSIONS if uri in wanted)
            if used:
                admitted.reply_headers.append((b"a2a-extensions", used.encode()))

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start" and admitted.reply_headers:
                message["headers"] = [*message.get("headers", ()), *admitted.reply_headers]
            await send(message)

        await self._app(scope, receive if b"content-length" in headers else _limited(receive), reply)


class Caller(User):
    """The SDK's idea of who calls: the subject of the token owns its tasks."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return self._claims.sub


class ContextBuilder(ServerCallContextBuilder):
    """Hands the caller's claims, headers and connection on to the handler."""

    def build(self, request: Request) -> ServerCallContext:
        admitted: Admitted = request.scope[_SCOPE]
        return ServerCallContext(
            user=Caller(admitted.claims),
            state={
                "headers": dict(request.headers),
                "claims": admitted.claims,
                "role": admitted.claims.role,
                "reply_headers": admitted.reply_headers,
                "receive": request.receive,
            },
            requested_extensions=get_requested_extensions(request.headers.getlist("a2a-extensions")),
        )


def build_app(handler: RequestHandler, card: AgentCard, door: Door) -> ASGIApp:
    """The whole application of one agent."""

    async def well(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = [
        *create_jsonrpc_routes(handler, "/", context_builder=ContextBuilder()),
        *create_agent_card_routes(card, card_url=CARD_PATH, cache_control="public, max-age=60"),
        Route("/livez", well),
        # Nothing is served before the backend is open, so whoever gets an answer here may ask.
        Route("/readyz", well),
    ]
    return Guarded(Starlette(routes=routes), door)


def _limited(receive: Receive) -> Receive:
    """`receive` that ends a body of unknown length at the limit, as if the client had gone."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > BODY_LIMIT else message

    return counted


async def _refuse(status: int, error: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    reasons: Mapping[int, str] = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 413: "TOO_LARGE"}
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reasons[status],
        "domain": "teamwright.dev",
    }
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": error.message, "data": [detail]}}
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    response = Response(json.dumps(body), status, headers=headers, media_type="application/json")
    await response(scope, receive, send)
