"""What a shared limit adds to a model call: `uv run python -m bench.limits --calls 500`.

A real engine with a job that limits a provider; this process asks for places as an agent does, one after the other and
then eight at once. Without a limit a call costs a look at a file's time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from teamwright.agents.admission import Admissions
from teamwright.backends.api import Account
from teamwright.client.launch import connect
from teamwright.home import Home
from teamwright.jobs.planner import load
from teamwright.safety.tokens import ENGINE_AUDIENCE, Issuer
from teamwright.tracing.tracer import Tracer

JOB = "agents: [{id: a, backend: offline}]\nproviders: {openai: {concurrent: 1000}}\n"
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def one(agent: Admissions, account: Account) -> float:
    """A place, taken and given back: seconds until it was there."""
    began = time.perf_counter()
    async with agent.enter(account):
        return time.perf_counter() - began


async def measure(agent: Admissions, calls: int, engine: int) -> None:
    for provider, at_once in (("nobody", 1), ("openai", 1), ("openai", 8)):
        account = Account(provider, "sk")
        await one(agent, account)
        took: list[float] = []
        own, other, began = time.process_time(), cpu(engine), time.perf_counter()
        for _ in range(calls // at_once):
            took += await asyncio.gather(*(one(agent, account) for _ in range(at_once)))
        own, other = time.process_time() - own, cpu(engine) - other
        wall = time.perf_counter() - began
        name = f"{'limited' if provider == 'openai' else 'not limited'}, {at_once} at once"
        print(
            f"{name:24} ms until the place: median {statistics.median(took) * 1000:.3f} "
            f"p95 {sorted(took)[int(len(took) * 0.95)] * 1000:.3f}; CPU ms a call: agent {own / calls * 1000:.3f} "
            f"engine {other / calls * 1000:.3f}; wall ms {wall / calls * 1000:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "logs")
        file = Path(folder) / "limits.yaml"
        file.write_text(JOB)
        environ = {"PATH": os.environ["PATH"], "HOME": folder}
        resolved = load(file, environ=environ)
        with connect(home, start=True, host=True, port=0, environ=environ) as client:
            for _ in client.start(resolved.plan, resolved.secrets):
                pass
            status = client.status()
            issuer = Issuer.load(home)
            token = issuer.mint("limits/a", ENGINE_AUDIENCE, job="limits", agent="a", role="agent")
            tracer = Tracer("a", "limits", "0", lambda payload: None)
            agent = Admissions(status["url"], home.id, home.providers_file, tracer, lambda: token)
            print(f"load {os.getloadavg()[0]:.1f}")
            asyncio.run(measure(agent, calls, status["processes"]["engine"]))
            client.stop(["limits"])
            client.stop_engine()


if __name__ == "__main__":
    main()
