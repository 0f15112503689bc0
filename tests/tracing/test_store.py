from __future__ import annotations

import gzip
import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData

from teamwright.database import connect
from teamwright.errors import StoreTooNew
from teamwright.tracing import vocabulary as v
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import cost, trace_list, trace_show
from teamwright.tracing.shipping.spool import Spool, SpoolName
from teamwright.tracing.storing.rows import BadSpans
from teamwright.tracing.storing.store import SpanStore, StoreBusy
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

Make = Callable[..., tuple[Tracer, Spool]]


def contents(store: SpanStore) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    with closing(connect(store.path, read_only=True)) as db:
        spans = db.execute("select trace, span, state, status, end, data from span order by trace, span").fetchall()
        traces = db.execute("select * from trace order by trace").fetchall()
        return [tuple(row) for row in spans], [tuple(row) for row in traces]


def team(tracer: Tracer, text: str = "Sum?") -> str:
    with tracer.query("team", text=text, user="ada", session="s1", labels={"k.x": "v"}) as root:
        with tracer.agent(message=text):
            with tracer.model_call(model="m", messages=text) as call:
                call.answer("3").usage(input_tokens=10, output_tokens=2, cost_usd=0.5)
            with tracer.model_call(model="m", messages=text) as call:
                call.fail("429", reason="rate_limit").usage(input_tokens=1, cost_usd=0.25)
        root.answer("3", state="completed")
    return root.trace_id


