"""What a span costs, part by part: made in the agent, encoded, in the spool; decoded, in the store.

    uv run python -m bench.spans [--spans 20000] [--rounds 5]

In one process, without HTTP; CPU microseconds and rates are of the best round. The whole way of a span, with all that
is around it, is in bench.message (agents and engine) and bench.ingest (the collector).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import options, where
from teamwright.tracing import messages
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.rows import decode
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

WORDS = "The quick brown fox jumps over the lazy dog. " * 8
BATCH = 256


def main() -> None:
    parser = options(__doc__, 5)
    parser.add_argument("--spans", type=int, default=20_000, help="spans per measurement")
    given = parser.parse_args()
    print(where(given.rounds))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        print(f"{'':44}{'CPU us':>10}{'spans/s':>12}")
        agent(place, given.spans, given.rounds)
        ingest(place, given.spans, given.rounds)


def best(name: str, count: int, rounds: int, work: Callable[[], object]) -> None:
    """Print the best round of `work`, which handles `count` spans."""
    found = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = min(found)
    print(f"{name:44}{cpu / count * 1e6:10.1f}{count / wall:12,.0f}")


def chats(tracer: Tracer, count: int) -> None:
    """`count` model calls of about 1 KB, as an agent makes them."""
    run = RunContext(RunId.generate(), "team", "lead", session="s1")
    for _ in range(count // 10):
        with tracer.agent(message="x", run=run):
            for _ in range(9):
                with tracer.model_call(model="m", provider="openai", messages=WORDS) as call:
                    call.first_token().answer(WORDS, finish_reason="stop").usage(input_tokens=100, output_tokens=90)


def agent(place: Path, count: int, rounds: int) -> None:
    """Spans of about 1 KB into nothing, and into a spool."""
    best(
        "agent: span made and encoded", count, rounds, lambda: chats(Tracer("lead", "team", "1", lambda _: None), count)
    )
    spool = Spool.create(place / "spool", "team", "lead", "1")
    tracer = Tracer("lead", "team", "1", spool)
    best("agent: span made, encoded, in the spool", count, rounds, lambda: chats(tracer, count))
    print(f"{'  bytes per span':44}{spool.size / tracer.processor.ended:10.0f}")
    redacting = Tracer("lead", "team", "1", spool, content="redacted")
    best("agent: the same, redacted", count, rounds, lambda: chats(redacting, count))
    off = Tracer("lead", "team", "1", spool, enabled=False)
    best("agent: tracing off", count, rounds, lambda: chats(off, count))
    best("agent: JSON of one message", count, rounds, lambda: [messages.encode(WORDS) for _ in range(count)])


def ingest(place: Path, count: int, rounds: int) -> None:
    """Batches of 256 into the store, each committed before the next is handed in, and without waiting."""
    spans = Spans()
    chats(Tracer("lead", "team", "1", spans), count)
    bodies = [b"".join(spans.payloads[at : at + BATCH]) for at in range(0, count, BATCH)]
    best("store: decoding", count, rounds, lambda: [decode(body) for body in bodies])

    def one_by_one() -> None:
        store = SpanStore(place / f"{os.urandom(4).hex()}.db")
        for body in bodies:
            store.ingest(body).result()
        store.close()

    def together() -> None:
        store = SpanStore(place / f"{os.urandom(4).hex()}.db", capacity=1 << 40)
        for future in [store.ingest(body) for body in bodies]:
            future.result()
        store.close()

    best("store: a commit per 256", count, rounds, one_by_one)
    best("store: commits as they come", count, rounds, together)


if __name__ == "__main__":
    main()
