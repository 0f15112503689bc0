"""Shared limits of a provider for the models that a crew of CrewAI brings itself."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Reply
from tests.system.waiting import until, waiting

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

pytest.importorskip("crewai")
TAKES = 0.4
CREW = """
import os
from crewai import Agent, Crew, LLM, Task

def crew():
    llm = LLM(model="gpt-4o", provider="openai", base_url=os.environ["MODEL_URL"], api_key="x", max_retries=0)
    agents = [Agent(role=role, goal="work", backstory="b", llm=llm, cache=False) for role in ("Reader", "Writer")]
    tasks = [Task(description="Do {message}", expected_output="a line", agent=agent) for agent in agents]
    return Crew(agents=agents, tasks=tasks)
"""


def test_calls_of_a_crews_own_models_go_one_by_one(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "own_crew.py").write_text(CREW)
    with ChatCompletions() as model:
        agent = {
            "id": "crew",
            "backend": "crewai",
            "backend_options": {"crew": "own_crew:crew"},
            "environment": {"MODEL_URL": model.url, "NO_PROXY": "127.0.0.1"},
        }
        file = tmp_path / "crews.yaml"
        file.write_text(json.dumps({"agents": [agent], "providers": {"openai": {"concurrent": 1}}}))
        deploy("start", file, timeout=120).ok()
        somebody_waits = threading.Event()
        model.always(Reply("a line", delay=TAKES, held=somebody_waits))
        with ThreadPoolExecutor(3) as pool:
            asks = [pool.submit(deploy, "query", "crews", "rain", "--json", timeout=120) for _ in range(3)]
            until(lambda: waiting(deploy) > 0)
            somebody_waits.set()
            asked = [ask.result().ok().json for ask in asks]
        assert [one["answer"] for one in asked] == ["a line"] * 3
        arrived = [seen.at for seen in model.requests]
        assert len(arrived) == 6
        for before, after in itertools.pairwise(arrived):
            assert after - before >= TAKES
        spans = [
            span
            for one in asked
            for span in deploy("trace", "show", one["trace_id"], "--json").ok().json["spans"]
            if span["name"] == "queued"
        ]
        assert {span["attributes"]["gen_ai.provider.name"] for span in spans} == {"openai"}
        deploy("stop", "--all").ok()
