"""`/a2a/{job}[/{agent}]`: the one way in for whoever asks from outside; a byte-streaming proxy to the agents.

Each SendMessage or SendStreamingMessage is one query: one root span, one row, one run. Everything else passes as it is.
The agent's answer is read while it passes; its last piece leaves only after the root span has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from teamwright.agents.replicas import marked
from teamwright.engine.auth import Gate
from teamwright.engine.deployments.targets import find_agent, find_job
from teamwright.engine.door import old_rest, rest, rpc
from teamwright.engine.door.cards import answer, here
from teamwright.engine.door.follow import Followers
from teamwright.engine.door.foreign import go_abroad
from teamwright.engine.door.frames import Reading, Splitter, event, payload, seal, shows_task
from teamwright.engine.door.intake import body_of, check_message, check_type
from teamwright.engine.door.placing import Placing
from teamwright.engine.door.query import Admitted, Query, admit
from teamwright.engine.door.relay import Head, Relay, leaving
from teamwright.engine.door.rest import RestRelay
from teamwright.engine.door.upstream import Upstream
from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.engine.store.state import EngineState
from teamwright.errors import EngineError, PeerError
from teamwright.safety.tokens import Claims
from teamwright.tracing.tracer import Tracer

log = logging.getLogger("teamwright.engine")

_SSE = "text/event-stream"
_JSON = "application/json"
_OPEN = frozenset(["running"])
#: Headers of a client that the agent gets to see.
_PASSED_HEADERS = ("a2a-extensions", "accept", "last-event-id")
#: Headers of an agent that its client gets to see.
_RETURNED_HEADERS = ("a2a-extensions", "retry-after")
_CARD = "/.well-known/agent-card.json"
_VERSION = "a2a-version"
#: Tells the agent that our connection isn't the client's: we say ourselves when that has gone.
_RELAYED = "teamwright-relayed"


class FrontDoor:
    """The routes, and the tasks that read agents' answers whether or not the client is still there."""

    def __init__(
        self,
        state: EngineState,
        gate: Gate,
        upstream: Upstream,
        followers: Followers,
        tracer: Callable[[JobRecord], Tracer],
        engine_url: str,
        placing: Placing,
    ) -> None:
        self._placing = placing
        self._state = state
        self._gate = gate
        self._upstream = upstream
        self._followers = followers
        self._tracer = tracer
        self._url = engine_url
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Everything below /a2a."""
        found = []
        for path in ("/a2a/{job}", "/a2a/{job}/{agent}"):
            found.append(Route(path + _CARD, self.card))
            found += [
                Route(path + below, partial(self.rest_call, method), methods=[verb])
                for verb, below, method in rest.PATHS
            ]
            found += [
                Route(path + below, partial(self.old_rest_call, method), methods=[verb])
                for verb, below, method in old_rest.PATHS
            ]
        return [*found, *(Route(path, self.call, methods=["POST"]) for path in ("/a2a/{job}", "/a2a/{job}/{agent}"))]

    async def aclose(self) -> None:
        """Let go of the answers that are still being read; the next engine finds their queries again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- cards ------------------------------------------------------------------------------------

    async def card(self, request: Request) -> Response:
        """The agent's public card, with this address in place of its own."""
        job, agent = self._find(request)
        try:
            card = json.loads(await self._upstream.card(agent))
        except PeerError as error:
            raise EngineError(error.message, status=503, hint=f"deploy ps {job.name}") from None
        ours = self._upstream.foreign.plan(agent) is None
        here(card, f"{self._url}{request.url.path.removesuffix(_CARD)}", ours=ours)
        return answer(card, request.headers, (agent.state.ready_ns or job.created_ns) / 1e9)

    # --- calls ------------------------------------------------------------------------------------

    async def call(self, request: Request) -> Response:
        """One JSON-RPC call."""
        claims = self._gate.front_door(request, request.path_params["job"])
        self._find(request)
        try:
            check_type(request)
            return await self._call(rpc.parse(await body_of(request)), request, claims, Relay())
        except rpc.RpcError as error:
            return JSONResponse(error.to_dict(), 415 if error.code == rpc.CONTENT_TYPE_NOT_SUPPORTED else 200)

    async def rest_call(self, method: str, request: Request) -> Response:
        """The same over HTTP+JSON."""
        claims = self._gate.front_door(request, request.path_params["job"])
        self._find(request)
        try:
            check_type(request)
            return await self._call(rest.parse(method, request, await body_of(request)), request, claims, RestRelay())
        except rpc.RpcError as error:
            status, body = rest.error_body(error.to_dict()["error"])
            return JSONResponse(body, status, media_type=rest.MEDIA_TYPE)

    async def old_rest_call(self, method: str, request: Request) -> Response:
        """The same over HTTP+JSON of A2A 0.3."""
        claims = self._gate.front_door(request, request.path_params["job"])
        self._find(request)
        try:
            check_type(request)
            call = old_rest.parse(method, request, await body_of(request))
            return await self._call(call, request, claims, RestRelay(old_rest.MEDIA_TYPE))
        except rpc.RpcError as error:
            status, body = rest.error_body(error.to_dict()["error"])
            return JSONResponse(body, status)

    async def _call(self, call: rpc.Call, request: Request, claims: Claims, relay: Relay) -> Response:
        job, agent = self._find(request)
        agent = self._placing.placed(job, agent, request.path_params.get("agent"), call)
        rpc.check_version(call, request.headers.get(_VERSION) or request.query_params.get("A2A-Version"))
        if job.phase not in _OPEN:
            raise rpc.RpcError(
                rpc.INTERNAL, f"job {job.name} is {job.phase}", id=call.id, reason="JOB_NOT_RUNNING", job=job.name
            )
        headers = {name: request.headers[name] for name in _PASSED_HEADERS if name in request.headers}
        headers |= {_VERSION: "0.3" if call.method in rpc.OLD else "1.0", _RELAYED: "1"}
        if call.method in rpc.EXTENDED_CARD:
            url = self._url + request.url.path.removesuffix("/extendedAgentCard").removesuffix("/v1/card")
            ours = self._upstream.foreign.plan(agent) is None
            work = self._pass(agent, call, headers, claims, lambda card: here(card, url, ours=ours))
            return await self._respond(work, relay)
        if call.method not in rpc.QUERIES:
            return await self._respond(self._pass(agent, call, headers, claims), relay)
        check_message(call)
        task_id = call.params["message"].get("taskId")
        last = await self._state.root_of_task(job.name, agent.agent, task_id) if task_id else None
        admitted = admit(
            job, agent, call.params, request.headers, claims, tracer=self._tracer(job), state=self._state, last=last,
            new_id=lambda: marked(str(uuid4()), agent.replica),
        )  # fmt: skip
        admitted.headers.update({**headers, **admitted.headers})
        if (plan := self._upstream.foreign.plan(agent)) is not None:
            go_abroad(admitted, agent, plan, self._tracer(job), call.method)
        work = self._ask(agent, call, admitted, claims)
        configuration = call.params.get("configuration")
        if job.plan.agent(agent.agent).on_disconnect == "continue" or (
            isinstance(configuration, dict) and configuration.get("returnImmediately")
        ):
            return await self._respond(work, relay)
        relay.on_gone = lambda: self._followers.cancel(admitted.query)
        async with leaving(request, relay):
            return await self._respond(work, relay)

    def _find(self, request: Request) -> tuple[JobRecord, AgentRecord]:
        job = find_job(request.path_params["job"], self._state.jobs)
        return job, find_agent(job, request.path_params.get("agent") or job.plan.entry_point)

    async def _respond(self, work: Callable[[Relay], Any], relay: Relay) -> Response:
        """Run `work` in a task of its own and answer with what it sends."""
        task = asyncio.create_task(work(relay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        head = await relay.head()
        if head.body is not None:
            return Response(head.body, head.status, media_type=head.media_type, headers=dict(head.headers))
        headers = {**head.headers, "cache-control": "no-store"}
        return StreamingResponse(relay.chunks(), head.status, media_type=head.media_type, headers=headers)

    def _pass(
        self,
        agent: AgentRecord,
        call: rpc.Call,
        headers: Mapping[str, str],
        claims: Claims,
        change: Callable[[Any], None] | None = None,
    ) -> Any:
        """A call that is no query: bytes through, but for what `change` does to its result."""

        async def work(relay: Relay) -> None:
            try:
                async with self._post(agent, call, call.params, headers, claims) as response:
                    media = response.headers.get("content-type", _JSON)
                    if not media.startswith(_SSE):
                        body = await response.read()
                        relay.begin(Head(media, _changed(body, change), response.status, _returned(response.headers)))
                        return
                    relay.begin(Head(media, status=response.status, headers=_returned(response.headers)))
                    async for chunk in response.chunks():
                        await relay.send(chunk)
            except PeerError as error:
                await _break(relay, _peer_error(error, call, agent))
            finally:
                _finish(relay, call)

        return work

    def _ask(self, agent: AgentRecord, call: rpc.Call, admitted: Admitted, claims: Claims) -> Any:
        """A query."""
        query = admitted.query
        job, session = self._state.jobs[query.row.job], query.row.context_id
        done = self._placing.begin(agent, session)

        def post(process: AgentRecord) -> AbstractAsyncContextManager[Any]:
            return self._post(process, call, admitted.params, admitted.headers, claims)

        async def work(relay: Relay) -> None:
            try:
                await self._state.open_task(query.row)
                async with self._placing.reached(job, agent, session, post) as response:
                    media = response.headers.get("content-type", _JSON)
                    if response.status != 200:
                        raise _refusal(agent, response.status, await response.read())
                    if media.startswith(_SSE):
                        if call.method not in rpc.STREAMS:
                            raise PeerError(
                                f"agent {agent.agent} answered with a stream that nobody asked for", reason="bad_answer"
                            )
                        relay.begin(Head(media, headers=_returned(response.headers)))
                        await self._stream(response, relay, admitted)
                    else:
                        answer = self._whole(await response.read(), admitted, agent)
                        relay.begin(Head(_JSON, answer, headers=_returned(response.headers)))
            except PeerError as error:
                self._placing.fell(agent, error)
                if not query.ended:
                    query.end(error=error.message, reason=error.reason)
                    row = query.row
                    await _break(relay, _peer_error(error, call, agent, trace_id=row.trace_id, run_id=row.run_id))
            except asyncio.CancelledError:
                # The engine ends, the query does not: its root stays open for the next engine.
                query.ended = True
                raise
            except Exception as error:
                query.end(error=f"{type(error).__name__}: {error}", reason="bug")
                raise
            finally:
                done()
                _finish(relay, call)

        return work

    def _post(
        self, agent: AgentRecord, call: rpc.Call, params: Mapping[str, Any], headers: Mapping[str, str], claims: Claims
    ) -> AbstractAsyncContextManager[Any]:
        """The agent's response, the body not yet read."""
        if isinstance(call, old_rest.OldCall):
            return old_rest.post(self._upstream, agent, call, params, headers, caller=claims.sub)
        body = rpc.encode({"jsonrpc": "2.0", "id": call.id, "method": call.method, "params": params})
        return self._upstream.post(agent, body, headers, caller=claims.sub)

    async def _stream(self, response: Any, relay: Relay, admitted: Admitted) -> None:
        query = admitted.query
        splitter = Splitter()
        async for chunk in response.chunks():
            for frame in splitter.feed(chunk):
                reply = payload(frame)
                if reply is not None and not query.ended:
                    try:
                        query.read(reply)
                    except (ValueError, AttributeError, TypeError):
                        raise _not_a2a(query.row.agent) from None
                    if query.reading.over and not _snapshot(reply, query.reading):
                        query.end()
                        _seal(reply, query)
                        await relay.send(event(rpc.encode(reply), "error" if "error" in reply else None))
                        continue
                await relay.send(frame)
        if splitter.rest:
            await relay.send(splitter.rest)
        if query.reading.over:
            query.end()
        if not query.ended:
            raise PeerError(f"agent {query.row.agent} broke its answer off", reason="process_lost")

    def _whole(self, body: bytes, admitted: Admitted, agent: AgentRecord) -> bytes:
        query = admitted.query
        try:
            reply = json.loads(body)
            query.read(reply)
        except (ValueError, AttributeError, TypeError):
            raise _not_a2a(agent.agent) from None
        if query.reading.over:
            query.end()
        elif query.reading.task_id is None:
            raise PeerError(f"agent {agent.agent} answered with neither task nor message", reason="bad_answer")
        else:
            self._followers.follow(query)  # asked not to wait: the work goes on, and so does the trace
        _seal(reply, query)
        return rpc.encode(reply)


def _returned(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _RETURNED_HEADERS if name in headers}


def _changed(body: bytes, change: Callable[[Any], None] | None) -> bytes:
    if change is None:
        return body
    try:
        reply = json.loads(body)
        if isinstance(reply.get("result"), dict):
            change(reply["result"])
        return rpc.encode(reply)
    except (ValueError, AttributeError):
        return body


def _snapshot(reply: Mapping[str, Any], reading: Reading) -> bool:
    """Whether a reply only shows the task as it stood when the stream began, waiting for this very message."""
    return reading.waiting and shows_task(reply)


def _refusal(agent: AgentRecord, status: int, body: bytes) -> PeerError:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        message = f"HTTP {status}"
    return PeerError(f"agent {agent.agent} refused the call: {message}", reason="refused")


_TOLD = ("run_id", "trace_id", "agent", "traced")


def _seal(reply: dict[str, Any], query: Query) -> None:
    """Tell the client under which run and trace its query went: in the answer's usage, or in an error's details."""
    seal(reply, query.values)
    if isinstance(error := reply.get("error"), dict):
        error["data"] = rest.details(error)
        for item in error["data"]:
            if isinstance(item, dict) and isinstance(item.get("metadata"), dict):
                item["metadata"] |= {
                    key: query.values[key] for key in ("run_id", "trace_id", "agent", "traced") if key in query.values
                }
                break


def _not_a2a(agent: str) -> PeerError:
    return PeerError(f"agent {agent} answered with something that is not A2A", reason="bad_answer")


def _peer_error(error: PeerError, call: rpc.Call, agent: AgentRecord, **details: str) -> rpc.RpcError:
    found = rpc.RpcError(
        rpc.INTERNAL, error.message, id=call.id, reason=error.reason.upper(), agent=agent.id, **details
    )
    found.details["reason"] = error.reason
    return found


async def _break(relay: Relay, error: rpc.RpcError) -> None:
    """Tell the client that it ends here, in whatever form its answer has begun."""
    if relay.begun:
        await relay.send(event(error.encode(), "error"))
    else:
        relay.begin(Head(_JSON, error.encode()))


def _finish(relay: Relay, call: rpc.Call) -> None:
    relay.begin(Head(_JSON, rpc.RpcError(rpc.INTERNAL, "the engine could not pass the call on", id=call.id).encode()))
    relay.end()
