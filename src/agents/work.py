"""One piece of work: an agent's coroutine, which may ask the user something and go on with the answer.

Each message that it handles, the first and every follow-up, is a run of its own with a span of its own. While it
waits for an answer it rests: no span is open, no slot is taken, no time is counted.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from teamwright.agents.a2a.wire import usage_values
from teamwright.agents.gate import Place
from teamwright.agents.turn import AgentTurn
from teamwright.backends.api import Answer, File, Usage
from teamwright.safety.tokens import Claims
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT
from teamwright.tracing.runs import RunContext, set_run
from teamwright.tracing.spans import AgentSpan

State = Literal["completed", "failed", "canceled", "input_required", "auth_required"]


class Rests(Exception):
    """Raised by code that has left its task waiting for the next message, which is a new piece of work."""

    def __init__(self, state: State, answer: Answer) -> None:
        super().__init__(state)
        self.state: State = state
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that an authenticated caller sent, with the place that is reserved for it."""

    text: str
    files: tuple[File, ...]
    context_id: str
    task_id: str | None
    message_id: str
    headers: Mapping[str, str]
    metadata: Mapping[str, Any]
    claims: Claims
    method: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a message was handled; a question is the answer of one that is `input_required`.

    `reason` is a short stable word where it failed. `task_id` is the task under which the follow-up finds the work.
    """

    state: State
    run: RunContext
    answer: Answer = field(default_factory=lambda: Answer(""))
    usage: Usage = field(default_factory=Usage)
    reason: str | None = None
    error: BaseException | None = None
    streamed: str = ""
    task_id: str | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What goes with the final message or task: usage and run."""
        about: dict[str, Any] = {"run_id": self.run.run_id, "root_run_id": self.run.root, "agent": self.run.agent}
        if self.run.trace_id:
            about["trace_id"] = self.run.trace_id
        if self.reason:
            about["reason"] = self.reason
        return {USAGE_EXT: usage_values(self.usage), RUN_EXT: about}


class Work:
    """Work under way. `outcome()` is that of the newest message: the end, or a question.

    `key` is the task's id where there is one. `waiter` is the asyncio task that waits for the outcome.
    """

    def __init__(self, key: str, message: Incoming, run: RunContext, span: AgentSpan) -> None:
        self.key = key
        self.message = message
        self.run = run
        self.span = span
        self.reason: str | None = None
        #: Pieces of the answer that have gone out since the newest message.
        self.pieces = 0
        self.waiter = asyncio.current_task()
        self.done = asyncio.Event()
        self.turn: AgentTurn | None = None
        self.limit: asyncio.Timeout | None = None
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Outcome] | None = None
        self._step: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._reply: asyncio.Future[Incoming] | None = None
        self._asking = asyncio.Lock()
        self._awaited = False

    def begin(self, work: Coroutine[Any, Any, Outcome], ended: Callable[[Work], None]) -> None:
        """Start the coroutine; `ended` is called when it has ended, whether or not somebody waits for it."""
        self._context.run(otel_context.attach, otel.set_span_in_context(_Following(self)))
        self._context.run(set_run, self.run)
        self._task = asyncio.get_running_loop().create_task(work, name=f"work:{self.key}", context=self._context)
        self._task.add_done_callback(lambda task: self._over(task, ended))

    async def outcome(self) -> Outcome:
        """The outcome of the newest message. Cancelled, it takes the work with it."""
        self._awaited = True
        try:
            return await self._step
        except asyncio.CancelledError:
            if self._task is not None:
                self._task.cancel()
            raise
        finally:
            self._awaited = False

    @property
    def resting(self) -> bool:
        """Whether it waits for a follow-up."""
        return self._reply is not None and not self._reply.done()

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    async def ask(self, question: Outcome) -> Incoming:
        """Give `question` as the outcome and wait for the follow-up; several that ask take their turns."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            step, self._step = self._step, loop.create_future()
            self._reply = loop.create_future()
            if not step.done():
                step.set_result(question)
            try:
                message = await self._reply
            finally:
                self._reply = None
            set_run(self.run)
            return message

    def go_on(self, message: Incoming, run: RunContext, span: AgentSpan) -> None:
        """The follow-up is here: from now on everything belongs to its run."""
        self.message, self.run, self.span, self.pieces = message, run, span, 0
        self.waiter = asyncio.current_task()
        self._context.run(set_run, run)
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(message)

    def stop(self, reason: str) -> None:
        """Cancel it. The first reason counts."""
        if self.reason is None and self._task is not None:
            self.reason = reason
            self._task.cancel(reason)

    def stopped(self) -> bool:
        """For the coroutine that was cancelled: whether it was by `stop`, and so has an outcome to give."""
        if self.reason is None:
            return False
        if self._task is not None:
            self._task.uncancel()
        return True

    def _over(self, task: asyncio.Task[Outcome], ended: Callable[[Work], None]) -> None:
        ended(self)
        if not self._awaited:
            self.done.set()  # it was resting, or whoever waited has gone; else they tell when they are through with it
        if self._step.done():
            return
        if task.cancelled():
            self._step.cancel()
        elif (error := task.exception()) is not None:
            self._step.set_exception(error)
        else:
            self._step.set_result(task.result())


class _Following(otel.Span):
    """The current span of the work, whichever that is by now: what runs on after a question hangs below the new one."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @property
    def _span(self) -> otel.Span:
        return self._work.span.otel_span

    def end(self, end_time: int | None = None) -> None:
        self._span.end(end_time)

    def get_span_context(self) -> otel.SpanContext:
        return self._span.get_span_context()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._span.set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._span.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._span.add_event(name, attributes, timestamp)

    def update_name(self, name: str) -> None:
        self._span.update_name(name)

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._span.record_exception(exception, attributes, timestamp, escaped)
