"""A pipeline through the real command line: order, trace, and the death of whoever runs it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.waiting import until

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team" / "line.yaml"


@pytest.fixture
def team(deploy: Deploy) -> Iterator[Deploy]:
    done = deploy("start", TEAM).ok()
    assert "warning" not in done.out + done.err
    yield deploy
    deploy("stop", "--all").ok()


def pid_of(deploy: Deploy, agent: str) -> int:
    agents = deploy("ps", "line", "--json").ok().json["agents"]
    return int(next(item["pid"] for item in agents if item["id"] == agent))


def test_results_go_from_stage_to_stage(team: Deploy) -> None:
    done = team("query", "line", "x", "--json").ok().json
    assert done["answer"] == "write(slow(read(x))\n\nquick(read(x)))"
    trace: dict[str, Any] = team("trace", "show", done["trace_id"], "--json").ok().json
    assert (trace["status"], trace["complete"]) == ("ok", True)
    by_id = {span["span_id"]: span for span in trace["spans"]}
    runner = next(span for span in trace["spans"] if span["kind"] == "SERVER" and span["agent"] == "read")
    calls = {span["name"].split()[-1]: span for span in trace["spans"] if span["kind"] == "CLIENT"}
    assert set(calls) == {"slow", "quick", "write"}
    assert {span["parent_id"] for span in calls.values()} == {runner["span_id"]}
    assert max(calls["slow"]["end_ns"], calls["quick"]["end_ns"]) <= calls["write"]["start_ns"]
    assert calls["quick"]["start_ns"] < calls["slow"]["end_ns"]
    stations = [span for span in trace["spans"] if span["kind"] == "SERVER"]
    assert sorted(span["agent"] for span in stations) == ["quick", "read", "slow", "write"]
    assert all(by_id[span["parent_id"]]["kind"] == "CLIENT" for span in stations if span["agent"] != "read")
    again = [team("query", "line", "x", "--json").ok().json["answer"] for _ in range(3)]
    assert again == [done["answer"]] * 3
    assert team("query", "line/quick", "alone", "--json").ok().json["answer"] == "quick(alone)"


@pytest.mark.parametrize(("station", "says"), [("read", "read"), ("slow", "slow"), ("write", "write")])
def test_a_station_killed_at_work_fails_the_query_clearly(
    team: Deploy, tmp_path: Path, station: str, says: str
) -> None:
    at_work = tmp_path / "at-work"
    asked = team.begin("query", "line", f"{station} waits {at_work}", "--json")
    until(at_work.exists)
    os.kill(pid_of(team, station), signal.SIGKILL)
    out, err = asked.communicate(timeout=60)  # it would work for ten minutes
    assert asked.returncode == 1, (out, err)
    answer = json.loads(out)
    assert answer["status"] == "error"
    assert says in answer["answer"] and ("broke" in answer["answer"] or "ended" in answer["answer"]), answer
    trace: dict[str, Any] = team("trace", "show", answer["trace_id"], "--json").ok().json
    assert trace["status"] in ("error", "lost")
    until(lambda: team("query", "line", "x", "--json").code == 0)
    assert team("query", "line", "x", "--json").ok().json["status"] == "ok"
