"""A crew with a coworker, recorded and replayed: without CrewAI, a model, or the crew's own code."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("crewai")  # before what imports it

from tests.agents.conftest import Team
from tests.backends.contract.adapters import ADAPTERS
from tests.backends.contract.conftest import World, echo
from tests.backends.crewai.test_inside import CREWS, TOOLS
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Call, Reply


def test_a_crew_is_replayed(tmp_path: Path) -> None:
    task = {"task": "write about rain", "context": "none", "coworker": "Writer"}
    lines = [
        Reply(calls=[Call("delegate_work_to_coworker", task)]),
        Reply(calls=[Call("draw", {"what": "rain"})]),
        Reply("a poem"),
        echo("boss: "),
    ]
    (tmp_path / "person").mkdir()
    with ChatCompletions() as model, closing(Team(tmp_path)) as team:
        team.write("inside.py", CREWS)
        team.write("drawing.py", TOOLS)
        common: dict[str, Any] = {
            "backend": "crewai", "tools": ("drawing:draw",), "model": "gpt-4o",
            "environment": {"HOME": str(tmp_path / "person"), "MODEL_URL": model.url, "NO_PROXY": "127.0.0.1"},
            "backend_options": {"crew": "inside:crew", "base_url": model.url, "retries": 0},
        }  # fmt: skip
        world = World(next(one for one in ADAPTERS if one.name == "crewai"), team, model)
        trees, words = [], []
        for how in ("record", "replay"):
            model.say(*(lines if how == "record" else ()))
            place: dict[str, Any] = {how: str(tmp_path / "made")}
            team.launch("crew", **common, **place)
            assert httpx.get(f"{team.url('crew')}/readyz", timeout=180).status_code == 200, team.log("crew")
            said = world.ask("delegate rain", "crew")
            assert (said.state, said.text) == ("completed", "boss: a poem"), said
            trees.append(world.tree(said.trace_id))
            words.append([span.attributes["gen_ai.output.messages"] for span in world.chats(said.trace_id)])
            (inner,) = [span for span in world.spans(said.trace_id) if span["name"] == "invoke_agent Writer"]
            assert "write about rain" in inner.attributes["gen_ai.input.messages"]
            assert team.stop("crew") == 0
        assert (len(model.requests), model.unexpected) == (0, [])
        assert trees[0] == trees[1]
        assert words[0] == words[1]
