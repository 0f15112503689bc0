from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from teamwright.engine.liveness import Incarnation
from teamwright.engine.telemetry.keeper import LocalKeeper
from teamwright.home import Home
from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import encode, message, plain_text, text, to_json, tool_result
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.storing.parts import LARGE, Parts, content_dir
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

BIG = 'größe "x" ' * 10_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (v.INPUT_MESSAGES, encode(BIG)),
        (v.INPUT_MESSAGES, encode([message("user", text("a"), text(BIG)), message("tool", tool_result(BIG, "c1"))])),
        (v.TOOL_ARGUMENTS, to_json({"text": BIG, "more": ["a", BIG, {"n": 1}]})),
        (v.TOOL_RESULT, BIG),
        (v.TOOL_RESULT, to_json(list(range(20_000)))),
        (v.TOOL_RESULT, "{" + BIG),
    ],
)
def test_there_and_back(tmp_path: Path, name: str, value: str) -> None:
    parts = Parts(tmp_path / "content")
    folded = parts.fold(name, value)
    assert len(folded) < 5000 and folded != value
    json.loads(folded)
    assert parts.unfold(folded) == value
    for file in (tmp_path / "content").rglob("*"):
        if file.is_file():
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name and file.stat().st_mode & 0o77 == 0
    again = parts.fold(name, value)
    assert again == folded
    for file in [file for file in (tmp_path / "content").rglob("*") if file.is_file()]:
        file.unlink()
    assert plain_text(parts.unfold(folded)) == plain_text(folded) != ""  # what is left: the beginning


def test_what_is_small_or_no_content_stays(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "content")
    for name, value in ((v.INPUT_MESSAGES, encode("x" * (LARGE - 100))), ("note", BIG)):
        assert parts.fold(name, value) == value
    (tmp_path / "content").write_text("no folder")
    assert parts.fold(v.TOOL_RESULT, BIG) == BIG  # can't be written
    for odd in ("teamwright:sha256:", '{"uri":"teamwright:sha256:../x","type":"uri"}', '{"uri":1}'):
        assert parts.unfold(odd) == odd
    assert parts.unfold(7) == 7


async def test_a_span_refers_and_retention_removes(tmp_path: Path) -> None:
    home = Home(tmp_path / "logs").create()
    folder = content_dir(home.spool_dir)
    keeper = LocalKeeper(home, Retention(age=3600), guard=Incarnation.of(os.getpid()))
    now = time.time_ns()
    try:
        for question, started, labels in (
            ("old " + BIG, now - 7200 * 10**9, {}),
            ("kept " + BIG, now - 7200 * 10**9, {"keep": "yes"}),
            ("new " + BIG, now - 60 * 10**9, {}),
        ):
            spans = Spans()
            tracer = Tracer("lead", "team", "1", spans, files=Parts(folder), strict=True)
            tracer.query("team", text=question, labels=labels, start_ns=started).end(started + 10**9)
            given = attributes(spans.named("invoke_workflow team"))[v.INPUT_MESSAGES]
            (part,) = json.loads(given)[0]["parts"]
            assert part["size"] == len(question.encode()) and part["mime_type"] == "text/plain"
            file = folder / part["uri"][18:20] / part["uri"][18:]
            assert file.read_text() == question
            os.utime(file, ns=(started, started))
            keeper.store.ingest(spans.body).result()
        assert keeper.expire() == 1
        left = sorted(file.read_text()[:4] for file in folder.glob("*/*"))
        assert left == ["kept", "new "]
        keeper._retention = Retention(size=len(BIG.encode()))
        assert keeper.expire() == 1
        assert [file.read_text()[:4] for file in folder.glob("*/*")] == ["kept"]
        assert Parts(folder).shrink(0) == 1
    finally:
        await keeper.aclose()


async def test_an_engine_that_lives_shortly_removes_too(tmp_path: Path) -> None:
    home = Home(tmp_path / "logs").create()
    keeper = LocalKeeper(home, Retention(age=3600), guard=Incarnation.of(os.getpid()))
    keeper.start()
    try:
        spans, started = Spans(), time.time_ns() - 7200 * 10**9
        Tracer("lead", "team", "1", spans, strict=True).query("team", text="old", start_ns=started).end(started + 1)
        keeper.store.ingest(spans.body).result()
        async with asyncio.timeout(60):
            while True:
                with SpanReader(home.spans_db) as reader:
                    if not reader.list_traces():
                        break
                await asyncio.sleep(0.1)
    finally:
        await keeper.aclose()