def test_ingest_keeps_a_summary(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    trace_id = team(tracer)
    assert store.ingest(spans.body).result().spans == 4
    with SpanReader(store.path) as reader:
        (summary,) = reader.list_traces()
    assert summary["trace"].hex() == trace_id and summary["query"] == "Sum?" and summary["user"] == "ada"
    assert (summary["spans"], summary["errors"], summary["open"]) == (4, 1, 0)
    assert (summary["input_tokens"], summary["output_tokens"], summary["cost"]) == (11, 2, 0.75)
    assert summary["agents"] == '["lead"]' and summary["job"] == "team" and summary["kind"] == "query"


@pytest.mark.parametrize("late_first", [True, False])
def test_a_trace_takes_as_long_as_its_root(
    make_tracer: Make, store: SpanStore, spool_dir: Path, late_first: bool
) -> None:
    """Also where a span below it was closed, or sent, after the root's end."""
    tracer, spool = make_tracer()
    root = tracer.query("team", text="x")
    agent = tracer.agent(message="x", parent=root)
    begun = agent.otel_span.start_time  # type: ignore[attr-defined]
    ends: list[Callable[[], None]] = [lambda: agent.end(begun + 9_000_000), lambda: root.end(begun + 5_000_000)]
    for end in ends if late_first else reversed(ends):
        end()
        store.drain(spool_dir, remove=False)
    with SpanReader(store.path, spool_dir) as reader:
        shown = trace_show(reader.show(root.trace_id))
        (listed,) = trace_list(reader.list_traces())["traces"]
    took = round(sum(shown["time_ns"].values()) / 1e6, 3)
    assert shown["summary"]["duration_ms"] == listed["duration_ms"] == took
    ended = {span["span_id"]: span["end_ns"] for span in shown["spans"]}
    assert ended[agent.span_id] - ended[root.span_id] == 4_000_000
    spool.close()


def test_replay_and_order_change_nothing(tracer: Tracer, spans: Spans, store: SpanStore, tmp_path: Path) -> None:
    for _ in range(20):
        team(tracer)
    store.ingest(spans.body).result()
    once = contents(store)
    assert len(once[0]) == 80 and len(once[1]) == 20
    store.ingest(spans.body).result()
    shuffled = spans.payloads * 2
    random.Random(7).shuffle(shuffled)
    for at in range(0, len(shuffled), 9):
        store.ingest(b"".join(shuffled[at : at + 9])).result()
    assert contents(store) == once
    other = SpanStore(tmp_path / "other.db")
    for payload in shuffled:
        other.ingest(payload).result()
    rows, traces = contents(other)
    assert sorted(row[:5] for row in rows) == sorted(row[:5] for row in once[0])
    assert [(row[0], *row[7:12]) for row in traces] == [(row[0], *row[7:12]) for row in once[1]]
    other.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_real_beats_synthetic_beats_started(order: tuple[int, ...], make_tracer: Make, store: SpanStore) -> None:
    tracer, spool = make_tracer("lead", "team", "i1")
    with tracer.agent(message="x") as agent:
        agent.announce()
    started, ended = spool.read_part(0, 1 << 20)
    name = SpoolName("team", "lead", "i1")
    acts = (
        lambda: store.ingest(started.payload, started=True).result(),
        lambda: store.close_open(name).result(),
        lambda: store.ingest(ended.payload).result(),
    )
    for number in order:
        acts[number]()
        rows, traces = contents(store)
        assert len(rows) == len(traces) <= 1
    rows, ((*_,),) = contents(store)
    assert [(row[2], row[3]) for row in rows] == [(2, 0)]
    with SpanReader(store.path) as reader:
        (summary,) = reader.list_traces()
    assert (summary["spans"], summary["open"], summary["synthetic"], summary["errors"]) == (1, 0, 0, 0)


def test_open_spans_of_a_lost_process_are_closed(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    door, door_spool = make_tracer("engine", "", "e1")
    lead, lead_spool = make_tracer("lead", "team", "i1")
    root = door.query("team", text="x")
    agent = lead.agent(message="x", parent=root)
    with lead.tool_call(name="done", parent=agent):
        pass
    # Here the agent dies: neither span of it ends.
    root.announce()
    assert store.drain(spool_dir).records == 3
    assert store.open_processes() == [SpoolName("", "engine", "e1"), SpoolName("team", "lead", "i1")]
    assert store.bury(spool_dir, SpoolName("team", "lead", "i1")) == 1
    assert not lead_spool.path.exists() and door_spool.path.exists()
    root.end()
    store.drain(spool_dir)
    with SpanReader(store.path) as reader:
        shown = trace_show(reader.show(root.trace_id))
    assert shown["status"] == "ok" and not shown["complete"]
    assert shown["missing"] == {"open": 0, "lost": 1, "dropped": 0, "orphans": 0}
    (lost,) = [span for span in shown["spans"] if span["status"] == "lost"]
    assert lost["name"] == "invoke_agent lead" and lost["message"] == "lead ended before this did"
    assert lost["attributes"][v.ERROR_TYPE] == v.PROCESS_LOST and lost["end_ns"] > lost["start_ns"]
    assert [event["name"] for event in lost["events"]] == [v.EVENT_AGENT_LOST]
    assert store.open_processes() == []


def test_what_a_lost_process_had_started_is_closed_even_if_it_comes_late(make_tracer: Make, store: SpanStore) -> None:
    tracer, spool = make_tracer("lead", "team", "i1")
    tracer.agent(message="x").announce()
    (record,) = spool.read_part(0, 1 << 20)
    assert store.close_open(SpoolName("team", "lead", "i1")).result() == 0
    store.close()
    again = SpanStore(store.path)  # also after a restart
    again.ingest(record.payload, started=True).result()
    assert [row[2] for row in contents(again)[0]] == [1]
    again.close()


def test_drain_leaves_or_removes(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    tracers = [make_tracer(f"a{number}") for number in range(3)]
    for tracer, _ in tracers:
        team(tracer)
    assert store.drain(spool_dir).files == 3
    assert store.drain(spool_dir, which=lambda name: name.service != "a1", remove=True).files == 2
    assert [path.name for path in spool_dir.glob("*.spool")] == ["team.a1@i2.spool"]
    rows, traces = contents(store)
    assert len(rows) == 12 and len(traces) == 3
    tracers[1][1].path.write_bytes(b"not a spool at all TW" * 100)
    assert store.drain(spool_dir, remove=True).records == 0


def test_dropped_notes_count_once(make_tracer: Make, store: SpanStore) -> None:
    tracer, spool = make_tracer()
    trace_id = team(tracer)
    spool.append(tracer.processor._encoder.note(int(trace_id, 16), 7), "dropped")
    body = b"".join(record.payload for record in spool.read_part(0, 1 << 20) if record.kind != "started")
    for _ in range(2):
        store.ingest(body).result()
    with SpanReader(store.path) as reader:
        shown = trace_show(reader.show(None))
    assert shown["missing"]["dropped"] == 7 and shown["complete"] is False and shown["status"] == "ok"


def test_bad_spans_are_refused_and_the_rest_is_kept(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    for bad in (b"x", spans.body + b"\x0a\xff", b"\x0a\x05hello", gzip.compress(b"x" * 100)):
        with pytest.raises(BadSpans, match="not an OTLP trace request"):
            store.ingest(bad).result()
    with tracer.tool_call(name="t"):
        pass
    good = ResourceSpans.FromString(TracesData.FromString(spans.body).resource_spans[0].SerializeToString())

    def altered(**changes: Any) -> ResourceSpans:
        item = ResourceSpans.FromString(good.SerializeToString())
        for key, value in changes.items():
            setattr(item.scope_spans[0].spans[0], key, value)
        return item

    wrong = {
        "trace_id is not 16": altered(trace_id=b"x"),
        "span_id is not 8": altered(span_id=b"\0" * 8),
        "parent_span_id is not 8": altered(parent_span_id=b"abc"),
        "its clock is wrong": altered(start_time_unix_nano=5),
        "before it starts": altered(end_time_unix_nano=1_000_000_000_000_000_000),
    }
    crowded = altered()
    for number in range(5000):
        crowded.scope_spans[0].spans[0].attributes.add(key=str(number))
    wrong["attributes, 4096 are allowed"] = crowded
    for message, item in wrong.items():
        with pytest.raises(BadSpans, match=message):
            store.ingest(TracesData(resource_spans=[item]).SerializeToString()).result()
    mixed = store.ingest(TracesData(resource_spans=[good, *wrong.values()]).SerializeToString()).result()
    assert (mixed.spans, mixed.rejected) == (1, len(wrong)) and mixed.reason


def test_an_empty_request_is_fine(store: SpanStore) -> None:
    assert store.ingest(b"").result().spans == 0


def test_back_pressure_is_by_bytes(tracer: Tracer, spans: Spans, tmp_path: Path) -> None:
    team(tracer)
    store = SpanStore(tmp_path / "spans.db", capacity=len(spans.body) + 10)
    gate = threading.Event()
    held = store._writer.submit(lambda db: gate.wait())
    first = store.ingest(spans.body)
    with pytest.raises(StoreBusy):
        store.ingest(spans.body)
    assert store.waiting == len(spans.body)
    gate.set()
    held.result()
    first.result()
    store.ingest(spans.body).result()
    assert store.waiting == 0
    store.close()


def test_a_store_of_newer_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    SpanStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma user_version=99")
    with pytest.raises(StoreTooNew):
        SpanStore(path)
    with pytest.raises(StoreTooNew):
        SpanReader(path)


def test_listeners_hear_of_what_changed_and_may_fail(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    heard: list[set[str]] = []

    def failing(changed: dict[bytes, dict[str, Any]]) -> None:
        raise RuntimeError("listener")

    store.listen(failing)
    store.listen(lambda changed: heard.append({trace.hex() for trace in changed}))
    trace_id = team(tracer)
    store.ingest(spans.body).result()
    store.ingest(spans.body).result()
    assert heard == [{trace_id}]


def test_an_entry_from_outside_is_the_top(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    with tracer.agent(message="hello", parent=ParentContext("a" * 32, "b" * 16), entry=True):
        pass
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        shown = trace_show(reader.show("aaaa"))
    assert shown["status"] == "ok" and shown["complete"] and shown["summary"]["query"] == "hello"


def test_what_a_lost_process_used_is_unknown(store: SpanStore, tracer: Tracer, spans: Spans) -> None:
    with tracer.query("team", text="x") as root:
        with tracer.agent(message="x"), tracer.model_call(model="gpt-4o", provider="openai") as call:
            call.usage(input_tokens=1000, output_tokens=100)
        root.answer("y").set({v.COST_USD: 0.0035})
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        (summary,) = reader.list_traces()
    assert cost(summary) == 0.0035
    for lost, known in (({"synthetic": 1}, None), ({"dropped": 1}, None), ({"synthetic": 1, "root_state": 1}, 0.0035)):
        assert cost({**summary, **lost}) == known
        db = sqlite3.connect(store.path)
        for name, value in {"synthetic": 0, "dropped": 0, "root_state": 2, **lost}.items():
            db.execute(f"update trace set {name} = ?", (value,))
        assert db.execute("select cost_usd from queries").fetchone() == (known,)
        db.rollback()
        db.close()


def test_sql_views(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    with tracer.query("team", text="Sum?", user="ada") as root, tracer.agent(message="x"):
        with tracer.model_call(model="gpt-4o", provider="openai") as call:
            call.first_token().usage(input_tokens=1000, output_tokens=100)
        with tracer.model_call(model="mine") as call:
            call.usage(input_tokens=1, output_tokens=1)
        with tracer.tool_call(name='odd "name"', call_id="c1", source="mcp", server="files") as tool:
            tool.fail("no")
        with tracer.peer_call(target="Writer", target_id="writer"):
            pass
    store.ingest(spans.body).result()
    db = connect(store.path, read_only=True)
    calls = [tuple(row) for row in db.execute("select model, input_tokens, cost_usd, estimated from model_calls")]
    assert calls == [("gpt-4o", 1000, 0.0035, 1), ("mine", 1, None, None)]
    (tool_row,) = db.execute("select tool, source, server, call_id, status, error, agent from tool_calls")
    assert tuple(tool_row) == ('odd "name"', "mcp", "files", "c1", "error", "error", "lead")
    assert [tuple(row) for row in db.execute("select caller, target from a2a_calls")] == [("lead", "writer")]
    (query,) = db.execute("select trace_id, question, status, user, cost_usd, estimated from queries")
    assert tuple(query) == (root.trace_id, "Sum?", "ok", "ada", None, 1)
    assert len(db.execute("select * from runs").fetchall()) == 1
    db.close()
