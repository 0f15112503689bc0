"""Recordings of the real SDKs, all four together and what only they have: sub-agents, tools of their own, denials."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if not all(map(importlib.util.find_spec, ("crewai", "claude_agent_sdk", "google.genai"))):
    pytest.skip("needs uv sync --extra claude --extra gemini --extra crewai", allow_module_level=True)

from tests.standins.messages import Messages
from tests.standins.mixed_team import DRAFT, QUESTION, mixed_team
from tests.standins.script import Call, Reply, Seen
from tests.system.test_mixed import tree

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

FOLDER = Path(__file__).parent / "claude"


def asked(deploy: Deploy, job: str, text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A query's result and its spans."""
    result: dict[str, Any] = deploy("query", job, text, "--json", timeout=120).ok().json
    return result, deploy("trace", "show", result["trace_id"], "--json").ok().json["spans"]


def told(spans: list[dict[str, Any]]) -> list[Any]:
    """What the models of a trace were asked and said, by the model's words."""
    keys = ("gen_ai.request.model", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.usage.input_tokens")
    return sorted([span["attributes"].get(key) for key in keys] for span in spans if span["name"].startswith("chat "))


def test_four_vendors(deploy: Deploy, tmp_path: Path) -> None:
    with mixed_team() as models:
        deploy("start", "example:mixed-providers", "--record", tmp_path / "made", environment=models.environment,
               timeout=120).ok()  # fmt: skip
        then, before = asked(deploy, "mixed-providers", QUESTION)
        deploy("stop", "mixed-providers").ok()
        number = models.requests
        deploy("start", "example:mixed-providers", "--replay", tmp_path / "made").ok()
        now, after = asked(deploy, "mixed-providers", QUESTION)
        assert (models.requests, models.unexpected) == (number, [])
    deploy("stop", "--all").ok()
    assert then["answer"] == now["answer"] == DRAFT
    assert tree(after) == tree(before)
    assert told(after) == told(before)
    assert now["usage"] == {**then["usage"], "cost_usd": 0}
    cost = sum(span["attributes"].get("teamwright.replay.recorded_cost_usd", 0) for span in after)
    assert cost == pytest.approx(then["usage"]["cost_usd"])
    assert "dummy-" not in "".join(path.read_text() for path in (tmp_path / "made").rglob("*.json"))


def test_what_only_claude_has(deploy: Deploy, tmp_path: Path) -> None:
    """Sub-agents at once, a tool of the CLI, one that is denied: replayed without a CLI."""
    folder = str(FOLDER)

    def script(seen: Seen) -> Reply:
        if any("count the files" in text for text in seen.said) and "delegate" not in seen.said:
            return Reply("3 files") if seen.results else Reply(calls=[Call("add", {"a": 1, "b": 2})])
        if seen.results:
            return Reply("read, delegated and denied")
        task = {"description": "count", "subagent_type": "general-purpose", "prompt": "count the files"}
        calls = [
            Call("Agent", task),
            Call("Read", {"file_path": f"{folder}/claude_tools.py"}),
            Call("Bash", {"command": "id"}),
        ]
        return Reply(calls=[*calls, Call("add", {"a": 2, "b": 3})])

    with Messages() as api:
        api.always(script)
        keys = {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "dummy-key"}
        deploy("start", FOLDER / "team.yaml", "--record", tmp_path / "made", environment=keys).ok()
        then, before = asked(deploy, "claude-team", "delegate")
        deploy("stop", "claude-team").ok()
    deploy("start", FOLDER / "team.yaml", "--replay", tmp_path / "made").ok()
    assert [process for process in deploy.processes() if "_bundled/claude" in process.command] == []
    now, after = asked(deploy, "claude-team", "delegate")
    assert [process for process in deploy.processes() if "_bundled/claude" in process.command] == []
    deploy("stop", "--all").ok()
    assert then["answer"] == now["answer"] == "read, delegated and denied"
    assert sorted(tree(after)) == sorted(tree(before))
    assert told(after) == told(before)
    (read,) = [span for span in after if span["name"] == "execute_tool Read"]
    assert "Adds two numbers." in read["attributes"]["gen_ai.tool.call.result"]
    (bash,) = [span for span in after if span["name"] == "execute_tool Bash"]
    assert (bash["status"], bash["attributes"]["error.type"]) == ("error", "denied")
    kept = json.loads((tmp_path / "made" / "lead" / "0001.json").read_text())
    assert folder not in json.dumps(kept) and "{job}/claude_tools.py" in json.dumps(kept)
