"""How long from key press to table: cold, warm, and the commands one types all day.

    uv run python bench/startup.py [--rounds 5]

Walls are of the whole command as a user types it (the installed script, without `uv run`).
CPU is what CLI, guard, engine, host, zygote and agents used together; PSS is theirs at rest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

DEPLOY = Path(sys.executable).with_name("deploy")


@dataclass
class Home:
    """A home of its own with a clean environment; `deploy()` is the real command."""

    path: Path
    walls: dict[str, list[float]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
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
        subprocess.run([DEPLOY, *args], env=self.environment, cwd=self.path, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
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

    def pss(self) -> float:
        return sum(process.memory_full_info().pss for process in self.processes()) / 2**20


def job_file(folder: Path, name: str, agents: int) -> Path:
    """A hub with `agents - 1` spokes, all offline."""
    spokes = [f"spoke-{number}" for number in range(1, agents)]
    job = {
        "job": {"name": name},
        "agents": [{"id": agent, "backend": "offline", "prompt": "You answer briefly."} for agent in ["hub", *spokes]],
        "topology": {"type": "hub-spoke", "hub": "hub", "spokes": spokes},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def cold(rounds: int) -> tuple[list[float], list[float], list[float]]:
    walls, cpus, sizes = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder))
            try:
                wall, cpu = home.deploy("start", str(job_file(home.path, "cold", 4)))
                walls.append(wall)
                cpus.append(cpu + home.cpu())
                sizes.append(home.pss())
            finally:
                home.deploy("stop", "--all")
    return walls, cpus, sizes


def warm(rounds: int, agents: int) -> tuple[list[float], list[float], list[float]]:
    walls, cpus, sizes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        try:
            home.deploy("start", str(job_file(home.path, "first", 1)))
            for number in range(rounds):
                rest, size = home.cpu(), home.pss()
                wall, cpu = home.deploy("start", str(job_file(home.path, f"warm-{number}", agents)))
                walls.append(wall)
                cpus.append(cpu + home.cpu() - rest)
                sizes.append(home.pss() - size)
                home.deploy("stop", f"warm-{number}")
        finally:
            home.deploy("stop", "--all")
    return walls, cpus, sizes


def command(rounds: int, *args: str) -> tuple[list[float], list[float], list[float]]:
    walls, cpus = [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        try:
            home.deploy("start", str(job_file(home.path, "some", 4)))
            for _ in range(rounds):
                wall, cpu = home.deploy(*args)
                walls.append(wall)
                cpus.append(cpu)
        finally:
            home.deploy("stop", "--all")
    return walls, cpus, []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}, {rounds} rounds")
    print(f"{'':34} {'wall s: min':>11} {'median':>7} {'max':>6} {'CPU s':>7} {'PSS MB':>7}")
    table = [
        ("4 agents, nothing running", cold(rounds)),
        ("4 agents, engine and zygote warm", warm(rounds, 4)),
        ("12 agents, engine and zygote warm", warm(rounds, 12)),
        ("deploy --help", command(rounds, "--help")),
        ("deploy ps", command(rounds, "ps")),
        ("deploy ps JOB", command(rounds, "ps", "some")),
    ]
    for name, (walls, cpus, sizes) in table:
        size = f"{statistics.median(sizes):7.0f}" if sizes else f"{'':7}"
        print(
            f"{name:34} {min(walls):11.2f} {statistics.median(walls):7.2f} {max(walls):6.2f} "
            f"{statistics.median(cpus):7.2f} {size}"
        )


if __name__ == "__main__":
    main()
