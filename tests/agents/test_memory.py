"""Sessions and tasks in memory: bounded, and nobody sees what is not theirs."""

from __future__ import annotations

from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.types import ListTasksRequest, Task, TaskState, TaskStatus

from teamwright.agents.a2a.tasks import MemoryTaskStore
from teamwright.agents.memory.sessions import MemorySessions, SessionKey

ANN, BOB, CAT, DAN = (SessionKey(name, name, "c") for name in ("ann", "bob", "cat", "dan"))


class Named(User):
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return self._name


def of(name: str, role: str = "user") -> ServerCallContext:
    return ServerCallContext(user=Named(name), state={"role": role})


def a_task(task_id: str, state: TaskState = TaskState.TASK_STATE_COMPLETED) -> Task:
    return Task(id=task_id, context_id="c", status=TaskStatus(state=state))


def test_sessions_are_bounded_in_number_words_and_characters() -> None:
    sessions = MemorySessions(sessions=2, words=4, characters=100)
    for number in range(3):
        sessions.add(ANN, f"q{number}", f"a{number}")
    assert [word.text for word in sessions.history(ANN)] == ["q1", "a1", "q2", "a2"]
    assert sessions.history(BOB) == ()
    sessions.add(BOB, "q", "a")
    sessions.add(ANN, "q", "a")
    sessions.add(CAT, "q", "a")
    assert sessions.history(BOB) == ()
    assert len(sessions.history(ANN)) == 4
    sessions.add(CAT, "x" * 60, "y" * 60)
    assert sessions.history(ANN) == ()
    assert [len(word.text) for word in sessions.history(CAT)] == [60]
    sessions.add(DAN, "q", "a")
    assert [len(word.text) for word in sessions.history(CAT)] == [60]


async def test_finished_tasks_expire_and_running_ones_stay() -> None:
    now = [0.0]
    store = MemoryTaskStore(ttl=10, finished=3, clock=lambda: now[0])
    await store.save(a_task("running", TaskState.TASK_STATE_WORKING), of("ann"))
    for number in range(5):
        await store.save(a_task(str(number)), of("ann"))
    assert len(store) == 4
    assert await store.get("1", of("ann")) is None
    assert await store.get("4", of("ann")) is not None
    now[0] = 11
    assert await store.get("4", of("ann")) is None
    assert len(store) == 1
    assert await store.get("running", of("ann")) is not None
    for number in range(1000):
        await store.save(a_task(f"more {number}"), of("ann"))
    assert len(store) == 4


async def test_tasks_belong_to_their_owner() -> None:
    store = MemoryTaskStore()
    await store.save(a_task("t"), of("ann"))
    await store.save(a_task("t"), of("engine", "engine"))
    for context, visible in (
        (of("ann"), True),
        (of("bob"), False),
        (of("x", "engine"), True),
        (of("y", "operator"), True),
    ):
        assert (await store.get("t", context) is not None) is visible
        assert len((await store.list(ListTasksRequest(), context)).tasks) == visible
    await store.delete("t", of("bob"))
    assert len(store) == 1
    found = await store.get("t", of("ann"))
    assert found is not None
    found.context_id = "changed"
    again = await store.get("t", of("ann"))
    assert again is not None
    assert again.context_id == "c"
    await store.delete("t", of("ann"))
    assert len(store) == 0
