"""The engine's way to a collector process: its calls, and spans that strangers bring to the engine's own address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.errors import EngineError
from teamwright.tracing.metrics.instruments import Gauge
from teamwright.tracing.shipping.spool import SpoolName
from teamwright.tracing.storing.collector import BODY_LIMIT

#: Seconds that a call may take, and those that a collector may be away meanwhile: the guard starts it again.
_DEADLINE = 30.0
_PATIENCE = 10.0
_PAUSE = 0.1
_PASSED = ("authorization", "content-type", "content-encoding", "content-length")
_RETURNED = ("content-type", "retry-after", "www-authenticate")


class RemoteKeeper:
    """The keeper in the collector process at `url`. Calls raise EngineError when it can't be reached or fails.

    Each call may be made twice: one whose answer was lost with its collector is made again.
    """

    def __init__(self, url: str, token: Callable[[], str], client: httpx.AsyncClient) -> None:
        self._url = url
        self._token = token
        self._client = client

    async def drain(self, but: SpoolName) -> int:
        return int(await self._call("drain", name=but.text))

    async def bury(self, name: SpoolName, reason: str) -> None:
        await self._call("bury", name=name.text, reason=reason)

    async def empty(self, name: SpoolName) -> None:
        await self._call("empty", name=name.text)

    async def close_open(self, name: SpoolName) -> None:
        await self._call("close_open", name=name.text)

    async def open_processes(self) -> list[SpoolName]:
        return [name for text in await self._call("open_processes") if (name := SpoolName.from_text(text))]

    async def metrics(self) -> str:
        return str(await self._call("metrics"))

    async def forward(self, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._call("forward", endpoints=endpoints)
        return found

    async def send_metrics(self, gauges: list[Gauge]) -> None:
        await self._call("send_metrics", gauges=[list(gauge) for gauge in gauges])

    async def _call(self, call: str, **asked: Any) -> Any:
        until = time.monotonic() + _PATIENCE
        while True:
            headers = {"authorization": f"Bearer {self._token()}"}
            try:
                answer = await self._client.post(
                    f"{self._url}/keeper/{call}", json=asked, headers=headers, timeout=_DEADLINE
                )
            except httpx.TransportError as error:
                if time.monotonic() > until:
                    raise EngineError(f"the collector can't be reached: {type(error).__name__}", status=503) from error
                await asyncio.sleep(_PAUSE)
                continue
            if not answer.is_success:
                raise EngineError(f"the collector said: {_message(answer)}", status=502)
            return answer.json()["result"]


def relay(url: str, client: httpx.AsyncClient) -> list[Route]:
    """`/v1/traces` and `/v1/started` of the engine, passed on to the collector, which checks the token."""

    async def take(request: Request) -> Response:
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > BODY_LIMIT:
            return _error(413, f"the body is larger than {BODY_LIMIT >> 20} MiB", {"connection": "close"})
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        try:
            answer = await client.post(
                url + request.url.path, content=request.stream(), headers=headers, timeout=_DEADLINE
            )
        except httpx.TransportError as error:
            return _error(503, f"the collector can't be reached: {type(error).__name__}", {"retry-after": "1"})
        except ClientDisconnect:
            return Response(status_code=400)
        returned = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
        return Response(answer.content, answer.status_code, headers=returned)

    return [Route(path, take, methods=["POST"]) for path in ("/v1/traces", "/v1/started")]


def _message(answer: httpx.Response) -> str:
    try:
        found: Mapping[str, Any] = answer.json()
        return str(found["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {answer.status_code}"


def _error(status: int, message: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": {"message": message, "type": "Collector"}}, status, headers)
