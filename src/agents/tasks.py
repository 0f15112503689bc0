"""The A2A tasks of one agent, in memory: each belongs to one subject, finished ones expire."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore, TaskStore
from a2a.types import ListTasksRequest, ListTasksResponse, Task, TaskState

FINISHED = frozenset(
    [
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_REJECTED,
    ]
)


class MemoryTaskStore(TaskStore):
    """Tasks by owner. A finished one is kept `ttl` seconds, and at most `finished` of them.

    The task that is saved is kept as it is and its readers get copies: its writer is the SDK's task manager,
    which changes one object in place, so a copy at every event would only cost time.
    """

    def __init__(
        self, *, ttl: float = 600.0, finished: int = 1000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl = ttl
        self._limit = finished
        self._clock = clock
        self._tasks: dict[str, tuple[str, Task]] = {}
        self._finished: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Keep the task under its caller's name; an existing one keeps its owner."""
        owner = self._tasks[task.id][0] if task.id in self._tasks else context.user.user_name
        self._tasks[task.id] = (owner, task)
        if task.status.state in FINISHED:
            self._finished.setdefault(task.id, self._clock())
            self._expire()

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """A copy of the task, if it is this caller's (the engine's and operators see all)."""
        self._expire()
        owner, task = self._tasks.get(task_id, ("", None))
        return _copy(task) if task is not None and _may_see(context, owner) else None

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Forget the task, if it is this caller's."""
        if task_id in self._tasks and _may_see(context, self._tasks[task_id][0]):
            del self._tasks[task_id]
            self._finished.pop(task_id, None)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """This caller's tasks, filtered and paged as A2A says."""
        self._expire()
        page = InMemoryTaskStore(owner_resolver=lambda _: "", use_copying=False)
        for owner, task in self._tasks.values():
            if _may_see(context, owner):
                await page.save(_copy(task), context)
        return await page.list(params, context)

    def _expire(self) -> None:
        oldest = self._clock() - self._ttl
        while self._finished:
            task_id, since = next(iter(self._finished.items()))
            if since > oldest and len(self._finished) <= self._limit:
                return
            self._finished.popitem(last=False)
            self._tasks.pop(task_id, None)


def _may_see(context: ServerCallContext, owner: str) -> bool:
    return owner == context.user.user_name or context.state.get("role") in ("engine", "operator")


def _copy(task: Task) -> Task:
    copied = Task()
    copied.CopyFrom(task)
    return copied
