"""Finding and starting engines: one per home, whoever comes first."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from teamwright.client import launch
from teamwright.client.client import Client
from teamwright.engine.liveness import EngineFile
from teamwright.errors import EngineError, EngineUnavailable, HomeError, VersionMismatch
from teamwright.home import Home
from teamwright.jobs.plan import AgentPlan, Plan


def a_plan(folder: Path) -> Plan:
    agent = AgentPlan("lead", "declared", 0, "offline", prompt="You answer.")
    return Plan(
        "team", str(folder / "team.yaml"), str(folder), (agent,), (("lead",),), (), "lead", "dynamic", revision="r"
    )


def test_a_new_home(home: Home, environment: dict[str, str]) -> None:
    with pytest.raises(EngineUnavailable, match="no engine"):
        launch.connect(home, start=False, environ=environment)
    assert not home.exists
    with launch.connect(home, start=True, port=0, environ=environment) as client:
        assert client.jobs() == []
        status = client.status()
        assert status["on_demand"] is True and status["home"] == str(home.path)
        assert status["processes"]["host"] is None
    assert (home.path / ".gitignore").exists()
    assert home.operator_token.stat().st_mode & 0o777 == 0o600
    with launch.connect(home, start=False, environ=environment) as again:
        assert again.url == client.url
        again.stop_engine()
    assert EngineFile.read(home) is None and not home.engine_file.exists()
    assert not psutil.pid_exists(status["processes"]["engine"])


def test_what_the_processes_may_see(home: Home, environment: dict[str, str]) -> None:
    shell = {**environment, "API_KEY": "secret", "PYTHONPATH": "/nowhere", "LC_ALL": "C.UTF-8"}
    with launch.connect(home, start=True, port=0, host=True, environ=shell) as client:
        for line in client.start(a_plan(home.path.parent), {"lead": {"MY_SECRET": "hidden"}}):
            last = line
        assert last["event"] == "done", last
        pids = [pid for pid in client.status()["processes"].values() if pid]
        pids.append(last["job"]["agents"][0]["pid"])
        for pid in pids:
            process = psutil.Process(pid)
            allowed = {*environment, "LC_ALL", "TEAMWRIGHT_MARK"}
            assert set(process.environ()) <= allowed, process.cmdline()
            assert "hidden" not in " ".join(process.cmdline())
    for file in home.path.rglob("*"):
        if file.is_file() and file.name != "secrets.json":
            assert b"hidden" not in file.read_bytes(), file


def test_two_at_the_same_moment(home: Home, environment: dict[str, str]) -> None:
    home.create()
    urls: list[str] = []

    def connect() -> None:
        with launch.connect(home, start=True, port=0, environ=environment) as client:
            client.status()
            urls.append(client.url)

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(urls) == 4 and len(set(urls)) == 1


def test_a_taken_port_names_its_holder(home: Home, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"port {port} is taken by .*pid {os.getpid()}"):
            launch.connect(home, start=True, port=port, environ=environment)


def test_a_file_of_a_guard_that_is_gone(home: Home, environment: dict[str, str]) -> None:
    home.create()
    stale = {"url": "http://127.0.0.1:9", "port": 9, "guard": os.getpid(), "guard_start": 1, "version": "0",
             "fingerprint": "x", "on_demand": True, "home_id": home.id}  # fmt: skip
    for content in (json.dumps(stale), "{", "[]", json.dumps({**stale, "guard": 2**22 + 1})):
        home.engine_file.write_text(content)
        assert EngineFile.read(home) is None
        with pytest.raises(EngineUnavailable):
            launch.connect(home, start=False, environ=environment)
    with launch.connect(home, start=True, port=0, environ=environment) as client:
        assert client.jobs() == []


def test_a_home_that_cant_be_made(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError):
        launch.connect(Home(tmp_path / "file" / "logs"), start=True, environ=environment)


def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "fingerprint", lambda: "another")


def test_other_code_without_jobs_is_replaced(
    home: Home, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with launch.connect(home, start=True, port=0, environ=environment) as client:
        before = client.status()["processes"]["guard"]
    other_code(monkeypatch)
    with launch.connect(home, start=False, environ=environment) as client:
        assert client.status()["processes"]["guard"] == before
    with launch.connect(home, start=True, port=0, environ=environment) as client:
        assert client.status()["processes"]["guard"] != before


def test_other_code_with_jobs_reads_and_does_not_write(
    home: Home, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = a_plan(home.path.parent)
    with launch.connect(home, start=True, port=0, environ=environment) as client:
        assert list(client.start(plan))[-1]["event"] == "done"
    other_code(monkeypatch)
    with launch.connect(home, start=True, environ=environment) as client:
        assert client.job("team")["status"] == "running" and client.query("team", "hello").status == "ok"
        with pytest.raises(VersionMismatch) as caught:
            list(client.start(plan))
        assert caught.value.exit_code == 1 and caught.value.hint == "deploy engine restart"
        with pytest.raises(VersionMismatch):
            client.create_token()
        client.restart_engine()
        assert list(client.start(plan))[-1]["event"] == "unchanged"


def test_a_starter_that_fails_takes_its_engine_along(home: Home, environment: dict[str, str]) -> None:
    with pytest.raises(KeyboardInterrupt), launch.connect(home, start=True, port=0, environ=environment) as client:
        pid, url = client.status()["processes"]["guard"], client.url
        raise KeyboardInterrupt
    launch.wait_gone(pid)
    assert not home.engine_file.exists()
    with pytest.raises(EngineUnavailable), Client(url, "x") as gone:
        gone.jobs()


def test_idle_engines_leave(home: Home, environment: dict[str, str]) -> None:
    idle = {**environment, "TEAMWRIGHT_IDLE": "2"}
    with launch.connect(home, start=True, port=0, environ=idle) as client:
        pid = client.status()["processes"]["guard"]
    launch.wait_gone(pid, deadline=60)
    assert not home.engine_file.exists()


def test_an_engine_that_stays(home: Home, environment: dict[str, str]) -> None:
    idle = {**environment, "TEAMWRIGHT_IDLE": "1"}
    with launch.connect(home, start=True, port=0, stay=True, environ=idle) as client:
        assert client.status()["on_demand"] is False
        time.sleep(2)
        assert client.stop(["*"]) == [] and client.jobs() == []


def test_sweeping_a_home_where_nothing_runs(home: Home) -> None:
    home.create()
    assert launch.sweep(home) == 0


def test_an_engine_that_is_never_replaced() -> None:
    """It answers, but it stays the same one: waiting for another has an end."""

    class Unmoved(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"processes": {"engine": 1}}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Unmoved) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            with Client(url, "x") as client, pytest.raises(EngineUnavailable, match="not replaced"):
                client.restart_engine(deadline=0.2)
        finally:
            server.shutdown()
            thread.join()
