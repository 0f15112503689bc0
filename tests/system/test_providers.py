"""Limits of a provider that all jobs of an engine share, with real agents and a stand-in of the model's server."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.client.client import Client
from teamwright.client.results import QueryResult
from teamwright.errors import TeamwrightError
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Reply
from tests.system.waiting import client, until, waiting

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

KEY = "sk-shared-and-secret"


def job(model: ChatCompletions, agents: dict[str, dict[str, Any]], limit: dict[str, int]) -> str:
    own = {"base_url": model.url, "retries": 2}
    made = [
        {"id": agent, "backend": "openai", "model": "gpt-4o", "prompt": "Be brief.", "backend_options": own, **more}
        for agent, more in agents.items()
    ]
    entry = {"entry_point": next(iter(agents))}
    return json.dumps({"agents": made, "providers": {"openai": limit}, "execution": entry})


class World:
    """Two jobs with three agents that use one key, and whoever asks them."""

    def __init__(self, deploy: Deploy, model: ChatCompletions, pool: ThreadPoolExecutor) -> None:
        self.deploy = deploy
        self.model = model
        self.pool = pool

    def client(self) -> Client:
        return client(self.deploy)

    def ask(self, target: str, text: str = "hi") -> Future[QueryResult]:
        """A query that is on its way."""
        name, _, agent = target.partition("/")

        def query() -> QueryResult:
            with self.client() as client:
                return client.query(name, text, agent=agent)

        return self.pool.submit(query)

    def waiting(self) -> int:
        return waiting(self.deploy)

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.deploy("trace", "show", trace_id, "--json").ok().json["spans"]
        return sorted(found, key=lambda span: int(span["start_ns"]))


@pytest.fixture(scope="module")
def world(shared_deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("jobs")
    shared_deploy.environment["OPENAI_API_KEY"] = KEY
    with ChatCompletions() as model, ThreadPoolExecutor(12) as pool:
        (folder / "one.yaml").write_text(job(model, {"lead": {}, "hasty": {"limits": {"duration": 4}}}, {"rpm": 500}))
        (folder / "two.yaml").write_text(job(model, {"solo": {}}, {"concurrent": 1, "rpm": 600}))
        (folder / "three.yaml").write_text(job(model, {"late": {}}, {"concurrent": 4}))
        shared_deploy("start", folder / "one.yaml", "--json").ok()
        shared_deploy("start", folder / "two.yaml", "--json").ok()
        third = shared_deploy("start", folder / "three.yaml").ok()
        assert "providers.openai.concurrent: three says 4, two 1: the strictest holds for all, 1" in " ".join(
            third.err.split()
        )
        yield World(shared_deploy, model, pool)
        shared_deploy("stop", "--all").ok()


def test_one_call_at_a_time_over_three_jobs(world: World) -> None:
    everybody_is_here = threading.Event()
    world.model.always(Reply("done", delay=0.2, held=everybody_is_here))
    asked = [world.ask(target) for _ in range(3) for target in ("one/lead", "two/solo", "three/late")]
    until(lambda: world.waiting() == 8)
    everybody_is_here.set()
    answers = [future.result(60) for future in asked]
    assert {answer.status for answer in answers} == {"ok"}
    arrived = [seen.at for seen in world.model.requests]
    assert len(arrived) == 9
    for before, after in itertools.pairwise(arrived):  # a reply takes 0.2 s, so no two were open at once
        assert after - before >= 0.2
    traces = [world.spans(answer.trace_id) for answer in (answers[0], answers[4], answers[8])]
    waited = [span for spans in traces for span in spans if span["name"] == "queued"]
    assert waited
    for span in waited:
        about = span["attributes"]
        assert about["gen_ai.provider.name"] == "openai" and about["teamwright.reason"] == "concurrent"
        assert about["teamwright.queue.length"] >= 0
    for spans in traces:  # waiting comes before the call, below the same agent
        names = [span["name"] for span in spans if span["name"] in ("queued", "chat gpt-4o")]
        assert names in (["queued", "chat gpt-4o"], ["chat gpt-4o"])
        agent = next(span for span in spans if span["kind"] == "SERVER")
        assert {span["parent_id"] for span in spans if span["name"] in ("queued", "chat gpt-4o")} == {agent["span_id"]}
    with world.client() as client:
        (limited,) = client.status()["providers"]
    assert (limited["provider"], limited["concurrent"], limited["rpm"]) == ("openai", 1, 500)
    (key,) = limited["keys"]
    assert (key["working"], key["waiting"], key["calls_last_minute"]) == (0, 0, 9)
    told = [file for file in world.deploy.home.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
    assert {file.name for file in told} <= {"secrets.json"}
    assert KEY not in json.dumps(limited)


def test_a_rate_limit_makes_all_wait(world: World) -> None:
    wait = 2.0
    refusal = Reply(status=429, error="slow down", headers={"retry-after": str(wait)})
    world.model.say(refusal, Reply("first"), Reply("second"))
    first = world.ask("one/lead")
    refused = world.model.wait(1)
    refused.answered.wait(60)
    second = world.ask("two/solo")
    answers = [first.result(60), second.result(60)]
    assert sorted(answer.answer for answer in answers) == ["first", "second"]
    for seen in world.model.requests[1:]:
        assert seen.at - refused.at >= wait
    spans = world.spans(answers[0].trace_id)
    names = [span["name"] for span in spans if span["name"] in ("queued", "chat gpt-4o")]
    assert names == ["chat gpt-4o", "queued", "chat gpt-4o"]
    assert [span["attributes"].get("teamwright.reason") for span in spans if span["name"] == "queued"] == [
        "rate_limited"
    ]


def test_a_place_comes_back_when_its_holder_is_killed_or_out_of_time(world: World) -> None:
    world.model.say(Reply("never", delay=60), Reply("after a death"))
    held = world.ask("one/lead")
    world.model.wait(1)
    patient = world.ask("two/solo")
    until(lambda: world.waiting() == 1)
    late = world.ask("one/hasty").result(60)
    assert late.status != "ok" and "duration" in str(late)
    until(lambda: world.waiting() == 1)
    spans = world.spans(late.trace_id)
    (queued,) = [span for span in spans if span["name"] == "queued"]
    assert queued["status"] == "error" and not any(span["name"].startswith("chat") for span in spans)
    assert len(world.model.requests) == 1
    with world.client() as client:
        agents = {agent["id"]: agent for agent in client.job("one")["agents"]}
    os.kill(agents["lead"]["pid"], signal.SIGKILL)
    assert patient.result(60).answer == "after a death"
    assert held.result(60).status != "ok"


def test_an_engine_that_is_killed_gives_no_place_away_twice(world: World) -> None:
    until(lambda: all(agent["status"] in ("healthy", "busy") for agent in agents(world)))
    goes_on = threading.Event()
    world.model.say(Reply("one", held=goes_on), Reply("two"))
    world.ask("two/solo")
    world.model.wait(1)
    world.ask("three/late")
    until(lambda: world.waiting() == 1)
    with world.client() as client:
        pid = client.status()["processes"]["engine"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: working_and_waiting(world, pid) == (1, 1))  # both have told the next engine
    assert len(world.model.requests) == 1
    goes_on.set()
    second = world.model.wait(2, 60)
    second.answered.wait(60)
    # what was asked through the engine that is gone ends too
    until(lambda: all(view["status"] != "running" for view in traces(world)))


def working_and_waiting(world: World, other_than: int) -> tuple[int, int] | None:
    """How many calls have a place and how many wait for one, as another engine tells it; None while there is none."""
    with suppress(TeamwrightError), world.client() as client:
        status = client.status()
        if status["processes"]["engine"] != other_than and status["providers"]:
            (limited,) = status["providers"]
            return sum(key["working"] for key in limited["keys"]), sum(key["waiting"] for key in limited["keys"])
    return None


def agents(world: World) -> list[dict[str, Any]]:
    with world.client() as client:
        return [agent for view in client.jobs() for agent in view["agents"]]


def traces(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.deploy("trace", "list", "--json").ok().json["traces"]
    return found


def test_values_of_the_key(shared_deploy: Deploy, tmp_path: Path) -> None:
    for text, words in (
        ("{openai: {concurrent: 0}}", "providers.openai.concurrent: must be at least 1, not 0"),
        ("{openai: {rmp: 5}}", "providers.openai.rmp: unknown key (did you mean 'rpm'?)"),
        ("{antropic: {rpm: 5}}", "providers.antropic: no provider 'antropic' (did you mean 'anthropic'?)"),
        ("{gemini: {}, google: {rpm: 1}}", "providers.google: gcp.gemini is given twice"),
    ):
        (tmp_path / "team.yaml").write_text(f"agents: [{{id: a}}]\nproviders: {text}\n")
        done = shared_deploy("start", tmp_path / "team.yaml")
        assert done.code == 2 and "team.yaml:2: " in done.err and words in done.err
        assert len(done.err.splitlines()) == 1
