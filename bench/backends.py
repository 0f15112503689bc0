"""What a backend costs: memory of its agent idle and after ten queries, and how long its first answer takes.

    uv run python -m bench.backends [--rounds 3] [--only openai gemini]

A real job with one agent each, on a real engine, in front of the stand-ins of the tests: they answer at once, so what
is measured is ours and the SDK's, not a model. The ten queries belong to one conversation. Memory is PSS of the agent
with everything it started; cold is the first answer after the start, warm the median of the next nine. Backends whose
packages are not installed are left out.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import psutil

from bench.figures import median, options, where
from bench.home import Home, fresh, running, write_job
from teamwright.safety.tokens import Issuer
from tests.backends.contract.adapters import ADAPTERS, Adapter
from tests.standins.script import Reply

QUERIES = 10


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--only", nargs="*", help="these backends")
    given = parser.parse_args()
    print(where(given.rounds))
    print(f"{'backend':10}{'ready ms':>10}{'idle MB':>10}{'after MB':>10}{'cold ms':>10}{'warm ms':>10}")
    with fresh() as home:
        for adapter in ADAPTERS:
            if adapter.installed and (not given.only or adapter.name in given.only):
                found = [measured(home, adapter, number) for number in range(given.rounds)]
                figures = [median(values) for values in zip(*found, strict=True)]
                print(f"{adapter.name:10}" + "".join(f"{value:>10.0f}" for value in figures), flush=True)


def measured(home: Home, adapter: Adapter, number: int) -> tuple[float, float, float, float, float]:
    """One start of an agent: ms to ready, MB idle and after the queries, ms of the first answer and of the others."""
    name = f"{adapter.name}-{number}"
    with ExitStack() as stack:
        model = stack.enter_context(adapter.model())
        keys: dict[str, Any] = {"id": "one", "backend": adapter.name, "prompt": "You answer briefly."}
        if model is not None:
            model.always(lambda seen: Reply(f"You said {seen.user}"))
            spec = dict(adapter.spec(model))
            keys["environment"] = {**spec.pop("environment", {}), **spec.pop("secrets", {})}
            keys.update(spec)
        (agent,) = stack.enter_context(running(home, write_job(home.path, name, {"agents": [keys]}))).values()
        with home.client() as client:
            ready = float(client.job(name)["agents"][0]["started_in_ms"])
        idle = memory(agent.pid)
        token = Issuer.load(home.state).mint("ann", f"{name}/one", job=name, role="front-door")
        headers = {"a2a-version": "1.0", "authorization": f"Bearer {token}"}
        session = str(uuid4())
        times = []
        with httpx.Client(headers=headers, trust_env=False, timeout=60) as http:
            for count in range(QUERIES):
                message = {"messageId": str(uuid4()), "contextId": session, "role": "ROLE_USER"}
                params = {"message": {**message, "parts": [{"text": f"number {count}"}]}}
                body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
                before = time.perf_counter()
                answer = http.post(agent.url, json=body).text
                times.append((time.perf_counter() - before) * 1000)
                if f"number {count}" not in answer or "COMPLETED" not in answer:
                    raise SystemExit(f"{adapter.name}: {answer[:500]}")
        return ready, idle, memory(agent.pid), times[0], median(times[1:])


def memory(pid: int) -> float:
    """PSS in MB of a process and all below it."""
    process = psutil.Process(pid)
    return sum(float(one.memory_full_info().pss) for one in [process, *process.children(recursive=True)]) / 2**20


if __name__ == "__main__":
    main()
