"""The engine's way to the agents: one pooled client, deadlines on connecting, errors in one form."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx

from teamwright.engine.minting import Mint
from teamwright.engine.records import AgentRecord
from teamwright.errors import PeerError
from teamwright.jobs.orders import agent_url

#: Seconds to connect, and to hand a request over. How long an answer takes is the agent's affair: one that hangs
#: is ended by the host, which breaks the connection.
CONNECT, WRITE = 5.0, 60.0
_GONE = frozenset(["failed", "stopped", "halted", "lost", "stopping"])


class Upstream:
    """Calls agents on behalf of callers. Build it in the engine's loop; `close()` ends it."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._http = httpx.AsyncClient(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loopback only: no certificates to load
            trust_env=False,
            timeout=httpx.Timeout(None, connect=CONNECT, write=WRITE),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=30.0),
        )

    async def close(self) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def post(
        self, agent: AgentRecord, body: bytes, headers: Mapping[str, str], *, caller: str | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The agent's response to a JSON-RPC call, its body not yet read.

        With a `caller` it is made through the front door, else by the engine itself. Raises PeerError.
        """
        url = _reachable(agent)
        try:
            for attempt in (1, 2):
                request = self._http.build_request(
                    "POST", url, content=body, headers=self._headers(agent, headers, caller)
                )
                response = await self._http.send(request, stream=True)
                if response.status_code == 401 and caller is not None and attempt == 1:
                    # Refused before anything was done: perhaps a halt has come and gone since the token was made.
                    await response.aclose()
                    self._mint.forget(caller, agent.job, agent.agent)
                    continue
                break
            try:
                yield response
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise _translated(agent, error) from error

    async def card(self, agent: AgentRecord) -> bytes:
        """The agent's public card. Raises PeerError."""
        url = _reachable(agent)
        try:
            response = await self._http.get(f"{url}.well-known/agent-card.json", timeout=CONNECT)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise _translated(agent, error) from error
        return response.content

    def _headers(self, agent: AgentRecord, headers: Mapping[str, str], caller: str | None) -> dict[str, str]:
        token = (
            self._mint.engine(agent.job, agent.agent)
            if caller is None
            else self._mint.front_door(caller, agent.job, agent.agent)
        )
        fixed = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept-encoding": "identity",
            "a2a-version": "1.0",
        }
        return {**fixed, **headers}


def _reachable(agent: AgentRecord) -> str:
    if agent.port is None or agent.state.status in _GONE:
        raise PeerError(f"agent {agent.agent} is {agent.state.status}", reason="unavailable")
    return agent_url(agent.port) + "/"


def _translated(agent: AgentRecord, error: httpx.HTTPError) -> PeerError:
    name = agent.agent
    if isinstance(error, httpx.ConnectTimeout):
        return PeerError(f"agent {name} did not take the call within {CONNECT:g} s", reason="timeout")
    if isinstance(error, httpx.ConnectError):
        return PeerError(f"agent {name} can't be reached: it is {agent.state.status}", reason="refused")
    if isinstance(error, httpx.TimeoutException):
        return PeerError(f"agent {name} did not take the call in time", reason="timeout")
    if isinstance(error, httpx.HTTPStatusError):
        return PeerError(f"agent {name} answered with HTTP {error.response.status_code}", reason="failed")
    return PeerError(f"agent {name} ended before it had answered", reason="process_lost")
