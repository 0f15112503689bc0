"""`deploy trace …` through the real command, over a home without an engine."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from teamwright.errors import MissingExtra
from teamwright.home import Home
from teamwright.tracing.reading.tables import write_parquet
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "logs").create()
    store = SpanStore(home.spans_db)
    for question, tools in (("What is one?", 1), ("What is three?", 3)):
        spans = Spans()
        tracer = Tracer("lead", "team", "1", spans, strict=True)
        with tracer.query("team", text=question, session="s1", labels={"k": question}) as root:
            with tracer.agent(message=question):
                with tracer.model_call(model="gpt-4o", provider="openai", messages=question) as call:
                    call.answer("a long answer " * 30).usage(input_tokens=1000, output_tokens=100)
                for number in range(tools):
                    with tracer.tool_call(name="t") as tool:
                        if number == 2:
                            tool.fail("it broke")
            root.answer(f"{tools}")
        store.ingest(spans.body).result()
    store.close()
    return home


def deploy(home: Home, *words: str, code: int = 0) -> str:
    command = [str(Path(sys.executable).with_name("deploy")), "trace", *words, "--home", str(home.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=home.path.parent)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_list_filters(home: Home) -> None:
    def count(*words: str) -> int:
        return len(json.loads(deploy(home, "list", "--json", *words))["traces"])

    assert count("--text", "ONE", "--session", "s1", "--agent", "lead", "--status", "ok", "--since", "1h") == 1
    assert count("--label", "k=What is three?", "--min-duration", "1us") == 1 and count("--min-duration", "1h") == 0
    assert "not a time" in deploy(home, "list", "--since", "soon", code=2)


def test_show_one_span_and_all_of_it(home: Home) -> None:
    whole = json.loads(deploy(home, "show", "--json"))
    root = whole["spans"][0]
    assert sum(whole["time_ns"].values()) == root["end_ns"] - root["start_ns"]
    assert whole["critical_path"][0] == root["span_id"]
    (agent,) = whole["costs"]["agents"]
    assert agent["cost_usd"] == 0.0035 and agent["estimated"] and agent["tool_calls"] == 3
    chat = next(span for span in whole["spans"] if span["name"] == "chat gpt-4o")
    assert json.loads(deploy(home, "show", "--span", chat["span_id"], "--json")) == chat
    assert "gen_ai.usage.input_tokens: 1000" in deploy(home, "show", "--span", chat["span_id"][:10])
    text, full = deploy(home, "show"), deploy(home, "show", "--full")
    assert "time: " in text and "invoke_workflow team *" in text and "it broke" in text
    assert "".join(full.replace("│", " ").split()).count("alonganswer") == 30 > text.count("a long answer")
    assert "0 spans" in deploy(home, "show", "--span", "ffffffffffffffff", code=2)


def test_export(home: Home) -> None:
    assert len(json.loads(deploy(home, "export"))["resourceSpans"]) == 1
    told = json.loads(deploy(home, "export", "--format", "chrome", "-o", "t.json", "--json"))
    assert json.loads(Path(told["file"]).read_text())["traceEvents"]
    assert len(list(csv.reader(io.StringIO(deploy(home, "export", "--format", "csv"))))) == 7


def test_diff_and_stats(home: Home) -> None:
    new, old = [trace["trace_id"] for trace in json.loads(deploy(home, "list", "--json"))["traces"]]
    found = json.loads(deploy(home, "diff", old, new, "--json"))
    assert found["changed"]["spans"] == [4, 6] and found["changed"]["errors"] == [0, 1]
    assert "* lead: execute_tool t: 1 -> 3" in deploy(home, "diff", old, new)
    stats = json.loads(deploy(home, "stats", "--json"))
    assert stats["queries"] == 2 and stats["status"] == {"ok": 2} and stats["spans_per_query"] == 5
    assert stats["cost_usd"] == 0.007 and stats["sessions"] == [{"session": "s1", "queries": 2, "cost_usd": 0.007}]
    assert abs(sum(stats["time_share"].values()) - 1) < 1e-9
    text = deploy(home, "stats")
    assert "2 queries: 2 ok" in text and "session s1: 2 queries, $0.0070" in text
    one = json.loads(deploy(home, "stats", "team", "--label", "k=What is one?", "--since", "1h", "--json"))
    assert one["queries"] == 1 and one["job"] == "team"
    assert json.loads(deploy(home, "stats", "--user", "nobody", "--json"))["queries"] == 0


def test_an_unknown_price_is_never_nothing(home: Home) -> None:
    store, spans = SpanStore(home.spans_db), Spans()
    tracer = Tracer("lead", "dear", "1", spans, strict=True)
    with (
        tracer.query("dear", text="how much?", session="s2"),
        tracer.model_call(model="nobody-knows-it", provider="openai", messages="how much?") as call,
    ):
        call.answer("much").usage(input_tokens=1000, output_tokens=100)
    store.ingest(spans.body).result()
    store.close()
    stats = json.loads(deploy(home, "stats", "dear", "--json"))
    assert (stats["cost_usd"], stats["unpriced_queries"]) == (None, 1)
    assert stats["sessions"] == [{"session": "s2", "queries": 1, "cost_usd": None}]
    assert [agent["cost_usd"] for agent in stats["agents"]] == [None]
    shown = json.loads(deploy(home, "show", "--job", "dear", "--json"))
    assert shown["summary"]["cost_usd"] is None and [run["cost_usd"] for run in shown["costs"]["runs"]] == [None]
    for words in (("stats", "dear"), ("list", "--job", "dear"), ("show", "--job", "dear")):
        assert "$0" not in deploy(home, *words)
    assert "cost: unknown; tokens 1000 in" in deploy(home, "stats", "dear")
    assert "cost: $0.0070 (estimated) and 1 query of unknown price" in deploy(home, "stats")
    table = csv.DictReader(io.StringIO(deploy(home, "export", "--view", "queries", "--job", "dear")))
    assert [row["cost_usd"] for row in table] == [""]


def test_tail(home: Home) -> None:
    assert deploy(home, "tail", "--seconds", "0") == ""


def test_tables_of_all_traces(home: Home) -> None:
    def table(view: str, *words: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(deploy(home, "export", "--view", view, *words))))

    assert [row["question"] for row in table("queries")] == ["What is one?", "What is three?"]
    assert [row["labels"] for row in table("runs")] == ["", ""]  # the fixture's agents were given no run
    calls = table("model_calls", "--job", "team", "--since", "1h")
    assert [(row["model"], row["input_tokens"], row["cost_usd"]) for row in calls] == [("gpt-4o", "1000", "0.0035")] * 2
    assert [row["status"] for row in table("tool_calls")] == ["ok", "ok", "ok", "error"]
    assert table("tool_calls", "--job", "other") == table("a2a_calls") == []
    told = json.loads(
        deploy(home, "export", "--view", "tool_calls", "--format", "parquet", "-o", "t.parquet", "--json")
    )
    assert told["rows"] == 4
    found = import_module("pyarrow.parquet").read_table(told["file"])
    assert found.column("status").to_pylist() == ["ok", "ok", "ok", "error"]
    assert (
        str(found.schema.field("start_ns").type) == "int64" and str(found.schema.field("duration_ms").type) == "double"
    )
    assert found.column("source").to_pylist() == [None] * 4
    assert "no ID" in deploy(home, "export", "abc", "--view", "runs", code=2)
    assert "goes into a file" in deploy(home, "export", "--view", "runs", "--format", "parquet", code=2)
    assert "is for tables" in deploy(home, "export", "--format", "parquet", code=2)


def test_parquet_without_its_package_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra) as caught:
        write_parquet(tmp_path / "x.parquet", ["a"], iter([("1",)]))
    assert caught.value.hint == "pip install 'teamwright[parquet]'" and not (tmp_path / "x.parquet").exists()
