"""The life of A2A tasks at an agent: listed, asked back and answered, subscribed to again, dropped, cancelled."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import new_text_message
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Role,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError

from tests.agents.conftest import wait_for

if TYPE_CHECKING:
    from .conftest import Team

CODE = """
    import asyncio, os
    from teamwright import Agent, tool

    class Curious(Agent):
        async def run(self, turn):
            word, _, rest = turn.text.partition(" ")
            if word == "ask":
                with turn.tracer.span("before"):
                    await turn.stream("thinking ")
                try:
                    name = await turn.ask_user("What is your name?")
                except asyncio.CancelledError:
                    open(rest, "w").close() if rest else None
                    raise
                with turn.tracer.span("after"):
                    colour = await turn.ask_user(f"And your colour, {name}?")
                await turn.stream("So: ")
                return f"So: {name} likes {colour}"
            if word == "both":
                answers = await asyncio.gather(turn.ask_user("one?"), turn.ask_user("two?"))
                return " ".join(answers)
            if word == "wait":
                await turn.stream("working ")
                while not os.path.exists(rest):
                    await asyncio.sleep(0.02)
                return "working done"
            if word == "limits":
                await turn.ask_user("Still there?")
                return "in time"
            return f"echo {turn.text}"
"""
#: Seconds that a message to `brief` may take.
BRIEF = 3.0


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("life"))) as team:
        team.write("curious.py", CODE)
        kind = {"module": "curious", "type": "Curious", "callers": ("front-door", "team/friend")}
        team.launch("curious", **kind)
        team.launch("strict", **kind, on_disconnect="cancel", max_concurrent=1)
        team.launch("brief", **kind, max_concurrent=1, limits={"duration": BRIEF})
        for agent in team.processes:
            httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()
        yield team


@asynccontextmanager
async def a2a(
    team: Team, agent: str = "curious", *, streaming: bool = False, sub: str = "ann", binding: str = "JSONRPC"
) -> AsyncIterator[Any]:
    token = team.issuer.mint(sub, f"team/{agent}", job="team", role="front-door")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http:
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])
        yield await create_client(team.url(agent), client_config=config)


def words(text: str, **more: str) -> SendMessageRequest:
    message: Message = new_text_message(text, role=Role.ROLE_USER)
    for key, value in more.items():
        setattr(message, key, value)
    return SendMessageRequest(message=message)


async def send(client: Any, text: str, **more: str) -> Task:
    """The task that a blocking message leaves."""
    events = [event async for event in client.send_message(words(text, **more))]
    task: Task = events[-1].task
    return task


def state(task: Task) -> str:
    return str(TaskState.Name(task.status.state)).removeprefix("TASK_STATE_")


def said(task: Task) -> str:
    return "".join(part.text for part in task.status.message.parts)


def artifact(task: Task) -> str:
    return "".join(part.text for item in task.artifacts for part in item.parts)


async def test_a_question_is_asked_answered_and_the_work_goes_on(team: Team) -> None:
    async with a2a(team) as client:
        task = await send(client, "ask")
        assert (state(task), said(task)) == ("INPUT_REQUIRED", "What is your name?")
        again = await client.get_task(GetTaskRequest(id=task.id))
        assert state(again) == "INPUT_REQUIRED"
        second = await send(client, "Ann", task_id=task.id)  # only the task's id
        assert (second.id, second.context_id) == (task.id, task.context_id)
        assert (state(second), said(second)) == ("INPUT_REQUIRED", "And your colour, Ann?")
        last = await send(client, "green", task_id=task.id, context_id=task.context_id)
        assert (state(last), artifact(last)) == ("COMPLETED", "So: Ann likes green")
        spoken = ["".join(part.text for part in message.parts) for message in last.history]
        assert [text for text in spoken if text] == [
            "ask", "What is your name?", "Ann", "And your colour, Ann?", "green",
        ]  # fmt: skip
        with pytest.raises(UnsupportedOperationError):
            await send(client, "more", task_id=task.id)
    spans = [span for span in team.spans("curious") if span.attributes.get("a2a.task.id") == task.id]
    first, middle, end = spans
    assert first["trace_id"] != middle["trace_id"] != end["trace_id"]
    assert [span.attributes["a2a.task.state"] for span in spans] == ["TASK_STATE_INPUT_REQUIRED"] * 2 + [
        "TASK_STATE_COMPLETED"
    ]
    assert [span["status"] for span in spans] == [0, 0, 0]
    own = {span["name"]: span for span in team.spans("curious")}
    assert own["before"]["parent_id"] == first["span_id"]
    assert own["after"]["parent_id"] == middle["span_id"]
    assert middle["links"] == [(first["trace_id"], first["span_id"])]
    assert end.attributes["session.id"] == task.context_id


async def test_the_follow_up_streams(team: Team) -> None:
    async with a2a(team, streaming=True) as client:
        events = [event async for event in client.send_message(words("ask"))]
        assert [event.WhichOneof("payload") for event in events] == ["task", "artifact_update", "status_update"]
        task_id = events[0].task.id
        events = [event async for event in client.send_message(words("Bob", task_id=task_id))]
        assert [event.status_update.status.state for event in events] == [
            TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_INPUT_REQUIRED,
        ]  # fmt: skip
        events = [event async for event in client.send_message(words("red", task_id=task_id))]
        assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        task = await client.get_task(GetTaskRequest(id=task_id))
        assert artifact(task) == "So: Bob likes red"


async def test_two_questions_at_once_are_asked_one_after_the_other(team: Team) -> None:
    async with a2a(team) as client:
        task = await send(client, "both")
        assert said(task) == "one?"
        task = await send(client, "1", task_id=task.id)
        assert said(task) == "two?"
        assert artifact(await send(client, "2", task_id=task.id)) == "1 2"


async def test_who_waits_for_an_answer_holds_no_slot_and_no_time(team: Team) -> None:
    async with a2a(team, "brief") as client:
        task = await send(client, "limits")
        assert state(task) == "INPUT_REQUIRED"
        assert artifact(await send(client, "hello")) == "echo hello"  # max_concurrent is 1
        await asyncio.sleep(BRIEF)
        assert artifact(await send(client, "yes", task_id=task.id)) == "in time"


async def test_a_question_can_be_cancelled_and_wrong_answers_are_refused(team: Team) -> None:
    flag = team.folder / "cancelled"
    async with a2a(team) as client, a2a(team, sub="bob") as bob:
        task = await send(client, f"ask {flag}")
        with pytest.raises(TaskNotFoundError):
            await send(bob, "Bob", task_id=task.id)
        with pytest.raises(Exception, match="does not match"):
            await send(client, "Ann", task_id=task.id, context_id="another")
        with pytest.raises(TaskNotFoundError):
            await bob.cancel_task(CancelTaskRequest(id=task.id))
        assert state(await client.cancel_task(CancelTaskRequest(id=task.id))) == "CANCELED"
        assert flag.exists()
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=task.id))


def test_a_question_to_a_calling_agent_is_a_task_and_can_be_answered(team: Team) -> None:
    token = team.token("curious", "friend")
    task = team.ask("curious", "ask", token=token)["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    task = team.ask("curious", "Cat", token=token, taskId=task["id"])["task"]
    assert task["status"]["message"]["parts"][0]["text"] == "And your colour, Cat?"
    task = team.ask("curious", "blue", token=token, taskId=task["id"])["task"]
    assert task["artifacts"][0]["parts"][0]["text"] == "So: Cat likes blue"
    task = team.ask("curious", "ask", token=token)["task"]
    gone = team.rpc("curious", "CancelTask", {"id": task["id"]}, token=token).json()["result"]
    assert gone["status"]["state"] == "TASK_STATE_CANCELED"


async def test_tasks_are_listed_filtered_and_paged(team: Team) -> None:
    async with a2a(team, sub="lister") as client, a2a(team, sub="other") as other:
        tasks = [await send(client, f"number {number}") for number in range(5)]
        waiting = await send(client, "ask")
        found = await client.list_tasks(ListTasksRequest())
        assert [task.id for task in found.tasks] == [task.id for task in reversed([*tasks, waiting])]
        assert found.total_size == 6
        assert not any(task.artifacts for task in found.tasks)
        full = await client.list_tasks(ListTasksRequest(include_artifacts=True, context_id=tasks[2].context_id))
        assert [artifact(task) for task in full.tasks] == ["echo number 2"]
        parked = await client.list_tasks(ListTasksRequest(status=TaskState.TASK_STATE_INPUT_REQUIRED))
        assert [task.id for task in parked.tasks] == [waiting.id]
        page = await client.list_tasks(ListTasksRequest(page_size=4))
        rest = await client.list_tasks(ListTasksRequest(page_size=4, page_token=page.next_page_token))
        assert len(page.tasks) == 4
        assert len(rest.tasks) == 2
        assert (await other.list_tasks(ListTasksRequest())).total_size == 0
        short = await client.get_task(GetTaskRequest(id=tasks[0].id, history_length=0))
        assert not short.history
        with pytest.raises(TaskNotFoundError):
            await other.get_task(GetTaskRequest(id=tasks[0].id))
        with pytest.raises(Exception, match=r"(?i)page"):
            await client.list_tasks(ListTasksRequest(page_size=101))


async def test_a_running_task_is_subscribed_to_again(team: Team) -> None:
    flag = team.folder / "again"
    async with a2a(team, streaming=True) as client, a2a(team, sub="bob", streaming=True) as bob:
        stream = client.send_message(words(f"wait {flag}"))
        task_id = (await anext(stream)).task.id
        async with aclosing(bob.subscribe(SubscribeToTaskRequest(id=task_id))) as foreign:
            with pytest.raises(TaskNotFoundError):
                await anext(foreign)
        await stream.aclose()
        second = client.subscribe(SubscribeToTaskRequest(id=task_id))
        assert state((await anext(second)).task) == "WORKING"
        flag.touch()
        rest = [event async for event in second]
        assert rest[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        with pytest.raises(UnsupportedOperationError):
            await anext(client.subscribe(SubscribeToTaskRequest(id=task_id)))
        with pytest.raises(TaskNotFoundError):
            await anext(client.subscribe(SubscribeToTaskRequest(id="nobody")))


@pytest.mark.parametrize(("agent", "end"), [("curious", "COMPLETED"), ("strict", "CANCELED")])
async def test_a_dropped_stream_goes_on_or_ends_as_the_job_says(team: Team, agent: str, end: str) -> None:
    flag = team.folder / f"dropped-{agent}"
    async with a2a(team, agent, streaming=True) as client:
        stream = client.send_message(words(f"wait {flag}"))
        task_id = (await anext(stream)).task.id
        await anext(stream)
        await stream.aclose()
    await asyncio.sleep(0.2)
    if end == "COMPLETED":
        flag.touch()
    async with a2a(team, agent) as client:
        task = await until_over(client, task_id)
        assert state(task) == end


@pytest.mark.parametrize(("agent", "end"), [("curious", "COMPLETED"), ("strict", "CANCELED")])
async def test_a_dropped_blocking_call_too(team: Team, agent: str, end: str) -> None:
    flag = team.folder / f"blocking-{agent}"
    who = f"dropper-{agent}"
    async with a2a(team, agent, sub=who) as client:
        call = asyncio.create_task(send(client, f"wait {flag}"))
        async with asyncio.timeout(30):
            while not (await client.list_tasks(ListTasksRequest())).tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0.1)
    if end == "COMPLETED":
        flag.touch()
    async with a2a(team, agent, sub=who) as client:
        (task,) = (await client.list_tasks(ListTasksRequest())).tasks
        assert state(await until_over(client, task.id)) == end


async def until_over(client: Any, task_id: str) -> Task:
    async with asyncio.timeout(30):
        while True:
            task: Task = await client.get_task(GetTaskRequest(id=task_id))
            if state(task) != "WORKING":
                return task
            await asyncio.sleep(0.02)


def test_the_door_says_itself_when_its_client_has_gone(team: Team) -> None:
    flag = team.folder / "relayed"
    headers = {"A2A-Version": "1.0", "authorization": f"Bearer {team.token('strict')}", "teamwright-relayed": "1"}
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": f"wait {flag}"}]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": message}}
    with httpx.stream("POST", team.url("strict"), json=body, headers=headers, timeout=60) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data:"))
    task_id = json.loads(first[5:])["result"]["task"]["id"]
    time.sleep(0.2)
    flag.touch()

    def state() -> str:
        return str(team.rpc("strict", "GetTask", {"id": task_id}).json()["result"]["status"]["state"])

    wait_for(lambda: state() != "TASK_STATE_WORKING")
    assert state() == "TASK_STATE_COMPLETED"
