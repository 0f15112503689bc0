"""Inside a crew: delegation, memory, knowledge, plans, guardrails, flows, files, questions, other models."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from teamwright.backends.crewai import wording
from tests.agents.conftest import Team, answer_text, message
from tests.backends.contract.adapters import ADAPTERS
from tests.backends.contract.conftest import World, echo
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Call, Reply, Seen

pytest.importorskip("crewai")
pytestmark = pytest.mark.timeout(600)  # its import takes seconds, on a busy machine a minute

#: One agent whose crew is chosen by the first word of the message: each import of CrewAI takes seconds.
CREWS = '''
    import os
    from crewai import Agent, Crew, LLM, Task
    from crewai.agent.planning_config import PlanningConfig
    from crewai.flow.flow import Flow, listen, start
    from crewai.knowledge.knowledge import Knowledge
    from crewai.knowledge.storage.base_knowledge_storage import BaseKnowledgeStorage
    from crewai.memory import Memory
    from crewai.tools import tool

    def own_llm(model="gpt-4o"):
        return LLM(model=model, provider="openai", base_url=os.environ["MODEL_URL"], api_key="x", max_retries=0)

    @tool("second_opinion")
    def second_opinion(question: str) -> str:
        """Asks another model."""
        return own_llm().call(question)

    @tool("consult")
    def consult(question: str) -> str:
        """Asks an expert."""
        expert = Agent(role="Expert", goal="know", backstory="b", llm=own_llm(), cache=False)
        return expert.kickoff(question).raw

    @tool("flood")
    def flood(what: str) -> str:
        """Tells everything."""
        return "drop " * 1_200

    class Shelf(BaseKnowledgeStorage):
        def search(self, query, limit=5, metadata_filter=None, score_threshold=0.6):
            return [{"id": "1", "content": "granite is hard", "metadata": {}, "score": 0.9}]
        async def asearch(self, *args, **kwargs):
            return self.search(*args)
        def save(self, documents):
            pass
        async def asave(self, documents):
            pass
        def reset(self):
            pass
        async def areset(self):
            pass

    def crew(llm, tools):
        def agent(role, **more):
            return Agent(role=role, goal="work", backstory="b", llm=llm, cache=False, **more)

        def one(worker, **more):
            return Crew(agents=[worker], tasks=[Task(description="{message}", expected_output="a line", agent=worker,
                                                    **more.pop("task", {}))], **more)

        def delegate():
            boss = agent("Boss", allow_delegation=True)
            writer = agent("Writer", tools=tools)
            return Crew(agents=[boss, writer],
                        tasks=[Task(description="{message}", expected_output="a line", agent=boss)])

        def memory():
            return one(agent("Keeper"), memory=Memory(llm=llm, embedder=lambda texts: [[1.0, 0.0] for _ in texts],
                                                      storage=os.path.abspath("remembered")))

        def knowledge():
            worker = agent("Reader")
            worker.knowledge = Knowledge(collection_name="k", sources=[], storage=Shelf())
            return one(worker)

        def plans():
            return one(agent("Planner", planning_config=PlanningConfig(max_attempts=1, max_steps=1)))

        def guarded():
            return one(agent("Guarded"), task={"guardrail": lambda out: ("good" in out.raw, out.raw)})

        class Steps(Flow):
            @start()
            def first(self):
                return one(agent("First")).kickoff(inputs=dict(self.state)).raw

            @listen(first)
            def second(self, found):
                return f"{found}, twice"

        class Chosen:
            def kickoff(self, inputs):
                made = {
                    "delegate": delegate, "memory": memory, "knowledge": knowledge, "plan": plans,
                    "guarded": guarded, "flow": Steps, "ask": lambda: one(agent("Asker", tools=tools)),
                    "opinion": lambda: one(agent("Doubter", tools=[second_opinion, consult])),
                    "file": lambda: one(agent("Viewer", tools=tools)),
                    "much": lambda: one(Agent(role="Listener", goal="hear", backstory="b", llm=own_llm("gpt-4"),
                                              cache=False, tools=[flood])),
                }[inputs["message"].split()[0]]()
                return made.kickoff(inputs=inputs)

        return Chosen()
'''
TOOLS = '''
    from teamwright.backends.api import File

    def draw(what: str) -> File:
        """Draws it."""
        return File(f"{what}.svg", "image/svg+xml", b"<svg/>")
'''


@pytest.fixture(scope="module")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("inside")
    with ChatCompletions() as model, closing(Team(folder)) as team:
        team.write("inside.py", CREWS)
        team.write("drawing.py", TOOLS)
        (folder / "person").mkdir()
        common: dict[str, Any] = {
            "backend": "crewai", "tools": ("drawing:draw",), "model": "gpt-4o",
            "environment": {"HOME": str(folder / "person"), "MODEL_URL": model.url, "NO_PROXY": "127.0.0.1"},
        }  # fmt: skip
        options = {"base_url": model.url, "retries": 0}
        team.launch("crew", backend_options={"crew": "inside:crew", **options}, **common)
        team.launch("solo", backend_options=options, **common)
        for agent in ("crew", "solo"):
            ready = httpx.get(f"{team.url(agent)}/readyz", timeout=180)
            assert ready.status_code == 200, team.log(agent)
        yield World(next(one for one in ADAPTERS if one.name == "crewai"), team, model)
        assert [team.stop(agent) for agent in ("crew", "solo")] == [0, 0]


@pytest.fixture
def world(crews: World) -> Iterator[World]:
    crews.script()
    yield crews
    assert crews.model.unexpected == []
    assert crews.model.unsaid == 0


def told(world: World, trace_id: str, name: str) -> list[str]:
    """The events of the first span of that name, but those of the A2A task."""
    span = next(span for span in world.spans(trace_id) if span["name"] == name)
    return [event for event in span["events"] if event not in ("artifact update", "status update", "first token")]


def test_work_is_delegated_to_a_coworker(world: World) -> None:
    """The coworker is below the tool call that set it to work."""
    task = {"task": "write about rain", "context": "none", "coworker": "Writer"}
    delegate = Reply(calls=[Call("delegate_work_to_coworker", task)])
    world.script(delegate, Reply(calls=[Call("draw", {"what": "rain"})]), Reply("a poem"), echo("boss: "))
    said = world.ask("delegate rain", "crew")
    assert (said.state, said.text) == ("completed", "boss: a poem")
    writer = ["invoke_agent Writer", "chat", "execute_tool draw", "chat"]
    assert world.tree(said.trace_id) == [
        "invoke_agent crew",
        ["invoke_agent Boss", "chat", ["execute_tool delegate_work_to_coworker", writer], "chat"],
    ]
    span = next(span for span in world.spans(said.trace_id) if span["name"] == "invoke_agent Writer")
    assert "write about rain" in span.attributes["gen_ai.input.messages"]


def test_models_and_agents_that_a_tool_asks_are_below_it(world: World) -> None:
    calls = [Call("second_opinion", {"question": "sure?"}), Call("consult", {"question": "really?"})]
    world.model.always(
        lambda seen: (
            Reply("aye") if seen.user == "sure?" else Reply("yes") if "really?" in seen.user
            else Reply("so: " + " | ".join(seen.results.values())) if seen.results else Reply(calls=calls)
        )
    )  # fmt: skip
    said = world.ask("opinion on rain", "crew")
    world.script()
    assert said.text == "so: aye | yes"
    _, (agent, *inner) = world.tree(said.trace_id)
    assert agent == "invoke_agent Doubter"
    assert sorted(inner, key=str) == sorted(
        ["chat", ["execute_tool second_opinion", "chat"],
         ["execute_tool consult", ["invoke_agent Expert", "chat"]], "chat"], key=str,
    )  # fmt: skip
    assert said.usage["model_calls"] == 4


def test_two_at_once_hear_nothing_of_each_other(world: World) -> None:
    """CrewAI has one event bus for the process; its models are their own, so all of it comes from events."""

    def line(seen: Seen) -> Reply:
        word = "plum" if "plum" in str(seen.body) else "pear"
        assert not {"plum", "pear"} <= set(str(seen.body).replace("?", " ").replace('"', " ").split())
        if seen.results:
            return Reply(f"{word} it is", delay=0.05)
        if "secret" in seen.user and "Current Task" not in seen.user:
            return Reply(f"aye {word}", delay=0.05)
        return Reply(calls=[Call("second_opinion", {"question": f"secret {word} ?"})], delay=0.05)

    world.model.always(line)
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda word: (word, world.ask(f"opinion on {word}", "crew", user=word)), ("plum", "pear"))
        )
    world.script()
    for word, said in found:
        other = "pear" if word == "plum" else "plum"
        assert said.text == f"{word} it is"
        assert len(world.chats(said.trace_id)) == 3
        words = str([span.attributes for span in world.spans(said.trace_id)])
        assert word in words and other not in words


@pytest.mark.parametrize(
    ("word", "span", "events"),
    [
        ("guarded", "invoke_agent crew", ["llm guardrail completed"] * 2),
        ("plan", "invoke_agent Planner", ["agent reasoning completed"]),
        ("knowledge", "invoke_agent crew", ["knowledge search query completed"]),
        ("memory", "invoke_agent crew", ["memory query completed", "memory retrieval completed"]),
        (
            "flow",
            "invoke_agent crew",
            ["flow started", *["method execution started", "method execution finished"] * 2, "flow finished"],
        ),
    ],
)
def test_what_a_crew_does_beside_models_and_tools_is_an_event(
    world: World, word: str, span: str, events: list[str]
) -> None:
    first = iter(["bad"])
    world.model.always(lambda seen: Reply(next(first, "good") if word == "guarded" else "good"))
    said = world.ask(f"{word} rain", "crew")
    world.script()
    assert said.state == "completed" and "good" in said.text
    assert told(world, said.trace_id, span)[: len(events)] == events


def test_a_conversation_that_is_shortened(world: World) -> None:
    """A model of the crew's own: CrewAI knows its window, and has it sum up what doesn't fit any more."""

    def line(seen: Seen) -> Reply:
        if "flood" in seen.tools and "drop drop" not in str(seen.body) and "SHORT" not in str(seen.body):
            return Reply(calls=[Call("flood", {"what": str(number)}) for number in range(6)])
        return Reply("all of it" if "flood" in seen.tools else "<summary>SHORT</summary>")

    world.model.always(line)
    said = world.ask("much rain", "crew")
    world.script()
    assert said.state == "completed" and said.text == "all of it"
    assert "compaction" in told(world, said.trace_id, "invoke_agent Listener")


def test_words_on_events_go_by_the_content_policy() -> None:
    """What was looked for and found has names that `tracing.content: off` leaves out."""
    from types import SimpleNamespace

    from teamwright.backends.crewai import told as events
    from teamwright.tracing.content import policy

    event = SimpleNamespace(query="secret", retrieved_knowledge="secret", plan="secret", success=True)
    keep = policy("off")
    assert keep is not None
    left = {name: keep(name, value) for name, value in events.kept(event).items()}
    assert left == {"input.value": None, "output.value": None, "crewai.success": True}


@pytest.mark.parametrize("agent", ["solo", "crew"])
def test_files_go_in_and_out(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("draw", {"what": "rain"})]), Reply("drawn"))
    parts = [
        {"text": "file it"},
        {"raw": base64.b64encode(b"words in it").decode(), "filename": "a.txt", "mediaType": "text/plain"},
    ]
    body = {"message": {**message(""), "parts": parts}}
    answer = world.team.rpc(agent, "SendMessage", body).json()["result"]
    assert "words in it" in str(world.model.wait(1).body)
    assert answer_text(answer) == "drawn"
    found = [part for part in str(answer).split("'") if part.endswith(".svg")]
    assert found and found[0] == "rain.svg"


@pytest.mark.parametrize("agent", ["solo", "crew"])
def test_the_user_is_asked(world: World, agent: str) -> None:
    world.script(Reply(calls=[Call("ask_user", {"question": "Which rain?"})]), echo("you said "))
    first = world.team.rpc(agent, "SendMessage", {"message": message("ask me")}).json()["result"]["task"]
    assert first["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert "Which rain?" in str(first["status"]["message"])
    again = {**message("warm rain"), "taskId": first["id"], "contextId": first["contextId"]}
    second = world.team.rpc(agent, "SendMessage", {"message": again}).json()["result"]
    assert answer_text(second) == "you said warm rain"


def test_the_page_says_of_every_event_what_becomes_of_it(world: World) -> None:
    """Looked up in a process of its own: the import starts threads."""
    code = (
        "import importlib, json, pkgutil\n"
        "import crewai.events.types as types\n"
        "from crewai.events.base_events import BaseEvent\n"
        "from teamwright.backends.crewai import told\n"
        "names = set()\n"
        "for module in pkgutil.iter_modules(types.__path__):\n"
        "    found = vars(importlib.import_module(f'crewai.events.types.{module.name}')).values()\n"
        "    names |= {k for k in found if isinstance(k, type) and issubclass(k, BaseEvent)}\n"
        "real = sorted(k.__name__ for k in names if not k.__subclasses__() and k is not BaseEvent)\n"
        "print(json.dumps([real, sorted(k.__name__ for k in told.classes())]))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(world.team.folder / "person"), "CREWAI_TESTING": "true",
                   "CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    names, events = json.loads(done.stdout)
    page = (Path(__file__).resolve().parents[3] / "docs" / "what-a-trace-shows.md").read_text()
    assert len(names) > 100
    assert [name for name in names if f"`{name}`" not in page] == []
    rows = {name: row for row in page.splitlines() if row.startswith("| `") for name in names if f"`{name}`" in row}
    assert [name for name in events if "unused" in rows[name]] == []
    listens = (Path(wording.__file__).parent / "watching.py").read_text()
    used = [name for name in names if "unused" not in rows[name] and name not in events]
    assert used and [name for name in used if name not in listens] == []
