"""What is looked into, and what is not: threads, executors, classes, `instrument: false`, SDKs nobody knows."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.agents.conftest import JOB, Team
from tests.backends.contract.adapters import ADAPTERS
from tests.backends.contract.conftest import World
from tests.standins.generate_content import GenerateContent
from tests.standins.script import Reply

from .conftest import settled

pytest.importorskip("google.genai")

CODE = '''
    import os, threading
    from concurrent.futures import ThreadPoolExecutor
    from a2a.helpers import new_text_message
    from a2a.server.agent_execution import AgentExecutor
    from google import genai
    from google.genai import types
    from teamwright import Agent

    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=os.environ["MODEL_URL"]))
    POOL = ThreadPoolExecutor(1)

    def ask(text):
        return client.models.generate_content(model="gemini-2.5-flash", contents=text).text

    def answer(text, turn):
        if text == "pool":
            return " ".join(POOL.map(ask, ["a", "b"]))
        if text == "thread":
            said = []
            thread = threading.Thread(target=lambda: said.append(turn.ask_peer("poet", ask("c")).text))
            thread.start()
            thread.join()
            return said[0]
        return ask(text)

    class Own(Agent):
        """Asks by itself, then lets its backend think."""

        async def run(self, turn):
            answer = await client.aio.models.generate_content(model="gemini-2.5-flash", contents="mine")
            thought = await self.backend.run(turn)
            return answer.text + " " + thought.text

    class Executor(AgentExecutor):
        """An executor."""

        async def execute(self, context, queue):
            answer = await client.aio.models.generate_content(model="gemini-2.5-flash", contents="mine")
            await queue.enqueue_event(new_text_message(answer.text, context_id=context.context_id))

        async def cancel(self, context, queue):
            pass

    class Hosted(Agent):
        """Hosts."""
        executor = Executor
'''


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("forms")
    with GenerateContent() as model, closing(Team(folder)) as team:
        team.write("bot.py", CODE)
        team.write("poems.py", "def write(text):\n    return f'a poem about {text}'\n")
        environment = {"MODEL_URL": model.url, "NO_PROXY": "127.0.0.1", "HOME": str(folder)}
        backend: dict[str, Any] = {
            "backend": "gemini", "model": "gemini-2.5-flash", "secrets": {"GEMINI_API_KEY": "k"},
            "backend_options": {"base_url": model.url}, "environment": environment,
        }  # fmt: skip
        team.launch("poet", kind="run", run="poems:write", callers=(f"{JOB}/seen",))
        team.launch("seen", kind="run", run="bot:answer", calls=("poet",), environment=environment)
        unseen: dict[str, Any] = {"kind": "run", "run": "bot:answer", "environment": environment, "instrument": False}
        team.launch("unseen", **unseen)
        team.launch("own-unseen", python=sys.executable, **unseen)
        team.launch("own", module="bot", type="Own", **backend)
        team.launch("hosted", module="bot", type="Hosted", environment=environment)
        for agent in team.processes:
            ready = httpx.get(f"{team.url(agent)}/readyz", timeout=180)
            assert ready.status_code == 200, team.log(agent)
        yield World(ADAPTERS[0], team, model)


@pytest.fixture
def world(forms: World) -> Iterator[World]:
    forms.script()
    yield forms
    settled(forms)


def test_threads_of_a_pool(world: World) -> None:
    for _ in range(2):  # the pool's thread stays
        world.script(Reply("one"), Reply("two"))
        said = world.ask("pool", "seen")
        assert said.text == "one two"
        assert world.tree(said.trace_id) == ["invoke_agent seen", "chat", "chat"]


def test_a_thread_that_asks_a_peer(world: World) -> None:
    world.script(Reply("rain"))
    said = world.ask("thread", "seen")
    assert said.text == "a poem about rain"
    assert world.tree(said.trace_id) == ["invoke_agent seen", "chat", ["invoke_agent poet", "invoke_agent poet"]]


@pytest.mark.parametrize("agent", ["unseen", "own-unseen"])
def test_nobody_looks_where_nobody_should(world: World, agent: str) -> None:
    world.script(Reply("said"))
    said = world.ask("go", agent)
    assert said.text == "said"
    assert world.tree(said.trace_id) == f"invoke_agent {agent}"
    assert said.usage["model_calls"] == 0


def test_a_class_that_asks_by_itself_and_its_backend(world: World) -> None:
    world.script(Reply("mine"), Reply("thought"))
    said = world.ask("go", "own")
    assert said.text == "mine thought"
    assert world.tree(said.trace_id) == ["invoke_agent own", "chat", "chat"]
    assert said.usage["model_calls"] == 2


def test_an_executor(world: World) -> None:
    world.script(Reply("mine"))
    said = world.ask("go", "hosted")
    assert said.text == "mine"
    assert world.tree(said.trace_id) == ["invoke_agent hosted", "chat"]


def test_it_imports_nothing_and_says_once_what_it_does_not_know(tmp_path: Path) -> None:
    package = tmp_path / "claude_agent_sdk"
    package.mkdir()
    (package / "__init__.py").write_text("def query(): return 'works'\n")
    code = """
        import logging, sys
        logging.basicConfig(format="%(message)s")
        before = set(sys.modules)
        from teamwright.backends.inside import importing
        importing.install()
        importing.install()
        assert sum(isinstance(finder, importing.Finder) for finder in sys.meta_path) == 1
        assert not {"google.genai", "crewai", "claude_agent_sdk", "anyio"} & set(sys.modules)
        import claude_agent_sdk
        print(claude_agent_sdk.query())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
    lines = [line for line in done.stderr.splitlines() if "not seen inside" in line]
    assert lines and all("claude_agent_sdk" in line for line in lines)
