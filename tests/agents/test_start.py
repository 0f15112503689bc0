"""How an agent's process starts, and what it says when it can't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.agents.spec import AgentSpec

if TYPE_CHECKING:
    from .conftest import Team

WARM = """
import os
from pathlib import Path
from teamwright.agents.warm import warm
before = set(os.listdir('/proc/self/fd')), dict(os.environ)
warm()
warm()
assert os.listdir('/proc/self/task') == [str(os.getpid())]
assert set(os.listdir('/proc/self/fd')) == before[0]
assert {name for name, value in os.environ.items() if before[1].get(name) != value} == {
    'OTEL_INSTRUMENTATION_A2A_SDK_ENABLED'}
assert not list(Path(os.environ['TMPDIR']).iterdir())
from opentelemetry import trace
assert trace._TRACER_PROVIDER is None
"""


def test_warming_up_leaves_nothing_behind(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-I", "-c", WARM], check=True, timeout=120, env={"TMPDIR": str(tmp_path)})


@pytest.mark.parametrize(
    ("code", "options", "said"),
    [
        ("", {"module": "missing", "type": "X"}, "can't start: no module 'missing'"),
        ("x = 1\n", {"module": "mine", "type": "X"}, "can't start: mine has no class 'X'"),
        ("x = (\n", {"module": "mine", "type": "X"}, "mine.py:1: '(' was never closed"),
        (
            "from teamwright import Agent\nclass X(Agent):\n    def __init__(self, a): ...\n",
            {"module": "mine", "type": "X"},
            "mine:X can't be made from its `config:`",
        ),
        ("", {"tools": ("mine:nothing",)}, "mine has no 'nothing'"),
        ("", {"backend": "ofline"}, "there is no backend 'ofline' (did you mean 'offline'?)"),
        ("", {"job_folder": "/nowhere/at/all"}, "the job's folder /nowhere/at/all: No such file"),
    ],
)
def test_what_is_wrong_is_one_line_in_the_log(team: Team, code: str, options: dict[str, Any], said: str) -> None:
    team.write("mine.py", code)
    team.launch("a", **options)
    process = team.processes.pop("a")
    assert process.wait(timeout=120) == 2
    lines = team.log("a").splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_the_process_is_the_agents_own(team: Team) -> None:
    team.write(
        "mine.py",
        """
        import logging, os, warnings
        from pathlib import Path
        from teamwright import Agent

        class Mine(Agent):
            async def run(self, turn):
                logging.getLogger("third.party").warning("somebody says %s", turn.text)
                names = ("HOME_OF", "SECRET", "TEAMWRIGHT_MARK")
                return f"{Path.cwd()} {[os.environ.get(name) for name in names]} {self.prompt} {self.config['depth']}"
        """,
    )
    spec = team.start(
        "a",
        module="mine",
        prompt="Be brief",
        config={"depth": 3},
        environment={"HOME_OF": "whales"},
        secrets={"SECRET": "s3cret"},
    )
    task = team.ask("a", "hello")["task"]
    mark = f"{team.home.id}:team/a:{spec.incarnation}"
    assert task["artifacts"][0]["parts"][0]["text"] == f"{team.folder} ['whales', 's3cret', '{mark}'] Be brief 3"
    run = next(iter(task["metadata"].values()))
    line = next(line for line in team.log("a").splitlines() if "somebody says hello" in line)
    (span,) = team.spans("a")
    assert f"run={span.attributes['teamwright.run.id']}" in line
    assert f"trace={span['trace_id']}" in line
    assert run
    assert "s3cret" not in team.log("a")


def test_an_agent_without_tracing_works_the_same(team: Team) -> None:
    team.start("a", tracing=False)
    assert "task" in team.ask("a", "hello")
    assert not team.home.spool_dir.exists()


def test_a_spool_that_can_not_be_made_stops_nobody(team: Team) -> None:
    team.home.spool_dir.write_text("in the way")
    team.start("a")
    assert "task" in team.ask("a", "hello")
    assert "no tracing" in team.log("a")


def test_the_spec_survives_the_pipe(team: Team) -> None:
    spec = team.spec("a", calls=("b",), callers=("front-door", "team/c"))
    assert AgentSpec.from_dict(spec.to_dict()) == spec
