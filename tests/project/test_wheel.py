"""The wheel, in an empty environment, used from another folder."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.standins.mixed_team import DRAFT, QUESTION

JOB = """
agents:
  - {id: lead, backend: offline, prompt: You lead., calls: [writer]}
  - {id: writer, backend: offline, prompt: You write.}
"""


@pytest.mark.timeout(600)
def test_wheel(root: Path, uv_environment: dict[str, str], tmp_path: Path) -> None:
    def run(*command: str | Path, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            [str(word) for word in command], cwd=folder, env=uv_environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    run("uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", folder=root)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "teamwright/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for example in ("jobs/code-review.yaml", "tools/library/imf-2024.md", "data/prices.csv", "agents/research.py"):
        assert f"teamwright/bundled/examples/{example}" in names
    assert [name for name in names if not name.startswith(("teamwright/", "teamwright-"))] == []

    constraints = tmp_path / "constraints.txt"
    project = tomllib.loads((root / "pyproject.toml").read_text())
    constraints.write_text("\n".join(project["tool"]["uv"]["constraint-dependencies"]))
    run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, "--constraint", constraints, wheel)

    deploy = tmp_path / "empty" / "bin" / "deploy"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "team.yaml").write_text(JOB)
    assert run(deploy, "--version") == f"teamwright {project['project']['version']}\n"
    assert (
        run(tmp_path / "empty" / "bin" / "teamwright", "--version") == f"teamwright {project['project']['version']}\n"
    )
    try:
        started = json.loads(run(deploy, "start", "team.yaml", "--json", folder=elsewhere))
        assert started["status"] == "running"
        assert json.loads(run(deploy, "query", "team", "hi", "--json", folder=elsewhere))["status"] == "ok"
        assert json.loads(run(deploy, "trace", "show", "--json", folder=elsewhere))["complete"] is True
        question = "What is the weather in Lisbon?"
        asked = json.loads(run(deploy, "query", "example:stock-workflow", question, "--json", folder=elsewhere))
        assert "Lisbon: " in asked["answer"]
        # a team of four vendors, none of whose packages is here: its recording came along
        replay = ("--replay", "example:mixed-providers-stand-in")
        run(deploy, "start", "example:mixed-providers", *replay, folder=elsewhere)
        asked = json.loads(run(deploy, "query", "mixed-providers", QUESTION, "--json", folder=elsewhere))
        assert asked["answer"] == DRAFT
        run(deploy, "start", "example:code-review", folder=elsewhere)
        (elsewhere / "odd.py").write_text("import os\n")
        failed = subprocess.run(
            [deploy, "query", "code-review", "Is `odd.py` complex?", "--json"],
            cwd=elsewhere, env=uv_environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert failed.returncode == 1
        assert "radon is not installed" in json.loads(failed.stdout.splitlines()[0])["answer"]
        # with the three programs beside it, as that line says, the running job does its work
        programs = ("ruff", "bandit", "radon")
        run("uv", "pip", "install", "--quiet", "--python", python, "--constraint", constraints, *programs)
        (elsewhere / "odd.py").write_text("import os\n\n\ndef run(text):\n    return eval(text)\n")
        asked = json.loads(run(deploy, "query", "code-review", "Review `odd.py`", "--json", folder=elsewhere))
        for words in ("odd.py:1 F401", "odd.py:5 B307", "1 function, average complexity 1.0"):
            assert words in asked["answer"]
    finally:
        run(deploy, "stop", "--all", folder=elsewhere)
