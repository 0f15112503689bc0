"""`executor =`: a raw a2a-sdk executor, unchanged, in an agent of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from teamwright.tracing.propagation import RUN_EXT
from tests.agents.conftest import tries

if TYPE_CHECKING:
    from .conftest import Team

CODE = """
    import asyncio
    from a2a.helpers import new_task_from_user_message, new_text_message
    from a2a.server.agent_execution import AgentExecutor
    from a2a.server.tasks import TaskUpdater
    from a2a.types import Part, TaskState
    from teamwright import Agent

    class Echo(AgentExecutor):
        "Echoes in several ways."

        async def execute(self, context, event_queue):
            text = context.get_user_input()
            if text == "message":
                await event_queue.enqueue_event(new_text_message("a message"))
                return
            if text == "early":
                raise ValueError("before any task")
            task = context.current_task
            if task is None:
                task = new_task_from_user_message(context.message)
                await event_queue.enqueue_event(task)
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            await updater.start_work()
            if text == "sleep":
                await asyncio.sleep(100)
            if text == "fail":
                await updater.failed(updater.new_agent_message([Part(text="it can't")]))
            elif text == "raise":
                raise KeyError("in the middle")
            elif text == "ask":
                await updater.requires_input(updater.new_agent_message([Part(text="which one?")]))
            else:
                for number, piece in enumerate(text.split()):
                    await updater.add_artifact([Part(text=piece)], artifact_id="a", append=number > 0)
                await updater.complete()

        async def cancel(self, context, event_queue):
            raise NotImplementedError("can't be cancelled")

    class Hosted(Agent):
        executor = Echo

    class Wrong(Agent):
        executor = 3
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("executors"))) as team:
        team.write("hosted.py", CODE)
        team.launch("echo", module="hosted", type="Hosted", callers=("front-door", "team/front"), max_concurrent=2)
        team.write("front.py", "async def ask(text, turn):\n    return await turn.ask_peer('echo', text)\n")
        team.launch("front", kind="run", run="front:ask", calls=("echo",))
        for agent in team.processes:
            httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()
        yield team


def state(result: dict[str, Any]) -> str:
    return str(result["task"]["status"]["state"]).removeprefix("TASK_STATE_").lower()


def words(result: dict[str, Any]) -> str:
    return "".join(part["text"] for part in result["task"]["status"]["message"]["parts"])


def test_a_task_with_artifacts(team: Team) -> None:
    result = team.ask("echo", "one two")
    assert state(result) == "completed"
    assert [part["text"] for part in result["task"]["artifacts"][0]["parts"]] == ["one", "two"]
    about = result["task"]["metadata"][RUN_EXT]
    span = team.spans("echo")[-1]  # written before the answer was out
    assert span["attributes"]["teamwright.run.id"] == about["run_id"]
    assert (span["kind"], span["trace_id"]) == (2, about["trace_id"])


def test_a_message(team: Team) -> None:
    message = team.ask("echo", "message")["message"]
    assert message["parts"][0]["text"] == "a message"
    assert RUN_EXT in message["metadata"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("fail", "it can't"), ("raise", "KeyError: 'in the middle'"), ("early", "ValueError: before any task")],
)
def test_failures(team: Team, text: str, line: str) -> None:
    result = team.ask("echo", text)
    assert state(result) == "failed"
    assert words(result).startswith(line)
    span = team.spans("echo")[-1]
    assert span["status"] == 2 and line in span["message"]


def test_a_question_and_its_answer(team: Team) -> None:
    task = team.ask("echo", "ask")["task"]
    assert state({"task": task}) == "input_required"
    span = team.spans("echo")[-1]
    assert (span["attributes"]["a2a.task.state"], span["status"]) == ("TASK_STATE_INPUT_REQUIRED", 0)
    again = team.ask("echo", "this one", taskId=task["id"], contextId=task["contextId"])
    assert state(again) == "completed"


def test_cancelling(team: Team) -> None:
    message = {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "sleep"}]}
    params = {"message": message, "configuration": {"returnImmediately": True}}
    for one in tries(0.3):
        task = team.rpc("echo", "SendMessage", params).json()["result"]["task"]
        began = time.monotonic()
        ended = team.rpc("echo", "CancelTask", {"id": task["id"]}).json()["result"]
        one.seconds = time.monotonic() - began
        assert ended["status"]["state"] == "TASK_STATE_CANCELED"
        assert "cancel" in str(team.spans("echo")[-1]["events"])


def test_tokens_and_peers(team: Team) -> None:
    response = httpx.post(f"{team.url('echo')}/", json={"jsonrpc": "2.0", "id": 1, "method": "SendMessage"}, timeout=60)
    assert response.status_code == 401
    answer = team.ask("front", "from a peer")["task"]
    assert "".join(part["text"] for part in answer["artifacts"][0]["parts"]) == "fromapeer"
    client = next(span for span in team.spans("front") if span["kind"] == 3)
    assert [span for span in team.spans("echo") if span["parent_id"] == client["span_id"]]


def test_what_is_no_executor_is_one_line(team: Team) -> None:
    team.launch("wrong", module="hosted", type="Wrong")
    assert team.processes.pop("wrong").wait(timeout=120) == 2
    assert "can't start: executor = 3 is not an a2a-sdk AgentExecutor" in team.log("wrong")
