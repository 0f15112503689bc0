"""Calls to other agents: only those the plan gave, through one pooled client, with a deadline and a span each."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol
from uuid import uuid4

import httpx

from teamwright.agents.a2a.pinned import NotAllowed
from teamwright.agents.a2a.wire import HEADERS, read_answer, request_body
from teamwright.agents.budget import Grant, PeerBudget
from teamwright.agents.calling.channel import Broken, Channels, Reply, TooLong, Unreachable
from teamwright.agents.discovery.directory import NAME_LIMIT, Directory
from teamwright.agents.memory.sessions import peer_session
from teamwright.agents.own_code.foreign import CARD_DEADLINE as CARD_WAIT
from teamwright.agents.own_code.foreign import endpoint, fetch_card
from teamwright.agents.replicas import Spread
from teamwright.agents.spec import FOREIGN, AgentSpec, PeerSpec
from teamwright.backends.api import Acquaintance, File, Peer, PeerAnswer, Usage
from teamwright.backends.parts import said
from teamwright.errors import LimitReached, PeerError
from teamwright.tracing import vocabulary as v
from teamwright.tracing.propagation import RUN_EXT, inject
from teamwright.tracing.runs import RunContext
from teamwright.tracing.spans import PeerSpan
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

#: Seconds. The longest a call may take where the query has no deadline of its own.
ANSWER_DEADLINE = 600.0
CARD_DEADLINE = 2.0
_CARD_RETRY = 10.0
#: The part of a call's time that its name may take.
_CARD_SHARE = 0.1
#: What a query keeps of its own time when it waits for a peer: seconds at most, and the part of what is left.
_REST, _REST_SHARE = 0.5, 0.05
#: Conversations of peers that gave them names of their own.
_SESSIONS = 10_000
_RETRY_PAUSE = 0.1
#: Failures of calls that did not get there: they cost nothing.
_FREE = frozenset(["unreachable", "bad_card", "unauthorized", "forbidden", "busy"])
#: What a call that was not allowed was held against.
_RULE = "discover"
#: What agents of ours, too, leave without a word about it.
_CUT_OFF = frozenset(["broken_connection", "timeout", "bad_answer"])

#: Failures after which `route: any` asks another agent: the one that was asked is gone, or takes no work now.
_GONE = frozenset(
    ["unreachable", "broken_connection", "circuit_open", "busy", "unknown_peer", "stopping", "process_lost"]
)
#: Failures of calls that an agent that has moved, or a token that was taken back, would explain: nothing was done.
_STALE = frozenset(["unreachable", "unauthorized"])
#: Agents that are asked one after the other, at most.
_TRIES = 3


class Caller(Protocol):
    """What a call needs to know of the run it is made for."""

    run: RunContext
    budget: PeerBudget

    def count(self, usage: Usage) -> None: ...
    def waiting(self) -> Any:
        """An async context in which the run holds no slot."""


class Peers:
    """The agents this one may call, by id."""

    def __init__(self, spec: AgentSpec, http: httpx.AsyncClient, tracer: Tracer, directory: Directory) -> None:
        self._spec = spec
        self._channels = Channels(http)
        self._tracer = tracer
        self._directory = directory
        self._cards: dict[str, asyncio.Task[Peer]] = {}
        self._sessions: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._endpoints: dict[str, str] = {}
        self._spread = Spread()

    async def all(self) -> list[Peer]:
        """Every peer of the plan with what its card says; one that doesn't answer goes by its id."""
        return list(await asyncio.gather(*(self._card(peer) for peer in self._directory.wired)))

    async def find(self, skill: str, text: str) -> Sequence[Acquaintance]:
        """Agents that may be asked beyond the plan's. Raises PeerError."""
        return await self._directory.find(skill, text)

    async def ask(self, caller: Caller, agent: str, text: str, files: Sequence[File] = ()) -> PeerAnswer:
        """Ask a peer and wait for its answer; with `route: any` another one where it is gone.

        Raises PeerError (`reason`: unknown_peer, blocked_url, unreachable, timeout, broken_connection, unauthorized,
        forbidden, busy, bad_answer, refused, circuit_open, or the state of a task that didn't succeed) or
        LimitReached (depth, peer_calls).
        """
        tried: list[str] = []
        fresh = False
        while True:
            peer = await self._resolved(agent)
            try:
                return await self._ask(caller, agent, peer, text, files, tried)
            except PeerError as error:
                if isinstance(peer, PeerSpec) and self._is_stale(peer, error) and not fresh:
                    fresh = True
                    continue
                tried.append(peer.id if isinstance(peer, PeerSpec) else agent)
                other = await self._other(error, tried)
                if other is None:
                    raise
                # What the first one has done by now may be done again: whoever wrote `route: any` knows.
                self._tracer.current().retry(len(tried) + 1, error.reason)
                agent = other

    async def _ask(
        self,
        caller: Caller,
        agent: str,
        peer: PeerSpec | PeerError,
        text: str,
        files: Sequence[File],
        tried: Sequence[str],
    ) -> PeerAnswer:
        run = caller.run
        found = peer if isinstance(peer, PeerSpec) else None
        name = await self._name(found, run) if found is not None else agent[:NAME_LIMIT]
        # The span stands for the wish, so that a call that is refused here shows in the trace, question and all.
        with self._tracer.peer_call(
            target=name,
            target_id=found.id if found is not None else None,
            message=said("user", text, files),
            method="SendMessage",
        ) as span:
            if tried:
                span.set({v.IN_PLACE_OF: tried[-1], v.ATTEMPT: len(tried) + 1})
            if isinstance(peer, PeerError):
                if peer.reason == "forbidden":
                    span.denied(peer.message, rule=_RULE)
                raise peer
            if run.depth + 1 > self._spec.limits.depth:
                raise LimitReached(
                    "depth",
                    f"{agent} is not asked: the query is {run.depth} calls deep"
                    f" (limit depth: {self._spec.limits.depth})",
                )
            session = self._session(run, peer)
            span.set({v.CONTEXT_ID: session})
            with await caller.budget.take() as grant:
                return await self._call(caller, peer, span, grant, text, files, session)

    async def close(self) -> None:
        """End what is still under way."""
        for task in self._cards.values():
            task.cancel()
        await asyncio.gather(*self._cards.values(), return_exceptions=True)
        await self._channels.close()

    async def _call(
        self, caller: Caller, peer: PeerSpec, span: PeerSpan, grant: Grant, text: str, files: Sequence[File],
        session: str,
    ) -> PeerAnswer:  # fmt: skip
        run, message_id = caller.run, str(uuid4())
        deadline, name = self._deadline(run)
        if peer.duration is not None and peer.duration < deadline:
            deadline, name = peer.duration, f"its limits.duration, {peer.duration:g} s"
        headers = dict(HEADERS)
        if peer.kind in FOREIGN:
            headers.update(peer.headers)
        elif token := self._directory.token(peer):
            headers["authorization"] = f"Bearer {token}"
        metadata: dict[str, Any] = {}
        below = run.child(job=peer.job, agent=peer.agent)
        below = replace(_with_limits(below, grant.share, deadline), dollars_left=grant.dollars)
        inject(span, headers, metadata, run=below)
        span.set({v.A2A_MESSAGE_ID: message_id})
        if peer.kind == "url":
            _keep_to_ourselves(headers, metadata)
        body = request_body(text, files, message_id=message_id, context_id=session, metadata=metadata)
        with self._directory.breaker(peer).attempt():
            try:
                async with caller.waiting():
                    content = await self._post(peer, headers, body, deadline, name, session)
                answer, error = read_answer(peer.id, content)
            except PeerError as failed:
                if failed.reason == "forbidden":
                    span.denied(failed.message, rule=_RULE)
                if failed.reason in _CUT_OFF or (peer.kind in FOREIGN and failed.reason not in _FREE):
                    span.answer(None, usage=Usage.unknown())
                    caller.count(Usage.unknown())
                raise
        grant.spent = answer.usage.peer_calls
        told = said("assistant", answer.text, answer.files, answer.data)
        span.answer(told, state=answer.state, usage=answer.usage)
        span.set({v.TASK_ID: answer.task_id})
        if answer.session and answer.session != session:
            self._sessions[(run.user or "", run.session or "", peer.id)] = answer.session
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        caller.count(answer.usage + Usage(peer_calls=1))
        if error is not None:
            raise error
        return answer

    async def _post(
        self, peer: PeerSpec, headers: dict[str, str], body: bytes, deadline: float, name: str, session: str
    ) -> bytes:
        async with _deadline(deadline, f"{peer.id} did not answer in time (deadline {name})"):
            try:
                reply = await self._send(peer, headers, body, session)
            except Unreachable as error:
                raise PeerError(f"{peer.id} can't be reached: {error}", reason="unreachable") from None
            except Broken as error:
                raise PeerError(f"the connection to {peer.id} broke: {error}", reason="broken_connection") from None
            except TooLong as error:
                raise PeerError(f"{peer.id} {error}", reason="bad_answer") from None
        if reply.status == 200:
            return reply.content
        reason = {401: "unauthorized", 403: "forbidden", 429: "busy", 503: "busy"}.get(reply.status, "bad_answer")
        raise PeerError(f"{peer.id} refused: HTTP {reply.status} {_said(reply)}".rstrip(), reason=reason)

    async def _send(self, peer: PeerSpec, headers: dict[str, str], body: bytes, session: str) -> Reply:
        if len(peer.urls) > 1:
            return await self._send_to_one(peer, headers, body, session)
        url = await self._endpoint(peer) if peer.kind in FOREIGN else peer.url
        wary = self._is_stranger(peer)
        try:
            return await self._channels.post(url, headers, body, wary=wary)
        except Unreachable:
            self._endpoints.pop(peer.id, None)  # it may come back with another card
            # Nothing was sent: the one case in which a second try can't do the work twice.
            self._tracer.current().retry(2, "unreachable", after=_RETRY_PAUSE)
            await asyncio.sleep(_RETRY_PAUSE)
            return await self._channels.post(url, headers, body, wary=wary)

    async def _send_to_one(self, peer: PeerSpec, headers: dict[str, str], body: bytes, session: str) -> Reply:
        """To the replica of the conversation, or the one with least to do; to the next one where nobody answers."""
        agent = f"{peer.job}/{peer.agent}"
        order = self._spread.order(agent, len(peer.urls), session)
        for attempt, number in enumerate(order, start=1):
            try:
                with self._spread.working(agent, number, session):
                    return await self._channels.post(peer.urls[number], headers, body)
            except Unreachable:
                if attempt == len(order):
                    raise
                self._tracer.current().retry(attempt + 1, "unreachable")
        raise AssertionError("an agent without replicas")

    async def _endpoint(self, peer: PeerSpec) -> str:
        """Where a foreign agent's own card says to call it; asked once, as long as it answers."""
        found = self._endpoints.get(peer.id)
        if found is None:
            try:
                card = await self._card_of(peer, CARD_WAIT)
                found = self._endpoints[peer.id] = endpoint(card, peer.url)
            except PeerError as error:
                raise PeerError(f"{peer.id}: {error.message}", reason=error.reason) from None
        return found

    async def _card_of(self, peer: PeerSpec, deadline: float) -> dict[str, Any]:
        http = self._channels.client(wary=self._is_stranger(peer))
        try:
            return await fetch_card(http, peer.url, peer.headers, deadline=deadline)
        except NotAllowed as error:
            raise PeerError(f"{error} leads to no address of an agent", reason="unreachable") from None

    def _is_stranger(self, peer: PeerSpec) -> bool:
        """Whether the registry named it, and not the plan: its address is looked at each time it is dialled."""
        return peer.kind == "url" and peer not in self._spec.peers

    def _is_stale(self, peer: PeerSpec, error: PeerError) -> bool:
        """Whether what was known of an agent that was found may be out of date; it is looked up anew then."""
        forgotten = error.reason in _STALE | {"forbidden"} and self._directory.forget(peer)
        return forgotten and error.reason in _STALE

    async def _other(self, error: PeerError, tried: Sequence[str]) -> str | None:
        """Whom to ask in place of one that is gone, if the job lets anybody."""
        if self._spec.route != "any" or error.reason not in _GONE or len(tried) >= _TRIES:
            return None
        try:
            return await self._directory.like(tried[-1], tried)
        except PeerError as failed:
            log.info("nobody is found in place of %s: %s", tried[-1], failed.message)
            return None

    async def _resolved(self, agent: str) -> PeerSpec | PeerError:
        try:
            return await self._directory.resolve(agent)
        except PeerError as error:
            return error

    def _session(self, run: RunContext, peer: PeerSpec) -> str:
        """The peer's conversation for this one: always the same, so that it survives restarts of both."""
        session = run.session or run.run_id
        return self._sessions.get((run.user or "", session, peer.id)) or peer_session(
            self._spec.id, f"{peer.job}/{peer.agent}", run.user or "", session
        )

    @staticmethod
    def _deadline(run: RunContext) -> tuple[float, str]:
        if run.deadline_ns is None:
            return ANSWER_DEADLINE, f"peer answer, {ANSWER_DEADLINE:g} s"
        left = (run.deadline_ns - time.time_ns()) / 1e9
        # A little earlier than the query itself, so that whoever asked hears of it and can still say something.
        left -= min(_REST, left * _REST_SHARE)
        return (
            (left, "duration") if left < ANSWER_DEADLINE else (ANSWER_DEADLINE, f"peer answer, {ANSWER_DEADLINE:g} s")
        )

    async def _name(self, peer: PeerSpec, run: RunContext) -> str:
        """What the peer calls itself, if its card is there soon: a call must not use up its time on a name."""
        if peer.name:
            return peer.name
        task = self._card_task(peer)
        if not task.done():
            await asyncio.wait({task}, timeout=min(CARD_DEADLINE, self._deadline(run)[0] * _CARD_SHARE))
        return task.result().name if task.done() and not task.cancelled() else peer.id

    async def _card(self, peer: PeerSpec) -> Peer:
        return await asyncio.shield(self._card_task(peer))

    def _card_task(self, peer: PeerSpec) -> asyncio.Task[Peer]:
        task = self._cards.get(peer.id)
        if task is None:
            task = self._cards[peer.id] = asyncio.create_task(self._fetch_card(peer), name=f"card:{peer.id}")
        return task

    async def _fetch_card(self, peer: PeerSpec) -> Peer:
        calls_back = f"{peer.job}/{peer.agent}" in self._spec.callers
        try:
            card = await self._card_of(peer, CARD_DEADLINE)
            return Peer(
                id=peer.id,
                name=str(card.get("name") or peer.id),
                description=str(card.get("description") or ""),
                skills=tuple(skill for skill in card.get("skills", ()) if isinstance(skill, Mapping)),
                calls_back=calls_back,
            )
        except (PeerError, AttributeError, TypeError) as error:
            log.info("no card of %s yet: %s", peer.id, _why(error))
            asyncio.get_running_loop().call_later(_CARD_RETRY, self._cards.pop, peer.id, None)
            return Peer(id=peer.id, name=peer.id, description="", calls_back=calls_back)


def _keep_to_ourselves(headers: dict[str, str], metadata: dict[str, Any]) -> None:
    """Somebody else's agent gets the trace context, and nothing about our users and limits."""
    headers.pop("baggage", None)
    metadata.pop(RUN_EXT, None)


def _with_limits(run: RunContext, share: int | None, seconds: float) -> RunContext:
    return replace(run, peer_calls_left=share, deadline_ns=time.time_ns() + int(seconds * 1e9))


@asynccontextmanager
async def _deadline(seconds: float, message: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise PeerError(message, reason="timeout") from None


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _said(reply: Reply) -> str:
    try:
        return str(json.loads(reply.content)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return reply.content[:200].decode(errors="replace")
