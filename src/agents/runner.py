"""One message, from arrival to outcome: span, run, place in the queue, limits, the agent's work, its session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from teamwright.agents.agent import Agent, answer_of
from teamwright.agents.gate import Gate, Slot
from teamwright.agents.peers import Peers
from teamwright.agents.sessions import SessionKey, Sessions
from teamwright.agents.spec import AgentSpec
from teamwright.agents.turn import AgentTurn, Emit
from teamwright.agents.wire import usage_values
from teamwright.backends.api import Answer, File, Tool, Usage
from teamwright.errors import LimitReached, TeamwrightError
from teamwright.safety.tokens import Claims
from teamwright.tracing import vocabulary as v
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT, extract, run_from_metadata
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.spans import AgentSpan
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

State = Literal["completed", "failed", "canceled"]

#: Seconds that cancelled work gets to end by itself.
CANCEL_GRACE = 0.2


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that an authenticated caller sent."""

    text: str
    files: tuple[File, ...]
    context_id: str
    task_id: str | None
    message_id: str
    headers: Mapping[str, str]
    metadata: Mapping[str, Any]
    claims: Claims
    method: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a message was handled. `reason` is a short stable word where it failed."""

    state: State
    run: RunContext
    answer: Answer = field(default_factory=lambda: Answer(""))
    usage: Usage = field(default_factory=Usage)
    reason: str | None = None
    error: Exception | None = None
    streamed: str = ""

    @property
    def metadata(self) -> dict[str, Any]:
        """What goes with the final message or task: usage and run."""
        about: dict[str, Any] = {"run_id": self.run.run_id, "root_run_id": self.run.root, "agent": self.run.agent}
        if self.run.trace_id:
            about["trace_id"] = self.run.trace_id
        if self.reason:
            about["reason"] = self.reason
        return {USAGE_EXT: usage_values(self.usage), RUN_EXT: about}


class Runner:
    """Handles the messages of one agent."""

    def __init__(
        self, spec: AgentSpec, agent: Agent, tools: Sequence[Tool], *, tracer: Tracer, peers: Peers, sessions: Sessions
    ) -> None:
        self.gate = Gate(spec.max_concurrent, spec.queue)
        self._spec = spec
        self._agent = agent
        self._tools = tuple(tools)
        self._tracer = tracer
        self._peers = peers
        self._sessions = sessions
        self._work: dict[str, _Work] = {}

    async def handle(self, message: Incoming, emit: Emit | None = None) -> Outcome:
        """Do the work. Its span has ended, and is in the spool, when this returns.

        Failures are outcomes; raises Busy when the queue is full, CancelledError when the process shuts down.
        """
        self.gate.check()
        run = self._run_of(message)
        work = _Work(asyncio.current_task())
        key = message.task_id or run.run_id
        self._work[key] = work
        span = self._tracer.agent(
            message=message.text,
            session=message.context_id,
            run=run,
            task_id=message.task_id,
            parent=extract(message.headers, message.metadata),
            attributes={
                v.CALLER: message.claims.sub,
                v.A2A_METHOD: message.method,
                v.A2A_MESSAGE_ID: message.message_id,
            },
        )
        work.span = span
        try:
            with span:
                outcome = await self._within_limits(message, span.run or run, span, work, emit)
                _describe(span, outcome)
        finally:
            del self._work[key]
            work.done.set()
        return outcome

    async def cancel(self, task_id: str) -> bool:
        """Stop the work on a task; whether there was any. Its span has ended when this returns."""
        work = self._work.get(task_id)
        if work is None:
            return False
        work.stop("canceled")
        try:
            async with asyncio.timeout(CANCEL_GRACE):
                await work.done.wait()
        except TimeoutError:
            log.warning("work on task %s does not stop when it is cancelled", task_id)
            if work.span is not None:
                work.span.fail("cancelled; the work did not stop by itself", reason="canceled").end()
        return True

    def abandon(self, task: asyncio.Task[Any]) -> None:
        """Stop the work that `task` does: nobody waits for it any more."""
        for work in list(self._work.values()):
            if work.task is task:
                work.stop("canceled")

    def stop(self, reason: str) -> None:
        """Cancel everything under way: the process is about to end."""
        for work in list(self._work.values()):
            work.stop(reason)

    async def _within_limits(
        self, message: Incoming, run: RunContext, span: AgentSpan, work: _Work, emit: Emit | None
    ) -> Outcome:
        turn: AgentTurn | None = None
        slot: Slot | None = None
        try:
            if run.depth > self._spec.limits.depth:
                raise LimitReached("depth", f"the query is {run.depth} calls deep (limit {self._spec.limits.depth})")
            async with asyncio.timeout(_seconds_left(run)) as limit:
                slot = await self._enter()
                key = _session_key(message, run)
                turn = AgentTurn(
                    text=message.text,
                    files=message.files,
                    history=self._sessions.history(key),
                    run=run,
                    tracer=self._tracer,
                    tools=self._tools,
                    limits=self._spec.limits,
                    peers=self._peers,
                    slot=slot,
                    emit=emit,
                )
                answer = await answer_of(self._agent, turn)
            self._sessions.add(key, message.text, answer.text)
            return Outcome("completed", run, answer, turn.usage, streamed="".join(turn.streamed))
        except asyncio.CancelledError:
            if work.reason is None:
                raise
            if work.task is not None:
                work.task.uncancel()
            state: State = "canceled" if work.reason == "canceled" else "failed"
            text = "cancelled" if state == "canceled" else f"the agent is ending ({work.reason})"
            return Outcome(state, run, Answer(text), _used(turn), work.reason)
        except TimeoutError as error:
            if not limit.expired():
                return _failed(run, turn, error)
            return _failed(run, turn, LimitReached("duration", "the query took longer than it may (limit duration)"))
        except Exception as error:
            return _failed(run, turn, error)
        finally:
            if slot is not None:
                slot.release()

    async def _enter(self) -> Slot:
        if self.gate.free:
            return await self.gate.enter()
        with self._tracer.queued(waiting=self.gate.waiting):
            return await self.gate.enter()

    def _run_of(self, message: Incoming) -> RunContext:
        """The run that the caller minted, or a new one; never with more than this agent's own limits allow."""
        limits, claims = self._spec.limits, message.claims
        given = run_from_metadata(message.metadata) if claims.role != "user" else None
        run = given or RunContext(RunId.generate(), self._spec.job, self._spec.agent)
        calls = limits.peer_calls if run.peer_calls_left is None else min(run.peer_calls_left, limits.peer_calls)
        ends = [run.deadline_ns] if run.deadline_ns is not None else []
        if limits.duration is not None:
            ends.append(time.time_ns() + int(limits.duration * 1e9))
        return replace(
            run,
            job=self._spec.job,
            agent=self._spec.agent,
            session=message.context_id,
            user=run.user or (None if claims.role == "agent" else claims.sub),
            peer_calls_left=calls,
            deadline_ns=min(ends) if ends else None,
        )


