"""HTTP to addresses that strangers name: the address that is looked at is the one that is dialled.

A name that leads somewhere harmless when it is checked and into our own network a moment later (DNS rebinding) gets
nowhere: there is one look, and its result is the address of the connection. TLS and the Host header keep the name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpcore
import httpx
from a2a.utils.push_url_validator import validate_push_notification_url

#: Which addresses may be dialled, by their digits.
AddressCheck = Callable[[str], Awaitable[bool]]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_CONNECT = 5.0


class NotAllowed(Exception):
    """The name leads to an address that may not be dialled."""


async def public(address: str) -> bool:
    """Whether an address is of the public internet, by the rules of the A2A SDK."""
    return await validate_push_notification_url(f"http://[{address}]/" if ":" in address else f"http://{address}/")


async def anywhere(address: str) -> bool:
    """Every address."""
    return True


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, the preferred first."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class _Dialler(httpcore.AsyncNetworkBackend):
    """Connects to the first address of a name that answers, when all of them are allowed."""

    def __init__(self, allowed: AddressCheck, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await asyncio.wait_for(self._resolve(host, port), timeout)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} can't be resolved: {error}") from None
        for address in addresses:
            if not await self._allowed(address):
                raise NotAllowed(host)
        failure = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = httpcore.ConnectError(str(error) or "no connection in time")
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class _Transport(httpx.AsyncHTTPTransport):
    """httpx over connections of ours; it offers no other way to say how they are made."""

    def __init__(self, tls: ssl.SSLContext, dialler: _Dialler) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0,
            network_backend=dialler,
        )  # fmt: skip


def pinned_client(allowed: AddressCheck, tls: ssl.SSLContext, *, resolve: Resolve = resolve) -> httpx.AsyncClient:
    """A client that dials only addresses that are `allowed`; raises NotAllowed for others. Follows no redirects."""
    return httpx.AsyncClient(
        transport=_Transport(tls, _Dialler(allowed, resolve)),
        timeout=httpx.Timeout(None, connect=_CONNECT),
        trust_env=False,
        follow_redirects=False,
    )
