"""Other people's agents that misbehave, as a user meets them: `url:` agents of a started job, asked both ways."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.client.results import QueryResult
from teamwright.home import Home
from tests.system.team.rude import FAULTS, Rude

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

#: Seconds an answer of those may take who never give one; and of all others, on a machine however busy.
SHORT, LONG = 2.0, 120.0
#: Queries that hang at the same time.
MANY = 120
CODE = """
async def ask(text, turn):
    name, _, rest = text.partition(" ")
    return (await turn.ask_peer(name, rest)).text
"""


@pytest.fixture
def rude() -> Iterator[Rude]:
    server = Rude()
    yield server
    server.close()


@pytest.fixture
def gone() -> Iterator[Rude]:
    """One that refuses connections once the job has started."""
    server = Rude()
    yield server
    server.close()


def duration(agent: str) -> float:
    return SHORT if agent in ("hole", "slow") else LONG


def job_file(folder: Path, urls: dict[str, str], **more: Any) -> Path:
    agents: list[dict[str, Any]] = [{"id": "front", "run": "bot:ask"}]
    for name, url in urls.items():
        agents.append({"id": name, "url": url, "limits": {"duration": duration(name)}})
    topology = {"type": "hub-spoke", "hub": "front", "spokes": list(urls)}
    (folder / "bot.py").write_text(CODE)
    (folder / "rude.yaml").write_text(json.dumps({"agents": agents, "topology": topology, **more}))
    return folder / "rude.yaml"


def test_every_fault_is_an_error_in_time_and_the_next_query_works(
    deploy: Deploy, tmp_path: Path, rude: Rude, gone: Rude
) -> None:
    urls = {fault: f"{rude.url}/{fault}" for fault in FAULTS} | {
        "refused": f"{gone.url}/good",
        "crowd": f"{rude.url}/hole",
    }
    started = deploy("start", job_file(tmp_path, urls, deployment={"health_check": {"enabled": False}})).ok()
    assert "does nothing" not in started.err
    expected = {fault: (by_peer, direct) for fault, (_, by_peer, direct) in FAULTS.items()}
    expected["refused"] = ("unreachable", "unreachable")
    with connect(Home(deploy.home), start=False, environ=deploy.environment) as client:
        for name in ("front", None):  # a connection to each is there, so the faults meet kept ones too
            for fault in expected:
                assert goes_on(client, fault, direct=name is None)
        gone.close()
        for fault, reasons in expected.items():
            for direct, reason in enumerate(reasons):
                check(client, fault, bool(direct), reason)
            if fault != "refused":
                assert goes_on(client, fault, direct=True) == goes_on(client, fault, direct=False) == f"{fault} goes on"
        hang_many(deploy, client, rude)
        # the engine took no harm from 128 MB that were no answer
        engine = psutil.Process(client.status()["processes"]["engine"])
        assert engine.memory_info().rss < 400 << 20
    failed = deploy("query", "rude/reset", "please")
    assert failed.code == 1
    assert "the connection to agent reset broke" in failed.err
    deploy("stop", "--all").ok()


def goes_on(client: Client, fault: str, *, direct: bool) -> str:
    """What it answers when it behaves; a busy machine may need its seconds for nothing."""
    for _ in range(10):
        asked = client.query("rude", "go on" if direct else f"{fault} go on", agent=fault if direct else None)
        if asked.status == "ok" or asked.reason != "timeout":
            break
    assert (asked.status, asked.answer.endswith("goes on")) == ("ok", True), asked
    return asked.answer


def hang_many(deploy: Deploy, client: Client, rude: Rude) -> None:
    """More queries than an HTTP client's pool holds hang at one agent; nobody else waits for them."""
    rude.asked.clear()
    with ExitStack() as stack:
        home = Home(deploy.home)
        crowd = [stack.enter_context(connect(home, start=False, environ=deploy.environment)) for _ in range(2)]
        pool = stack.enter_context(ThreadPoolExecutor(MANY))
        hanging = [pool.submit(ask, crowd[number % 2], "please", "crowd") for number in range(MANY)]
        while rude.asked["hole"] < MANY:
            assert not any(each.done() for each in hanging)
            time.sleep(0.01)
        assert client.query("rude", "go on", agent="reset").status == "ok"
        assert not any(each.done() for each in hanging)
        rude.let_go.set()
        assert {each.result().reason for each in hanging} == {"broken_connection"}


