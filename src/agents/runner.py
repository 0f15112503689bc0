"""One message, from arrival to outcome: span, run, place in the queue, limits, the agent's work, its session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from teamwright.agents.admission import Admissions
from teamwright.agents.agent import Agent, answer_of
from teamwright.agents.answers import fit
from teamwright.agents.calling.peers import Peers
from teamwright.agents.gate import Gate, Place, Slot
from teamwright.agents.mcp.servers import McpServers
from teamwright.agents.memory.sessions import SessionKey, Sessions
from teamwright.agents.spec import AgentSpec
from teamwright.agents.turn import AgentTurn, Emit
from teamwright.agents.work import Incoming, Outcome, Rests, State, Work
from teamwright.backends.api import Answer, File, Tool, Usage
from teamwright.backends.parts import readable, said
from teamwright.backends.threads import is_cancelled
from teamwright.errors import CodeError, LimitReached, TeamwrightError, in_words
from teamwright.tracing import vocabulary as v
from teamwright.tracing.propagation import extract, run_from_metadata
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.spans import AgentSpan, Parent
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

#: The name of the artifact that an answer is.
ARTIFACT = "answer"
#: Seconds that cancelled work gets to end by itself.
CANCEL_GRACE = 0.2


class Runner:
    """Handles the messages of one agent."""

    def __init__(
        self,
        spec: AgentSpec,
        agent: Agent,
        tools: Sequence[Tool],
        *,
        tracer: Tracer,
        peers: Peers,
        sessions: Sessions,
        mcp: McpServers,
        admissions: Admissions | None = None,
    ) -> None:
        self.gate = Gate(spec.max_concurrent, spec.queue)
        #: Hears of each span of a task.
        self.on_span: Callable[[str, AgentSpan], None] = lambda task_id, span: None
        self._spec = spec
        self._agent = agent
        self._tools = tuple(tools)
        self._tracer = tracer
        self._peers = peers
        self._sessions = sessions
        self._mcp = mcp
        self._admissions = admissions
        self._work: dict[str, Work] = {}
        #: Hears of every change of what there is to do: messages that are worked on, and that wait.
        self.on_load: Callable[[int, int], None] = lambda in_flight, queued: None

    async def handle(self, message: Incoming, emit: Emit | None = None) -> Outcome:
        """Do the work, as far as its end or the next question. Its span has ended, and is in the spool, by then.

        A message to a task whose work waits for an answer is that answer. Failures are outcomes; raises
        CancelledError when the process shuts down.
        """
        run = self._run_of(message)
        work = self._resting(message.task_id)
        if work is not None:
            span = self._span(message, run, links=[work.span])
            run = span.run or run
            self._go_on(work, message, run, span, emit)
        else:
            span = self._span(message, run)
            run = span.run or run
            work = Work(message.task_id or run.run_id, message, run, span)
            self._work[work.key] = work
            work.begin(self._within_limits(work, emit), self._forget)
            self._loaded()
        if message.task_id:
            self.on_span(message.task_id, span)
        try:
            outcome = await work.outcome()
            _describe(span, outcome, work)
        except BaseException as error:
            span.fail(error)
            raise
        finally:
            span.end()
            if message.place is not None:
                message.place.close()
            if work.ended:
                work.done.set()
        return outcome

    def span(self, task_id: str) -> AgentSpan | None:
        """The span of the task that is worked on."""
        work = self._work.get(task_id)
        return work.span if work is not None else None

    def sessions_in_use(self) -> set[SessionKey]:
        """The conversations that are worked on, or whose work waits for an answer."""
        return {_session_key(work.message, work.run) for work in self._work.values()}

    @property
    def busy(self) -> bool:
        """Whether there is work under way; what waits for somebody's answer is none."""
        return any(not work.resting for work in self._work.values())

    def rests(self, task_id: str) -> bool:
        """Whether the work on that task waits for an answer."""
        return self._resting(task_id) is not None

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
            work.span.fail("cancelled; the work did not stop by itself", reason="canceled").end()
        return True

    def abandon(self, task: asyncio.Task[Any] | None) -> None:
        """Stop the work that `task` does: nobody waits for it any more."""
        for work in list(self._work.values()):
            if work.waiter is task:
                work.stop("canceled")

    def stop(self, reason: str) -> None:
        """Cancel everything under way: the process is about to end."""
        for work in list(self._work.values()):
            work.stop(reason)

    async def _within_limits(self, work: Work, emit: Emit | None) -> Outcome:
        turn: AgentTurn | None = None
        slot: Slot | None = None
        run, limits = work.run, self._spec.limits
        try:
            if run.depth > limits.depth:
                raise LimitReached("depth", f"the query is {run.depth} calls deep (limit {limits.depth})")
            async with asyncio.timeout(_seconds_left(run)) as limit:
                work.limit = limit
                slot = await self._enter(work.message.place)
                self._loaded()
                work.turn = turn = AgentTurn(
                    text=work.message.text,
                    files=work.message.files,
                    history=self._sessions.history(_session_key(work.message, run)),
                    run=run,
                    tracer=self._tracer,
                    tools=(*self._tools, *await self._mcp.tools()),
                    limits=limits,
                    peers=self._peers,
                    slot=slot,
                    emit=_counted(work, emit),
                    ask=lambda question: self._ask(work, question),
                    conversation=repr(tuple(_session_key(work.message, run))),
                    admissions=self._admissions,
                )
                answer = fit(await answer_of(self._agent, turn))
                if not answer.text and answer.data is None:  # it gave nothing back: what it has streamed is the answer
                    answer = replace(answer, text="".join(turn.streamed))
                if turn.attached:
                    answer = replace(answer, files=(*answer.files, *turn.attached))
            self._remember(work, answer.text)
            return Outcome("completed", work.run, answer, turn.usage, streamed="".join(turn.streamed))
        except Rests as rest:
            self._remember(work, rest.answer.text)
            return Outcome(rest.state, work.run, rest.answer, _used(turn))
        except asyncio.CancelledError:
            if not work.stopped():
                if is_cancelled():
                    raise
                return _failed(work.run, turn, CodeError("the agent's code gave its own work up: CancelledError"))
            state: State = "canceled" if work.reason == "canceled" else "failed"
            text = "cancelled" if state == "canceled" else f"the agent is ending ({work.reason})"
            return Outcome(state, work.run, Answer(text), _used(turn), work.reason)
        except TimeoutError as error:
            if not limit.expired():
                return _failed(work.run, turn, error)
            over = LimitReached("duration", "the query took longer than it may (limit duration)")
            return _failed(work.run, turn, over)
        except BaseException as error:  # SystemExit and its like would end the agent's loop
            return _failed(work.run, turn, error)
        finally:
            if slot is not None:
                slot.release()

    async def _ask(self, work: Work, question: str) -> tuple[str, Sequence[File]]:
        """Let the work rest until somebody answers; its limit of time rests too."""
        self._remember(work, question)
        if work.limit is not None:
            work.limit.reschedule(None)
        outcome = Outcome("input_required", work.run, Answer(question), _used(work.turn), task_id=work.key)
        reply = await work.ask(outcome)
        return reply.text, reply.files

    def _go_on(self, work: Work, message: Incoming, run: RunContext, span: AgentSpan, emit: Emit | None) -> None:
        if work.turn is not None:
            work.turn.go_on(run, _counted(work, emit))
        left = _seconds_left(run)
        if work.limit is not None and left is not None:
            work.limit.reschedule(asyncio.get_running_loop().time() + left)
        work.go_on(message, run, span)

    def _resting(self, task_id: str | None) -> Work | None:
        work = self._work.get(task_id) if task_id else None
        return work if work is not None and work.resting else None

    def _forget(self, work: Work) -> None:
        if self._work.get(work.key) is work:
            del self._work[work.key]
        self._loaded()

    def _loaded(self) -> None:
        queued = self.gate.waiting
        self.on_load(max(0, len(self._work) - queued), queued)

    def _remember(self, work: Work, said: str) -> None:
        self._sessions.add(_session_key(work.message, work.run), work.message.text, said)

    def _span(self, message: Incoming, run: RunContext, links: Sequence[Parent] = ()) -> AgentSpan:
        parent = extract(message.headers, message.metadata)
        return self._tracer.agent(
            message=said("user", message.text, message.files),
            session=message.context_id,
            run=run,
            task_id=message.task_id,
            parent=parent,
            links=links,
            attributes={
                v.CALLER: message.claims.sub,
                v.REVISION: (self._spec.revision or None) if parent is None else None,
                v.REPLICA: self._spec.process if self._spec.replica is not None else None,
                v.A2A_METHOD: message.method,
                v.A2A_MESSAGE_ID: message.message_id,
            },
        )

    async def _enter(self, place: Place | None) -> Slot:
        place = place or Place(self.gate)
        if self.gate.free:
            return await place.enter()
        asyncio.get_running_loop().call_soon(self._loaded)
        with self._tracer.queued(waiting=self.gate.waiting):
            return await place.enter()

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
            dollars_left=_least(run.dollars_left, limits.cost_usd),
        )


