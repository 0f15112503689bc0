"""A home to measure in: the real command line, its processes, its jobs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.home import Home as State

DEPLOY = Path(sys.executable).with_name("deploy")


@dataclass(frozen=True)
class Home:
    """A home of its own with a clean environment; `deploy()` is the real command."""

    path: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.settings,
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "TEAMWRIGHT_HOME": str(self.path / "logs"),
            "TEAMWRIGHT_PORT": "0",
        }

    def deploy(self, *args: str) -> tuple[float, float]:
        """Run one command; seconds of wall and of its own CPU."""
        before = os.times()
        started = time.perf_counter()
        done = subprocess.run([DEPLOY, *args], env=self.environment, cwd=self.path, capture_output=True)
        wall = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"deploy {' '.join(args)}: {done.stderr.decode()}")
        after = os.times()
        return wall, after.children_user + after.children_system - before.children_user - before.children_system

    def processes(self) -> list[psutil.Process]:
        """Every process of this home: those that carry its path in their environment, and their children."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TEAMWRIGHT_HOME") == self.environment["TEAMWRIGHT_HOME"]:
                    mine.append(process)
            except psutil.Error:
                continue
        return mine

    def cpu(self) -> float:
        return sum(process.cpu_times().user + process.cpu_times().system for process in self.processes())

    def client(self) -> Client:
        """A client of the engine that runs."""
        return connect(self.state, start=False, environ=self.environment)

    @property
    def state(self) -> State:
        return State(self.path / "logs")

    @property
    def engine(self) -> int:
        """The engine's pid."""
        with self.client() as client:
            return int(client.status()["processes"]["engine"])

    @property
    def collector(self) -> tuple[int, str]:
        """Pid and URL of the process that takes in spans."""
        with self.client() as client:
            processes = client.status()["processes"]
        pid = int(processes.get("collector") or processes["engine"])
        (port,) = {one.laddr.port for one in psutil.Process(pid).net_connections("tcp") if one.status == "LISTEN"}
        return pid, f"http://127.0.0.1:{port}"

    @property
    def engine_url(self) -> str:
        with self.client() as client:
            return client.url

    def pss(self) -> float:
        return sum(process.memory_full_info().pss for process in self.processes()) / 2**20


def write_job(folder: Path, name: str, job: Mapping[str, Any]) -> Path:
    """A job file of that name."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"job": {"name": name}, **job}))
    return path


def job_file(folder: Path, name: str, agents: int) -> Path:
    """A hub with `agents - 1` spokes, all offline."""
    spokes = [f"spoke-{number}" for number in range(1, agents)]
    job = {
        "agents": [{"id": agent, "backend": "offline", "prompt": "You answer briefly."} for agent in ["hub", *spokes]],
        "topology": {"type": "hub-spoke", "hub": "hub", "spokes": spokes},
    }
    return write_job(folder, name, job)


@dataclass(frozen=True)
class Agent:
    """A running agent of a job."""

    pid: int
    url: str


@contextmanager
def running(home: Home, path: Path) -> Iterator[dict[str, Agent]]:
    """The agents of that job file, started, by id; stopped with everything else of the home afterwards."""
    home.deploy("start", str(path))
    try:
        with home.client() as client:
            agents = client.job(path.stem)["agents"]
        yield {agent["id"]: Agent(agent["pid"], agent["url"]) for agent in agents}
    finally:
        home.deploy("stop", path.stem)


@contextmanager
def fresh(settings: Mapping[str, str] | None = None) -> Iterator[Home]:
    """A new home in a temporary folder, with an engine that runs and leaves afterwards; `settings` are TEAMWRIGHT_*."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), settings or {})
        try:
            home.deploy("engine", "start")
            yield home
        finally:
            home.deploy("engine", "stop", "--force")
