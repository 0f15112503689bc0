"""The engine as a service: in the foreground, under a service manager, its unit, and its replacement by newer code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


class Manager:
    """What a service manager hears."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.heard: list[str] = []

    def until(self, word: str) -> str:
        """The line that begins so, when it comes."""
        while not any(line.startswith(word) for line in self.heard):
            self.heard += self._sock.recv(4096).decode().splitlines()
        return next(line for line in self.heard if line.startswith(word))


@contextmanager
def manager(path: str) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(60)
        yield Manager(sock)
    Path(path).unlink()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    out, err = process.communicate(timeout=90)
    assert out == b"" and b"Traceback" not in err, err.decode()
    return process.returncode, err.decode()


def test_a_service_from_start_to_stop(deploy: Deploy) -> None:
    path = deploy.environment["HOME"] + "/notify"
    with manager(path) as systemd:
        told = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"}
        engine = deploy.begin("engine", "start", "--foreground", "--port", "0", environment=told)
        systemd.until("READY=1")
        url = systemd.until("STATUS=").removeprefix("STATUS=at ")
        systemd.until("WATCHDOG=1")
        for probe in ("livez", "readyz"):
            assert httpx.get(f"{url}/{probe}", trust_env=False, timeout=60).text == "ok"
        again = deploy("engine", "start", "--foreground")
        assert again.code == 1 and "runs already" in again.err and "hint: deploy engine stop" in again.err
        deploy("start", HELLO).ok()
        assert deploy("engine", "status", "--json").ok().json["on_demand"] is False
        engine.terminate()
        systemd.until("STOPPING=1")
        code, err = ended(engine)
        assert code == 0 and "guard  | " in err and "left, nothing remains" in err and "engine | " in err
    deploy.nothing_left()
    assert deploy("ps", "hello", "--json").ok().json["status"] == "stopped"


@pytest.mark.parametrize("how", ["kill -9", "engine stop", "ctrl-c", "guard killed"])
def test_it_ends_with_its_command(deploy: Deploy, how: str) -> None:
    engine = deploy.begin("engine", "start", "--foreground", "--port", "0")
    assert engine.stderr is not None and engine.stderr.readline().startswith(b"engine    http")
    if how == "kill -9":
        deploy("start", HELLO).ok()
        engine.kill()
        assert ended(engine)[0] == -signal.SIGKILL
        deploy.nothing_left(patience=60)
        return
    if how == "engine stop":
        deploy("engine", "stop").ok()
    elif how == "ctrl-c":
        engine.send_signal(signal.SIGINT)
    else:
        os.kill(deploy("engine", "status", "--json").ok().json["processes"]["guard"], signal.SIGKILL)
    code, err = ended(engine)
    assert code == (1 if how == "guard killed" else 0), err
    if how == "guard killed":
        assert "error: the engine has ended (its guard with -9)" in err
        deploy("stop", "--all").ok()  # what a killed guard had no time for
    deploy.nothing_left(patience=60)


def test_it_is_ready_when_its_jobs_are(deploy: Deploy) -> None:
    """An engine that comes after another says so when it has the host, and with it the jobs, again."""
    deploy("start", HELLO).ok()
    before = deploy("ps", "hello", "--json").ok().json
    status = deploy("engine", "status", "--json").ok().json
    os.kill(status["processes"]["engine"], signal.SIGKILL)
    answers: list[int] = []
    while not answers or answers[-1] != 200:
        with suppress(httpx.HTTPError):
            answers.append(httpx.get(f"{status['url']}/readyz", trust_env=False, timeout=60).status_code)
    assert set(answers) <= {200, 503}
    assert deploy("query", "hello", "Greet Ada").ok().out
    assert [agent["pid"] for agent in deploy("ps", "hello", "--json").ok().json["agents"]] == [
        agent["pid"] for agent in before["agents"]
    ]
    deploy("stop", "--all").ok()


def test_a_newer_engine_keeps_the_agents(deploy: Deploy, tmp_path: Path) -> None:
    """Another version is installed beside this one, and takes the engine over while its jobs run."""
    newer = tmp_path / "newer"
    shutil.copytree(deploy.folder / "src", newer / "teamwright", ignore=shutil.ignore_patterns("__pycache__"))
    init = newer / "teamwright" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "9.'))
    bootstrap = f"import sys; sys.path.insert(0, {str(newer)!r}); from teamwright.cli.main import main; main()"

    def upgraded(*words: str) -> subprocess.CompletedProcess[str]:
        import sys

        return subprocess.run(
            [sys.executable, "-c", bootstrap, *words],
            cwd=deploy.folder, env=deploy.environment, capture_output=True, text=True, timeout=90,
        )  # fmt: skip

    deploy("start", HELLO).ok()
    before = deploy("ps", "hello", "--json").ok().json["agents"]
    assert upgraded("ps").returncode == 0
    refused = upgraded("start", HELLO)
    assert refused.returncode == 1 and "hint: deploy engine restart" in refused.stderr
    done = upgraded("engine", "restart", "--json")
    assert done.returncode == 0, done.stderr
    after = deploy("ps", "hello", "--json").ok().json["agents"]
    assert [(agent["id"], agent["pid"]) for agent in after] == [(agent["id"], agent["pid"]) for agent in before]
    assert upgraded("query", "hello", "Greet Ada").returncode == 0
    events = [json.loads(line) for line in deploy("events", "--json").ok().out.splitlines()]
    told = [(event["kind"], event["actor"] is None) for event in events]
    assert told[-2:] == [("order.restart", False), ("engine.started", True)], told
    deploy("stop", "--all").ok()


def test_the_unit(deploy: Deploy, tmp_path: Path) -> None:
    place = Path(deploy.environment["HOME"], ".config/systemd/user/teamwright.service")
    home = tmp_path / "a home %n $x"
    printed = deploy("engine", "install", "--print", "--home", home, "--port", "8611").ok().out
    assert '"--foreground" "--home" ' in printed and "a home %%n $$x" in printed and "Type=notify" in printed
    assert "TEAMWRIGHT_TOKEN" not in printed and not place.exists()
    refused = deploy("engine", "install")
    assert refused.code == 2 and "systemd" in refused.err and "engine install --print" in refused.err
    runtime, programs = tmp_path / "run", tmp_path / "programs"
    (runtime / "systemd").mkdir(parents=True)
    programs.mkdir()
    (programs / "systemctl").write_text("#!/bin/sh\nexit 9\n")
    (programs / "systemctl").chmod(0o755)
    here = {"XDG_RUNTIME_DIR": str(runtime), "PATH": f"{programs}:{deploy.environment['PATH']}"}
    written = deploy("engine", "install", "--json", environment=here).ok().json
    assert written["path"] == str(place) and place.read_text() == written["unit"]
    assert written["next"][1] == "systemctl --user enable --now teamwright.service"
    deploy("engine", "install", environment=here).ok()  # the same again is no conflict
    other = deploy("engine", "install", "--port", "8612", environment=here)
    assert other.code == 2 and "says something else" in other.err
    assert (
        "8612" in deploy("engine", "install", "--port", "8612", "--force", "--json", environment=here).ok().json["unit"]
    )
    assert deploy("engine", "install", "--name", "a/b", environment=here).code == 2
    if checker := shutil.which("systemd-analyze"):
        file = tmp_path / "checked.service"
        file.write_text(printed)
        checked = subprocess.run([checker, "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60)
        complaints = [line for line in checked.stderr.splitlines() if "checked.service" in line]
        assert not complaints, complaints
