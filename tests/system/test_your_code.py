"""The user's own code as agents, through the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

MY_SCRIPTS = "examples/jobs/my-scripts.yaml"
QUESTION = (
    "Summarize this text, find its key words and calculate. Bridges carry roads over water. "
    "Old bridges need care. What is 12 * (3 + 4)?"
)
CODE = """
import os, subprocess, time

def answer(text, turn):
    if text.startswith("hold"):
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        subprocess.Popen(["sleep", "1000"])
        with open("held", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(1000)
    if text == "ask":
        return "back says " + turn.ask_peer("back", "hello")
    return "answered by %d" % os.getpid()

def loud(text):
    return text.upper()
"""
JOB = """
job: {name: own}
agents:
  - {id: front, run: "bot:answer", python: python3, calls: [back]}
  - {id: back, run: "bot:loud"}
  - {id: once, script: [sh, -c, "echo $$ > held; sleep 1000 & setsid sleep 1000"]}
execution: {entry_point: front}
"""


@pytest.fixture
def own(deploy: Deploy, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "own.yaml").write_text(JOB)
    (folder / "bot.py").write_text(CODE)
    deploy("start", folder / "own.yaml").ok()
    yield folder
    deploy("stop", "--all").ok()
    deploy.nothing_left()


def soon(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)
    return found


def sleepers(deploy: Deploy) -> list[int]:
    return [process.pid for process in deploy.processes() if process.command.startswith("sleep 1000")]


def hold(deploy: Deploy, folder: Path, agent: str) -> tuple[subprocess.Popen[bytes], int]:
    """A query that hangs in the user's code, and the pid that works on it."""
    held = folder / "held"
    asking = deploy.begin("query", f"own/{agent}", "hold", "--json")
    soon(lambda: held.exists() and held.read_text().strip())
    soon(lambda: len(sleepers(deploy)) == 2)
    return asking, int(held.read_text())


def test_my_scripts(deploy: Deploy) -> None:
    started = deploy("start", MY_SCRIPTS, "--json").ok().json
    assert [agent["backend"] for agent in started["agents"] if agent["id"] != "coordinator"] == [
        "script", "run", "script",
    ]  # fmt: skip
    asked = deploy("query", "my-scripts", QUESTION, "--json").ok().json
    assert "12 * (3 + 4) = 84" in asked["answer"]
    assert "bridges" in asked["answer"]
    shown = deploy("trace", "show", asked["trace_id"], "--json").ok().json
    assert shown["complete"] is True
    spans = shown["spans"]
    ids = {span["span_id"] for span in spans}
    assert [span["name"] for span in spans if span["parent_id"] not in ids] == ["invoke_workflow my-scripts"]
    servers = {span["agent"] for span in spans if span["kind"] == "SERVER"}
    assert servers == {"coordinator", "keywords", "calculator", "summary"}
    assert {span["status"] for span in spans} == {"ok"}
    deploy("stop", "--all").ok()


def test_a_worker_that_is_killed_fails_its_message_only(deploy: Deploy, own: Path) -> None:
    asking, pid = hold(deploy, own, "front")
    os.kill(pid, signal.SIGKILL)
    with asking:
        out, _ = asking.communicate(timeout=60)
    assert asking.returncode == 1
    assert b"signal 9" in out
    soon(lambda: not sleepers(deploy))
    assert "answered by" in deploy("query", "own", "again", "--json").ok().json["answer"]
    assert deploy("query", "own", "ask", "--json").ok().json["answer"] == "back says HELLO"
    assert deploy("ps", "own", "--json").json["agents"][1]["restarts"] == 0


@pytest.mark.parametrize("agent", ["front", "once"])
def test_what_it_started_ends_with_its_agent(deploy: Deploy, own: Path, agent: str) -> None:
    asking, pid = hold(deploy, own, agent)
    view = deploy("ps", "own", "--json").ok().json
    os.kill(next(one["pid"] for one in view["agents"] if one["id"] == agent), signal.SIGKILL)
    with asking:
        asking.communicate(timeout=60)
    soon(lambda: not sleepers(deploy))
    soon(lambda: pid not in {process.pid for process in deploy.processes()})
    soon(lambda: deploy("ps", "own", "--json").json["status"] == "running")


@pytest.mark.parametrize("agent", ["front", "once"])
def test_stopping_in_the_middle_leaves_nothing(deploy: Deploy, own: Path, agent: str) -> None:
    asking, _ = hold(deploy, own, agent)
    deploy("stop", "own").ok()
    with asking:
        asking.communicate(timeout=60)
    assert sleepers(deploy) == []


def test_a_module_that_is_not_there_stops_the_start(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text('agents: [{id: a, run: "nowhere.at_all:f", python: python3}]')
    failed = deploy("start", tmp_path / "bad.yaml")
    assert failed.code == 1
    assert "no module 'nowhere.at_all'" in failed.err
    deploy("stop", "--all").ok()