@dataclass(slots=True)
class _Work:
    """Something under way that can be stopped."""

    task: asyncio.Task[Any] | None
    span: AgentSpan | None = None
    reason: str | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, reason: str) -> None:
        if self.reason is None and self.task is not None:
            self.reason = reason
            self.task.cancel(reason)


def _describe(span: AgentSpan, outcome: Outcome) -> None:
    span.answer(outcome.answer.text or None, state=outcome.state, usage=outcome.usage)
    if outcome.state == "canceled":
        span.event(v.EVENT_CANCEL)
    if outcome.state != "completed":
        span.fail(outcome.error or outcome.answer.text, reason=outcome.reason)


def _failed(run: RunContext, turn: AgentTurn | None, error: Exception) -> Outcome:
    if isinstance(error, TeamwrightError):
        found = getattr(error, "limit", None) or getattr(error, "reason", None)
        text, reason = error.message, found or _snake(type(error).__name__)
        log.warning("run failed: %s", text)
    else:
        text, reason = f"{type(error).__name__}: {error}", "internal"
        log.error("run failed", exc_info=error)
    return Outcome("failed", run, Answer(text), _used(turn), reason, error)


def _used(turn: AgentTurn | None) -> Usage:
    return turn.usage if turn is not None else Usage()


def _session_key(message: Incoming, run: RunContext) -> SessionKey:
    # Between agents the user's name comes along; a person is who the token says.
    return SessionKey(message.claims.sub, run.user or "", message.context_id)


def _seconds_left(run: RunContext) -> float | None:
    return None if run.deadline_ns is None else max(0.0, (run.deadline_ns - time.time_ns()) / 1e9)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
