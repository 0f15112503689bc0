"""`stop` without an engine ends what an engine that is gone has left behind."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


def test_stop_without_an_engine_sweeps(deploy: Deploy) -> None:
    deploy("start", HELLO).ok()
    pids = deploy("engine", "status", "--json").ok().json["processes"]
    os.kill(pids["host"], signal.SIGSTOP)  # so that it can't tidy up when its parent dies
    os.kill(pids["guard"], signal.SIGKILL)
    until = time.monotonic() + 60
    while any(process.pid == pids["engine"] for process in deploy.processes()) and time.monotonic() < until:
        time.sleep(0.05)
    assert deploy.processes(), "there is nothing to sweep"
    assert deploy("ps", "hello", "--json").ok().json["status"] == "lost"
    assert deploy("engine", "status").code == 1
    swept = deploy("stop", "--all").ok()
    assert "no engine was running" in swept.out
    deploy.nothing_left(patience=20)
    assert deploy("stop", "--all", "--json").ok().json["swept"] == 0


def test_a_start_sweeps_first(deploy: Deploy) -> None:
    before = deploy("start", HELLO, "--json").ok().json["agents"]
    pids = deploy("engine", "status", "--json").ok().json["processes"]
    os.kill(pids["host"], signal.SIGSTOP)
    os.kill(pids["guard"], signal.SIGKILL)
    after = deploy("start", HELLO, "--json").ok().json["agents"]
    alive = {process.pid for process in deploy.processes()}
    assert not alive & {agent["pid"] for agent in before}
    assert alive >= {agent["pid"] for agent in after}
    deploy("query", "hello", "hi").ok()
    deploy("stop", "--all").ok()
