"""Four vendors' SDKs in one team, all real, each against a stand-in of its server: one trace over all of it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.standins.mixed_team import DRAFT, QUESTION, VERDICT, MixedTeam, mixed_team
from tests.standins.script import Call, Reply, Seen
from tests.system.test_hello import whole

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

for module in ("claude_agent_sdk", "google.genai", "crewai"):
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"needs {module}: uv sync --extra claude --extra gemini --extra crewai", allow_module_level=True)
JOB = "mixed-providers"


@pytest.fixture(scope="module")
def world() -> Iterator[MixedTeam]:
    with mixed_team() as made:
        yield made
        assert made.unexpected == []


@pytest.fixture(scope="module")
def team(world: MixedTeam, shared_deploy: Deploy) -> Iterator[Deploy]:
    shared_deploy.environment.update(world.environment)
    started = shared_deploy("start", f"example:{JOB}", "--json", timeout=120).ok().json
    assert {agent["id"]: agent["backend"] for agent in started["agents"]} == {
        "coordinator": "claude", "researcher": "gemini", "writer": "crewai", "critic": "openai",
    }  # fmt: skip
    yield shared_deploy
    shared_deploy("stop", "--all").ok()
    assert [process for process in shared_deploy.processes() if "_bundled/claude" in process.command] == []


def test_one_trace_over_four_vendors(team: Deploy, world: MixedTeam) -> None:
    asked = team("query", JOB, QUESTION, "--json", timeout=120).ok().json
    assert (asked["status"], asked["answer"]) == ("ok", DRAFT)
    spans = whole(team("trace", "show", asked["trace_id"], "--json").ok().json)
    assert {span["status"] for span in spans} == {"ok"}
    assert tree(spans) == [
        "invoke_workflow mixed-providers",
        " invoke_agent coordinator",
        "  chat claude-sonnet-4-5",
        "  execute_tool query_agent",
        "   invoke_agent researcher",
        "    invoke_agent researcher",
        "     chat gemini-2.5-flash",
        "     execute_tool search_library",
        "     chat gemini-2.5-flash",
        "  chat claude-sonnet-4-5",
        "  execute_tool query_agent",
        "   invoke_agent writer",
        "    invoke_agent writer",
        "     chat gpt-4o-mini",
        "     execute_tool word_count",
        "     chat gpt-4o-mini",
        "  chat claude-sonnet-4-5",
        "  execute_tool query_agent",
        "   invoke_agent critic",
        "    invoke_agent critic",
        "     chat gpt-4o-mini",
        "  chat claude-sonnet-4-5",
    ]
    by_id = {span["span_id"]: span for span in spans}
    for span in spans:
        above = by_id.get(span["parent_id"])
        assert span["end_ns"] > span["start_ns"]
        assert above is None or (above["start_ns"] <= span["start_ns"] and span["end_ns"] <= above["end_ns"])
    chats = [span["attributes"] for span in spans if span["name"].startswith("chat ")]
    assert {found["gen_ai.provider.name"] for found in chats} == {"anthropic", "gcp.gemini", "openai"}
    for found in chats:
        assert found["gen_ai.output.messages"] and found["gen_ai.response.time_to_first_chunk"] >= 0
        assert found["gen_ai.usage.input_tokens"] and found["gen_ai.usage.output_tokens"]
        assert found["teamwright.cost_usd"] > 0
    total = asked["usage"]
    assert total["cost_usd"] == pytest.approx(sum(found["teamwright.cost_usd"] for found in chats))
    assert total["input_tokens"] == sum(found["gen_ai.usage.input_tokens"] for found in chats)
    assert total["tool_calls"] == 5
    # what one said reached the next
    last = world.claude.requests[-1]
    assert last.results == {call: VERDICT for call in last.results} and len(last.results) == 1
    (searched,) = [span for span in spans if span["name"] == "execute_tool search_library"]
    assert "humlum-2025" in searched["attributes"]["gen_ai.tool.call.result"]


def tree(spans: list[dict[str, Any]], parent: str | None = None, depth: int = 0) -> list[str]:
    """The names, each below its parent, by start."""
    found: list[str] = []
    ids = {span["span_id"] for span in spans}
    for span in sorted(spans, key=lambda span: span["start_ns"]):
        above = span["parent_id"] if span["parent_id"] in ids else None
        if above == parent:
            found += [" " * depth + span["name"], *tree(spans, span["span_id"], depth + 1)]
    return found


STEPS = ("find_fall", "find_region", "find_customer", "find_product", "compare_prices_and_pieces", "explain_fall")
MODELS = {"claude": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "crewai": "gpt-4o-mini", "openai": "gpt-4o-mini"}


def reason(seen: Seen) -> Reply:
    """Calls the next step with the trail that the one before gave, and says the last one's words."""
    if not seen.results:
        return Reply(calls=[Call(STEPS[0], {"period": "month"})])
    (found,) = (json.loads(result) for result in seen.results.values())
    if found["summary"].startswith("Sales fell by"):
        return Reply(str(found["summary"]))
    known = found["trail"].count("=")  # 3 after the first step, then one more with each
    return Reply(calls=[Call(STEPS[known - 2], {"trail": found["trail"]})])


def test_four_vendors_reason_at_once(deploy: Deploy) -> None:
    """examples/jobs/reasoning.yaml with each real SDK: six calls, each with what the one before gave."""
    with mixed_team() as models:
        for model in (models.claude, models.gemini, models.openai):
            model.always(reason)
        deploy.environment.update(models.environment)
        for backend, model_name in MODELS.items():
            chosen = ("--set", f"defaults.backend={backend}", "--set", f"defaults.model={model_name}")
            deploy("start", "example:reasoning", "--name", backend, *chosen, timeout=120).ok()
        asking = {backend: deploy.begin("query", backend, "Why did sales fall?", "--json") for backend in MODELS}
        for backend, query in asking.items():
            out, err = query.communicate(timeout=120)
            assert query.returncode == 0, f"{backend}: {out!r} {err!r}"
            asked = json.loads(out)
            assert asked["answer"].startswith("Sales fell by 10324.83 EUR"), backend
            spans = whole(deploy("trace", "show", asked["trace_id"], "--json").ok().json)
            chat = f" chat {MODELS[backend]}"
            steps = [line for step in STEPS for line in (f" {chat}", f"  execute_tool {step}")]
            assert tree(spans) == [f"invoke_workflow {backend}", " invoke_agent reasoner", *steps, f" {chat}"]
            tools = [span["attributes"] for span in spans if span["name"].startswith("execute_tool ")]
            given = [json.loads(tool["gen_ai.tool.call.arguments"]).get("trail") for tool in tools]
            trails = [json.loads(tool["gen_ai.tool.call.result"])["trail"] for tool in tools]
            assert given == [None, *trails[:-1]], backend
        assert models.unexpected == []
        deploy("stop", "--all").ok()
