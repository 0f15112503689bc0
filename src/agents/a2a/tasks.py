"""The A2A tasks of one agent, in memory: each belongs to one subject, finished ones expire, waiting ones time out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import uuid4

from a2a.server.context import ServerCallContext
from a2a.server.id_generator import IDGenerator, IDGeneratorContext
from a2a.server.tasks import InMemoryTaskStore, TaskStore
from a2a.types import ListTasksRequest, ListTasksResponse, Task, TaskState

from teamwright.agents.memory.sessions import SessionKey
from teamwright.agents.replicas import marked

FINISHED = frozenset(
    [
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_REJECTED,
    ]
)
#: States in which a task waits for somebody outside.
PARKED = frozenset([TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED])


class Names(IDGenerator):
    """Names of new tasks and conversations; those of a replica lead back to it."""

    def __init__(self, replica: int | None) -> None:
        self._replica = replica

    def generate(self, context: IDGeneratorContext) -> str:
        return marked(str(uuid4()), self._replica)


class MemoryTaskStore(TaskStore):
    """Tasks by owner. A finished one is kept `ttl` seconds, at most `finished` of them and `room` bytes of them.

    Tasks that wait for an answer may do so `patience` seconds, at most `parked` of them: `overdue()` names the others,
    and whoever set `on_parked`, called when one begins to wait, sees to their end. `on_gone` hears of forgotten tasks.

    The task that is saved is kept as it is and its readers get copies: its writer is the SDK's task manager,
    which changes one object in place, so a copy at every event would only cost time.
    """

    def __init__(
        self,
        *,
        ttl: float = 600.0,
        finished: int = 1000,
        room: int = 128 << 20,
        patience: float = 3600.0,
        parked: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_parked: Callable[[], None] = _ignore
        self.on_gone: Callable[[str], None] = _ignore
        self._ttl = ttl
        self._limit = finished
        self._room = room
        self._patience = patience
        self._parked_limit = parked
        self._clock = clock
        self._tasks: dict[str, tuple[str, Task]] = {}
        self._finished: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._parked: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Keep the task under its caller's name; an existing one keeps its owner."""
        owner = self._tasks[task.id][0] if task.id in self._tasks else context.user.user_name
        self._tasks[task.id] = (owner, task)
        state = task.status.state
        if state in PARKED:
            if task.id not in self._parked:
                self._parked[task.id] = self._clock()
                self.on_parked()
            return
        self._parked.pop(task.id, None)
        if state in FINISHED:
            if task.id not in self._finished:
                size = task.ByteSize()
                self._finished[task.id] = self._clock(), size
                self._room -= size
            self._expire()

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """A copy of the task, if it is this caller's (the engine's and operators see all)."""
        self._expire()
        owner, task = self._tasks.get(task_id, ("", None))
        return _copy(task) if task is not None and _may_see(context, owner) else None

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Forget the task, if it is this caller's."""
        if task_id in self._tasks and _may_see(context, self._tasks[task_id][0]):
            self._parked.pop(task_id, None)
            self._forget(task_id)

    def forget_session(self, key: SessionKey) -> None:
        """Forget the tasks of a conversation, if they are of its subject."""
        found = [name for name, (owner, task) in self._tasks.items() if (owner, task.context_id) == key[::2]]
        for task_id in found:
            self._parked.pop(task_id, None)
            self._forget(task_id)

    def overdue(self) -> list[str]:
        """Tasks that have waited too long, or are too many, the oldest first; each is named once."""
        oldest, found = self._clock() - self._patience, []
        while self._parked:
            task_id, since = next(iter(self._parked.items()))
            if since > oldest and len(self._parked) <= self._parked_limit:
                break
            del self._parked[task_id]
            found.append(task_id)
        return found

    def next_due(self) -> float | None:
        """Seconds until the next task has waited too long; None when none waits."""
        first = next(iter(self._parked.values()), None)
        return None if first is None else max(0.0, first + self._patience - self._clock())

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
            task_id, (since, _) = next(iter(self._finished.items()))
            if since > oldest and len(self._finished) <= self._limit and (self._room >= 0 or len(self._finished) == 1):
                return
            self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        self._tasks.pop(task_id, None)
        _, size = self._finished.pop(task_id, (0.0, 0))
        self._room += size
        self.on_gone(task_id)


def _ignore(*_: object) -> None: ...


def _may_see(context: ServerCallContext, owner: str) -> bool:
    return owner == context.user.user_name or context.state.get("role") in ("engine", "operator")


def _copy(task: Task) -> Task:
    copied = Task()
    copied.CopyFrom(task)
    return copied