def _least(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _counted(work: Work, emit: Emit | None) -> Emit | None:
    """`emit`, with the first piece noted on the span of the run that it belongs to."""
    if emit is None:
        return None

    async def send(text: str) -> None:
        work.pieces += 1
        if work.pieces == 1:
            work.span.artifact_update(ARTIFACT)
        await emit(text)

    return send


def _describe(span: AgentSpan, outcome: Outcome, work: Work) -> None:
    answer = outcome.answer
    span.answer(said("assistant", answer.text, answer.files, answer.data), state=outcome.state, usage=outcome.usage)
    if work.pieces > 1 or (work.pieces == 0 and outcome.state == "completed" and work.message.task_id):
        span.artifact_update(ARTIFACT, pieces=max(1, work.pieces))
    span.status_update(outcome.state)
    if outcome.state == "canceled":
        span.cancelled(outcome.reason)
    if outcome.state in ("failed", "canceled"):
        span.fail(outcome.error or outcome.answer.text, reason=outcome.reason)


def _failed(run: RunContext, turn: AgentTurn | None, error: BaseException) -> Outcome:
    if isinstance(error, TeamwrightError):
        error.run_id = error.run_id or run.run_id  # a peer's failure has the peer's
        found = getattr(error, "reason", None)
        text, reason = error.message, found or _snake(type(error).__name__)
        log.warning("run failed: %s", text)
    else:
        text, reason = in_words(error), "internal"
        log.error("run failed", exc_info=error)
    return Outcome("failed", run, Answer(readable(text)), _used(turn), reason, error)


def _used(turn: AgentTurn | None) -> Usage:
    return turn.usage if turn is not None else Usage()


def _session_key(message: Incoming, run: RunContext) -> SessionKey:
    # Between agents the user's name comes along; a person is who the token says.
    return SessionKey(message.claims.sub, run.user or "", message.context_id)


def _seconds_left(run: RunContext) -> float | None:
    return None if run.deadline_ns is None else max(0.0, (run.deadline_ns - time.time_ns()) / 1e9)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
