"""The way to peers: our own loopback pool for plain HTTP, httpx for everything else, and for agents of strangers.

A call through httpx costs a millisecond of CPU, most of it in pools and models of things that calls between agents
don't use; the pool costs a sixth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from teamwright.agents.a2a.pinned import NotAllowed, Resolve, pinned_client, resolve
from teamwright.agents.calling.transport import tls_context
from teamwright.agents.own_code.foreign import ANSWER_LIMIT, anybodys
from teamwright.loopback import LoopbackError, NotConnected, Pool

#: Seconds.
_CONNECT = 3.0
#: Seconds from the headers of an answer to its end: the work is done by then, only its bytes are on their way.
_BODY = 60.0


class Unreachable(Exception):
    """No connection could be made; nothing was sent."""


class Broken(Exception):
    """The connection ended, or said something that isn't HTTP, before the whole answer was there."""


class TooLong(Exception):
    """The answer goes on and on."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response."""

    status: int
    content: bytes


class Channels:
    """Connections to peers, by address."""

    def __init__(self, http: httpx.AsyncClient, *, resolve: Resolve = resolve) -> None:
        self._http = http
        self._pool = Pool(connect=_CONNECT)
        self._resolve = resolve
        self._wary: httpx.AsyncClient | None = None

    def client(self, *, wary: bool) -> httpx.AsyncClient:
        """What is called with through httpx. The wary one dials no address that can't be an agent's: for strangers.

        It raises NotAllowed for a name that leads to one, whenever it begins to do so.
        """
        if not wary:
            return self._http
        if self._wary is None:
            self._wary = pinned_client(anybodys, tls_context(), resolve=self._resolve)
        return self._wary

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, wary: bool = False) -> Reply:
        """Send a request and wait for its response, as long as it takes. Raises Unreachable, Broken or TooLong."""
        scheme, host, port, path = _split(url)
        if wary or scheme != "http":
            return await self._through_httpx(self.client(wary=wary), url, headers, body)
        try:
            async with await self._pool.request("POST", (host, port), path, headers, body) as response:
                return Reply(response.status, await _content(response.chunks()))
        except NotConnected as error:
            raise Unreachable("no connection in time" if error.timeout else str(error)) from None
        except LoopbackError as error:
            raise Broken(str(error)) from None

    async def close(self) -> None:
        """End all connections."""
        self._pool.close()
        if self._wary is not None:
            await self._wary.aclose()
        await asyncio.sleep(0)

    @staticmethod
    async def _through_httpx(http: httpx.AsyncClient, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            async with http.stream("POST", url, content=body, headers=dict(headers)) as response:
                return Reply(response.status_code, await _content(response.aiter_bytes()))
        except NotAllowed as error:
            raise Unreachable(f"{error} leads to no address of an agent") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(str(error) or "no connection in time") from None
        except httpx.HTTPError as error:
            raise Broken(str(error) or type(error).__name__) from None


async def _content(chunks: AsyncIterator[bytes]) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY):
            async for piece in chunks:
                size += len(piece)
                if size > ANSWER_LIMIT:
                    raise TooLong(f"answered with more than {ANSWER_LIMIT >> 20} MB")
                pieces.append(piece)
    except TimeoutError:
        raise Broken(f"the answer was not complete after {_BODY:g} s") from None
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _split(url: str) -> tuple[str, str, int, str]:
    parts = urlsplit(url)
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), path
