"""The real thing: guard, engine, host, zygote and agents, and what is left when one of them is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from teamwright.client import launch
from teamwright.client.client import Client
from teamwright.client.results import QueryResult
from teamwright.engine.store.state import StateReader
from teamwright.errors import TeamwrightError
from teamwright.home import Home

from .conftest import begin, make_plan, patient


def pair(**more: Any) -> Any:
    return make_plan("team", patient("lead", 1, callees=("helper",)), patient("helper", callers=("lead",)), **more)


def of_home(home: Home) -> list[psutil.Process]:
    """Every living process that belongs to a home."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get("TEAMWRIGHT_MARK", "")
            words = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if process.status() != psutil.STATUS_ZOMBIE and (mark.startswith(home.id) or str(home.path) in words):
            found.append(process)
    return found


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until the condition holds; errors of the engine count as no."""
    end = time.monotonic() + seconds
    while True:
        with suppress(TeamwrightError):
            if condition():
                return
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def up(client: Client) -> bool:
    job = client.job("team")
    return job["status"] == "running" and all(agent["pid"] for agent in job["agents"])


def asked(client: Client, text: str) -> tuple[threading.Thread, list[Any]]:
    """Ask in another thread, with a client of its own; what came of it ends up in the list."""
    found: list[Any] = []
    other = Client(client.url, client.headers()["authorization"].removeprefix("Bearer "))

    def ask() -> None:
        try:
            found.append(other.query("team", text))
        except TeamwrightError as error:
            found.append(error)
        finally:
            other.close()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, found


def settled(client: Client, text: str) -> Any:
    """The trace of that question once it is whole."""
    found: dict[str, Any] = {}

    def look() -> bool:
        for item in client.traces():
            if item["query"] == text and item["status"] != "running":
                found.update(client.trace(item["trace_id"]))
                return True
        return False

    eventually(look)
    return found


def test_from_start_to_nothing(home: Home, running: Client) -> None:
    job = begin(running, pair())
    assert job["status"] == "running" and {agent["status"] for agent in job["agents"]} == {"healthy"}
    result = running.query("team", "hello", user="ada", labels={"k": "v"})
    assert (result.status, result.answer, result.agent) == ("ok", "echo: hello", "lead")
    trace = running.trace(result.trace_id)
    assert trace["complete"] and trace["status"] == "ok"
    names = [span["name"] for span in trace["spans"]]
    assert names[:2] == ["invoke_workflow team", "invoke_agent lead"]
    root, agent = trace["spans"][:2]
    assert agent["parent_id"] == root["span_id"] and root["end_ns"] >= agent["end_ns"] > agent["start_ns"]
    assert {entry["id"] for entry in running.agents()} <= {"team.lead", "team.helper"}
    eventually(lambda: len(running.agents()) == 2)
    assert running.start(pair()).__next__()["event"] == "unchanged"
    file = home.trace_file("team", result.trace_id)
    eventually(file.exists)

    running.stop(["*"])
    assert of_home(home) == []
    assert not home.engine_file.exists() and not home.host_socket.exists()
    with StateReader(home) as reader:
        (found,) = reader.jobs()
    assert found["status"] == "stopped"


def test_a_stream(running: Client) -> None:
    begin(running, pair())
    stream = running.stream_query("team", "hello")
    replies = []
    result: QueryResult | None = None
    while result is None:
        try:
            replies.append(next(stream))
        except StopIteration as end:
            result = end.value
    assert len(replies) > 2 and "task" in replies[0]["result"]
    assert (result.status, result.answer) == ("ok", "echo: hello")
    assert running.trace(result.trace_id)["complete"]


def test_a_failed_start(home: Home, running: Client) -> None:
    broken = make_plan("team", patient("lead"), patient("broken", 1, config={}))
    agents = (broken.agents[0], type(broken.agents[1])(**{**_values(broken.agents[1]), "type": "Nobody"}))
    lines = list(running.start(make_plan("team", *agents)))
    error = lines[-1]["error"]
    assert lines[-1]["event"] == "failed" and "broken" in error["message"] and error["tail"], error
    job = running.job("team")
    assert job["status"] == "failed" and all(agent["pid"] is None for agent in job["agents"])
    assert not [process for process in of_home(home) if ":team/" in process.environ().get("TEAMWRIGHT_MARK", "")]


def test_an_agent_that_never_gets_ready(running: Client) -> None:
    late = _values(patient("late"))
    plan = make_plan("team", type(patient())(**{**late, "type": "Late"}), timeout=1.0)
    error = list(running.start(plan))[-1]["error"]
    assert "not ready after 1 s" in error["message"]


@pytest.mark.parametrize("known", [True, False], ids=["stream", "whole"])
def test_a_killed_engine_finds_everything_again(running: Client, tmp_path: Path, known: bool) -> None:
    begin(running, pair())
    gate = tmp_path / "gate"
    if known:
        stream = running.stream_query("team", f"wait {gate}")
        next(stream)
        next(stream)
    else:
        thread, found = asked(running, f"wait {gate}")
        eventually(lambda: any(item["spans"] > 1 for item in running.traces()))
    agents = {agent["id"]: agent["pid"] for agent in running.job("team")["agents"]}
    os.kill(running.status()["processes"]["engine"], signal.SIGKILL)
    eventually(lambda: up(running))
    assert {agent["id"]: agent["pid"] for agent in running.job("team")["agents"]} == agents
    gate.touch()
    result = drained(stream) if known else None
    trace = settled(running, f"wait {gate}")
    assert trace["status"] == "ok" and trace["complete"], trace
    assert [span["name"] for span in trace["spans"]][:2] == ["invoke_workflow team", "invoke_agent lead"]
    if not known:
        thread.join()
        (result,) = found
    assert isinstance(result, QueryResult) and (result.status, result.answer) == ("ok", "waiting done")
    assert result.trace_id == trace["trace_id"]
    assert running.query("team", "again").status == "ok"


def drained(stream: Generator[Any, None, QueryResult]) -> QueryResult:
    """What is returned at a stream's end."""
    while True:
        try:
            next(stream)
        except StopIteration as end:
            result: QueryResult = end.value
            return result


