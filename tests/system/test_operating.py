"""The commands of three in the morning: events, describe, top, ps with figures, logs of several agents."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .test_chat import Person

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: night}
defaults: {module: night}
agents:
  - {id: guard, type: Night, calls: [bell], description: Keeps watch, env: [SECRET_WORD]}
  - {id: bell, type: Night, max_concurrent: 1, restart: {policy: on-failure, max: 5, within: 10m}}
"""
CODE = """
import asyncio, logging, os
from teamwright import Agent

log = logging.getLogger("night")

class Night(Agent):
    async def run(self, turn):
        word, _, rest = turn.text.partition(" ")
        if word == "log":
            log.warning("heard %s", rest)
            print("printed by hand", flush=True)
        if word == "ring":
            log.warning("a bell \\a \\x1b]0;pwned\\a \\x1b[2J\\x1b[31mrings")
        if word == "wait":
            open(rest + ".waits", "a").close()
            while not os.path.exists(rest):
                await asyncio.sleep(0.01)
        if word == "burn":
            sum(number * number for number in range(int(rest)))
        return "done"
"""


@pytest.fixture(scope="module")
def night(shared_deploy: Deploy) -> Iterator[Deploy]:
    folder = shared_deploy.home.parent
    (folder / "night.yaml").write_text(JOB)
    (folder / "night.py").write_text(CODE)
    shared_deploy("start", folder / "night.yaml", environment={"SECRET_WORD": "hush-hush"}).ok()
    yield shared_deploy
    shared_deploy("stop", "--all").ok()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def agent(night: Deploy, name: str) -> Any:
    return next(each for each in night("ps", "night", "--json").ok().json["agents"] if each["id"] == name)


def events(night: Deploy, *more: str) -> list[Any]:
    return [json.loads(line) for line in night("events", *more, "--json").ok().out.splitlines()]


def test_events_have_reasons_and_actors(night: Deploy) -> None:
    before = agent(night, "bell")
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: agent(night, "bell")["restarts"] > before["restarts"])
    until(lambda: agent(night, "bell")["status"] == "healthy")
    night("restart", "night/guard").ok()
    found = events(night, "night")
    kinds = [(event["kind"], event["agent"]) for event in found]
    assert (
        kinds.index(("order.start", None)) < kinds.index(("agent.ready", "bell")) < kinds.index(("job.started", None))
    )
    died = next(event for event in found if event["kind"] == "agent.exited")
    assert died["agent"] == "bell" and died["data"]["last_exit"]["signal"] == signal.SIGKILL and died["actor"] is None
    ordered = next(event for event in found if event["kind"] == "order.restart")
    import pwd

    assert ordered["actor"] == pwd.getpwuid(os.getuid()).pw_name and ordered["data"]["targets"] == ["night/guard"]
    assert {event["agent"] for event in events(night, "night/bell")} == {"bell"}
    assert events(night, "--since", "1ms") == []
    text = night("events", "--job", "night").ok().out
    assert "signal 9" in text and "\x1b" not in text


def test_events_survive_the_engine(night: Deploy) -> None:
    before = events(night)
    engine = night("engine", "status", "--json").ok().json["processes"]["engine"]
    os.kill(engine, signal.SIGKILL)
    until(lambda: any(event["kind"] == "engine.started" for event in events(night)[len(before) :]))
    assert events(night)[: len(before)] == before


def test_events_are_followed_until_ctrl_c(night: Deploy) -> None:
    person = Person(night, night.home.parent, "events", "night/bell", "-f", "-n", "0")
    try:
        while not person.shows("agent.ready"):  # what comes once it has begun
            night("restart", "night/bell").ok()
        assert person.leaves("\x03") == 130
    finally:
        person.goes()


def test_ps_says_what_agents_take_and_have_to_do(night: Deploy) -> None:
    gate = night.home.parent / "gate"
    asked = [night.begin("query", "night/bell", f"wait {gate}", "--json") for _ in range(3)]
    found = until(lambda: (now := agent(night, "bell"))["queued"] == 2 and now)
    assert found["in_flight"] == 1
    found = until(lambda: (now := agent(night, "bell"))["cpu"] is not None and now)
    assert 0 <= found["cpu"] < 64 and found["memory"] > 4 << 20
    gate.touch()
    for query in asked:
        out, _ = query.communicate(timeout=60)
        assert json.loads(out)["answer"] == "done"
    until(lambda: (now := agent(night, "bell"))["in_flight"] == 0 and now["queued"] == 0)


def test_describe(night: Deploy) -> None:
    night("query", "night", "hello").ok()
    job = night("describe", "night", "--json").ok().json
    assert job["edges"] == [{"from": "guard", "to": "bell"}] and job["uptime_s"] > 0 and job["runs"]
    assert job["usage"]["queries"] >= 1
    one = night("describe", "night/guard", "--json").ok().json
    assert one["card"]["description"] == "Keeps watch" and one["calls"] == ["bell"] and one["uptime_s"] > 0
    assert one["secrets"] == [{"name": "SECRET_WORD", "source": "shell"}]
    for done in (
        night("describe", "night"),
        night("describe", "night/guard"),
        night("describe", "night/guard", "--json"),
    ):
        assert done.code == 0 and "hush-hush" not in done.out + done.err, str(done)
    assert "next: deploy logs night/guard -f" in night("describe", "night/guard").out


