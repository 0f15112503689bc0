from __future__ import annotations

import asyncio
import os
from pathlib import Path

from teamwright.engine.liveness import Incarnation
from teamwright.engine.telemetry.keeper import LocalKeeper
from teamwright.home import Home
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.trace_file import size_of, write
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Clock, Spans
from teamwright.tracing.tracer import Tracer

DAY = 86_400 * 10**9


def queries(path: Path) -> list[str]:
    with SpanReader(path) as reader:
        return [str(summary["query"]) for summary in reader.list_traces(limit=1000)]


def ask(store: SpanStore, clock: Clock, text: str, labels: dict[str, str] | None = None) -> str:
    spans = Spans()
    tracer = Tracer("lead", "team", "1", spans, strict=True, now=clock)
    with tracer.query("team", text=text, labels=labels) as root:
        pass
    store.ingest(spans.body).result()
    return root.trace_id


def test_by_age(tmp_path: Path) -> None:
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", now=clock)
    old = ask(store, clock, "old")
    ask(store, clock, "old and kept", {"keep": "yes"})
    clock.now += 31 * DAY
    ask(store, clock, "new")
    assert store.expire(Retention()) == [] and store.expire(Retention(size=1 << 30)) == []
    assert store.expire(Retention(age=30 * 86_400)) == [("team", old)]
    assert queries(store.path) == ["new", "old and kept"]
    store.close()


def test_by_size_the_oldest_first(tmp_path: Path) -> None:
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", now=clock)
    for number in range(300):
        ask(store, clock, f"{number} " + "x" * 4000)
    gone = store.expire(Retention(size=600_000))
    left = queries(store.path)
    assert 50 <= len(left) < 200 and len(gone) + len(left) == 300
    assert left[0].startswith("299 ") and left[-1].startswith(f"{len(gone)} ")
    store.close()


def test_trace_files_count_and_go_too(tmp_path: Path) -> None:
    clock = Clock()
    home = Home(tmp_path / "logs").create()
    keeper = SpanStore(home.spans_db, now=clock)
    traces = [ask(keeper, clock, f"{number} " + "x" * 2000) for number in range(120)]
    for trace in traces:
        write(home.trace_file("team", trace), {"text": "x" * 20_000})
    keeper.close()

    async def expired() -> int:
        local = LocalKeeper(home, Retention(size=2_000_000), guard=Incarnation.of(os.getpid()))
        try:
            return local.expire()
        finally:
            await local.aclose()

    gone = asyncio.run(expired())
    left = [trace for trace in traces if home.trace_file("team", trace).exists()]
    assert 0 < gone < 120 and left == traces[gone:] and len(queries(home.spans_db)) == len(left)
    assert size_of(home.trace_file("team", traces[0]).parent) < 2_000_000
    assert asyncio.run(expired()) == 0
