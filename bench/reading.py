"""How long it takes to list and show traces of a large store: the reader itself, and the command as one types it.

    uv run python -m bench.reading [--stored 1000000] [--rounds 5]

The store is made by the real one, in a temporary folder (2 GB for a million spans): traces of ten spans of about 1 KB
of three jobs and fifty users over 30 days, and one of 5,000 spans. CPU is of the process that reads; walls of the
command are from its start to its end, a Python start and all imports included.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.copies import SPANS, WORDS, Original
from bench.figures import median, options, where
from bench.home import Home
from teamwright.home import Home as State
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_list, trace_show
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

LONG = 5_000
DAYS = 30


def main() -> None:
    parser = options(__doc__, 5)
    parser.add_argument("--stored", type=int, default=1_000_000, help="spans in the store")
    given = parser.parse_args()
    print(where(given.rounds))
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        state = State(home.path / "logs").create()
        began = time.process_time()
        long, some = fill(state.spans_db, given.stored)
        took = time.process_time() - began
        size = state.spans_db.stat().st_size
        print(f"{given.stored + LONG:,} spans, {size >> 20:,} MiB, made in {took:.0f} s of CPU\n")
        print(f"{'':44}{'CPU ms':>9}{'wall ms':>9}")
        recent = time.time_ns() - 3600 * 10**9
        for name, which in {
            "trace list, newest 20": Filter(),
            "of a job": Filter(job="team-1"),
            "of a user": Filter(user="user-7"),
            "of a user that is not there": Filter(user="nobody"),
            "that failed": Filter(status="error"),
            "with words in the question": Filter(text="number 0000777"),
            "with an agent": Filter(agent="lead"),
            "with a label": Filter(labels={"week": "3"}),
            "longer than a minute": Filter(min_ns=60 * 10**9),
            "of the last hour": Filter(since_ns=recent),
        }.items():
            timed(name, given.rounds, state, listing(which))
        timed("trace show of 10 spans", given.rounds, state, lambda reader: trace_show(reader.show(some)))
        timed(f"trace show of {LONG:,} spans", given.rounds, state, lambda reader: trace_show(reader.show(long)))
        timed("its OTLP-JSON", given.rounds, state, lambda reader: reader.show(long).to_otlp())
        for arguments in (
            ("trace", "list"),
            ("trace", "list", "--json"),
            ("trace", "list", "--user", "user-7"),
            ("trace", "show", some),
            ("trace", "show", long, "--json"),
            ("trace", "show", long),
            ("--version",),
        ):
            runs = [home.deploy(*arguments) for _ in range(given.rounds)]
            name = " ".join(word[:8] for word in arguments)
            wall, cpu = (median(column) * 1e3 for column in zip(*runs, strict=True))
            print(f"{'deploy ' + name:44}{cpu:9.0f}{wall:9.0f}")


def listing(which: Filter) -> Callable[[SpanReader], Any]:
    return lambda reader: trace_list(reader.list_traces(which))


def timed(name: str, rounds: int, state: State, work: Callable[[SpanReader], Any]) -> None:
    """Open the store, do that, close it; medians."""
    found = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        with SpanReader(state.spans_db, state.spool_dir) as reader:
            work(reader)
        found.append(((time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3))
    cpu, wall = (median(column) for column in zip(*found, strict=True))
    print(f"{name:44}{cpu:9.1f}{wall:9.1f}")


def fill(path: Path, count: int) -> tuple[str, str]:
    """A store of that many spans and a long trace; the ids of the long one and of another."""
    store = SpanStore(path, capacity=1 << 40)
    rng = random.Random(1)
    now = time.time_ns()
    kinds = [
        Original(job=f"team-{kind % 3}", user=f"user-{kind % 50}", failed=kind % 10 == 0, seconds=1 + kind)
        for kind in range(61)
    ]
    waiting: list[Any] = []
    some = b""
    body: list[bytes] = []
    for number in range(count // SPANS):
        some = os.urandom(16)
        start = now - rng.randrange(DAYS * 86_400 * 10**9)
        body += kinds[number % len(kinds)].copy(some, number=number, start_ns=start)
        if len(body) >= 1000:
            waiting.append(store.ingest(b"".join(body)))
            body.clear()
            if len(waiting) > 20:
                waiting.pop(0).result()
    if body:
        store.ingest(b"".join(body)).result()
    spans = Spans()
    tracer = Tracer("lead", "team-0", "1", spans)
    with tracer.query("team-0", text="the long one") as long, tracer.agent(message="x"):
        for _ in range(LONG - 2):
            with tracer.model_call(model="m", messages=WORDS) as call:
                call.answer(WORDS)
    store.ingest(spans.body).result()
    store.close()
    return long.trace_id, some.hex()


if __name__ == "__main__":
    main()
