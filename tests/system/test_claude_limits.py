"""Shared limits of a provider with the real Claude CLI, whose model calls are held at its hooks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Seen
from tests.system.waiting import until, waiting

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

pytest.importorskip("claude_agent_sdk")
FOLDER = Path(__file__).parent / "claude"
#: Seconds that each reply takes: two requests that came closer together were open at the same time.
TAKES = 0.3


@pytest.fixture(scope="module")
def api() -> Iterator[Messages]:
    with Messages() as made:
        yield made


@pytest.fixture(scope="module")
def team(api: Messages, shared_deploy: Deploy) -> Iterator[Deploy]:
    shared_deploy.environment.update({"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "dummy"})
    shared_deploy("start", FOLDER / "limited.yaml").ok()
    yield shared_deploy
    shared_deploy("stop", "--all").ok()


def ask(team: Deploy, text: str, agent: str = "lead") -> dict[str, Any]:
    """The result of a query, with its spans by start."""
    words = ("query", f"limited/{agent}", text, "--session", f"of-{agent}", "--json")
    result: dict[str, Any] = team(*words, timeout=120).json
    shown = team("trace", "show", result["trace_id"], "--json").ok().json
    result["spans"] = sorted(shown["spans"], key=lambda span: int(span["start_ns"]))
    return result


def names(result: dict[str, Any]) -> list[str]:
    return [span["name"] for span in result["spans"] if span["name"] in ("queued", "chat claude-sonnet-4-5")]


def model(seen: Seen) -> Reply:
    """The lead adds, then has a sub-agent look, then asks the poet; everybody else says a word."""
    wanted = [
        Call("add", {"a": 2, "b": 3}),
        Call("Agent", {"description": "look", "prompt": "Look around.", "subagent_type": "general-purpose"}),
        Call("query_agent", {"agent": "poet", "message": "a line"}),
    ]
    if "You lead." not in seen.system:
        return Reply("a word", delay=TAKES)
    step = str(seen.body).count("tool_result")
    return Reply(calls=[wanted[step]], delay=TAKES) if step < len(wanted) else Reply("done", delay=TAKES)


def test_calls_of_agents_and_sub_agents_go_one_by_one_and_nobody_waits_for_ever(team: Deploy, api: Messages) -> None:
    somebody_waits = threading.Event()
    api.always(lambda seen: replace(model(seen), held=somebody_waits))
    with ThreadPoolExecutor(3) as pool:
        lead = pool.submit(ask, team, "Do it all.")
        api.wait(1, 60)
        others = [pool.submit(ask, team, "A poem!", "poet") for _ in range(2)]
        until(lambda: waiting(team) > 0)
        somebody_waits.set()
        results = [lead.result(), *(other.result() for other in others)]
    assert [result["status"] for result in results] == ["ok", "ok", "ok"]
    assert results[0]["answer"] == "done"
    arrived = [seen.at for seen in api.requests]
    assert len(arrived) >= 4 + 1 + 1 + 2  # the lead's, the sub-agent's, the poet's for the lead, for the others
    for before, after in itertools.pairwise(arrived):
        assert after - before >= TAKES
    spans = [span for result in results for span in result["spans"] if span["name"] == "queued"]
    assert spans and {span["attributes"]["gen_ai.provider.name"] for span in spans} == {"anthropic"}
    assert [span for result in results for span in result["spans"] if span["status"] == "error"] == []


def test_a_rate_limit_of_one_makes_the_other_wait(team: Deploy, api: Messages) -> None:
    api.say(Reply("ready"))
    ask(team, "hi")  # its CLI is there, so that the next message is on its way at once
    wait = 5
    somebody_waits = threading.Event()
    refusal = Reply(status=429, error="slow down", headers={"retry-after": str(wait)}, held=somebody_waits)
    api.say(refusal, Reply("first"), Reply("second"))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, team, "hi", "poet")
        api.wait(1, 60)
        second = pool.submit(ask, team, "hi")
        until(lambda: waiting(team) > 0)
        refused = time.monotonic()
        somebody_waits.set()
        answers = {first.result()["answer"], second.result()["answer"]}
    assert answers == {"first", "second"}
    for seen in api.requests[1:]:
        assert seen.at - refused >= wait - 0.5  # the CLI's own pause may begin a little earlier
    assert names(second.result())[0] == "queued"
