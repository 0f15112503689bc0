"""`executor =`: a raw a2a-sdk `AgentExecutor`, unchanged, inside an agent of ours.

It publishes its events as it does anywhere. Those that end its work, or let it rest, are held back until the SERVER
span has ended and is written; then they go out with usage and run in their metadata. Token, caller list, queue, limits
and cancelling are the runner's, as for every agent.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, ClassVar, cast

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import Event, EventQueue
from a2a.types import Message, Part, Role, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent
from a2a.utils.errors import InvalidParamsError, UnsupportedOperationError

from teamwright.agents.a2a.handler import incoming_of
from teamwright.agents.a2a.tasks import FINISHED, PARKED
from teamwright.agents.a2a.wire import struct, text_of
from teamwright.agents.agent import Agent
from teamwright.agents.own_code.worker import describe
from teamwright.agents.runner import Runner
from teamwright.agents.work import Outcome, Rests, State
from teamwright.backends.api import Answer, BackendConfig, Turn
from teamwright.backends.observed import watch
from teamwright.errors import CodeError, UserError

log = logging.getLogger(__name__)

#: Seconds that the executor's own `cancel` may take, before its work is cancelled in any case.
_CANCEL = 0.1
_FAILED = {
    TaskState.TASK_STATE_FAILED: "failed",
    TaskState.TASK_STATE_REJECTED: "rejected",
    TaskState.TASK_STATE_CANCELED: "canceled",
}
_RESTING: dict[TaskState, State] = {
    TaskState.TASK_STATE_INPUT_REQUIRED: "input_required",
    TaskState.TASK_STATE_AUTH_REQUIRED: "auth_required",
}


class ExecutorCode:
    """The executor as what thinks inside the agent. Raises UserError when it isn't one."""

    name: ClassVar[str] = "executor"

    def __init__(self, agent: Agent, *, instrument: bool = True) -> None:
        self._instrument = instrument
        made = agent.executor
        if inspect.isclass(made):
            try:
                made = made()
            except TypeError as error:
                raise UserError(f"the executor {made.__name__} can't be made without arguments: {error}") from None
        if not (hasattr(made, "execute") and hasattr(made, "cancel")):
            raise UserError(f"executor = {made!r} is not an a2a-sdk AgentExecutor")
        self.executor = cast(AgentExecutor, made)

    @property
    def description(self) -> str:
        return " ".join((inspect.getdoc(type(self.executor)) or "").split("\n\n")[0].split())

    async def open(self, config: BackendConfig) -> None:
        """It is made already."""

    async def close(self) -> None:
        """Nothing is open."""

    async def run(self, turn: Turn) -> Answer:
        """Let it work until it has ended the task, or lets it rest. Raises CodeError when it ended it badly."""
        if not self._instrument:
            return await self._run()
        async with watch(turn, here=True):
            return await self._run()

    async def _run(self) -> Answer:
        call = _current.get()
        call.work = asyncio.ensure_future(self._execute(call))
        waited: list[asyncio.Future[Any]] = [call.work, call.resting]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            call.work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await call.work
            raise
        if call.work.done() and not call.resting.done():
            try:
                call.work.result()
            except CodeError:
                raise
            except Exception as error:
                log.error("the executor failed", exc_info=error)
                raise CodeError(describe(error, __file__)) from error
        elif (state := call.resting.result()) in _FAILED:
            raise CodeError(call.said or f"the executor ended the task as {_FAILED[state]}", reason=_FAILED[state])
        elif state in PARKED:
            raise Rests(_RESTING[state], Answer(call.said))
        return Answer(call.said)

    async def _execute(self, call: _Call) -> None:
        try:
            await self.executor.execute(call.context, cast(EventQueue, call))
        except (SystemExit, KeyboardInterrupt) as error:  # out of a task they would end the agent's loop
            log.error("the executor wants to end the process", exc_info=error)
            raise CodeError(describe(error, __file__)) from error


