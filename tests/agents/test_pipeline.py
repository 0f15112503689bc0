"""A pipeline of real agent processes: what is handed on, in which order, and how it ends when somebody fails."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT
from tests.agents.conftest import wait_for

if TYPE_CHECKING:
    from .conftest import Span, Team

CODE = r"""
    import asyncio
    from teamwright import Agent, Answer, File

    class Stage(Agent):
        "Puts its name around what it gets."

        async def run(self, turn):
            me = turn.run.agent
            if turn.text.split("\n")[0] == f"fail {me}":
                raise ValueError("it went wrong")
            if turn.text == f"nothing {me}":
                return ""
            word, _, folder = turn.text.partition(" ")
            if word == "hang":
                open(f"{folder}/{me}-hangs", "w").close()
                await asyncio.sleep(100)
            if turn.text == "files":
                return Answer("", files=(File(f"{me}.txt", "text/plain", me.encode()),), data={"by": me, "n": 1})
            if me == "slow":
                await asyncio.sleep(0.2)
            files = "".join(f" +{file.name}:{file.data.decode()}" for file in turn.files)
            return f"{me}({turn.text}{files})"

    class Streaming(Agent):
        async def run(self, turn):
            yield "piece "
            yield "by piece"

    class Curious(Agent):
        async def run(self, turn):
            try:
                await turn.ask_peer("b", "on my own")
            except Exception as error:
                return f"{len(await turn.peers())} peers, tools {[tool.name for tool in turn.tools]}, {error.reason}"
"""


def pipeline(team: Team, stages: Sequence[Sequence[str]], **first: Any) -> None:
    """Start the agents of these stages; the first of all runs them."""
    team.write("stage.py", CODE)
    everybody = [agent for stage in stages for agent in stage]
    lead, others = everybody[0], everybody[1:]
    for agent in others:
        team.launch(agent, module="stage", type="Stage", callers=("front-door", f"team/{lead}"))
    options = {"module": "stage", "type": "Stage", "calls": tuple(others), **first}
    team.launch(lead, stages=tuple(map(tuple, stages)), **options)
    for agent in everybody:
        httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()


def ask(team: Team, agent: str, text: str) -> tuple[str, dict[str, Any]]:
    task = team.ask(agent, text)["task"]
    parts = [part for artifact in task.get("artifacts", []) for part in artifact["parts"]]
    words = parts or task["status"].get("message", {}).get("parts", [])
    return "".join(part.get("text", "") for part in words), task


def calls(spans: Sequence[Span]) -> list[tuple[str, str]]:
    return [(span["agent"], span["name"]) for span in spans if span["kind"] in (2, 3)]


def test_results_are_handed_on_in_the_order_declared(team: Team) -> None:
    pipeline(team, [["a"], ["slow", "b"], ["c"]])
    text, task = ask(team, "a", "x")
    assert text == "c(slow(a(x))\n\nb(a(x)))"
    assert task["metadata"][USAGE_EXT]["peer_calls"] == 3
    spans = team.spans()
    assert len({span["trace_id"] for span in spans}) == 1
    assert calls(spans)[:1] == [("a", "invoke_agent a")]
    by_name = {(span["agent"], span["name"]): span for span in spans}
    stages = [[by_name["a", f"invoke_agent {name}"] for name in stage] for stage in (("slow", "b"), ("c",))]
    assert all(span["parent_id"] == by_name["a", "invoke_agent a"]["span_id"] for stage in stages for span in stage)
    assert max(span["end_ns"] for span in stages[0]) <= stages[1][0]["start_ns"]
    assert max(span["start_ns"] for span in stages[0]) < min(span["end_ns"] for span in stages[0])
    assert ask(team, "b", "alone")[0] == "b(alone)"
    assert [ask(team, "a", f"again {number}")[0] for number in range(3)] == [
        f"c(slow(a(again {number}))\n\nb(a(again {number})))" for number in range(3)
    ]


def test_a_first_stage_of_several_works_on_the_question_together(team: Team) -> None:
    pipeline(team, [["slow", "b"], ["c"]])
    assert ask(team, "slow", "x")[0] == "c(slow(x)\n\nb(x))"


def test_files_and_data_are_handed_on(team: Team) -> None:
    pipeline(team, [["a", "b"], ["c"]])
    assert ask(team, "a", "files")[0] == ('c({"by": "a", "n": 1}\n\n{"by": "b", "n": 1} +a.txt:a +b.txt:b)')


def test_one_stage_of_one_agent_is_that_agent(team: Team) -> None:
    pipeline(team, [["a"]])
    text, task = ask(team, "a", "files")
    assert text == ""
    assert [next(iter(part.keys() - {"mediaType", "filename"})) for part in task["artifacts"][0]["parts"]] == [
        "data",
        "raw",
    ]


def test_the_first_agent_streams_nothing_and_asks_nobody(team: Team) -> None:
    pipeline(team, [["a"], ["b"]], type="Streaming")
    text, task = ask(team, "a", "x")
    assert text == "b(piece by piece)"
    assert len(task["artifacts"]) == 1
    team.stop("a")
    team.start("a", module="stage", type="Curious", calls=("b",), stages=(("a",), ("b",)))
    assert ask(team, "a", "x")[0] == "b(0 peers, tools [], unknown_peer)"


@pytest.mark.parametrize("agent", ["a", "b", "slow", "c"])
def test_whoever_fails_ends_the_query_with_its_error(team: Team, agent: str) -> None:
    team.write("stage.py", CODE.replace('return f"{me}({turn.text}{files})"', "return turn.text"))
    stages = (("a",), ("slow", "b"), ("c",))
    for name in ("slow", "b", "c"):
        team.launch(name, module="stage", type="Stage", callers=("team/a",))
    team.start("a", module="stage", type="Stage", calls=("slow", "b", "c"), stages=stages)
    text, task = ask(team, "a", f"fail {agent}")
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert text == ("" if agent == "a" else f"{agent} failed: ") + "ValueError: it went wrong"
    assert ask(team, "a", "fine")[0] == "fine\n\nfine"


def test_nothing_to_hand_on_is_said(team: Team) -> None:
    pipeline(team, [["a"], ["b"]])
    text, task = ask(team, "a", "nothing a")
    assert text == "the pipeline ends at 'a': there is no result to hand on to 'b'"
    assert task["metadata"][RUN_EXT]["reason"] == "empty_result"


def test_a_killed_stage_ends_the_query_and_the_next_one_works(team: Team) -> None:
    team.write("stage.py", CODE.replace('return f"{me}({turn.text}{files})"', "return turn.text"))
    team.launch("b", module="stage", type="Stage", callers=("team/a",))
    team.start("a", module="stage", type="Stage", calls=("b",), stages=(("a", "b"),))
    assert ask(team, "a", "one")[0] == "one\n\none"
    results: list[tuple[str, dict[str, Any]]] = []
    waiting = threading.Thread(target=lambda: results.append(ask(team, "a", f"hang {team.folder}")))
    waiting.start()
    for agent in "ab":
        wait_for((team.folder / f"{agent}-hangs").exists)
    spec = team.specs["b"]
    team.stop("b", signal.SIGKILL)
    waiting.join()  # the other one of the stage does not sleep on: its caller would have lost patience before
    assert results[0][0].startswith("the connection to b broke")
    assert results[0][1]["metadata"][RUN_EXT]["reason"] == "broken_connection"
    team.launch("b", spec)
    assert ask(team, "a", "two")[0] == "two\n\ntwo"
