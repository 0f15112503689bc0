"""The user's own code and other people's agents in a job file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from teamwright.home import Home
from teamwright.jobs.orders import Site, launch_orders, port_requests

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder

PATH = {"PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("agent", "line"),
    [
        ('run: "bot:answeer"', "run: agent 'a': no answeer in bot (did you mean 'answer'?)"),
        ('run: "nowhere:f"', "run: agent 'a': no module nowhere"),
        ('run: "bot:answer", python: ./no/python', "python: agent 'a': no program ./no/python"),
        ("script: [no-such-program]", "script: agent 'a': no-such-program is not there, or can't be run"),
        ("script: [python, missing.py]", "script: agent 'a': no file "),
        ("script: [bot.py]", "script: agent 'a': bot.py is not there, or can't be run (write [python, bot.py])"),
        ("command: [no-such-program]", "command: agent 'a': no program no-such-program"),
        ('url: "ftp://x"', "url: agent 'a': must be an http:// or https:// address"),
        ("auth: {variable: KEY}", "auth: agent 'a': a variable is shown only to command: and url: agents"),
        ('url: "http://x", auth: {variable: NO_KEY}', "auth.variable: agent 'a': the variable NO_KEY is not set"),
        ("command: [sh], python: python3", "python: agent 'a': python belongs to run: or script:"),
    ],
)
def test_what_is_not_there_is_a_problem_of_the_file(agent: str, line: str, folder: Folder) -> None:
    folder.write("bot.py", "def answer(text): ...")
    (found,) = folder.lines(f"agents: [{{id: a, {agent}}}]", environ={**PATH, "KEY": "1"})
    assert f"agents[0].{line}" in found


def test_modules_of_another_interpreter_may_be_out_of_sight(folder: Folder) -> None:
    plan = folder.load(f'agents: [{{id: a, run: "nowhere:f", python: {sys.executable}}}]', environ=PATH).plan
    assert (plan.agents[0].kind, plan.agents[0].python, plan.agents[0].backend) == ("run", sys.executable, "run")


def test_keys_that_do_nothing_are_warned_about(folder: Folder) -> None:
    text = """
        defaults: {prompt: For those who read it}
        agents:
          - {id: a, script: [sh], model: x, limits: {turns: 3}}
          - {id: b, url: "http://x", restart: {max: 1}, max_concurrent: 3, calls: [a],
             limits: {turns: 1, duration: 2}}
    """
    warnings = "\n".join(folder.load(text, environ=PATH).warnings)
    for key in (
        "agents[0].model",
        "agents[1].restart",
        "agents[1].max_concurrent",
        "agents[1].calls",
        "agents[1].limits.turns",
    ):
        assert key in warnings
    assert "prompt" not in warnings and "agents[0].limits" not in warnings and "duration" not in warnings
    assert "a url: agent gets no token" in warnings


def test_foreign_agents_have_credentials_of_their_own_and_no_port(folder: Folder) -> None:
    text = """
        agents:
          - {id: a, url: "http://x", auth: {variable: KEY}}
          - {id: b, command: [sh], auth: {variable: KEY, header: X-Key}}
        execution: {entry_point: a}
    """
    resolved = folder.load(text, environ={**PATH, "KEY": "t0p"})
    a, b = resolved.plan.agents
    assert a.auth and a.auth.headers(resolved.secrets["a"]) == {"authorization": "Bearer t0p"}
    assert b.auth and b.auth.headers(resolved.secrets["b"]) == {"x-key": "t0p"}
    assert "t0p" not in str(resolved.plan.to_dict())
    assert [request.id for request in port_requests(resolved.plan, {})] == ["team/b"]
    assert type(resolved.plan).from_dict(resolved.plan.to_dict()) == resolved.plan


def test_a_foreign_agent_has_a_deadline_for_each_call(folder: Folder, home_path: Path) -> None:
    text = """
        agents:
          - {id: lead, backend: offline, calls: [a, b, own]}
          - {id: a, url: "http://x", limits: {duration: 2s}}
          - {id: b, command: [sh], limits: {duration: 1m}}
          - {id: own, backend: offline, limits: {duration: 3}}
        execution: {entry_point: lead}
    """
    plan = folder.load(text, environ=PATH).plan
    site = Site(Home(home_path).create(), "http://e", "key", "http://e")
    ports = {f"team/{agent}": 9000 for agent in ("lead", "b", "own")}
    orders = launch_orders(plan, ports, {}, site, lambda plan, agent: {})
    assert {peer.id: peer.duration for peer in orders["lead"].spec.peers} == {"a": 2.0, "b": 60.0, "own": None}
    assert orders["own"].spec.limits.duration == 3.0


def test_the_code_is_part_of_the_revision(folder: Folder) -> None:
    text = 'agents: [{id: a, run: "bot:f", calls: [b]}, {id: b, script: [sh, run.sh]}]'
    revisions = set()
    for code, script in (("1", "1"), ("2", "1"), ("2", "2")):
        folder.write("bot.py", f"def f(text): return {code}")
        folder.write("run.sh", script)
        revisions.add(folder.load(text, environ=PATH).plan.revision)
    assert len(revisions) == 3
