"""The registry of runs, over spans in a store and in spools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teamwright.backends.api import Usage
from teamwright.errors import UnknownJob
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.run_reader import checked, list_runs, runs_of_trace, unique
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.tracer import Tracer

Make = Callable[..., tuple[Tracer, Spool]]


def asked(make: Make, question: str, **about: Any) -> RunContext:
    """A query whose lead asks a writer; the lead's run."""
    door, lead, writer = (make(name, job)[0] for name, job in (("engine", ""), ("lead", "team"), ("writer", "team")))
    run = RunContext(RunId.generate(), "team", "lead", session="s1", **about)
    below = run.child(agent="writer")
    with (
        door.query("team", text=question, run=run, user=run.user, labels=run.labels) as root,
        lead.agent(message=question, run=run, parent=root) as server,
        lead.peer_call(target="Writer", target_id="writer", message="Write") as call,
    ):
        with writer.agent(message="Write", run=below, parent=call) as other:
            other.answer("words", state="completed", usage=Usage(5, 2, 1, 0, 0, 0.25))
        call.answer("words")
        server.answer("done", state="completed", usage=Usage(15, 7, 2, 0, 1, 0.75))
    return run


def test_every_run_is_there_with_all_that_is_known(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    run = asked(make_tracer, "Who are you?", user="ada", labels={"team": "red"})
    for drained in (False, True):
        if drained:
            store.drain(spool_dir)
        with SpanReader(store.path, spool_dir) as reader:
            child, entry = list_runs(reader, Filter())
            assert [one["run_id"] for one in runs_of_trace(reader, bytes.fromhex(entry["trace_id"]))] == [
                run.run_id, child["run_id"],
            ]  # fmt: skip
        assert entry["run_id"] == run.run_id and entry["parent_run_id"] is None and entry["agent"] == "lead"
        assert child["parent_run_id"] == child["root_run_id"] == run.run_id and child["depth"] == 1
        assert (entry["question"], child["question"]) == ("Who are you?", "Write")
        for one in (entry, child):
            assert (one["user"], one["labels"], one["job"]) == ("ada", {"team": "red"}, "team")
            assert one["status"] == "ok" and one["state"] == "completed" and one["duration_ms"] > 0
        assert (entry["input_tokens"], entry["output_tokens"], entry["cost_usd"]) == (15, 7, 0.75)
        assert (child["input_tokens"], child["cost_usd"]) == (5, 0.25)


def test_filters_and_retention(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    red = asked(make_tracer, "One?", user="ada", labels={"team": "red", "who's": 'x"y'})
    blue = asked(make_tracer, "Two?", user="bob", labels={"team": "blue"})
    store.drain(spool_dir)
    with SpanReader(store.path, spool_dir) as reader:

        def runs(**which: Any) -> list[str]:
            return [run["root_run_id"] for run in list_runs(reader, Filter(**which))]

        assert runs(user="ada") == runs(labels={"team": "red"}) == runs(labels={"who's": 'x"y'}) == [red.run_id] * 2
        assert runs(agent="lead", text="TWO") == runs(session="s1", user="bob") == [blue.run_id]
        assert runs(labels={"team": "red", "who's": "no"}) == runs(status="error") == runs(job="x") == []
        assert len(runs(status="ok")) == 4 and len(runs(since_ns=1 << 62)) == 0 and len(runs(min_ns=1)) == 4
        (first, _) = list_runs(reader, Filter(), limit=2)
        assert first["root_run_id"] == blue.run_id
        assert list_runs(reader, Filter(run=red.run_id[:13]))[0]["run_id"] == red.run_id
        trace = first["trace_id"]
    assert ("team", trace) in store.expire(Retention(size=0))
    with SpanReader(store.path) as reader:
        assert list_runs(reader, Filter()) == []


def test_a_run_that_runs_and_one_that_never_got_there(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    door, _ = make_tracer("engine", "")
    lead, _ = make_tracer("lead", "team")
    run = RunContext(RunId.generate(), "team", "lead")
    lost = RunContext(RunId.generate(), "team", "lead")
    with door.query("team", text="lost", run=lost) as root:
        root.fail("lead can't be reached", reason="unreachable")
    with door.query("team", text="x", run=run) as root:
        root.announce()
        with SpanReader(store.path, spool_dir) as reader:
            one, other = list_runs(reader, Filter())
        assert (one["run_id"], one["status"], one["duration_ms"]) == (run.run_id, "running", None)
        assert (other["run_id"], other["status"], other["error"]) == (lost.run_id, "error", "unreachable")
        with lead.agent(message="x", run=run, parent=root) as server:
            server.announce()
            with SpanReader(store.path, spool_dir) as reader:
                (found,) = list_runs(reader, Filter(status="running"))
            assert found["agent"] == "lead" and found["span_id"] == server.span_id
    with SpanReader(store.path, spool_dir) as reader:
        assert list_runs(reader, Filter(status="running")) == []


def test_what_is_meant_by_first_digits() -> None:
    runs = [{"run_id": "2f6b0d6e-1"}, {"run_id": "2f6b0aaa-1"}]
    assert unique(runs[:1], "2f")["run_id"] == "2f6b0d6e-1"
    with pytest.raises(UnknownJob, match="more than one run: 2f6b0a, 2f6b0d …"):
        unique(runs, "2f")
    with pytest.raises(UnknownJob, match="no run 33"):
        unique([], "33")
    for text in ("", "x", "g" * 8, "0" * 37):
        with pytest.raises(UnknownJob, match="not a run id"):
            checked(text)
    assert checked("2F6B") == "2f6b"