@pytest.mark.parametrize("command", ["describe", "events", "logs", "top"])
def test_unknown(night: Deploy, command: str) -> None:
    done = night(command, "nihgt")
    if command != "events":  # which knows jobs that are long forgotten
        assert done.code == 2 and "night" in done.err and len(done.err.splitlines()) <= 2, str(done)
    done = night(command, "not a job")
    assert done.code == 2 and "Traceback" not in done.err


def test_top_in_a_pipe(night: Deploy) -> None:
    found = night("top", "--json", "--once").ok().json
    (job,) = found["jobs"]
    assert {each["id"] for each in job["agents"]} == {"guard", "bell"} and job["usage"]["queries"] >= 0
    assert all(each["cpu"] is not None and each["memory"] > 4 << 20 for each in job["agents"])
    text = night("top", "night/bell").ok().out
    assert "bell" in text and "guard" not in text and "\x1b" not in text


def test_top_at_a_terminal(night: Deploy) -> None:
    person = Person(night, night.home.parent, "top", "--every", "0.3")
    try:
        person.sees("guard", within=60)
        person.sees("q leaves", within=60)
        person.resize(5, 40)
        person.sees("1 more below", within=60)
        person.type("c")
        assert person.leaves("q") == 0
        assert "\x1b[?1049l" in person.raw, "the terminal is as it was"
    finally:
        person.goes()
    person = Person(night, night.home.parent, "top")
    try:
        person.sees("guard", within=60)
        assert person.leaves("\x03") == 0
    finally:
        person.goes()


def test_logs_of_several(night: Deploy) -> None:
    run = night("query", "night", "log alpha", "--json").ok().json
    night("query", "night/bell", "log beta").ok()
    lines = night("logs", "night", "--grep", "heard").ok().out.splitlines()
    assert [re.match(r"(guard|bell ) \| .*heard (alpha|beta)$", line) is not None for line in lines] == [True, True]
    assert "alpha" in lines[0] and "beta" in lines[1]
    (found,) = [json.loads(line) for line in night("logs", "night", "--grep", "alpha", "--json").ok().out.splitlines()]
    assert found["run_id"] == run["run_id"] and found["trace_id"] == run["trace_id"] and found["level"] == "WARNING"
    assert "beta" not in night("logs", "night", "--run", run["run_id"][:8]).ok().out
    assert "ready" not in night("logs", "night", "--level", "warning").ok().out
    assert night("logs", "night", "--since", "1ms").ok().out == ""
    done = night("logs", "night", "--grep", "(")
    assert done.code == 2 and "regular expression" in done.err


def test_logs_are_followed_over_rotation_and_restart(night: Deploy) -> None:
    person = Person(night, night.home.parent, "logs", "-f", "night/guard", "night/bell", "--grep", "heard|ready")
    try:
        person.sees("ready", within=60)
        night("query", "night/bell", "log before").ok()
        person.sees("heard before", within=60)
        assert "\x1b[33m" in person.raw, "warnings have a colour"
        log = night.home / "jobs/night/agents/bell.log"
        with open(log, "ab") as file:
            file.truncate(11_000_000)
        Path(log).write_bytes(log.read_bytes()[:0] + b"x" * 10_500_000 + b"\n")
        night("restart", "night/bell").ok()
        assert Path(f"{log}.1").exists()
        person.sees("ready: ", within=60)
        night("query", "night/bell", "log after").ok()
        person.sees("heard after", within=60)
        assert person.leaves("\x03") == 130
    finally:
        person.goes()


def test_a_terminal_obeys_no_log(night: Deploy) -> None:
    night("query", "night", "ring").ok()
    piped = night("logs", "night", "--grep", "a bell").ok().out
    assert "\x1b]0;pwned\a \x1b[2J\x1b[31mrings" in piped, "in a pipe nothing is changed"
    for arguments in (("logs", "night", "--grep", "a bell"), ("describe", "night"), ("events", "night")):
        person = Person(night, night.home.parent, *arguments)
        try:
            assert person.leaves("") == 0
        finally:
            person.goes()
        assert "\x1b]0;" not in person.raw and "\x1b[2J" not in person.raw and "\a" not in person.raw
        assert arguments[0] != "logs" or "rings" in person.screen


def test_tokens_and_dollars_of_each_agent(night: Deploy) -> None:
    (job,) = night("top", "--json", "--once").ok().json["jobs"]
    for each in job["agents"]:
        assert set(each["usage"]) == {"calls", "input_tokens", "output_tokens", "cost_usd"}
    head = night("top", "--once").ok().out.splitlines()[2].split()
    assert head[head.index("QUEUED") + 1 :] == ["TOKENS", "COST", "RESTARTS", "UP"]


def test_no_colours_on_demand(night: Deploy) -> None:
    environment = {**night.environment, "NO_COLOR": "1"}
    plain = type(night)(environment, night.folder, night.home)
    person = Person(plain, night.home.parent, "logs", "night", "-n", "3")
    try:
        person.sees("|", within=60)
        person.leaves("")
        assert "\x1b[3" not in person.raw
    finally:
        person.goes()
