"""The engine's way to agents that are not ours: to the address that their own card gives, without a token of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from teamwright.agents.own_code.foreign import ANSWER_LIMIT, anybodys, endpoint, fetch_card
from teamwright.engine.door.query import Admitted
from teamwright.engine.store.records import AgentRecord
from teamwright.engine.store.secret_store import Secrets, SecretStore
from teamwright.engine.store.state import EngineState
from teamwright.errors import PeerError
from teamwright.jobs.plan import AgentPlan
from teamwright.tracing.propagation import RUN_EXT, ParentContext, inject
from teamwright.tracing.tracer import Tracer

if TYPE_CHECKING:
    import httpx

#: Seconds to connect; and from one piece of an answer to the next, and for one that comes whole, where the agent has no
#: `limits.duration`.
CONNECT, ANSWER = 5.0, 600.0


class Foreign:
    """`command:` and `url:` agents. Build it in the engine's loop; `aclose()` ends it."""

    def __init__(self, state: EngineState, secrets: SecretStore) -> None:
        self._state = state
        self._secrets = secrets
        self._client: httpx.AsyncClient | None = None
        self._wary: httpx.AsyncClient | None = None
        self._endpoints: dict[tuple[str, str], str] = {}

    async def aclose(self) -> None:
        for client in (self._client, self._wary):
            if client is not None:
                await client.aclose()

    def plan(self, agent: AgentRecord) -> AgentPlan | None:
        """The plan of an agent that is not ours; None for our own."""
        job = self._state.jobs.get(agent.job)
        plan = job.plan.agent(agent.agent) if job is not None else None
        return plan if plan is not None and plan.foreign else None

    async def join(self, agent: AgentRecord) -> None:
        """See that the agent is there and can be called. Raises PeerError."""
        address = self._address(agent)
        self._endpoints[agent.id, address] = endpoint(await self.card(agent), address)

    async def look(self, plan: AgentPlan, secrets: Secrets) -> None:
        """See that an agent of a plan that does not run yet is there. Raises PeerError."""
        assert plan.url is not None
        headers = plan.auth.headers(secrets.get(plan.id, {})) if plan.auth is not None else {}
        endpoint(await fetch_card(self._http(), plan.url, headers), plan.url)

    async def card_at(self, url: str) -> dict[str, Any]:
        """The card of an agent that no job has, not from an address that can't be one's. Raises PeerError."""
        from teamwright.agents.a2a.pinned import NotAllowed, pinned_client
        from teamwright.agents.calling.transport import tls_context

        if self._wary is None:
            self._wary = pinned_client(anybodys, tls_context())
        try:
            return await fetch_card(self._wary, url, {})
        except NotAllowed as error:
            raise PeerError(f"{error} leads to no address of an agent", reason="unreachable") from None

    async def card(self, agent: AgentRecord) -> dict[str, Any]:
        """Its card. Raises PeerError."""
        return await fetch_card(self._http(), self._address(agent), self._credentials(agent))

    @asynccontextmanager
    async def post(self, agent: AgentRecord, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[ForeignResponse]:
        """Its response to a JSON-RPC call, the body not yet read; within the agent's `limits.duration`, if it has one.

        Raises PeerError: unreachable, timeout, broken_connection, bad_answer.
        """
        import httpx

        plan = self.plan(agent)
        seconds = plan.limits.duration if plan is not None else None
        fixed = {"content-type": "application/json", "a2a-version": "1.0"}
        sent = {**fixed, **headers, **self._credentials(agent)}
        try:
            async with asyncio.timeout(seconds):
                url = await self._endpoint(agent)
                async with self._http().stream("POST", url, content=body, headers=sent) as response:
                    yield ForeignResponse(agent.agent, response)
        except TimeoutError:
            message = f"agent {agent.agent} did not answer in time (limits.duration {seconds or ANSWER:g} s)"
            raise PeerError(message, reason="timeout") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._endpoints.pop((agent.id, self._address(agent)), None)
            raise PeerError(f"agent {agent.agent} can't be reached: {_why(error)}", reason="unreachable") from error
        except httpx.TimeoutException as error:
            raise PeerError(f"agent {agent.agent} said nothing for {ANSWER:g} s", reason="timeout") from error
        except httpx.HTTPError as error:
            message = f"the connection to agent {agent.agent} broke: {_why(error)}"
            raise PeerError(message, reason="broken_connection") from error

    async def _endpoint(self, agent: AgentRecord) -> str:
        key = agent.id, self._address(agent)
        if key not in self._endpoints:
            try:
                await self.join(agent)
            except PeerError as error:
                raise PeerError(f"agent {agent.agent}: {error.message}", reason=error.reason) from None
        return self._endpoints[key]

    def _address(self, agent: AgentRecord) -> str:
        plan = self.plan(agent)
        address = plan.url if plan is not None and plan.url is not None else agent.url
        if address is None:
            raise PeerError(f"agent {agent.agent} is {agent.state.status}", reason="unavailable")
        return address

    def _credentials(self, agent: AgentRecord) -> dict[str, str]:
        plan = self.plan(agent)
        if plan is None or plan.auth is None:
            return {}
        return plan.auth.headers(self._secrets.get(agent.job).get(agent.agent, {}))

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            # No limit to connections: those that hang at one agent must not keep calls of the others waiting.
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(ANSWER, connect=CONNECT),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
                trust_env=False,
                follow_redirects=False,
            )
        return self._client


class ForeignResponse:
    """A response whose head has come, as `loopback.Response` shows it."""

    def __init__(self, agent: str, response: httpx.Response) -> None:
        self._agent = agent
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)

    async def read(self) -> bytes:
        """The whole body. Raises PeerError when it is too long, TimeoutError when it takes too long."""
        async with asyncio.timeout(ANSWER):
            return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces it comes in. Raises PeerError when there are too many."""
        size = 0
        async for chunk in self._response.aiter_bytes():
            size += len(chunk)
            if size > ANSWER_LIMIT:
                message = f"agent {self._agent} answered with more than {ANSWER_LIMIT >> 20} MB"
                raise PeerError(message, reason="bad_answer")
            yield chunk


def go_abroad(admitted: Admitted, agent: AgentRecord, plan: AgentPlan, tracer: Tracer, method: str) -> None:
    """Make a query one to somebody else's agent: a CLIENT span of ours, and nothing about our users to strangers."""
    row = admitted.query.row
    span = tracer.peer_call(
        target=plan.name or plan.id,
        target_id=plan.id,
        message=admitted.query.row.query or None,
        session=row.context_id,
        method=method,
        parent=ParentContext(row.trace_id, row.span_id),
    )
    metadata = admitted.params["message"]["metadata"]
    if plan.kind == "url":
        metadata.pop(RUN_EXT, None)
        admitted.headers.pop("baggage", None)
    inject(span, admitted.headers, metadata)
    admitted.query.reading.foreign = True
    admitted.query.through(span)


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
