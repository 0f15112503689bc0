"""MCP servers of a job through the real command: its tools in the trace, its secrets in no output, no process left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.standins import mcp_server

if TYPE_CHECKING:
    from tests.system.conftest import Deploy


@pytest.fixture
def job(tmp_path: Path) -> Path:
    server = {
        "command": sys.executable,
        "args": [mcp_server.__file__, "stubborn"],
        "env": {"API_KEY": "k-secret", "TEXT": "${SERVER_TOKEN}"},
    }
    agent = {"id": "crier", "backend": "offline", "prompt": "You shout.", "mcp_servers": {"words": server}}
    file = tmp_path / "criers.yaml"
    file.write_text(json.dumps({"agents": [agent]}))
    return file


def test_tools_of_a_server(deploy: Deploy, job: Path) -> None:
    deploy.environment["SERVER_TOKEN"] = "t-secret"
    plan = deploy("plan", job, "--json").ok()
    assert "mcp_servers.words.env.API_KEY" in plan.out
    started = deploy("start", job, "--json").ok()
    answer = deploy("query", "criers", 'shout "hello"', "--json").ok()
    assert "HELLO! 00-" in answer.json["answer"]
    trace = deploy("trace", "show", answer.json["trace_id"], "--json").ok()
    spans = [json.loads(line) for line in trace.out.splitlines()]
    assert "execute_tool shout" in json.dumps(spans)
    assert "k-secret" not in plan.out + started.out + answer.out + trace.out
    assert "t-secret" not in plan.out + started.out + answer.out + trace.out
    stored = b"".join(file.read_bytes() for file in deploy.home.glob("*.db*"))
    assert b"k-secret" not in stored
    assert b"t-secret" not in stored
    secret = deploy("query", "criers", 'getenv "API_KEY"', "--json").ok()
    assert "k-secret" in secret.json["answer"] or "…" in secret.json["answer"]

    servers = {process.pid for process in deploy.processes() if "mcp_server" in process.command}
    assert len(servers) == 1
    (agent,) = started.json["agents"]
    os.kill(agent["pid"], signal.SIGKILL)
    until = time.monotonic() + 60
    while servers & {process.pid for process in deploy.processes()} and time.monotonic() < until:
        time.sleep(0.05)
    assert not servers & {process.pid for process in deploy.processes()}
    deploy("query", "criers", 'shout "again"').ok()
    deploy("stop", "--all").ok()
    deploy.nothing_left(patience=20)
