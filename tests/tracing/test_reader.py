from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from teamwright.database import connect, migrate
from teamwright.errors import UnknownJob
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.tables import rows
from teamwright.tracing.reading.totals import agent_totals
from teamwright.tracing.reading.view import trace_list, trace_show
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.schema import STEPS
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

Make = Callable[..., tuple[Tracer, Spool]]


def ask(tracer: Tracer, text: str, **about: str) -> str:
    with tracer.query("team", text=text, **about) as root, tracer.agent(message=text):  # type: ignore[arg-type]
        pass
    return root.trace_id


def test_nothing_there_yet(tmp_path: Path) -> None:
    with SpanReader(tmp_path / "spans.db", tmp_path / "spool") as reader:
        assert reader.list_traces() == []
        with pytest.raises(UnknownJob, match="no traces yet"):
            reader.show(None)
    assert list(tmp_path.iterdir()) == []


def test_without_a_store_the_spools_are_enough(make_tracer: Make, tmp_path: Path, spool_dir: Path) -> None:
    door, _ = make_tracer("engine", "")
    lead, _ = make_tracer("lead", "team")
    with door.query("team", text="x") as root, lead.agent(message="x", parent=root):
        with SpanReader(tmp_path / "spans.db", spool_dir) as reader:
            assert reader.list_traces() == []  # nothing was announced: it is too young
        root.announce()
        with SpanReader(tmp_path / "spans.db", spool_dir) as reader:
            assert trace_show(reader.show(None))["status"] == "running"
    with SpanReader(tmp_path / "spans.db", spool_dir) as reader:
        shown = trace_show(reader.show(None))
    assert shown["complete"] and shown["status"] == "ok" and len(shown["spans"]) == 2


