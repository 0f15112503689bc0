"""Many queries at once through many agents: what belongs together is together, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.home import Home

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team"
MEMBERS = [f"m{number}" for number in range(10)]
QUERIES = 200
CITIES = ("Oslo", "Rome", "Constantinople", "Lagos", "Springfield", "Turin", "Manchester")


#: A new client for each thread: they are for one at a time.
Connect = Callable[[], Client]


@pytest.fixture
def clients(deploy: Deploy) -> Iterator[Connect]:
    for job in ("crowd", "forecast"):
        deploy("start", TEAM / f"{job}.yaml").ok()
    yield lambda: connect(Home(deploy.home), start=False, environ=deploy.environment)
    deploy("stop", "--all").ok()


def question(number: int) -> dict[str, Any]:
    """Two members are asked at once, and each of them asks another; every word is this query's alone."""
    rng = random.Random(number)
    first, second, third, fourth = rng.sample(MEMBERS[1:], 4)
    return {
        "word": f"w{number}.0",
        "ask": {
            first: {"word": f"w{number}.1", "ask": {third: {"word": f"w{number}.2"}}},
            second: {"word": f"w{number}.3", "ask": {fourth: {"word": f"w{number}.4"}}},
        },
    }


def tree(asked: dict[str, Any], agent: str) -> Any:
    """(agent, its word, whom it asked): what the trace must say too."""
    return agent, asked["word"], sorted(tree(more, peer) for peer, more in asked.get("ask", {}).items())


def seen(spans: list[dict[str, Any]], of: dict[str, Any]) -> Any:
    """The same, from the spans below the span of an agent."""
    text = json.loads(of["attributes"]["gen_ai.input.messages"])[0]["parts"][0]["content"]
    calls = [span for span in spans if span["parent_id"] == of["span_id"] and span["kind"] == "CLIENT"]
    handled = [span for call in calls for span in spans if span["parent_id"] == call["span_id"]]
    assert len(handled) == len(calls)
    return of["agent"], json.loads(text)["word"], sorted(seen(spans, span) for span in handled)


def test_two_hundred_queries_over_a_mesh_of_ten(clients: Connect) -> None:
    def ask(number: int) -> Any:
        with clients() as client:
            return client.query("crowd", json.dumps(question(number)))

    with ThreadPoolExecutor(QUERIES) as pool:
        results = list(pool.map(ask, range(QUERIES)))
    with clients() as client:
        check_crowd(client, results)


def check_crowd(client: Client, results: list[Any]) -> None:
    assert len({result.trace_id for result in results}) == QUERIES
    known: set[str] = set()
    for number, result in enumerate(results):
        assert result.status == "ok", result
        assert sorted(result.answer.split()) == [f"w{number}.{word}" for word in range(5)]
        trace = client.trace(result.trace_id)
        assert trace["complete"], trace["missing"]
        assert set(trace["missing"].values()) == {0}
        # The root, five who handle a message, four calls: no more, no less, and in no other trace. Some had to wait.
        spans = [span for span in trace["spans"] if span["name"] != "queued"]
        assert len(spans) == 10, [span["name"] for span in spans]
        assert not known & {span["span_id"] for span in spans}
        known |= {span["span_id"] for span in spans}
        (root,) = [span for span in spans if span["parent_id"] is None]
        (entry,) = [span for span in spans if span["parent_id"] == root["span_id"]]
        assert seen(spans, entry) == tree(question(number), "m0")
        starts = {span["span_id"]: span["start_ns"] for span in spans}
        assert all(span["end_ns"] > span["start_ns"] >= starts.get(span["parent_id"], 0) for span in spans)
    assert len(client.traces(job="crowd", limit=1000)) == QUERIES


def test_parallel_calls_of_one_tool(clients: Connect) -> None:
    def forecast(number: int) -> Any:
        cities = random.Random(number).sample(CITIES, 4)
        with clients() as client:
            return cities, client.query("forecast", f"What is the weather in {', '.join(cities[:3])} and {cities[3]}?")

    with ThreadPoolExecutor(20) as pool:
        forecasts = list(pool.map(forecast, range(20)))
    with clients() as client:
        check_forecasts(client, forecasts)


def check_forecasts(client: Client, forecasts: list[Any]) -> None:
    for cities, result in forecasts:
        trace = client.trace(result.trace_id)
        spans = [span for span in trace["spans"] if span["name"] == "execute_tool weather"]
        calls = [span["attributes"] for span in spans]
        told = {
            json.loads(call["gen_ai.tool.call.arguments"])["city"]: call["gen_ai.tool.call.result"] for call in calls
        }
        assert told == {city: f"{city} has {sum(map(ord, city))} clouds" for city in cities}, result
        assert len({call["gen_ai.tool.call.id"] for call in calls}) == 4
        assert all(value in result.answer for value in told.values())
        assert max(span["start_ns"] for span in spans) < min(span["end_ns"] for span in spans)
