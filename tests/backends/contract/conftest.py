"""The world of the contract suite: per backend two agents of its own process, a peer, and the stand-in behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from teamwright.backends.api import Limits
from teamwright.tracing.propagation import RUN_EXT
from teamwright.tracing.storing.parts import Parts, content_dir
from tests.agents.conftest import JOB, Span, Team, answer_text, message
from tests.backends.contract.adapters import ADAPTERS, Adapter
from tests.standins.script import Call, Line, Seen
from tests.standins.server import StandIn

CODE = '''
    import asyncio
    from pathlib import Path
    from teamwright import Agent, tool

    class Main(Agent):
        """Answers questions."""
        prompt = "You answer briefly."

        @tool
        async def get_weather(self, city: str) -> str:
            "The weather in a city."
            return f"21 degrees in {city}"

        @tool
        async def meet(self, who: str) -> str:
            "Goes on when three have come."
            async with asyncio.timeout(60):
                await self.door.wait()
            return f"{who} was there"

        @tool
        async def meet_too(self, who: str) -> str:
            "Another way to come."
            return await self.meet(who)

        @tool
        def explode(self, what: str) -> str:
            "Fails."
            raise RuntimeError(f"{what} exploded")

        @tool(timeout=0.2)
        async def dawdle(self) -> str:
            "Takes longer than it may."
            await asyncio.sleep(60)
            return "never"

        @tool
        async def linger(self) -> str:
            "Stays until it is sent away."
            Path("lingering").touch()
            try:
                await asyncio.sleep(60)
            finally:
                Path("left").touch()
            return "never"

        @tool
        def give(self, what: str) -> object:
            "Something that is no text."
            return {"bytes": b"\\\\x00\\\\xff", "object": object, "much": "x" * 10_000_000, "nothing": None}[what]

        def __init__(self, **config):
            super().__init__(**config)
            self.door = asyncio.Barrier(3)

    class Poet(Agent):
        """Writes poems."""

        async def run(self, turn):
            return f"a poem about {turn.text}"
'''.replace("\\\\", "\\")


@dataclass(frozen=True)
class Said:
    """What came of a message. `state` is the task's, `reason` why it failed, `words` what a failed task says."""

    text: str
    state: str
    reason: str | None
    trace_id: str
    words: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


class World:
    """A backend at work. `main` has no tight limits; `tight` does one thing at a time, three turns, `duration` s."""

    def __init__(self, adapter: Adapter, team: Team, model: StandIn | None) -> None:
        self.adapter = adapter
        self.team = team
        self._model = model

    @property
    def model(self) -> StandIn:
        assert self._model is not None, "a check that needs a script runs with scripted models only"
        return self._model

    def script(self, *lines: Line) -> None:
        """What the model says next; nothing to a backend that thinks by itself."""
        if self._model is not None:
            self._model.say(*lines)

    def call(self, tool: str, arguments: Any = None, id: str = "") -> Call:
        """A call of one of the agent's tools, as its model names it."""
        return Call(self.adapter.tool_name(tool), {} if arguments is None else arguments, id)

    def ask(self, text: str, agent: str = "main", *, user: str = "ann", session: str | None = None) -> Said:
        """SendMessage, and wait for what comes of it."""
        more = {"contextId": session} if session else {}
        token = self.team.issuer.mint(user, f"{JOB}/{agent}", job=JOB, role="front-door")
        body = self.team.rpc(agent, "SendMessage", {"message": message(text, **more)}, token=token).json()
        assert "result" in body, body
        return said(body["result"])

    def stream(self, text: str, agent: str = "main") -> Iterator[tuple[float, dict[str, Any]]]:
        """SendStreamingMessage: each event and when it came (monotonic seconds)."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": message(text)}}
        headers = {"a2a-version": "1.0", "authorization": f"Bearer {self.team.token(agent)}"}
        with httpx.stream("POST", f"{self.team.url(agent)}/", json=body, headers=headers, timeout=60) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    found = json.loads(line[5:])
                    assert "result" in found, found
                    yield time.monotonic(), found["result"]

    def spans(self, trace_id: str) -> list[Span]:
        """All spans of a trace, by start, their large texts in full."""
        parts = Parts(content_dir(self.team.home.spool_dir))
        found = [span for span in self.team.spans() if span["trace_id"] == trace_id]
        for span in found:
            span["attributes"] = {key: parts.unfold(value) for key, value in span["attributes"].items()}
        return found

    def tree(self, trace_id: str) -> Any:
        """The spans as [name, children …]; a model's name is left out, and whatever happens in the peer."""
        spans = self.spans(trace_id)

        def below(span: Span) -> Any:
            name = "chat" if span["name"].startswith("chat ") else span["name"]
            inner = [below(other) for other in spans if other["parent_id"] == span["span_id"]]
            return [name, *inner] if inner else name

        (root,) = [span for span in spans if span["parent_id"] not in {other["span_id"] for other in spans}]
        return below(root)

    def chats(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans(trace_id) if span["name"].startswith("chat ")]

    def tools(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans(trace_id) if span["name"].startswith("execute_tool ")]


def said(result: dict[str, Any]) -> Said:
    """A Message or a Task as what was said."""
    about = (result.get("message") or result["task"]).get("metadata", {})
    run = about.get(RUN_EXT, {})
    task = result.get("task")
    state = task["status"]["state"].removeprefix("TASK_STATE_").lower() if task else "completed"
    parts = (task or {}).get("status", {}).get("message", {}).get("parts", [])
    usage: dict[str, Any] = next((value for key, value in about.items() if "usage" in key), {})
    words = "".join(part.get("text", "") for part in parts)
    return Said(answer_text(result), state, run.get("reason"), run.get("trace_id", ""), words, usage)


def echo(prefix: str = "") -> Line:
    """A line that says what the tools answered."""
    from tests.standins.script import Reply

    def line(seen: Seen) -> Reply:
        return Reply(prefix + " | ".join(seen.results.values()))

    return line


@pytest.fixture(scope="session", params=ADAPTERS, ids=lambda adapter: adapter.name)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    adapter: Adapter = request.param
    if not adapter.installed:
        pytest.skip(f"the packages of {adapter.name} are not installed")
    folder: Path = tmp_path_factory.mktemp(adapter.name)
    with adapter.model() as model, closing(Team(folder)) as team:
        team.write("contract_team.py", CODE)
        given = dict(adapter.spec(model)) if model is not None else {}
        own = {"backend": adapter.name, **adapter.where, "module": "contract_team", "type": "Main", **given}
        team.launch("poet", module="contract_team", type="Poet", callers=(f"{JOB}/main",))
        team.launch("main", calls=("poet",), **own)
        limits = Limits(turns=3, tool_calls=4, duration=adapter.duration, cost_usd=1.0)
        team.launch("tight", max_concurrent=1, limits=limits, **own)
        for agent in ("poet", "main", "tight"):
            ready = httpx.get(f"{team.url(agent)}/readyz", timeout=180)
            assert ready.status_code == 200, team.log(agent)
        yield World(adapter, team, model)


@pytest.fixture
def world(started: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """The backend under test; afterwards its script must have been said to the end, and nothing else asked."""
    mark = request.node.get_closest_marker("needs")
    for check in mark.args if mark else ():
        if check == "script" and started._model is None:
            pytest.skip(f"{started.adapter.name} thinks by itself")
        if check in started.adapter.lacks:
            pytest.skip(f"{started.adapter.name}: {started.adapter.lacks[check]}")
    started.script()
    yield started
    if started._model is not None:
        assert started._model.unexpected == []
        assert started._model.unsaid == 0, "the model was not asked for all its replies"
