"""Twelve agents in a full mesh, asked by many at once: every answer is there, and crosses at least three of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.load import QUESTIONS
from teamwright.client.launch import connect
from teamwright.client.results import QueryResult
from teamwright.home import Home
from tests.system.test_hello import whole

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

AT_ONCE = 24


def test_many_queries_over_many_agents(deploy: Deploy) -> None:
    assert len(deploy("start", "example:large-mesh", "--json").ok().json["agents"]) == 12

    def ask(number: int) -> QueryResult:
        with connect(Home(deploy.home), start=False, environ=deploy.environment) as client:
            return client.query("large-mesh", QUESTIONS[number % len(QUESTIONS)][0])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(ask, range(AT_ONCE)))
    assert len({result.trace_id for result in results}) == AT_ONCE
    with connect(Home(deploy.home), start=False, environ=deploy.environment) as client:
        for number, result in enumerate(results):
            assert result.status == "ok"
            for words in QUESTIONS[number % len(QUESTIONS)][1]:
                assert words in result.answer, (number, words)
            spans = whole(client.trace(result.trace_id))
            assert {span["status"] for span in spans} == {"ok"}
            assert len({span["agent"] for span in spans if span["kind"] == "SERVER"}) >= 3
    deploy("stop", "--all").ok()