class HostedExecution(AgentExecutor):
    """What the SDK's machinery runs instead of our own execution: the user's executor, between the runner's hands."""

    def __init__(self, runner: Runner, executor: AgentExecutor) -> None:
        self._runner = runner
        self._executor = executor
        self._calls: dict[str, _Call] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Handle one message, of a task or to be answered by a message."""
        message = context.message
        if message is None or context.task_id is None or context.context_id is None:
            raise InvalidParamsError("there is no message")
        if context.call_context is not None:
            context.call_context.state["task_id"] = context.task_id
        call = self._calls[context.task_id] = _Call(context, event_queue)
        _current.set(call)
        try:
            outcome = await self._runner.handle(incoming_of(message, context.call_context, context.task_id))
            await call.go_on(outcome)
        finally:
            if self._calls.get(context.task_id) is call:
                del self._calls[context.task_id]
            if call.work is not None and not call.work.done():
                call.work.cancel()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Let the executor cancel, stop its work in any case, then say so."""
        if context.task_id is None or context.context_id is None:
            raise UnsupportedOperationError("there is no task to cancel")
        call = self._calls.get(context.task_id)
        held = _Held()
        try:
            async with asyncio.timeout(_CANCEL):
                await self._executor.cancel(context, cast(EventQueue, held))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # many can't cancel: then we do
            log.debug("the executor's cancel: %s: %s", type(error).__name__, error)
        await self._runner.cancel(context.task_id)
        if call is not None and call.ended_by_itself:
            return
        last = next((event for event in held.events if _state(event) == TaskState.TASK_STATE_CANCELED), None)
        await event_queue.enqueue_event(last or _update(context, TaskState.TASK_STATE_CANCELED, "cancelled"))


class _Call:
    """One message in the executor's hands, and the queue that it gets to see."""

    def __init__(self, context: RequestContext, queue: EventQueue) -> None:
        self.context = context
        self.work: asyncio.Future[None] | None = None
        self.resting: asyncio.Future[TaskState] = asyncio.get_running_loop().create_future()
        self.ended_by_itself = False
        self._queue = queue
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._has_task = context.current_task is not None
        self._artifacts: dict[str, str] = {}
        self._status = ""

    @property
    def said(self) -> str:
        """The text of its artifacts, else what its last status or message said."""
        return "\n".join(text for text in self._artifacts.values() if text) or self._status

    async def enqueue_event(self, event: Event) -> None:
        """Pass an event on; one that ends the work only after our span has."""
        self._read(event)
        state = _state(event)
        if (state in FINISHED or state in PARKED) and not self.resting.done():
            self.resting.set_result(state)
            outcome = await asyncio.shield(self._outcome)
            event.metadata.update(outcome.metadata)
            self.ended_by_itself = True
        await self._queue.enqueue_event(event)

    async def go_on(self, outcome: Outcome) -> None:
        """The span has ended: let the held event out, or say how it ended; then wait for the executor's own end."""
        if not self._outcome.done():
            self._outcome.set_result(outcome)
        if self.resting.done():
            if self.work is not None:
                await asyncio.wait([self.work])
                if not self.work.cancelled() and (error := self.work.exception()) is not None:
                    log.error("the executor failed after it had ended its task", exc_info=error)
        elif outcome.state == "failed":
            update = _update(self.context, TaskState.TASK_STATE_FAILED, outcome.answer.text)
            update.metadata.update(outcome.metadata)
            if not self._has_task:
                task = Task(id=update.task_id, context_id=update.context_id, metadata=update.metadata)
                if self.context.message is not None:
                    task.history.append(self.context.message)
                task.status.CopyFrom(update.status)
                await self._queue.enqueue_event(task)
            else:
                await self._queue.enqueue_event(update)

    def _read(self, event: Event) -> None:
        if isinstance(event, TaskArtifactUpdateEvent):
            key, text = event.artifact.artifact_id, _text(event.artifact.parts)
            self._artifacts[key] = self._artifacts.get(key, "") + text if event.append else text
        elif isinstance(event, Message):
            self._status = text_of(event)
        else:
            self._has_task = self._has_task or isinstance(event, Task)
            self._status = text_of(event.status.message) or self._status
            if isinstance(event, Task):
                self._artifacts.update({item.artifact_id: _text(item.parts) for item in event.artifacts})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class _Held:
    """A queue that keeps what is put into it."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def enqueue_event(self, event: Event) -> None:
        self.events.append(event)


_current: ContextVar[_Call] = ContextVar("teamwright_executor_call")


def _state(event: Event) -> TaskState:
    """The state that an event leaves the task in; a message is an end as well."""
    if isinstance(event, Message):
        return TaskState.TASK_STATE_COMPLETED
    if isinstance(event, Task | TaskStatusUpdateEvent):
        return event.status.state
    return TaskState.TASK_STATE_WORKING


def _text(parts: Any) -> str:
    return "".join(part.text for part in parts if part.WhichOneof("content") == "text")


def _update(context: RequestContext, state: TaskState, text: str) -> TaskStatusUpdateEvent:
    status = TaskStatus(state=state)
    status.timestamp.GetCurrentTime()
    message = Message(message_id=f"{context.task_id}-end", role=Role.ROLE_AGENT, parts=[Part(text=text)])
    message.task_id, message.context_id = context.task_id or "", context.context_id or ""
    status.message.CopyFrom(message)
    return TaskStatusUpdateEvent(
        task_id=context.task_id or "", context_id=context.context_id or "", status=status, metadata=struct({})
    )
