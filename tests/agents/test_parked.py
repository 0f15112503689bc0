"""Tasks that wait for somebody, in this process: they time out, are not too many, and memory stays as it is."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.types import Task, TaskState, TaskStatus

from teamwright.agents.a2a.card import build_card
from teamwright.agents.a2a.handler import AgentHandler
from teamwright.agents.a2a.push import Push
from teamwright.agents.a2a.server import Door, build_app
from teamwright.agents.a2a.tasks import MemoryTaskStore
from teamwright.agents.runtime import Runtime
from teamwright.agents.turn import AgentTurn
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Verifier

if TYPE_CHECKING:
    from .conftest import Team


class Named(User):
    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return "ann"


ANN = ServerCallContext(user=Named(), state={"role": "user"})


def a_task(task_id: str, state: TaskState, text: str = "") -> Task:
    return Task(id=task_id, context_id=text or "c", status=TaskStatus(state=state))


async def test_the_store_names_those_that_have_waited_too_long_or_are_too_many() -> None:
    now, told = [0.0], []
    store = MemoryTaskStore(patience=10, parked=2, clock=lambda: now[0])
    store.on_parked = lambda: told.append(len(store))
    for number in range(3):
        await store.save(a_task(str(number), TaskState.TASK_STATE_INPUT_REQUIRED), ANN)
        now[0] += 1
    assert told == [1, 2, 3]
    assert store.overdue() == ["0"]
    assert store.next_due() == 8
    await store.save(a_task("1", TaskState.TASK_STATE_WORKING), ANN)
    assert store.next_due() == 9
    now[0] = 12
    assert store.overdue() == ["2"]
    assert (store.overdue(), store.next_due()) == ([], None)


async def test_finished_tasks_have_so_much_room() -> None:
    gone: list[str] = []
    store = MemoryTaskStore(room=10_000)
    store.on_gone = gone.append
    for number in range(5):
        await store.save(a_task(str(number), TaskState.TASK_STATE_COMPLETED, "x" * 3000), ANN)
    assert gone == ["0", "1"]
    await store.save(a_task("huge", TaskState.TASK_STATE_COMPLETED, "x" * 30_000), ANN)
    assert gone == ["0", "1", "2", "3", "4"]
    assert len(store) == 1


class Here:
    """An agent in this process, its store and time limits as a test wants them."""

    def __init__(self, runtime: Runtime, team: Team, **store: Any) -> None:
        self.runtime = runtime
        self.ended: list[str] = []
        self.store = MemoryTaskStore(**store)
        spec = runtime.spec
        push = Push.of(runtime.tracer, "public", runtime.runner.span)
        card = build_card(spec, runtime.agent, runtime.tools)
        self.handler = AgentHandler(runtime.runner, self.store, card, push, queues_rest=0.05)
        verifier = Verifier(spec.public_key, spec.home_id, EpochFile(Path(spec.epoch_file)))
        app = build_app(self.handler, card, Door(spec, verifier, lambda: 0.0))
        headers = {"authorization": f"Bearer {team.token('here')}", "a2a-version": "1.0"}
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://here", headers=headers, verify=False, timeout=60
        )
        vars(runtime.agent)["run"] = self.run

    async def run(self, turn: AgentTurn) -> str:
        if turn.text != "ask":
            return f"echo {turn.text}"
        try:
            return "you said " + await turn.ask_user("Well?")
        except asyncio.CancelledError:
            self.ended.append(turn.session)
            raise

    async def ask(self, text: str, **more: Any) -> Any:
        message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}], **more}
        return (await self.http.post("/message:send", json={"message": message})).json()

    async def state(self, task_id: str) -> str:
        task = (await self.http.get(f"/tasks/{task_id}")).json()
        return str(task["status"]["state"]).removeprefix("TASK_STATE_")

    async def until(self, task_id: str, state: str) -> None:
        async with asyncio.timeout(30):
            while await self.state(task_id) != state:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    @property
    def active(self) -> int:
        return len(self.handler._active_task_registry._active_tasks)


@pytest.fixture
async def runtime(team: Team) -> AsyncIterator[Runtime]:
    spec = team.spec("here", tracing=False)
    made = await Runtime.open(spec)
    yield made
    await made.close()
    team.sockets["here"].close()


async def close(here: Here) -> None:
    await here.http.aclose()
    await here.handler.aclose()


async def test_nobody_answers(team: Team, runtime: Runtime) -> None:
    here = Here(runtime, team, patience=0.3)
    task = (await here.ask("ask"))["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    await here.until(task["id"], "CANCELED")
    await asyncio.gather(*here.handler._ending)
    assert here.ended == [task["contextId"]]
    assert not runtime.runner.rests(task["id"])
    assert "error" in await here.ask("too late", taskId=task["id"])
    await close(here)


async def test_the_oldest_goes_when_too_many_wait(team: Team, runtime: Runtime) -> None:
    here = Here(runtime, team, parked=2)
    tasks = [(await here.ask("ask"))["task"]["id"] for _ in range(3)]
    await here.until(tasks[0], "CANCELED")
    answered = (await here.ask("yes", taskId=tasks[1]))["task"]
    assert answered["artifacts"][0]["parts"][0]["text"] == "you said yes"
    await close(here)


async def test_the_answer_comes_after_the_queues_have_gone(team: Team, runtime: Runtime) -> None:
    here = Here(runtime, team)
    kept, other = [(await here.ask("ask"))["task"] for _ in range(2)]
    async with asyncio.timeout(30):
        while here.active:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    answered = (await here.ask("yes", taskId=kept["id"]))["task"]
    assert answered["artifacts"][0]["parts"][0]["text"] == "you said yes"
    assert (await here.http.post(f"/tasks/{other['id']}:cancel")).json()["status"]["state"] == "TASK_STATE_CANCELED"
    assert here.ended == [other["contextId"]]
    await close(here)


async def test_objects_and_tasks_stay_as_many(team: Team, runtime: Runtime) -> None:
    here = Here(runtime, team, finished=100, parked=100)

    async def round_of(finished: int, parked: int) -> None:
        for _ in range(finished // 20):
            await asyncio.gather(*(here.ask(f"hello {'x' * 1000}", contextId="one") for _ in range(20)))
        for _ in range(parked // 20):
            await asyncio.gather(*(here.ask("ask", contextId="one") for _ in range(20)))
        async with asyncio.timeout(60):
            while here.active or here.handler._ending:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def things() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len(asyncio.all_tasks())

    await round_of(300, 200)
    objects, tasks = things()
    await round_of(1000, 300)
    more, same = things()
    assert len(here.store) <= 200
    assert same == tasks
    assert more < objects * 1.02
    await close(here)
