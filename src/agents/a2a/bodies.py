"""Calls that the A2A SDK would answer as if we had failed: bodies that are no JSON, and methods of another version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import a2a.server.routes  # noqa: F401  (before the adapter: each imports the other)
from a2a.compat.v0_3.jsonrpc_adapter import JSONRPC03Adapter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.agents.a2a.refusals import NOT_JSON, WRONG_VERSION

Answering = Callable[[Request], Awaitable[Response]]

_OLD = frozenset(JSONRPC03Adapter.METHOD_TO_MODEL)
_VERSION = "A2A-Version"


def checked_rpc(route: Route) -> Route:
    """The route of JSON-RPC with both looked at first."""
    answer: Answering = route.endpoint

    async def look(request: Request) -> Response:
        if (fault := await _fault(request)) is not None:
            return JSONResponse(NOT_JSON.rpc(fault))
        call = await request.json()
        method = call.get("method") if isinstance(call, dict) else None
        version = request.headers.get(_VERSION) or request.query_params.get(_VERSION) or "0.3"
        if isinstance(method, str) and method in _OLD and not version.strip().startswith("0."):
            message = f"{method} is not of A2A {version}: send {_VERSION}: 0.3"
            return JSONResponse({**WRONG_VERSION.rpc(message), "id": call.get("id")})
        return await answer(request)

    return Route(route.path, look, methods=["POST"])


def checked_rest(route: Route) -> Route:
    """A route of HTTP+JSON whose body, where there is one, is looked at first."""
    if "POST" not in (route.methods or ()):
        return route
    answer: Answering = route.endpoint

    async def look(request: Request) -> Response:
        if (fault := await _fault(request, may_be_empty=True)) is not None:
            return JSONResponse(NOT_JSON.rest(fault), NOT_JSON.status)
        return await answer(request)

    return Route(route.path, look, methods=list(route.methods or ()))


async def _fault(request: Request, *, may_be_empty: bool = False) -> str | None:
    """Why the body can't be read; it is kept, so reading it again costs nothing."""
    try:
        if may_be_empty and not await request.body():
            return None
        await request.json()
    except ClientDisconnect:
        raise
    except (ValueError, RecursionError) as error:
        return f"the body is not JSON: {error}"
    return None
