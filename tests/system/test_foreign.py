"""`command:` and `url:` agents: other people's A2A servers in a job, through the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

SERVER = Path(__file__).parent / "team" / "foreign.py"
TOKEN = "partner-token-0815"
CODE = """
async def ask(text, turn):
    name, _, rest = text.partition(" ")
    return (await turn.ask_peer(name, rest)).text
"""
JOB = """
job: {{name: mixed}}
agents:
  - {{id: front, run: "bot:ask"}}
  - {{id: other, command: [{python}, {server}], restart: {{policy: always}}}}
  - {{id: partner, url: "{url}", auth: {{variable: PARTNER_TOKEN}}}}
topology: {{type: hub-spoke, hub: front, spokes: [other, partner]}}
deployment: {{health_check: {{interval: 1}}}}
"""


@pytest.fixture
def partner(deploy: Deploy) -> Iterator[str]:
    """A server that runs without us."""
    with subprocess.Popen([sys.executable, SERVER, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
        finally:
            process.kill()


@pytest.fixture
def job(tmp_path: Path, partner: str, deploy: Deploy) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "bot.py").write_text(CODE)
    (folder / "mixed.yaml").write_text(JOB.format(python=sys.executable, server=SERVER, url=partner))
    deploy.environment["PARTNER_TOKEN"] = TOKEN
    return folder / "mixed.yaml"


def agents(deploy: Deploy) -> dict[str, dict[str, Any]]:
    return {agent["id"]: agent for agent in deploy("ps", "mixed", "--json").ok().json["agents"]}


def seen(url: str) -> dict[str, Any]:
    """The last call that a server got."""
    found: dict[str, Any] = httpx.get(f"{url}/seen", trust_env=False, timeout=60).json()[-1]
    found["headers"] = {name.lower(): value for name, value in found["headers"].items()}
    return found


def test_foreign_agents(deploy: Deploy, job: Path, partner: str) -> None:
    started = {agent["id"]: agent for agent in deploy("start", job, "--json").ok().json["agents"]}
    assert {name: agent["foreign"] for name, agent in started.items()} == {
        "front": False, "other": True, "partner": True,
    }  # fmt: skip
    assert {agent["status"] for agent in started.values()} == {"healthy"}
    assert (started["partner"]["pid"], started["partner"]["url"]) == (None, partner)
    assert started["other"]["pid"]
    shown = deploy("ps", "mixed").ok().out
    assert "url (foreign)" in shown and shown.endswith("it is not held to tokens, limits and halts\n")

    # asked by a peer, and through the front door: a CLIENT span each, our token to nobody
    for name, url in (("other", started["other"]["url"]), ("partner", partner)):
        asked = deploy("query", "mixed", f"{name} hello", "--json", "--user", "ann").ok().json
        assert asked["answer"] == "echo: hello"
        by_peer = seen(url)
        direct = deploy("query", f"mixed/{name}", "directly", "--json", "--user", "ann").ok().json
        assert direct["answer"] == "echo: directly"
        for call, trace_id in ((by_peer, asked["trace_id"]), (seen(url), direct["trace_id"])):
            spans = deploy("trace", "show", trace_id, "--json").ok().json["spans"]
            client = next(span for span in spans if span["kind"] == "CLIENT")
            assert client["status"] == "ok" and client["name"] == f"invoke_agent {name}"
            assert call["path"] == "/rpc"
            assert call["headers"]["traceparent"] == f"00-{trace_id}-{client['span_id']}-01"
            assert call["headers"].get("authorization") == (f"Bearer {TOKEN}" if name == "partner" else None)
            assert ("ann" in str(call)) == (name == "other")

    # errors are errors, and the next query works
    for text, line in (("refuse", "not today"), ("teapot", "418")):
        for target, words in (("mixed", f"partner {text}"), ("mixed/partner", text)):
            failed = deploy("query", target, words)
            assert failed.code == 1 and line in failed.err
    assert TOKEN not in deploy("ps", "mixed", "--json").out
    assert deploy("query", "mixed", "partner hello").ok()
    deploy("restart", "mixed/partner").ok()
    deploy("stop", "mixed/partner").ok()
    assert agents(deploy)["partner"]["status"] == "stopped"
    deploy("stop", "--all").ok()


def test_a_command_is_looked_after(deploy: Deploy, job: Path) -> None:
    deploy("start", job).ok()
    before = agents(deploy)["other"]
    deploy("query", "mixed/other", "family").ok()
    assert deploy("query", "mixed/other", "die").code == 1
    after = settled(deploy, before)
    assert (after["url"], after["restarts"], after["last_exit"]["code"]) == (before["url"], 1, 3)
    assert not [process for process in deploy.processes() if process.command.startswith("sleep")]
    os.kill(after["pid"], signal.SIGKILL)
    again = settled(deploy, after)
    assert deploy("query", "mixed", "other hello").ok().out.strip() == "echo: hello"
    os.kill(again["pid"], signal.SIGSTOP)
    settled(deploy, again)
    assert "serving on" in deploy("logs", "mixed/other").ok().out
    deploy("stop", "--all").ok()
    deploy.nothing_left()


def settled(deploy: Deploy, before: dict[str, Any]) -> dict[str, Any]:
    """The agent once it is healthy again, in another process."""
    until = time.monotonic() + 60
    while (now := agents(deploy)["other"])["pid"] == before["pid"] or now["status"] != "healthy":
        assert time.monotonic() < until, now
        time.sleep(0.1)
    return now


@pytest.mark.parametrize(
    ("agent", "line"),
    [
        ('{id: a, url: "http://127.0.0.1:9"}', "agent a can't be joined: http://127.0.0.1:9/.well-known/agent-card"),
        ("{id: a, command: [sleep, '1000']}", "agent a was not ready after 2 s"),
        ("{id: a, command: [false]}", "a ended with exit code 1"),
        ("{id: a, command: [no-such-program]}", "no program no-such-program"),
    ],
)
def test_what_does_not_answer_stops_the_start(deploy: Deploy, tmp_path: Path, agent: str, line: str) -> None:
    (tmp_path / "bad.yaml").write_text(
        f"agents: [{agent}]\ndeployment: {{timeout: {2 if 'not ready' in line else 60}}}\n".replace(
            "[false]", "['false']"
        )
    )
    failed = deploy("start", tmp_path / "bad.yaml")
    assert failed.code != 0
    assert line in failed.err
    deploy("stop", "--all").ok()


def test_a_card_that_sends_callers_elsewhere_is_refused(deploy: Deploy, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, SERVER, "0", "elsewhere"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().split()[-1]
            (tmp_path / "bad.yaml").write_text(f'agents: [{{id: a, url: "http://127.0.0.1:{port}"}}]')
            failed = deploy("start", tmp_path / "bad.yaml")
            assert failed.code == 1
            assert "its card sends callers to http://169.254.169.254" in failed.err
        finally:
            process.kill()
    deploy("stop", "--all").ok()
