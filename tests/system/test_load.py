"""Many queries at once, and kills in the middle of them: every answer is one whole trace of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.client.results import QueryResult
from teamwright.errors import TeamwrightError
from teamwright.home import Home

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team" / "restless.yaml"
MANY = 100


@pytest.fixture
def team(deploy: Deploy) -> Iterator[Deploy]:
    deploy("start", TEAM).ok()
    yield deploy
    deploy("stop", "--all").ok()


@pytest.fixture
def client(team: Deploy) -> Iterator[Client]:
    with connect(Home(team.home), start=False, environ=team.environment) as client:
        yield client


def ask(client: Client, number: int) -> QueryResult:
    """Through the front to one of three, with words that are this query's alone."""
    return client.query("restless", f"ask {('back', 'third', 'fourth')[number % 3]} word-{number}")


def check(client: Client, result: QueryResult, number: int) -> None:
    """The answer and the trace are this query's, whole, and nobody else's."""
    assert result.status == "ok", result
    assert result.answer.split()[-1] == f"word-{number}"
    trace: dict[str, Any] = client.trace(result.trace_id)
    spans = trace["spans"]
    assert trace["complete"], trace
    assert trace["status"] == "ok", trace
    assert len(spans) == 4, [span["name"] for span in spans]  # root, front, its call, who was asked
    by_id = {span["span_id"]: span for span in spans}
    assert len(by_id) == 4
    chain = []
    at = next(span for span in spans if span["kind"] == "SERVER" and span["agent"] != "front")
    while True:
        chain.append((at["kind"], at["agent"]))
        assert at["end_ns"] > at["start_ns"]
        if at["parent_id"] is None:
            break
        at = by_id[at["parent_id"]]
    asked = ("back", "third", "fourth")[number % 3]
    assert [kind for kind, _ in chain] == ["SERVER", "CLIENT", "SERVER", "INTERNAL"]
    assert [agent for _, agent in chain[:3]] == [asked, "front", "front"]
    texts = [str(span["attributes"]) for span in spans]
    assert all(f"word-{number}" in text for text in texts), texts


def test_a_hundred_at_once(client: Client) -> None:
    with ThreadPoolExecutor(MANY) as pool:
        results = list(pool.map(lambda number: ask(client, number), range(MANY)))
    assert len({result.trace_id for result in results}) == MANY
    assert len({result.run_id for result in results}) == MANY
    for number, result in enumerate(results):
        check(client, result, number)
    traces = client.traces(job="restless", limit=1000)
    assert len([trace for trace in traces if trace["query"]]) == MANY


@pytest.mark.parametrize("process", ["agent", "zygote", "host", "engine", "guard"])
def test_killed_under_load(team: Deploy, client: Client, process: str) -> None:
    """Every query ends, with an answer or an error; every answered one is in the store exactly once."""
    before = [ask(client, number) for number in range(5)]
    processes = client.status()["processes"]
    agents = {agent["id"]: agent["pid"] for agent in client.job("restless")["agents"]}
    victim = agents["back"] if process == "agent" else processes[process]
    with ThreadPoolExecutor(20) as pool:
        futures: list[Future[QueryResult]] = [pool.submit(ask, client, number) for number in range(5, 65)]
        next(future for future in futures if future.exception(timeout=120) is None)
        os.kill(victim, signal.SIGKILL)
        failed = [error for future in futures if (error := future.exception(timeout=120)) is not None]
    assert all(isinstance(error, TeamwrightError) for error in failed), failed
    ended = [(5 + number, future.result()) for number, future in enumerate(futures) if future.exception() is None]
    answered = [*enumerate(before), *((number, result) for number, result in ended if result.status == "ok")]
    if process == "guard":
        team("start", TEAM).ok()
    with connect(Home(team.home), start=False, environ=team.environment) as again:
        for number, result in answered:
            check(again, result, number)
        for _, result in ended:
            if result.status != "ok":
                assert result.answer
