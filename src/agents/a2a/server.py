"""The agent's HTTP side: who may come in, and where what is answered.

GET  /livez /readyz     200 while the loop turns; open
GET  /.well-known/agent-card.json    the card; open
POST /                  A2A over JSON-RPC, with a bearer token for this agent from somebody on its list of callers
     /sessions/forget                for the engine alone: conversations are to be forgotten
     /message:send, /tasks …         the same over HTTP+JSON; /v1/… is that of A2A 0.3
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from a2a.auth.user import User
from a2a.extensions.common import get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.server.routes import create_jsonrpc_routes, create_rest_routes
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.types import AgentCard
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teamwright.agents.a2a.bodies import checked_rest, checked_rpc
from teamwright.agents.a2a.card_route import CardRoute
from teamwright.agents.a2a.refusals import FORBIDDEN, TOO_LARGE, UNAUTHENTICATED, WRONG_TYPE
from teamwright.agents.a2a.wire import EXTENSIONS
from teamwright.agents.spec import FRONT_DOOR, AgentSpec
from teamwright.errors import Refused, TokenRefused
from teamwright.safety.tokens import Claims, Verifier

CARD_PATH = "/.well-known/agent-card.json"
#: Bytes of a request, files in it included.
BODY_LIMIT = 16 << 20

_OPEN = frozenset(["/livez", "/readyz", CARD_PATH])
_SCOPE = "teamwright"
_VERSION = "a2a-version"
_MEDIA_TYPES = frozenset(["application/json", "application/a2a+json"])
#: What HTTP+JSON calls a message; JSON-RPC says it itself.
_METHODS = {
    "/message:send": "SendMessage",
    "/message:stream": "SendStreamingMessage",
    "/v1/message:send": "message/send",
    "/v1/message:stream": "message/stream",
}


Answering = Callable[[Request], Awaitable[Response]]


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
        self._discover = spec.discover

    def admit(self, authorization: str | None) -> Claims:
        """Who calls. Raises TokenRefused, or Refused when the token is good but its bearer may not call this agent."""
        kind, _, token = (authorization or "").partition(" ")
        claims = self._verifier.check(
            token.strip() if kind.lower() == "bearer" else None, self._spec.id, grace=self._grace()
        )
        # The engine asks after tasks that it lost sight of; people and operators come as through the front door.
        wanted = claims.sub if claims.role == "agent" else FRONT_DOOR
        if claims.role != "engine" and wanted not in self._callers and not self._may_find(claims):
            raise Refused(f"{claims.sub} may not call {self._spec.id}")
        return claims

    def _may_find(self, claims: Claims) -> bool:
        """Whether it is an agent that this one's own `discover` lets in: the engine's word isn't enough."""
        found = claims.role == "agent" and claims.agent is not None and self._discover is not None
        return found and self._discover is not None and self._discover.admits(claims.group, claims.tags)


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
            await UNAUTHENTICATED.send(error.message, scope, receive, send)
            return
        except Refused as error:
            await FORBIDDEN.send(error.message, scope, receive, send)
            return
        if (length := headers.get(b"content-length", b"0")).isdigit() and int(length) > BODY_LIMIT:
            await TOO_LARGE.send(f"the request is larger than {BODY_LIMIT >> 20} MB", scope, receive, send)
            return
        if (kind := headers.get(b"content-type")) and _media_type(kind) not in _MEDIA_TYPES and length != b"0":
            await WRONG_TYPE.send(f"{_media_type(kind)} is not understood: send JSON", scope, receive, send)
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
                "headers": _wanted(request.headers, request.query_params),
                "method": _METHODS.get(request.url.path, ""),
                "claims": admitted.claims,
                "role": admitted.claims.role,
                "reply_headers": admitted.reply_headers,
                "receive": request.receive,
            },
            requested_extensions=get_requested_extensions(request.headers.getlist("a2a-extensions")),
        )


def build_app(
    handler: RequestHandler, card: AgentCard, door: Door, for_engine: Mapping[str, Answering] | None = None
) -> ASGIApp:
    """The whole application of one agent; `for_engine` answers what only the engine may ask, by path."""

    async def well(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    builder = ContextBuilder()
    rest = create_rest_routes(handler, context_builder=builder, enable_v0_3_compat=True)
    routes = [
        *map(checked_rpc, create_jsonrpc_routes(handler, "/", context_builder=builder, enable_v0_3_compat=True)),
        CardRoute(agent_card_to_dict(card)).route(CARD_PATH),
        Route("/livez", well),
        # Nothing is served before the backend is open, so whoever gets an answer here may ask.
        Route("/readyz", well),
        *(Route(path, _of_engine(answering), methods=["POST"]) for path, answering in (for_engine or {}).items()),
        *(checked_rest(route) for route in rest if isinstance(route, Route)),  # without those of tenants: we have none
    ]
    return Guarded(Starlette(routes=routes), door)


def _of_engine(answering: Answering) -> Answering:
    async def answer(request: Request) -> Response:
        admitted: Admitted = request.scope[_SCOPE]
        if admitted.claims.role != "engine":
            return PlainTextResponse("only the engine may ask this\n", 403)
        return await answering(request)

    return answer


def _limited(receive: Receive) -> Receive:
    """`receive` that ends a body of unknown length at the limit, as if the client had gone."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > BODY_LIMIT else message

    return counted


def _media_type(value: bytes) -> str:
    return value.decode("latin-1").partition(";")[0].strip().lower()


def _wanted(headers: Mapping[str, str], query: Mapping[str, str]) -> dict[str, str]:
    """The headers as the SDK looks at them: the version may also stand in the query."""
    found = dict(headers)
    if _VERSION not in found and (version := query.get("A2A-Version") or query.get(_VERSION)):
        found[_VERSION] = version
    return found
