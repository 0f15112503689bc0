"""A raw a2a-sdk executor that knows nothing of us, and the one line that makes it an agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import Part, TaskState
from google.protobuf.struct_pb2 import Value

from teamwright import Agent


class Desk(AgentExecutor):
    """Streams, asks, waits, fails and sends files."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """The first word says what to do."""
        assert context.message is not None
        word, _, rest = context.get_user_input().partition(" ")
        task = context.current_task
        asked = task is not None and task.status.state == TaskState.TASK_STATE_WORKING and len(task.history) > 1
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        if word == "ask" and not asked:
            await updater.requires_input(updater.new_agent_message([Part(text="Which one?")]))
            return
        if word == "stream":
            pieces = rest.split()
            for number, piece in enumerate(pieces):
                await updater.add_artifact(
                    [Part(text=piece)], artifact_id="a", append=number > 0, last_chunk=number == len(pieces) - 1
                )
        elif word == "wait":
            await updater.add_artifact([Part(text="working ")], artifact_id="a")
            self._waiting[task.id] = gone = asyncio.Event()
            flag = Path(rest)
            while not flag.exists():  # noqa: ASYNC240
                if gone.is_set():
                    await updater.cancel(updater.new_agent_message([Part(text="stopped by hand")]))
                    return
                await asyncio.sleep(0.01)
            await updater.add_artifact([Part(text="done")], artifact_id="a", append=True)
        elif word == "stuck":
            await asyncio.sleep(1000)
        elif word == "fail":
            await updater.failed(updater.new_agent_message([Part(text="it can't")]))
            return
        elif word == "raise":
            raise KeyError("in the middle")
        elif word == "files":
            value = Value()
            value.struct_value.update({"n": 1, "got": [part.filename for part in context.message.parts if part.raw]})
            parts = [
                Part(text="see"),
                Part(data=value, media_type="application/json"),
                Part(raw=b"\x00abc", filename="a.bin", media_type="application/octet-stream"),
                Part(url="https://example.com/b.pdf", filename="b.pdf", media_type="application/pdf"),
            ]
            await updater.add_artifact(parts, artifact_id="a")
        else:
            await updater.add_artifact([Part(text=f"you said {word}")], artifact_id="a")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Those that wait end by themselves; for the others there is nothing we could do."""
        if (gone := self._waiting.get(context.task_id or "")) is None:
            raise NotImplementedError
        gone.set()


class Hosted(Agent):
    """Somebody's executor."""

    executor = Desk
