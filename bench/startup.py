"""How long from key press to table: cold, warm, and the commands one types all day.

    uv run python -m bench.startup [--rounds 5]

Walls are of the whole command as a user types it (the installed script, without `uv run`).
CPU is what CLI, guard, engine, host, zygote and agents used together; PSS is theirs at rest.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench.figures import options, where
from bench.home import Home, job_file


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


def command(rounds: int, *args: str, agents: int = 4) -> tuple[list[float], list[float], list[float]]:
    walls, cpus = [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        try:
            home.deploy("start", str(job_file(home.path, "some", agents)))
            for _ in range(rounds):
                wall, cpu = home.deploy(*args)
                walls.append(wall)
                cpus.append(cpu)
        finally:
            home.deploy("stop", "--all")
    return walls, cpus, []


def main() -> None:
    rounds = options(__doc__, 5).parse_args().rounds
    print(where(rounds))
    print(f"{'':34} {'wall s: min':>11} {'median':>7} {'max':>6} {'CPU s':>7} {'PSS MB':>7}")
    table = [
        ("4 agents, nothing running", cold(rounds)),
        ("4 agents, engine and zygote warm", warm(rounds, 4)),
        ("12 agents, engine and zygote warm", warm(rounds, 12)),
        ("50 agents, engine and zygote warm", warm(rounds, 50)),
        ("100 agents, engine and zygote warm", warm(rounds, 100)),
        ("deploy --help", command(rounds, "--help")),
        ("deploy ps", command(rounds, "ps")),
        ("deploy ps JOB", command(rounds, "ps", "some")),
        ("deploy ps JOB, 50 agents", command(rounds, "ps", "some", agents=50)),
    ]
    for name, (walls, cpus, sizes) in table:
        size = f"{statistics.median(sizes):7.0f}" if sizes else f"{'':7}"
        print(
            f"{name:34} {min(walls):11.2f} {statistics.median(walls):7.2f} {max(walls):6.2f} "
            f"{statistics.median(cpus):7.2f} {size}"
        )


if __name__ == "__main__":
    main()