def test_store_and_spools_are_seen_as_one(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    door, _ = make_tracer("engine", "", "e1")
    lead, spool = make_tracer("lead", "team", "i1")
    old = ask(door, "old")
    store.drain(spool_dir)
    with door.query("team", text="new") as root:
        root.announce()
        store.drain(spool_dir)
        with lead.agent(message="new", parent=root), lead.tool_call(name="t"):
            pass
    # The root's end and all of the agent's spans are in spools only.
    before = store.path.stat().st_size
    with SpanReader(store.path, spool_dir) as reader:
        shown = trace_show(reader.show(root.trace_id[:10]))
        listed = trace_list(reader.list_traces())["traces"]
        assert [trace["trace_id"] for trace in listed] == [root.trace_id, old]
        assert [trace["spans"] for trace in listed] == [3, 2]
        assert [trace["trace_id"] for trace in trace_list(reader.list_traces(limit=1, offset=1))["traces"]] == [old]
    assert shown["complete"] and len(shown["spans"]) == 3 and shown["missing"]["orphans"] == 0
    assert store.path.stat().st_size == before
    with SpanReader(store.path) as reader:
        assert trace_show(reader.show(root.trace_id))["status"] == "running"
    spool.ack(spool.size)
    store.drain(spool_dir)


@pytest.mark.parametrize("where", ["copied", "shown"])
def test_a_summary_and_its_spans_are_of_one_moment(
    where: str, make_tracer: Make, store: SpanStore, spool_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, door_spool = make_tracer("engine", "", "e1")
    lead, lead_spool = make_tracer("lead", "team", "i1")
    other, other_spool = make_tracer("other", "team", "i2")
    with door.query("team", text="x") as root:
        with lead.agent(message="x", parent=root) as first:
            pass
        with other.agent(message="x", parent=first):
            pass
    bodies = [b"".join(record.payload for record in spool.read_part(0, 1 << 20) if record.kind == "ended")
              for spool in (door_spool, lead_spool, other_spool)]  # fmt: skip
    store.ingest(bodies[0]).result()
    if where == "shown":
        store.ingest(bodies[1]).result()
    arrived: list[str] = []

    def opened(path: Path, **about: bool) -> sqlite3.Connection:
        def seen(statement: str) -> None:
            if "from span s" in statement and not arrived:
                arrived.append(statement)  # the summary has been read, the spans have not
                store.ingest(bodies[2]).result()

        db = connect(path, **about)  # type: ignore[arg-type]
        db.set_trace_callback(seen)
        return db

    monkeypatch.setattr("teamwright.tracing.reading.reader.connect", opened)
    for spool in (door_spool, *((lead_spool,) if where == "shown" else ())):
        spool.ack(spool.size)
    if where == "shown":
        other_spool.ack(other_spool.size)
    with SpanReader(store.path, spool_dir) as reader:
        shown = trace_show(reader.show(root.trace_id))
    assert arrived
    assert {span["agent"] for span in shown["spans"]} - {None} == set(shown["summary"]["agents"])
    assert len(shown["spans"]) == shown["summary"]["spans"]
    for spool in (lead_spool, other_spool):
        spool.ack(spool.size)


def test_orphans_are_not_complete(make_tracer: Make, tmp_path: Path, spool_dir: Path) -> None:
    door, _ = make_tracer("engine", "", "e1")
    lead, spool = make_tracer("lead", "team", "i1")
    with door.query("team", text="x") as root, lead.agent(message="x", parent=root), lead.tool_call(name="t"):
        pass
    tool = next(record for record in spool.read_part(0, 1 << 20) if record.kind == "ended")
    spool.path.write_bytes(b"")
    other = Spool.create(spool_dir, "team", "lead", "i2")
    other.append(tool.payload)
    other.close()
    with SpanReader(tmp_path / "spans.db", spool_dir) as reader:
        shown = trace_show(reader.show(None))
    assert shown["missing"]["orphans"] == 1 and not shown["complete"]


def test_filters_and_prefixes(tracer: Tracer, spans: Spans, store: SpanStore, spool_dir: Path) -> None:
    one = ask(tracer, "a", user="ada", session="s1")
    with tracer.query("other", text="b", labels={"who's": 'x"y'}) as root:
        root.fail("broken")
    with (
        tracer.deployment("team", agents=["lead"], levels=[["lead"]]) as deployment,
        tracer.start_agent("lead", job="team"),
    ):
        pass
    store.ingest(spans.body).result()
    with SpanReader(store.path, spool_dir) as reader:

        def ids(**which: object) -> list[str]:
            return [found["trace"].hex() for found in reader.list_traces(Filter(**which))]  # type: ignore[arg-type]

        assert ids() == [root.trace_id, one] and ids(kind="deployment") == [deployment.trace_id]
        assert ids(kind=None) == [deployment.trace_id, root.trace_id, one]
        assert ids(job="team") == ids(user="ada") == ids(session="s1") == ids(status="ok") == [one]
        assert ids(agent="lead") == [root.trace_id, one] and ids(agent="other") == []
        assert ids(status="error") == ids(labels={"who's": 'x"y'}) == [root.trace_id]
        assert ids(status="running") == ids(status="lost") == ids(since_ns=1 << 62) == ids(labels={"a": "b"}) == []
        assert reader.show(None).trace_id == root.trace_id and reader.show(None, job="team").trace_id == one
        assert reader.show(one[:31].upper()).trace_id == one
        for wrong, message in (("zz", "is not a trace id"), ("", "is not a trace id"), ("f" * 33, "is not a trace id")):
            with pytest.raises(UnknownJob, match=message):
                reader.show(wrong)
        missing = "0" * 32 if one[0] != "0" else "f" * 32
        with pytest.raises(UnknownJob, match=f"no trace {missing[0]}"):
            reader.show(missing)
    tracer.record("x", start_ns=10**18, end_ns=10**18 + 1, trace_id="ab" + "0" * 30)
    tracer.record("y", start_ns=10**18, end_ns=10**18 + 1, trace_id="ac" + "0" * 30)
    store.ingest(b"".join(spans.payloads[-2:])).result()
    with SpanReader(store.path) as reader:
        assert reader.show("ab0").trace_id.startswith("ab")
        with pytest.raises(UnknownJob, match=r"more than one trace: .*ab000, .*ac000|more than one"):
            reader.show("a")


def test_the_keys_that_scripts_rely_on(tracer: Tracer, spans: Spans, store: SpanStore) -> None:
    ask(tracer, "x")
    store.ingest(spans.body).result()
    with SpanReader(store.path) as reader:
        listed, shown = trace_list(reader.list_traces()), trace_show(reader.show(None))
    keys = ["trace_id", "job", "query", "status", "spans", "agents", "duration_ms", "cost_usd", "errors", "started_at"]
    assert list(listed) == ["traces"] and list(listed["traces"][0])[: len(keys)] == keys
    assert list(shown)[:5] == ["trace_id", "job", "status", "complete", "spans"]
    span_keys = ["span_id", "parent_id", "name", "kind", "agent", "start_ns", "end_ns", "status", "message"]
    span_keys += ["attributes", "events", "links"]
    assert [list(span) for span in shown["spans"]] == [span_keys] * 2
    json.dumps([listed, shown])


def test_reading_imports_no_sdk_and_starts_nothing() -> None:
    code = (
        "import sys, threading\n"
        "import teamwright.tracing.vocabulary, teamwright.tracing.runs, teamwright.tracing.reading.view\n"
        "import teamwright.tracing.reading.reader, teamwright.tracing.logs, teamwright.tracing.showing.tree\n"
        "bad = [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.trace', 'httpx',"
        " 'starlette', 'asyncio'))]\n"
        "assert not bad, bad\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_an_older_version_has_written_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    path, spans = tmp_path / "spans.db", Spans()
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, STEPS[:2], path)
    tracer = Tracer("lead", "team", "1", spans, strict=True)
    trace_id = ask(tracer, "old?")
    columns = {row[1] for row in db.execute("pragma table_info(trace)")}
    values: dict[str, object] = dict.fromkeys(columns, "")
    values |= {"trace": bytes.fromhex(trace_id), "kind": "query", "query": "old?", "start": 1, "end": 2}
    values |= {"root_state": 2, "root_status": 0, "agents": "[]", "labels": "{}"}
    names = ",".join(values)
    db.execute(f"insert into trace({names}) values({','.join('?' * len(values))})", tuple(values.values()))
    with SpanReader(path) as reader:
        assert [row["query"] for row in reader.list_traces()] == ["old?"]
        assert list(rows(reader, "runs")) == []
    assert db.execute("pragma user_version").fetchone() == (2,)
    db.close()


def test_what_agents_took_by_themselves(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    assert agent_totals(store.path.with_name("none.db"), 0) == {}
    lead, writer = make_tracer("lead")[0], make_tracer("writer")[0]
    for tracer, tokens, cost in ((lead, 10, 0.5), (writer, 20, 0.25), (writer, 3, None)):  # which has no price
        with tracer.query("team", text="x"), tracer.agent(message="x"), tracer.model_call(model="m") as call:
            call.usage(input_tokens=tokens, output_tokens=2, cost_usd=cost)
    store.drain(spool_dir)
    assert agent_totals(store.path, 0) == {
        ("team", "lead"): {"calls": 1, "input_tokens": 10, "output_tokens": 2, "cost_usd": 0.5},
        ("team", "writer"): {"calls": 2, "input_tokens": 23, "output_tokens": 4, "cost_usd": None},
    }
    assert agent_totals(store.path, time.time_ns() + 10**12) == {}
    with closing(connect(store.path, read_only=True)) as db:
        plan = db.execute("explain query plan select 1 from span where op = 'chat' and start >= 5").fetchall()
    assert "span_models" in plan[0]["detail"]
