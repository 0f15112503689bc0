"""Between the A2A SDK and the runner: which messages become tasks, which are answered by a Message, and how.

- A person's message (front door, operator, user), a streaming one, and one that goes on with a task become a task at
  once, through the SDK's machinery.
- A blocking message of another agent is answered by a Message as soon as the work is done: no task, no queues, a
  third of the CPU. When its connection goes away, so does the work. Failing, it leaves a task behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from uuid import uuid4

from a2a.server.agent_execution import AgentExecutor, RequestContext, SimpleRequestContextBuilder
from a2a.server.context import ServerCallContext
from a2a.server.events import Event, EventQueue
from a2a.server.request_handlers import DefaultRequestHandler, validate_request_params
from a2a.types import (
    AgentCard,
    Artifact,
    CancelTaskRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from a2a.utils.errors import A2AError, InternalError, InvalidParamsError, UnsupportedOperationError

from teamwright.agents.a2a.push import Push
from teamwright.agents.a2a.tasks import FINISHED, PARKED, MemoryTaskStore, Names
from teamwright.agents.a2a.watching import Watch
from teamwright.agents.a2a.wire import files_of, parts_of, reply, struct, text_of
from teamwright.agents.gate import Busy
from teamwright.agents.replicas import marked
from teamwright.agents.runner import ARTIFACT, Runner
from teamwright.agents.spec import OnDisconnect
from teamwright.agents.work import Incoming, Outcome
from teamwright.backends.api import Answer
from teamwright.safety.tokens import Claims

log = logging.getLogger(__name__)

_STATES = {
    "completed": TaskState.TASK_STATE_COMPLETED,
    "failed": TaskState.TASK_STATE_FAILED,
    "canceled": TaskState.TASK_STATE_CANCELED,
    "input_required": TaskState.TASK_STATE_INPUT_REQUIRED,
}
#: The header of the front door's calls: its client may have gone when its connection has not, and the other way round.
RELAYED = "teamwright-relayed"
#: Seconds added to a timer, so that what it waits for is due when it fires.
_TICK = 0.01
#: Under this key the call's state holds the place that is reserved for its message, until the runner gets it.
_PLACE = "place"
#: Seconds after which the SDK's queues of a task that waits for somebody go; the follow-up makes new ones.
_QUEUES_REST = 30.0


class AgentHandler(DefaultRequestHandler):
    """The SDK's request handler, with our short way for blocking messages of other agents."""

    def __init__(
        self,
        runner: Runner,
        store: MemoryTaskStore,
        card: AgentCard,
        push: Push,
        *,
        extended_card: AgentCard | None = None,
        on_disconnect: OnDisconnect = "continue",
        executor: AgentExecutor | None = None,
        queues_rest: float = _QUEUES_REST,
        replica: int | None = None,
    ) -> None:
        super().__init__(
            agent_executor=executor or AgentExecution(runner),
            task_store=store,
            agent_card=card,
            push_config_store=push.configs,
            push_sender=push.sender,
            push_url_validator=push.allowed,
            request_context_builder=SimpleRequestContextBuilder(
                task_store=store, task_id_generator=Names(replica), context_id_generator=Names(replica)
            ),
            extended_agent_card=extended_card,
            interrupted_task_timeout=queues_rest,
        )
        self._push = push
        self._replica = replica
        #: A foreign executor says itself whether it answers by a message or a task.
        self._may_answer = executor is None
        self._runner = runner
        self._store = store
        self._cancels = on_disconnect == "cancel"
        self._ending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        store.on_parked = self._look_after_parked
        store.on_gone = push.configs.forget
        runner.on_span = push.configs.trace

    async def aclose(self) -> None:
        """End everything under way."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._ending:
            task.cancel()
        await super().aclose()
        await self._push.sender.aclose()

    @validate_request_params
    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Message | Task:
        """SendMessage."""
        await self._admit(params, context)
        with self._place(params, context):
            return await self._send(params, context)

    async def _send(self, params: SendMessageRequest, context: ServerCallContext) -> Message | Task:
        if (
            self._may_answer
            and _claims(context).role == "agent"
            and not (
                params.message.task_id
                or params.configuration.return_immediately
                or params.configuration.HasField("task_push_notification_config")
            )
        ):
            return await self._answer(params.message, context)
        receive = context.state.get("receive")
        if receive is None or not self._minds(context) or params.configuration.return_immediately:
            return cast("Message | Task", await super().on_message_send(params, context))
        with Watch(receive, lambda: self._dropped(context)):
            return cast("Message | Task", await super().on_message_send(params, context))

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """SendStreamingMessage."""
        await self._admit(params, context)
        over = False
        with self._place(params, context):
            try:
                async for event in super().on_message_send_stream(params, context):
                    over = over or _rests(event)
                    yield event
            finally:
                if not over and self._minds(context):
                    self._dropped(context)

    @validate_request_params
    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        """CancelTask."""
        task = cast("Task | None", await super().on_cancel_task(params, context))
        # The SDK stops only what it holds queues for: not what waits for an answer for long.
        await self._runner.cancel(params.id)
        return task

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """SubscribeToTask."""
        span = self._runner.span(params.id)
        async for event in super().on_subscribe_to_task(params, context):
            if span is not None:  # not before the SDK has let the caller in
                span.subscribed_again()
                span = None
            yield event

    def _minds(self, context: ServerCallContext) -> bool:
        """Whether this caller's going away ends its work. The front door says itself when its client has gone."""
        return self._cancels and RELAYED not in context.state["headers"]

    def _dropped(self, context: ServerCallContext) -> None:
        if task_id := context.state.get("task_id"):
            self._end(str(task_id), context)

    def _look_after_parked(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task_id in self._store.overdue():
            log.info("task %s is cancelled: nobody has answered its question", task_id)
            self._end(task_id, _ourselves())
        due = self._store.next_due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(due + _TICK, self._look_after_parked)

    def _end(self, task_id: str, context: ServerCallContext) -> None:
        task = asyncio.create_task(self._cancel(task_id, context), name=f"end:{task_id}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _cancel(self, task_id: str, context: ServerCallContext) -> None:
        try:
            await self.on_cancel_task(CancelTaskRequest(id=task_id), context)
        except A2AError as error:
            log.debug("task %s can't be cancelled: %s", task_id, error)

    async def _admit(self, params: SendMessageRequest, context: ServerCallContext) -> None:
        message = params.message
        if not any(part.WhichOneof("content") for part in message.parts):
            raise InvalidParamsError("the message is empty")
        if message.parts and not files_of(message) and not text_of(message).strip():
            raise InvalidParamsError("the message is empty")
        if message.task_id and not message.context_id:
            # The SDK would make up another conversation for it, and then refuse it where it made its queues anew.
            task = await self._store.get(message.task_id, context)
            message.context_id = task.context_id if task is not None else ""

    @contextmanager
    def _place(self, params: SendMessageRequest, context: ServerCallContext) -> Iterator[None]:
        """Reserve a place for the message before anything is made for it; given back if nobody comes to take it."""
        if self._runner.rests(params.message.task_id):
            yield  # what goes on has its place already
            return
        try:
            context.state[_PLACE] = self._runner.gate.reserve()
        except Busy as error:
            context.state["reply_headers"].append((b"retry-after", str(error.retry_after).encode()))
            raise InternalError(error.message, data={"reason": "busy", "retryAfter": str(error.retry_after)}) from None
        try:
            yield
        finally:
            if (place := context.state.pop(_PLACE, None)) is not None:
                place.close()

    async def _answer(self, message: Message, context: ServerCallContext) -> Message | Task:
        message.context_id = message.context_id or marked(str(uuid4()), self._replica)
        incoming = incoming_of(message, context, None)
        receive = context.state.get("receive")
        if receive is None:
            outcome = await self._runner.handle(incoming)
        else:
            waiting = asyncio.current_task()
            with Watch(receive, lambda: self._runner.abandon(waiting)):
                outcome = await self._runner.handle(incoming)
        if outcome.state == "completed":
            return reply(outcome.answer, message.context_id, struct(outcome.metadata))
        task = Task(
            id=outcome.task_id or marked(str(uuid4()), self._replica),
            context_id=message.context_id,
            history=[message],
            metadata=struct(outcome.metadata),
        )
        task.status.CopyFrom(_status(_STATES[outcome.state], task, outcome.answer.text))
        await self._store.save(task, context)
        return task


class AgentExecution(AgentExecutor):
    """What the SDK's machinery runs: opens the task, does the work, publishes its end."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Handle one message of a task."""
        message = context.message
        if message is None or context.task_id is None or context.context_id is None:
            raise InvalidParamsError("there is no message")
        incoming = incoming_of(message, context.call_context, context.task_id)
        task = context.current_task
        if task is None:
            task = Task(id=context.task_id, context_id=context.context_id, history=[message])
            task.status.CopyFrom(_status(TaskState.TASK_STATE_WORKING, task))
            await event_queue.enqueue_event(task)
        else:
            await event_queue.enqueue_event(_update(_Ids(task.id, task.context_id), TaskState.TASK_STATE_WORKING))
        if context.call_context is not None:
            context.call_context.state["task_id"] = task.id
        ids = _Ids(task.id, task.context_id)
        pieces = _Pieces(ids, event_queue)
        outcome = await self._runner.handle(incoming, pieces.send)
        if outcome.state == "canceled":
            return  # `cancel` tells the world
        await pieces.finish(outcome)
        said = "" if outcome.state == "completed" else outcome.answer.text
        await event_queue.enqueue_event(_update(ids, _STATES[outcome.state], said, outcome.metadata))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop the work on a task, then say so."""
        if context.task_id is None or context.context_id is None:
            raise UnsupportedOperationError("there is no task to cancel")
        await self._runner.cancel(context.task_id)
        ids = _Ids(context.task_id, context.context_id)
        await event_queue.enqueue_event(_update(ids, TaskState.TASK_STATE_CANCELED, "cancelled"))


class _Ids:
    """A task's names, where the task itself isn't needed."""

    def __init__(self, task_id: str, context_id: str) -> None:
        self.id = task_id
        self.context_id = context_id


class _Pieces:
    """The answer as an artifact: in pieces where the agent streams, at once where it doesn't."""

    def __init__(self, ids: _Ids, queue: EventQueue) -> None:
        self._ids = ids
        self._queue = queue
        self._begun = False

    async def send(self, text: str) -> None:
        await self._put([Part(text=text)], append=self._begun, last=False)

    async def finish(self, outcome: Outcome) -> None:
        if outcome.state != "completed":
            return
        answer = outcome.answer
        if not self._begun or outcome.streamed != answer.text:
            await self._put(parts_of(answer), append=False, last=True)
        elif answer.files or answer.data is not None:
            more = parts_of(Answer("", files=answer.files, data=answer.data))
            await self._put(more, append=True, last=True)

    async def _put(self, parts: list[Part], *, append: bool, last: bool) -> None:
        self._begun = True
        await self._queue.enqueue_event(
            TaskArtifactUpdateEvent(
                task_id=self._ids.id,
                context_id=self._ids.context_id,
                artifact=Artifact(artifact_id=ARTIFACT, name=ARTIFACT, parts=parts),
                append=append,
                last_chunk=last,
            )
        )


def incoming_of(message: Message, context: ServerCallContext, task_id: str | None) -> Incoming:
    """A message and its authenticated caller, as the runner takes them."""
    return Incoming(
        text=text_of(message),
        files=files_of(message),
        context_id=message.context_id,
        task_id=task_id,
        message_id=message.message_id,
        place=context.state.pop(_PLACE, None),
        headers=context.state["headers"],
        metadata=cast("Mapping[str, Any]", message.metadata),
        claims=_claims(context),
        method=str(context.state.get("method", "")),
    )


def _rests(event: Event) -> bool:
    """Whether an agent says nothing more by itself after this."""
    if isinstance(event, Message):
        return True
    return isinstance(event, Task | TaskStatusUpdateEvent) and event.status.state in FINISHED | PARKED


def _ourselves() -> ServerCallContext:
    """The context of what the agent does to a task of its own accord."""
    return ServerCallContext(state={"role": "engine", "headers": {}})


def _claims(context: ServerCallContext) -> Claims:
    return cast(Claims, context.state["claims"])


def _status(state: TaskState, task: Task | _Ids, text: str = "") -> TaskStatus:
    status = TaskStatus(state=state)
    status.timestamp.GetCurrentTime()
    if text:
        status.message.CopyFrom(
            Message(
                message_id=str(uuid4()), role=Role.ROLE_AGENT, parts=[Part(text=text)],
                task_id=task.id, context_id=task.context_id,
            )
        )  # fmt: skip
    return status


def _update(
    ids: _Ids, state: TaskState, said: str = "", metadata: Mapping[str, Any] | None = None
) -> TaskStatusUpdateEvent:
    status = _status(state, ids, said)
    return TaskStatusUpdateEvent(
        task_id=ids.id,
        context_id=ids.context_id,
        status=status,
        metadata=struct(metadata) if metadata else None,
    )
