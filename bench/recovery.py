"""How long until what was killed is back: `kill -9` of agent, host and engine of a job with four agents.

    uv run python -m bench.recovery [--rounds 5]

Seconds from the signal until every agent of the job is healthy again under a new pid where it died, and a query
that crosses two agents is answered.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import options, where
from bench.home import Home, job_file
from teamwright.client.client import Client
from teamwright.errors import TeamwrightError


def victims(client: Client) -> dict[str, int]:
    found = {name: int(pid) for name, pid in client.status()["processes"].items() if pid}
    agents = {agent["id"]: agent["pid"] for agent in client.job("team")["agents"]}
    return {"agent": int(agents["spoke-1"]), "host": found["host"], "engine": found["engine"]}


def recovered(home: Home, name: str, pid: int) -> bool:
    """Whether `name` runs under another pid than `pid`, all agents are healthy and a query is answered."""
    try:
        with home.client() as client:
            job = client.job("team")
            well = all(agent["status"] == "healthy" for agent in job["agents"])
            return well and victims(client)[name] != pid and client.query("team", "hello spoke-1").status == "ok"
    except (TeamwrightError, TypeError, KeyError):
        return False


def seconds(ready: Callable[[], bool], limit: float = 30.0) -> float:
    began = time.perf_counter()
    while not ready():
        if time.perf_counter() - began > limit:
            raise SystemExit("it did not come back")
        time.sleep(0.01)
    return time.perf_counter() - began


def killed(name: str) -> float:
    """Seconds until `name` is back, in a home of its own: the back-off after repeated deaths is not what we measure."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        try:
            home.deploy("start", str(job_file(home.path, "team", 4)))
            with home.client() as client:
                pid = victims(client)[name]
            os.kill(pid, signal.SIGKILL)
            return seconds(lambda: recovered(home, name, pid))
        finally:
            home.deploy("stop", "--all")


def main() -> None:
    rounds = options(__doc__, 5).parse_args().rounds
    print(where(rounds))
    print(f"{'killed':10} {'min s':>7} {'median':>7} {'max':>7}")
    for name in ("agent", "host", "engine"):
        times = [killed(name) for _ in range(rounds)]
        print(f"{name:10} {min(times):7.2f} {statistics.median(times):7.2f} {max(times):7.2f}")


if __name__ == "__main__":
    main()
