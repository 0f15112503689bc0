"""`validate` and `plan`: what they tell, and what they keep to themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from teamwright.cli.app import Call, app

JOB = """
job: {name: team, description: Two agents}
agents:
  - {id: lead, backend: offline, calls: [writer], env: [MY_KEY, OTHER], resources: {cpu: 0.5, memory: 512M}}
  - {id: writer, backend: offline, group: authors, config: {port: 9321}}
"""


@pytest.fixture
def call(tmp_path: Path) -> Call:
    (tmp_path / "team.yaml").write_text(JOB)
    (tmp_path / ".env").write_text("OTHER=from-the-file-9f3a\n")
    (tmp_path / "side_effect.py").write_text("open('imported', 'w')\nclass A: ...\n")
    return Call(environ={"MY_KEY": "very-secret-1b7c"}, cwd=tmp_path)


def run(call: Call, *words: str) -> Result:
    return CliRunner().invoke(app, list(words), obj=call, catch_exceptions=False)


def plan(call: Call, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(call, "plan", "team.yaml", "--json", *words).stdout)
    return found


def test_plan(call: Call) -> None:
    found = plan(call)
    assert (found["job"], found["entry_point"], found["levels"]) == ("team", "lead", [["writer"], ["lead"]])
    assert found["edges"] == [{"from": "lead", "to": "writer"}]
    lead, writer = found["agents"]
    assert (lead["backend"], lead["port"], lead["level"], lead["calls"]) == ("offline", None, 1, ["writer"])
    assert (writer["port"], writer["group"], writer["callers"]) == (9321, "authors", ["lead"])
    assert lead["secrets"] == [{"name": "MY_KEY", "source": "shell"}, {"name": "OTHER", "source": ".env"}]
    assert (lead["memory"], lead["cpu"]["cores"]) == (512 * 1024**2, 0.5)
    assert lead["cpu"]["nice"] > 0


def test_plan_for_people(call: Call) -> None:
    out = run(call, "plan", "team.yaml").stdout
    for word in ("lead", "writer", "9321", "MY_KEY (shell)", "OTHER (.env)", "memory 512 MB", "by niceness"):
        assert word in out
    assert out.endswith("next: deploy start team.yaml\n")


def test_no_secret_is_shown(call: Call) -> None:
    for words in (("plan", "team.yaml"), ("plan", "team.yaml", "--json"), ("validate", "team.yaml", "--json")):
        done = run(call, *words)
        assert "1b7c" not in done.output
        assert "9f3a" not in done.output


def test_name_and_set(call: Call) -> None:
    found = plan(call, "--name", "other", "--set", "agents.writer.config.port=9400", "--set", "job.description=x")
    assert (found["job"], found["agents"][1]["port"]) == ("other", 9400)


def test_validate_imports_nothing_of_the_users(call: Call) -> None:
    (call.cwd / "class.yaml").write_text("agents: [{id: a, type: A, module: side_effect, backend: offline}]")
    assert json.loads(run(call, "validate", "class.yaml", "--json").stdout) == {
        "job": "class",
        "valid": True,
        "agents": 1,
        "warnings": [],
    }
    assert not (call.cwd / "imported").exists()


FULL = """\
job: {name: team}
defaults: {backend: offline, limits: {turns: 4}}
environment: {LEVEL: "${LEVEL:-info}", API_KEY: "${MY_API_KEY:-hidden}"}
agents:
  - {id: lead, prompt: "hi ${WHO}", calls: [aide], env: [SECRET_KEY]}
  - {id: aide, prompt: b, limits: {turns: 9}}
"""


def test_full_says_where_every_value_came_from(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "team.yaml").write_text(FULL)
    told = {**environment, "WHO": "Ada", "SECRET_KEY": "hidden"}
    program = Path(sys.executable).with_name("deploy")

    def full(*words: str) -> str:
        done = subprocess.run(
            [program, "plan", "team.yaml", "--full", "--set", "agents.aide.max_concurrent=3", *words],
            cwd=tmp_path, env=told, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "hidden" not in done.stdout
        return done.stdout

    values = {each["key"]: (each["value"], each["from"]) for each in json.loads(full("--json"))["values"]}
    assert values["job.name"] == ("team", "team.yaml:1")
    assert values["environment.LEVEL"] == ("info", "team.yaml:3 ${LEVEL}")
    assert values["environment.API_KEY"] == ("***", "team.yaml:3 ${MY_API_KEY}")
    assert values["execution.entry_point"] == ("lead", "follows from the topology (calls)")
    assert values["deployment.strategy"] == ("staged", "default")
    assert values["agents.lead.prompt"] == ("hi Ada", "team.yaml:5 ${WHO}")
    assert values["agents.lead.backend"] == ("offline", "team.yaml:2 (defaults)")
    assert values["agents.lead.limits.turns"] == (4, "team.yaml:2 (defaults)")
    assert values["agents.lead.limits.depth"] == (8, "default")
    assert values["agents.lead.env.SECRET_KEY"] == ("***", "shell")
    assert values["agents.aide.limits.turns"] == (9, "team.yaml:6")
    assert values["agents.aide.max_concurrent"] == (3, "--set agents.aide.max_concurrent")
    assert json.loads(full("--json", "--name", "other"))["values"][0] == {
        "key": "job.name", "value": "other", "from": "--name",
    }  # fmt: skip
    assert "agents.lead.limits.turns" in full() and "team.yaml:2 (defaults)" in full()
