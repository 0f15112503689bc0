"""/providers: agents ask for a place before each call of a provider's model, and tell of rate limits.

POST /providers/calls {"provider", "key", "working"}: lines of JSON, {"waiting": n, "reason", "seconds"} where there is
one to wait for, {"go": true} when it may call. The place is given back by closing the connection.
POST /providers/backoff {"provider", "key", "seconds"}
"""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from teamwright.engine.auth import Gate
from teamwright.engine.providers.desk import Account, Caller, Providers, accounts
from teamwright.errors import UserError

#: Seconds that a provider can make all wait for at most.
LONGEST = 24 * 3600.0


def routes(providers: Providers, gate: Gate) -> list[Route]:
    """The two endpoints, for agents of this engine."""

    async def calls(request: Request) -> Response:
        claims = gate.member(request)
        body, account = await _read(request)
        return _Place(providers, account, Caller(claims.sub), working=body.get("working") is True)

    async def backoff(request: Request) -> Response:
        gate.member(request)
        body, account = await _read(request)
        seconds = body.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise UserError("seconds is a number from 0")
        providers.back_off(account, min(float(seconds), LONGEST))
        return JSONResponse({})

    return [
        Route("/providers/calls", calls, methods=["POST"]),
        Route("/providers/backoff", backoff, methods=["POST"]),
    ]


async def _read(request: Request) -> tuple[dict[str, Any], Account]:
    with suppress(ValueError):
        body = await request.json()
        if isinstance(body, dict) and (account := accounts(body)) is not None:
            return body, account
    raise UserError("the body is a JSON object with a provider and a key's digest")


class _Place(Response):
    """A response that lasts as long as somebody waits for a place or holds it."""

    def __init__(self, providers: Providers, account: Account, caller: Caller, *, working: bool) -> None:
        super().__init__(media_type="application/x-ndjson")
        del self.headers["content-length"]
        self._providers = providers
        self._account = account
        self._caller = caller
        self._working = working

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        caller = self._caller
        self._providers.join(self._account, caller, working=self._working)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if not caller.go.is_set():
                waiting, reason, seconds = self._providers.waits(self._account)
                await send(_line({"waiting": waiting - 1, "reason": reason, "seconds": round(seconds, 3)}))
                going = asyncio.ensure_future(caller.go.wait())
                try:
                    await asyncio.wait([gone, going], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    going.cancel()
            if not gone.done():
                await send(_line({"go": True}))
                await gone
        finally:
            gone.cancel()
            self._providers.leave(self._account, caller)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _line(value: dict[str, Any]) -> Message:
    return {"type": "http.response.body", "body": json.dumps(value).encode() + b"\n", "more_body": True}
