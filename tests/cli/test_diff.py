"""`deploy diff` over a home without an engine, whose jobs were started by hand."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from teamwright.engine.store.records import JobRecord
from teamwright.engine.store.state import EngineState
from teamwright.home import Home
from teamwright.jobs import planner
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

JOB = """
    agents:
      - {{id: lead, backend: offline, prompt: {{file: lead.md}}, tools: ["mine:one"], calls: [helper]}}
      - {{id: helper, backend: offline, prompt: You help., max_concurrent: {many}}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two revisions of one job, each with a query."""
    folder = tmp_path_factory.mktemp("world")
    home = Home(folder / "logs").create()
    state, store = EngineState(home.engine_db), SpanStore(home.spans_db)
    for many, prompt, code in ((1, "You lead.\nBe brief.", "def one() -> int:\n    return 1\n"),
                               (2, "You lead.\nBe kind.", "def one() -> int:\n    return 2\n")):  # fmt: skip
        (folder / "team.yaml").write_text(textwrap.dedent(JOB.format(many=many)))
        (folder / "lead.md").write_text(prompt)
        (folder / "mine.py").write_text(code)
        plan = planner.load(folder / "team.yaml", environ={}, cwd=folder).plan
        asyncio.run(state.save_job(JobRecord(plan, "stopped", many)))
        spans = Spans()
        tracer = Tracer("lead", "team", str(many), spans, strict=True)
        with tracer.query("team", text="x", revision=plan.revision), tracer.agent(message="x") as agent:
            if many == 1:
                agent.fail("broken")
        store.ingest(spans.body).result()
    state.close()
    store.close()
    return folder


def deploy(world: Path, *words: str, code: int = 0) -> str:
    command = [str(Path(sys.executable).with_name("deploy")), "diff", *words, "--home", "logs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=world)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def found(world: Path, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(deploy(world, *words, "--json"))
    return told


def test_what_changed(world: Path) -> None:
    told = found(world, "team")
    one, other = told["revisions"]
    assert one["revision"] != other["revision"] and one["job"] == other["job"] == "team"
    assert [change["key"] for change in told["file"]] == ["agents.helper.max_concurrent", "agents.lead.prompt"]
    assert told["file"][0] == {"key": "agents.helper.max_concurrent", "before": 1, "after": 2}
    assert told["file"][1]["lines"][-2:] == ["-Be brief.", "+Be kind."]
    (code,) = told["code"]
    assert (code["file"], code["change"]) == ("mine.py", "changed") and code["before"] != code["after"]
    assert told["packages"] == []
    assert [side["queries"] for side in told["queries"]] == [1, 1]
    text = deploy(world, "team@prev", "team")
    assert f"from team {one['revision']}" in text and "agents.helper.max_concurrent: 1 -> 2" in text
    assert "    +Be kind." in text and "code mine.py: changed (" in text


def test_all_the_ways_to_name_one(world: Path) -> None:
    one, other = (side["revision"] for side in found(world, "team")["revisions"])
    for words in ((one[:6], other[:6]), (f"team@{one[:5]}", "team"), ("team@prev", "team.yaml"), ("team@prev", other)):
        assert [side["revision"] for side in found(world, *words)["revisions"]] == [one, other]
    back = found(world, "team", "team@prev")
    assert [side["revision"] for side in back["revisions"]] == [other, one]
    assert "nothing differs" in deploy(world, "team.yaml")
    assert "nothing differs" in deploy(world, "team", "team")


def test_what_is_no_revision(world: Path, tmp_path: Path) -> None:
    one, _ = (side["revision"] for side in found(world, "team")["revisions"])
    assert "no revision zzz" in deploy(world, "zzz", "team", code=2)
    assert "hint: newest: team@" in deploy(world, "zzz", "team", code=2)
    assert "has had one revision only" in deploy(world, one, code=2)
    assert "no revision team" in deploy(tmp_path, "team", code=2)
