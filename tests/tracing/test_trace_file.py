from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from rich.cells import cell_len
from rich.console import Console

from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.trace_file import TraceFiles
from teamwright.tracing.reading.view import trace_list, trace_show
from teamwright.tracing.showing.tree import render_list, render_trace
from teamwright.tracing.showing.tree_rows import Row, Rows
from teamwright.tracing.showing.wording import duration
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Clock, Ids, Spans
from teamwright.tracing.tracer import Tracer


class Naps:
    """A sleep that ends when told."""

    def __init__(self) -> None:
        self.sleepers: list[asyncio.Event] = []
        self.asleep = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        assert seconds == 2.0
        event = asyncio.Event()
        self.sleepers.append(event)
        self.asleep.set()
        await event.wait()

    async def wake(self) -> None:
        await self.asleep.wait()
        self.asleep.clear()
        for event in self.sleepers:
            event.set()


def files_of(store: SpanStore, tmp_path: Path, sleep: Any) -> TraceFiles:
    return TraceFiles(store, lambda job, trace: tmp_path / "jobs" / job / f"{trace}.json", sleep=sleep)


async def test_written_when_finished_and_again_for_a_late_span(
    tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path
) -> None:
    naps = Naps()
    files = files_of(store, tmp_path, naps)
    files.start()
    with tracer.query("team", text="x") as root:
        with tracer.tool_call(name="t", arguments={"a": 1}) as call:
            call.set({"n": 5, "f": 0.5, "b": True, "l": ["a"]}).event("e", {"k": 1}).fail("bad")
        late = tracer.tool_call(name="late")
        await asyncio.wrap_future(store.ingest(spans.body))
    await asyncio.wrap_future(store.ingest(spans.body))
    path = tmp_path / "jobs/team" / f"{root.trace_id}.json"
    assert not path.exists()
    await naps.wake()
    await files.wait_for(1)
    content = json.loads(path.read_text())
    found = {span["name"]: span for span in content["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    tool = found["execute_tool t"]
    assert set(found) == {"invoke_workflow team", "execute_tool t"}
    assert tool["traceId"] == root.trace_id and tool["parentSpanId"] == root.span_id
    assert isinstance(tool["startTimeUnixNano"], str) and tool["kind"] == 1 and tool["status"]["code"] == 2
    assert {"key": "n", "value": {"intValue": "5"}} in tool["attributes"]
    assert re.fullmatch("[0-9a-f]{16}", tool["spanId"]) and "parentSpanId" not in found["invoke_workflow team"]

    late.end()
    await asyncio.wrap_future(store.ingest(spans.payloads[-1]))
    await naps.wake()
    await files.wait_for(2)
    assert "execute_tool late" in path.read_text() and list(path.parent.iterdir()) == [path]
    assert store.unfiled() == []
    await asyncio.wrap_future(store.ingest(spans.body))  # a replay changes nothing
    assert store.unfiled() == []
    await files.aclose()


async def test_what_was_due_is_written_by_the_next_engine_and_at_the_end(
    tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path
) -> None:
    with tracer.query("team", text="x"):
        pass
    await asyncio.wrap_future(store.ingest(spans.body))
    files = files_of(store, tmp_path, Naps())
    files.start()
    await files.aclose()
    assert len(list((tmp_path / "jobs/team").glob("*.json"))) == 1 and store.unfiled() == []


async def test_traces_with_open_spans_wait(tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path) -> None:
    files = files_of(store, tmp_path, Naps())
    files.start()
    with tracer.query("team", text="x") as root:
        open_span = tracer.span("open")
        started = tracer.processor._encoder.encode(open_span.otel_span, started=True)  # type: ignore[arg-type]
    await asyncio.wrap_future(store.ingest(started, started=True))
    await asyncio.wrap_future(store.ingest(spans.body))
    await files.aclose()
    assert not (tmp_path / "jobs").exists() and root.trace_id
    open_span.end()


def test_the_file_is_otlp_json_as_protobuf_reads_it(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    with tracer.query("team", text="x", links=[ParentContext("a" * 32, "b" * 16)]) as root:
        root.set({"inf": float("inf"), "nan": float("nan"), "l": ["x"]}).event("e").fail("bad")
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        content = json.loads(json.dumps(reader.show(None).to_otlp(), allow_nan=False))

    def ids(value: Any) -> None:
        # OTLP's one departure from protobuf's JSON: ids are hex, not base64.
        import base64

        for key, item in list(value.items()) if isinstance(value, dict) else []:
            if key in ("traceId", "spanId", "parentSpanId"):
                value[key] = base64.b64encode(bytes.fromhex(item)).decode()
            ids(item)
        for item in value if isinstance(value, list) else []:
            ids(item)

    ids(content)
    assert ParseDict(content, TracesData()) == TracesData.FromString(spans.body)


@pytest.fixture
def shown(spans: Spans, store: SpanStore) -> dict[str, Any]:
    tracer = Tracer("lead", "team", "i1", spans, name="Lead", strict=True, now=Clock(step=100_000_000), ids=Ids())
    with tracer.query("team", text="What is\n[bold]new[/]?") as root:
        with tracer.agent(message="x"):
            with tracer.peer_call(target="Writer", target_id="writer", message="write it") as call:
                call.answer("written", state="completed")
            with tracer.tool_call(name="add", arguments={"a": 1}) as tool:
                tool.fail("no such thing", reason="not_found")
        root.answer("Nothing.")
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        return trace_show(reader.show(None))


def render(thing: Any, width: int = 110) -> str:
    console = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(thing)
        return console.export_text()


def test_the_tree_says_who_called_whom_and_what_went_wrong(shown: dict[str, Any]) -> None:
    text = render(render_trace(shown))
    assert "trace 00000000000000000000000000000001  ok  job team · " in text and "1 error" in text
    assert "Q: What is [bold]new[/]?" in text and "A: Nothing." in text
    lines = [line.rstrip() for line in text.splitlines()]
    tree = "\n".join(lines)
    assert "└─ invoke_agent lead" in tree and "├─ invoke_agent writer  Lead->Writer" in tree
    assert "   └─ execute_tool add" in tree and "not_found: no such thing" in tree and "write it -> written" in tree
    assert "█" in tree and "incomplete" not in tree
    render(render_trace(shown), width=40)


def test_a_trace_with_gaps_says_so(shown: dict[str, Any]) -> None:
    gaps = {**shown, "complete": False, "missing": {"open": 1, "lost": 0, "dropped": 2, "orphans": 0}}
    text = render(render_trace(gaps))
    assert "incomplete: 1 still running, 2 dropped for want of disk space" in text


def test_the_list(shown: dict[str, Any], store: SpanStore) -> None:
    with SpanReader(store.path) as reader:
        text = render(render_list(trace_list(reader.list_traces())), width=140)
    assert "What is [bold]new[/]?" in text and "00000000" in text and "ok" in text


def test_a_deep_trace_is_no_problem(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    parent: ParentContext | None = None
    for number in range(3000):
        at = 1_795_000_000_000_000_000 + number
        parent = tracer.record("deep", start_ns=at, end_ns=at + 5, parent=parent)
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        assert "3000 spans" in render(render_trace(trace_show(reader.show(None))))


@pytest.mark.parametrize(
    ("given", "said"), [(None, "…"), (0.42, "0.4 ms"), (12.4, "12 ms"), (1240, "1.24 s"), (125_000, "2 m 05 s")]
)
def test_durations(given: float | None, said: str) -> None:
    assert duration(given) == said


def test_rows_are_cut_or_folded_to_the_screen_and_keep_their_columns() -> None:
    rows = [
        Row("├─ ", [("ask 漢字漢字", ""), (" *", "yellow")], [("lead", "cyan"), ("12 ms", "")]),
        Row("│  ", [("one two three\x1b[2J four\nfive sixteen-letters-and-some-more", "dim")]),
    ]
    cut = render(Rows(("WHAT", "WHO", "TIME"), rows), width=31).splitlines()
    assert cut == [
        "WHAT                 WHO   TIME",
        "├─ ask 漢字漢字 *    lead 12 ms",
        "│  one two three[2J four five …",
    ]
    folded = render(Rows(("WHAT", "WHO", "TIME"), rows, fold=True), width=24).splitlines()
    words = ["one two three[2J four", "five", "sixteen-letters-and-s", "ome-more"]
    assert folded[0] == "WHAT          WHO   TIME" and folded[-4:] == [f"│  {word}" for word in words]
    assert all(cell_len(line) <= 24 for line in folded)
