"""Commands that stay: attached starts and followed logs, and what ends them."""

from __future__ import annotations

import select
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


def read_until(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Read its stdout up to a line with `word`."""
    assert process.stdout
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word!r} never came: {process.stderr.read().decode() if process.stderr else ''}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_an_attached_job(deploy: Deploy, number: signal.Signals) -> None:
    attached = deploy.begin("start", HELLO, "--attach")
    with attached:
        read_until(attached, b"| ")
        assert deploy("ps", "hello", "--json").ok().json["status"] == "running"
        attached.send_signal(number)
        attached.communicate(timeout=60)
    assert attached.returncode == 130
    deploy.nothing_left()
    assert deploy("ps", "hello", "--json").ok().json["status"] == "stopped"


def test_an_attached_start_ends_with_its_job(deploy: Deploy) -> None:
    attached = deploy.begin("start", HELLO, "--attach", "--json")
    with attached:
        read_until(attached, b'"line"')
        deploy("stop", "hello").ok()
        attached.communicate(timeout=60)
    assert attached.returncode == 0
    deploy("stop", "--all").ok()


def test_what_was_logged_earlier_is_not_shown_again(deploy: Deploy) -> None:
    agents = deploy("start", HELLO, "--json").ok().json["agents"]
    deploy("stop", "hello").ok()
    attached = deploy.begin("start", HELLO, "--attach", "--json")
    with attached:
        read_until(attached, b": ready: ")  # the first
        deploy("stop", "hello").ok()
        assert attached.stdout
        rest = attached.stdout.read()
        attached.wait(60)
    assert rest.count(b": ready: ") == len(agents) - 1
    deploy("stop", "--all").ok()


def test_logs_are_followed(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("agents: [{id: chatty, type: Chatty, module: chatty, backend: offline}]")
    (tmp_path / "chatty.py").write_text(
        "from teamwright import Agent\n"
        "class Chatty(Agent):\n"
        "    async def run(self, turn):\n"
        "        print('heard', turn.text, flush=True)\n"
        "        return 'yes'\n"
    )
    deploy("start", tmp_path / "job.yaml").ok()
    following = deploy.begin("logs", "job/chatty", "-f", "-n", "0")
    with following:
        assert following.stdout
        while not select.select([following.stdout], [], [], 0)[0]:  # it shows what comes once it has begun
            deploy("query", "job", "something").ok()
        read_until(following, b"heard something")
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=60)
    assert following.returncode == 130
    assert "heard something" in deploy("logs", "job", "-n", "1").ok().out
    deploy("stop", "--all").ok()


def test_the_query_of_the_file_is_asked_once(deploy: Deploy, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("agents: [{id: a, backend: offline}]\nexecution: {query: What now?}\n")
    started = deploy("start", file).ok()
    assert "What now?" in started.out
    assert len(deploy("trace", "list", "--json").ok().json["traces"]) == 1
    deploy("start", file).ok()
    assert len(deploy("trace", "list", "--json").ok().json["traces"]) == 1
    deploy("stop", "--all").ok()


def test_an_interrupted_query_of_a_file_stops_its_job(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("agents: [{id: slow, type: Slow, module: slow, backend: offline}]")
    (tmp_path / "slow.py").write_text(
        "import asyncio\n"
        "from pathlib import Path\n"
        "from teamwright import Agent\n"
        "class Slow(Agent):\n"
        "    async def run(self, turn):\n"
        f"        Path({str(tmp_path / 'asked')!r}).touch()\n"
        "        await asyncio.sleep(60)\n"
        "        return 'late'\n"
    )
    asking = deploy.begin("query", tmp_path / "job.yaml", "something")
    with asking:
        until = time.monotonic() + 60
        while not (tmp_path / "asked").exists():
            assert time.monotonic() < until, "nobody was asked"
            time.sleep(0.05)
        asking.send_signal(signal.SIGINT)
        asking.communicate(timeout=60)
    assert asking.returncode == 130
    deploy.nothing_left()


def test_tokens(deploy: Deploy) -> None:
    deploy("start", HELLO).ok()
    made = deploy("token", "create", "--job", "hello", "--ttl", "10m", "--json").ok().json
    assert made["token"].count(".") == 2
    with_token = {"TEAMWRIGHT_TOKEN": made["token"]}
    assert deploy("query", "hello", "hi", environment=with_token).code == 0
    assert deploy("stop", "hello", environment=with_token).code == 1
    assert deploy("query", "hello", "hi", environment={"TEAMWRIGHT_TOKEN": "nonsense"}).code == 1
    assert len(deploy("token", "create").ok().out.split()) == 1
    deploy("stop", "--all").ok()


def test_engine_commands(deploy: Deploy) -> None:
    started = deploy("engine", "start", "--json", "--port", "0").ok().json
    assert set(started) >= {"url", "home", "version", "uptime_s", "processes"}
    assert set(started["processes"]) >= {"guard", "engine", "host", "zygote"}
    assert deploy("engine", "status", "--json").ok().json["url"] == started["url"]
    deploy("start", HELLO).ok()
    agents = deploy("ps", "hello", "--json").ok().json["agents"]
    restarted = deploy("engine", "restart", "--json").ok().json
    assert restarted["processes"]["engine"] != started["processes"]["engine"]
    assert restarted["processes"]["guard"] == started["processes"]["guard"]
    assert deploy.settled(deploy("ps", "hello", "--json").ok().json["agents"]) == deploy.settled(agents)
    deploy("query", "hello", "hi").ok()
    refused = deploy("engine", "stop")
    assert refused.code == 1
    assert "--force" in refused.err
    deploy("stop", "--all").ok()
    assert deploy("engine", "status").code == 0  # `engine start` has it stay
    deploy("engine", "stop").ok()
    deploy.nothing_left()
    assert "no engine was running" in deploy("engine", "stop").ok().out