@pytest.mark.parametrize("victim", ["agent", "zygote", "host"])
def test_killed_in_mid_query(running: Client, tmp_path: Path, victim: str) -> None:
    begin(running, pair())
    thread, found = asked(running, f"wait {tmp_path / 'never'}")
    eventually(lambda: any(item["spans"] > 1 for item in running.traces()))
    job = running.job("team")
    lead = next(agent["pid"] for agent in job["agents"] if agent["id"] == "lead")
    os.kill(lead if victim == "agent" else running.status()["processes"][victim], signal.SIGKILL)
    thread.join()
    (result,) = found
    assert isinstance(result, QueryResult) and result.status == "error" and result.trace_id, result
    eventually(lambda: running.job("team")["status"] != "running" or up(running))
    eventually(lambda: up(running))
    trace = running.trace(result.trace_id)
    assert trace["status"] == "error"
    assert running.query("team", "again").status == "ok"


def test_a_killed_guard_takes_everything_along(home: Home, running: Client, environment: dict[str, str]) -> None:
    begin(running, pair())
    os.kill(running.status()["processes"]["guard"], signal.SIGKILL)
    eventually(lambda: of_home(home) == [])
    with StateReader(home) as reader:
        (job,) = reader.jobs()
    assert job["status"] == "lost"
    with launch.connect(home, start=True, port=0, environ=environment) as again:
        assert again.job("team")["status"] == "lost"
        assert begin(again, pair())["status"] == "running"


def test_a_client_that_dies_in_a_start(home: Home, environment: dict[str, str]) -> None:
    late = type(patient())(**{**_values(patient("late", 1)), "type": "Late"})
    plan = make_plan("team", patient("lead"), late)
    client = launch.connect(home, start=True, port=0, environ=environment)
    stream = client.start(plan)
    eventually(lambda: next(stream).get("status") == "healthy")
    stream.close()
    client.close(well=False)
    eventually(lambda: of_home(home) == [])
    with StateReader(home) as reader:
        (job,) = reader.jobs()
    assert job["status"] == "stopped" and not home.engine_file.exists()


def test_a_replaced_engine_keeps_jobs(running: Client) -> None:
    begin(running, pair())
    before = running.status()["processes"]
    running.restart_engine()
    after = running.status()["processes"]
    assert after["engine"] != before["engine"] and after["host"] == before["host"]
    assert up(running) and running.query("team", "hello").status == "ok"


def _values(agent: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(agent, field.name) for field in fields(agent)}
