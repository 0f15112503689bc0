"""Users' functions that use an SDK by themselves, each an agent process, with the stand-in behind them."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import httpx
import pytest

from teamwright.backends.api import Limits
from tests.agents.conftest import JOB, Span, Team
from tests.backends.contract.adapters import ADAPTERS
from tests.backends.contract.conftest import Said, World

Started = Callable[..., World]
ANSWER = """
    def answer(text, turn):
        name, _, rest = text.partition(" ")
        wanted = globals()[name]
        return wanted(rest, turn) if name.startswith("asking") else wanted(rest)
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A function: a module's `answer` as the agent `here`, as `own` in another interpreter, and a peer of both.

    `answer(text, turn)` of CODE is added to the module: the first word of the text is the function to call.
    """
    with closing(_Stack()) as stack:

        def start(standin: Any, code: str, environment: Any, answer: str = ANSWER) -> World:
            agents = ("here", "own")
            folder = tmp_path_factory.mktemp("inside")
            model = stack.enter(standin)
            team = stack.enter(closing(Team(folder)))
            team.write("bot.py", textwrap.dedent(code) + textwrap.dedent(answer))
            team.write("poems.py", "def write(text):\n    return f'a poem about {text}'\n")
            callers = tuple(f"{JOB}/{agent}" for agent in agents)
            team.launch("poet", kind="run", run="poems:write", callers=callers)
            for agent in agents:
                own = {"python": sys.executable} if agent == "own" else {}
                limits = Limits(tool_calls=3, cost_usd=2.0)
                given = {"kind": "run", "run": "bot:answer", "environment": environment(model, folder), **own}
                team.launch(agent, calls=("poet",), limits=limits, **given)
            for agent in ("poet", *agents):
                ready = httpx.get(f"{team.url(agent)}/readyz", timeout=200)
                assert ready.status_code == 200, team.log(agent)
            return World(ADAPTERS[0], team, model)

        yield start


class _Stack:
    def __init__(self) -> None:
        self._open: list[Any] = []

    def enter(self, manager: Any) -> Any:
        made = manager.__enter__()
        self._open.append(manager)
        return made

    def close(self) -> None:
        for manager in reversed(self._open):
            manager.__exit__(None, None, None)


def settled(world: World) -> None:
    """The script was said to the end, and nothing could not be seen."""
    assert world.model.unexpected == []
    assert world.model.unsaid == 0
    for agent in world.team.processes:
        assert "not seen inside" not in world.team.log(agent)


def whole(spans: Sequence[Span]) -> None:
    """Every span has its words, and lies within its parent."""
    by_id = {span["span_id"]: span for span in spans}
    for span in spans:
        assert "null" not in [span.attributes.get(key) for key in span.attributes], span
        if span["name"].startswith("chat ") and span["status"] != 2:
            assert json.loads(span.attributes["gen_ai.output.messages"])[0]["parts"], span
            assert span.attributes["gen_ai.input.messages"] not in ("", "[]")
        if span["name"].startswith("execute_tool "):
            assert "gen_ai.tool.call.result" in span.attributes
        above = by_id.get(span["parent_id"] or "")
        if above is not None:
            assert above["start_ns"] <= span["start_ns"] <= span["end_ns"] <= above["end_ns"], (above, span)


__all__ = ["Said", "Started", "settled", "whole"]
