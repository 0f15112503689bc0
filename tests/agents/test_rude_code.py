"""Users' code that raises what ends event loops, or gives back what can't travel: one run fails, the agent goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from .conftest import Team

CODE = """
    import asyncio, sys
    from a2a.server.agent_execution import AgentExecutor
    from teamwright import Agent, Answer, File, tool

    def misbehave(word):
        match word:
            case "leave": sys.exit(3)
            case "interrupt": raise KeyboardInterrupt
            case "first": return next(iter(()))
            case "base": raise BaseException("bare")
            case "close": raise GeneratorExit
            case "give up": raise asyncio.CancelledError
            case "mute": raise Mute
            case "half": return Answer("a\\ud800b", data={"k\\udfff": "\\ud800", "n": float("nan"), "o": float("inf")})
            case "number": return Answer(5)
            case "bytes": return b"abc"
            case "list": return Answer("x", data=[1, 2])
            case "keys": return Answer("x", data={(1, 2): 3})
            case "text file": return Answer("x", files=(File("a.txt", "text/plain", "no bytes"),))
            case "half words": raise ValueError("a\\ud800b")
        return "fine"

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    class Sync(Agent):
        def run(self, turn):
            return (piece for piece in ("p", "q", "\\ud800")) if turn.text == "pieces" else misbehave(turn.text)

    class Async(Agent):
        async def run(self, turn):
            if turn.text == "own task":
                gone = asyncio.create_task(self.leave())
                await asyncio.sleep(600)
            return misbehave(turn.text)

        async def leave(self):
            sys.exit()

    class Tools(Agent):
        @tool
        def leave(self) -> str:
            "Leaves."
            return misbehave("leave")

        @tool
        async def interrupt(self) -> str:
            "Interrupts."
            return misbehave("interrupt")

        @tool
        def fetch(self) -> str:
            "Fetches an item."
            return misbehave("first")

        @tool
        async def surrender(self) -> str:
            "Surrenders."
            return misbehave("give up")

        @tool
        async def half(self) -> str:
            "Gives half."
            return "a\\ud800b"

    class Executor(AgentExecutor):
        async def execute(self, context, event_queue):
            misbehave(context.get_user_input())

        async def cancel(self, context, event_queue):
            raise SystemExit(1)

    class Hosted(Agent):
        executor = Executor

    def function(text):
        return misbehave(text)
"""
#: What is sent, and what the failure says.
FAILURES = {
    "leave": "SystemExit: 3",
    "interrupt": "KeyboardInterrupt",
    "first": "StopIteration",
    "base": "BaseException: bare",
    "close": "GeneratorExit",
    "give up": "CancelledError",
    "mute": "Mute",
    "list": "must be a mapping, not list",
    "keys": "can't be written as JSON",
    "text file": "the data of file a.txt must be bytes, not str",
    "half words": "ValueError: a?b",
}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("rude"))) as team:
        team.write("rude.py", CODE)
        for name in ("Sync", "Async", "Tools", "Hosted"):
            team.launch(name.lower(), module="rude", type=name)
        team.launch("function", kind="run", run="rude:function")
        for agent in team.processes:
            httpx.get(f"{team.url(agent)}/readyz", timeout=60).raise_for_status()
        yield team


def ended(team: Team, agent: str, text: str) -> tuple[str, dict[str, Any]]:
    task = team.ask(agent, text)["task"]
    return task["status"]["state"].removeprefix("TASK_STATE_"), task


def words(task: dict[str, Any]) -> str:
    said = task["status"].get("message", {}).get("parts", [])
    return "".join(part.get("text", "") for part in said)


@pytest.mark.parametrize("agent", ["sync", "async"])
@pytest.mark.parametrize(("text", "line"), FAILURES.items())
def test_whatever_is_raised_fails_one_run(team: Team, agent: str, text: str, line: str) -> None:
    state, task = ended(team, agent, text)
    assert state == "FAILED" and line in words(task)
    span = team.spans(agent)[-1]
    assert span["status"] == 2 and span.attributes["error.type"]
    assert ended(team, agent, "hello")[0] == "COMPLETED"


@pytest.mark.parametrize("agent", ["hosted", "function"])
@pytest.mark.parametrize(("text", "line"), [("leave", "it called sys.exit(3)"), ("interrupt", "KeyboardInterrupt")])
def test_so_do_executors_and_functions(team: Team, agent: str, text: str, line: str) -> None:
    for _ in range(2):
        state, task = ended(team, agent, text)
        assert state == "FAILED" and words(task).startswith(line)


def test_functions_find_nothing_more(team: Team) -> None:
    state, task = ended(team, "function", "first")
    assert state == "FAILED" and "StopIteration" in words(task)


def test_tools_fail_and_the_loop_goes_on(team: Team) -> None:
    for asked, heard in (
        ("leave, then give the half", ("SystemExit: 3", "a?b")),
        (
            "interrupt, surrender, fetch an item and give the half",
            ("KeyboardInterrupt", "CancelledError", "StopIteration"),
        ),
    ):
        state, task = ended(team, "tools", asked)
        assert state == "COMPLETED"
        text = "".join(part["text"] for part in task["artifacts"][0]["parts"])
        assert all(said in text for said in heard), text
    tools = {s.attributes["gen_ai.tool.name"]: s["status"] for s in team.spans("tools") if s["name"].startswith("exec")}
    assert tools == {"leave": 2, "interrupt": 2, "surrender": 2, "fetch": 2, "half": 0}


def test_answers_are_made_to_travel(team: Team) -> None:
    for agent in ("sync", "async", "function"):
        text, data = ended(team, agent, "half")[1]["artifacts"][0]["parts"]
        assert text["text"] == "a?b" and data["data"] == {"k?": "?", "n": None, "o": None}
        assert ended(team, agent, "number")[1]["artifacts"][0]["parts"] == [{"text": "5"}]
        assert ended(team, agent, "bytes")[1]["artifacts"][0]["parts"] == [{"text": "abc"}]
    assert ended(team, "sync", "pieces")[1]["artifacts"][0]["parts"] == [{"text": "p"}, {"text": "q"}, {"text": "?"}]


def test_an_exit_from_a_task_of_its_own_ends_the_process(team: Team) -> None:
    with pytest.raises(httpx.HTTPError):
        team.ask("async", "own task")
    assert team.processes.pop("async").wait(timeout=30) == 1
    assert "ending: the agent's own code asked for it: SystemExit" in team.log("async")
