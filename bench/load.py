"""Many people at a time ask a mesh of twelve agents, and each question crosses at least three of them.

    uv run python -m bench.load [--queries 1000] [--at-once 100] [--minutes 15]

`examples/jobs/large-mesh.yaml` on a real engine, asked through its front door. One line for each minute (or for all of
`--queries` where no minutes are given): how long answers took, how many were none, and the memory (PSS) of all
processes of the home. An answer is one when it holds what the question asks for. At the end, how many agents the newest
traces crossed, and what memory grew by from the end of the first third to the end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.asking import answer, message
from bench.figures import options, percentile, where
from bench.home import Home, fresh
from teamwright.safety.tokens import Issuer

JOB = "large-mesh"
FILE = Path(__file__).parents[1] / "examples" / "jobs" / f"{JOB}.yaml"
#: A question, and the words that its answer must hold, each another agent's.
QUESTIONS = (
    ("What is the price of KITE, the weather in Lisbon, and the route from Berlin to Lisbon?", ("KITE", "By road")),
    ("Calculate 12 * (3 + 4), and tell me the weather in Oslo", ("= 84", "Oslo: ")),
    ('Verify the claims and count the words: "47% of US jobs are at high risk."', ("1 claims checked", "8 words")),
    ("Tell me the valuation of VOLT and the weather in Paris", ("VOLT", "Paris: ")),
)
#: Seconds between two looks at the memory; looking costs CPU too.
_LOOK = 5.0
#: Seconds that what was asked last may take to be stored.
_SETTLE = 5.0
#: A token for people lasts this long at most.
_DAY = 86_400.0
#: Calls a minute that it is good for: more than can be made.
_ANY = 10_000_000


@dataclass
class Found:
    """What one line is made of: seconds of each answer, what was answered instead, and megabytes."""

    began: float = field(default_factory=time.perf_counter)
    times: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        asked = len(self.times) + len(self.faults)
        seconds = time.perf_counter() - self.began
        waits = "".join(f"{percentile(self.times or [0.0], part) * 1e3:9.0f}" for part in (0.5, 0.95, 0.99))
        sizes = f"{max(self.sizes):9.0f}{self.sizes[-1]:9.0f}" if self.sizes else ""
        return f"{name:14}{asked:8}{asked / seconds:9.1f}{waits}{len(self.faults) / max(asked, 1):9.2%}{sizes}"


def main() -> None:
    parser = options(__doc__, 1)
    parser.add_argument("--queries", type=int, default=1000, help="in all, where no minutes are given")
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=0.0)
    given = parser.parse_args()
    print(where(given.rounds))
    with fresh() as home:
        home.deploy("start", str(FILE))
        try:
            print(f"PSS before: {home.pss():.0f} MB")
            print(
                f"{'':14}{'queries':>8}{'/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'errors':>9}{'peak MB':>9}"
                f"{'end MB':>9}"
            )
            parts = loaded(home, given.queries, given.at_once, given.minutes * 60)
            time.sleep(_SETTLE)
            print(f"PSS {_SETTLE:g} s after: {home.pss():.0f} MB")
            with home.client() as client:
                crossed = [trace["agents"] for trace in client.traces(job=JOB, limit=100)]
            counts = [len(agents) if isinstance(agents, list) else int(agents) for agents in crossed]
            print(f"agents of the newest {len(counts)} traces: at least {min(counts)}, at most {max(counts)}")
            if len(parts) >= 3:
                first, last = parts[len(parts) // 3 - 1].sizes[-1], parts[-1].sizes[-1]
                print(f"growth from the end of the first third to the end: {last - first:+.0f} MB")
            for fault in dict.fromkeys(fault for part in parts for fault in part.faults[:3]):
                print(f"instead of an answer: {fault}")
        finally:
            home.deploy("stop", JOB)


def loaded(home: Home, queries: int, at_once: int, seconds: float) -> list[Found]:
    """Ask, and print a line for each minute, or for all."""
    token = Issuer.load(home.state).mint("bench", JOB, job=JOB, role="user", ttl=_DAY, rpm=_ANY)
    url = f"{home.engine_url}/a2a/{JOB}"
    parts: list[Found] = [Found()]
    with _memory(home, parts):
        if not seconds:
            uvloop.run(_ask(url, token, at_once, parts, queries=queries))
            parts[0].sizes.append(home.pss())
            print(parts[0].line("all"))
            return parts
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            minute = min(60.0, until - time.perf_counter())
            uvloop.run(_ask(url, token, at_once, parts, seconds=minute))
            parts[-1].sizes.append(home.pss())
            print(parts[-1].line(f"minute {len(parts)}"), flush=True)
            if time.perf_counter() < until:
                parts.append(Found())
    return parts


async def _ask(
    url: str, token: str, at_once: int, parts: list[Found], *, queries: int = 0, seconds: float = 0.0
) -> None:
    place = urlsplit(url)
    until = time.perf_counter() + seconds
    asked = 0

    async def person() -> None:
        nonlocal asked
        while asked < queries or time.perf_counter() < until:
            question, wanted = QUESTIONS[asked % len(QUESTIONS)]
            asked += 1
            began = time.perf_counter()
            try:
                # A connection for each: people come and go.
                reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 22)
                writer.write(message(url, f"authorization: Bearer {token}\r\n", question))
                said = (await answer(reader)).decode(errors="replace")
                writer.close()
            except (OSError, EOFError) as error:
                parts[-1].faults.append(f"{type(error).__name__}: {error}")
                continue
            if all(words in said for words in wanted):
                parts[-1].times.append(time.perf_counter() - began)
            else:
                parts[-1].faults.append(said[-300:])

    await asyncio.gather(*(person() for _ in range(at_once)))


@contextmanager
def _memory(home: Home, parts: list[Found]) -> Iterator[None]:
    """Looks at the memory now and then while the block runs."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK):
            parts[-1].sizes.append(home.pss())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
