"""The engine's way to the agents: kept connections, a deadline on connecting, errors in one form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from teamwright.engine.door.foreign import Foreign, ForeignResponse
from teamwright.engine.minting import Mint
from teamwright.engine.store.records import AgentRecord
from teamwright.errors import PeerError
from teamwright.loopback import Address, LoopbackError, NotConnected, Pool, Response

#: Seconds to connect. How long an answer takes is the agent's affair: one that hangs is ended by the host,
#: which breaks the connection.
CONNECT = 5.0
_CARD = "/.well-known/agent-card.json"
_GONE = frozenset(["failed", "stopped", "halted", "lost", "stopping"])


class Upstream:
    """Calls agents on behalf of callers. Build it in the engine's loop; `close()` ends it."""

    def __init__(self, mint: Mint, foreign: Foreign) -> None:
        self._mint = mint
        self.foreign = foreign
        self._pool = Pool(connect=CONNECT)

    def close(self) -> None:
        self._pool.close()

    @asynccontextmanager
    async def post(
        self,
        agent: AgentRecord,
        body: bytes,
        headers: Mapping[str, str],
        *,
        caller: str | None = None,
        verb: str = "POST",
        target: str = "/",
    ) -> AsyncIterator[Response | ForeignResponse]:
        """The agent's response to a call, JSON-RPC if not said otherwise, its body not yet read.

        With a `caller` it is made through the front door, else by the engine itself. Raises PeerError.
        """
        if self.foreign.plan(agent) is not None:
            _reachable(agent)
            async with self.foreign.post(agent, body, headers) as abroad:
                yield abroad
            return
        address = _address(agent)
        try:
            response = await self._pool.request(verb, address, target, self._headers(agent, headers, caller), body)
            if response.status == 401 and caller is not None:
                # Refused before anything was done: perhaps a halt has come and gone since the token was made.
                response.close()
                self._mint.forget(caller, agent.job, agent.agent)
                response = await self._pool.request(verb, address, target, self._headers(agent, headers, caller), body)
            async with response:
                yield response
        except LoopbackError as error:
            raise _translated(agent, error) from error

    async def card(self, agent: AgentRecord) -> bytes:
        """The agent's public card. Raises PeerError."""
        if self.foreign.plan(agent) is not None:
            _reachable(agent)
            return json.dumps(await self.foreign.card(agent)).encode()
        try:
            async with await self._pool.request("GET", _address(agent), _CARD, {}) as response:
                if response.status != 200:
                    raise PeerError(f"agent {agent.agent} answered with HTTP {response.status}")
                return await response.read()
        except LoopbackError as error:
            raise _translated(agent, error) from error

    def _headers(self, agent: AgentRecord, headers: Mapping[str, str], caller: str | None) -> dict[str, str]:
        token = (
            self._mint.engine(agent.job, agent.agent)
            if caller is None
            else self._mint.front_door(caller, agent.job, agent.agent)
        )
        fixed = {"authorization": f"Bearer {token}", "content-type": "application/json", "a2a-version": "1.0"}
        return {**fixed, **headers}


def _reachable(agent: AgentRecord) -> None:
    if agent.state.status in _GONE:
        raise PeerError(f"agent {agent.agent} is {agent.state.status}", reason="unavailable")


def _address(agent: AgentRecord) -> Address:
    _reachable(agent)
    if agent.port is None:
        raise PeerError(f"agent {agent.agent} is {agent.state.status}", reason="unavailable")
    return "127.0.0.1", agent.port


def _translated(agent: AgentRecord, error: LoopbackError) -> PeerError:
    name = agent.agent
    if not isinstance(error, NotConnected):
        return PeerError(f"agent {name} ended before it had answered", reason="process_lost")
    if error.timeout:
        return PeerError(f"agent {name} did not take the call within {CONNECT:g} s", reason="timeout")
    return PeerError(f"agent {name} can't be reached: it is {agent.state.status}", reason="refused")