def check(client: Client, fault: str, direct: bool, reason: str) -> None:
    """Ask, directly or through the front: an error while the other side would go on for ever, and a span that says so
    and holds the question.
    """
    question = f"misbehave now {'at length ' * 500}please"
    asked = ask(client, question if direct else f"{fault} {question}", fault if direct else None)
    assert asked.status == "error", (fault, asked)
    trace = client.trace(asked.trace_id)
    assert trace["complete"], trace["missing"]
    assert trace["status"] == "error"
    (span,) = [span for span in trace["spans"] if span["name"] == f"invoke_agent {fault}" or is_call(span)]
    found = span["attributes"]
    assert (span["status"], found["error.type"]) == ("error", reason), (fault, span["message"])
    assert span["message"], fault
    assert span["message"].removeprefix("failed: ") in asked.answer, (fault, span["message"], asked.answer)
    assert json.loads(found["gen_ai.input.messages"])[0]["parts"][0]["content"] == question
    if direct:
        assert (asked.reason, asked.usage["input_tokens"], asked.usage["cost_usd"]) == (reason, None, None)
    sent = reason not in ("unreachable", "forbidden", "busy")
    if sent:
        assert trace["summary"]["cost_usd"] is None, (fault, direct)


def ask(client: Client, text: str, agent: str | None) -> QueryResult:
    if agent != "reset_in_stream":
        return client.query("rude", text, agent=agent)
    stream = client.stream_query("rude", text, agent=agent)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            result: QueryResult = end.value
            return result


def is_call(span: dict[str, Any]) -> bool:
    return bool(span["kind"] == "CLIENT" and span["name"].startswith("invoke_agent "))


def test_a_joined_agent_is_checked_and_its_costs_are_unknown(deploy: Deploy, tmp_path: Path, rude: Rude) -> None:
    health = {"enabled": True, "interval": 0.5, "retries": 4}
    file = job_file(tmp_path, {"good": f"{rude.url}/good"}, deployment={"health_check": health})
    deploy("start", file).ok()

    # nothing is known of what it costs, and 0 would be a lie
    for target in ("rude", "rude/good"):
        asked = deploy("query", target, "good go on", "--json").ok().json
        assert asked["usage"]["cost_usd"] is None
        assert asked["usage"]["partial"] is True
        assert asked["usage"]["input_tokens"] is None
        assert deploy("trace", "show", asked["trace_id"], "--json").ok().json["summary"]["cost_usd"] is None
    assert "$?" in deploy("query", "rude", "good go on").ok().err

    with connect(Home(deploy.home), start=False, environ=deploy.environment) as client:
        rude.away = True
        sick = until(client, "unhealthy")
        assert "agent-card.json can't be reached: Read" in sick["last_error"]
        assert client.job("rude")["status"] == "degraded"
        shown = deploy("ps", "rude").ok().out
        assert "unhealthy" in shown and "agent-card.json can't be reached" in shown
        # it may be asked all the same, and whoever is told about it goes on being told by the next engine
        pid = client.status()["processes"]["engine"]
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    with connect(Home(deploy.home), start=False, environ=deploy.environment) as client:
        assert until(client, "unhealthy")["last_error"]
        assert client.query("rude", "good go on").status == "ok"
        rude.away = False
        assert until(client, "healthy")["last_error"] is None
        rude.card = {"supportedInterfaces": []}
        assert "offers no A2A 1.0 over JSON-RPC" in until(client, "unhealthy")["last_error"]
        rude.card = {}
        until(client, "healthy")
        trace = client.trace(client.job("rude")["deploy_trace_id"])
        assert trace["complete"], trace["missing"]
        spans = [span for span in trace["spans"] if span["agent"] == "good"]
        assert [(span["name"], span["status"]) for span in spans] == [
            ("start_agent good", "ok"),
            ("check_agent good", "error"),
            ("check_agent good", "ok"),
            ("check_agent good", "error"),
            ("check_agent good", "ok"),
        ]
        assert [event["name"] for span in spans for event in span["events"]] == ["unhealthy", "recovered"] * 2
        assert "can't be reached" in spans[1]["message"]
        assert all(span["end_ns"] > span["start_ns"] for span in spans)
        assert {span["parent_id"] for span in spans} == {trace["spans"][0]["span_id"]}
        log = (deploy.home / "engine.log").read_text()
        assert "rude/good is unhealthy: " in log and "rude/good answers again" in log

        # stopped: nobody looks any more, and only the front door is closed
        deploy("stop", "rude/good").ok()
        assert client.query("rude", "go on", agent="good").status == "error"
        assert client.query("rude", "good go on").answer == "good goes on"
        rude.away = True
        time.sleep(3.0)  # more than `retries` checks
        assert status(client)["status"] == "stopped"
        rude.away = False
        deploy("restart", "rude/good").ok()
        assert status(client)["status"] == "healthy"
    deploy("stop", "--all").ok()


def status(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = next(agent for agent in client.job("rude")["agents"] if agent["id"] == "good")
    return found


def until(client: Client, wanted: str) -> dict[str, Any]:
    """The agent once it has that status."""
    end = time.monotonic() + 60
    while (now := status(client))["status"] != wanted:
        assert time.monotonic() < end, now
        time.sleep(0.05)
    return now
