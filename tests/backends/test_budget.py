"""Dollars of a query over two agents: the callee gets no more than the caller has left, and it ends with one reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from teamwright.backends.api import Limits
from teamwright.tracing.propagation import RUN_EXT
from tests.agents.conftest import Team
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Call, Reply, Seen, Tokens

CODE = '''
    from teamwright import Agent, tool

    class Worker(Agent):
        """Works."""

        @tool
        def work(self) -> str:
            "Work."
            return "worked"
'''
#: What a call of gpt-4o costs that reads so much: 2.50 dollars.
MUCH = Tokens(1_000_000, 10, cached=0)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Team, ChatCompletions]]:
    with ChatCompletions() as model, closing(Team(tmp_path)) as team:
        team.write("workers.py", CODE)
        own: dict[str, Any] = {
            "backend": "openai",
            "model": "gpt-4o",
            "backend_options": {"base_url": model.url, "retries": 0},
        }
        team.launch("worker", module="workers", type="Worker", callers=("team/boss",), **own)
        team.launch("boss", calls=("worker",), limits=Limits(cost_usd=2.0), **own)
        for agent in ("worker", "boss"):
            httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()
        yield team, model


def test_the_callee_may_spend_what_the_caller_has_left(pair: tuple[Team, ChatCompletions]) -> None:
    team, model = pair
    asked: dict[str, int] = {"boss": 0, "worker": 0}

    def line(seen: Seen) -> Reply:
        who = "worker" if "work" in seen.tools else "boss"
        asked[who] += 1
        if who == "worker":
            return Reply(calls=[Call("work")], tokens=MUCH)
        return Reply(calls=[Call("query_agent", {"agent": "worker", "message": "work"})])

    model.always(line)
    result: dict[str, Any] = team.ask("boss", "let work be done")
    about = result["task"]["metadata"][RUN_EXT]
    assert about["reason"] == "budget_exhausted"
    # the worker's first call costs more than all there is: it makes no second one, and then the boss makes none
    assert asked == {"boss": 1, "worker": 1}
    worker = [span for span in team.spans("worker") if span["name"] == "invoke_agent worker"]
    assert [span.attributes["error.type"] for span in worker] == ["budget_exhausted"]
    (usage,) = [value for key, value in result["task"]["metadata"].items() if key.endswith("usage/v1")]
    assert 2.5 < usage["cost_usd"] < 2.6
