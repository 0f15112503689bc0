"""The fixtures for pytest, in a pytest of its own with real jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ALONE = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio")
TEAM = 'agents: [{id: echo, run: "mine:echo"}]\n'
CODE = """
async def echo(text):
    if text == "bad":
        raise RuntimeError("no luck today")
    return text.upper()
"""
TESTS = """
import os, time
import pytest

def test_well(deploy_job):
    job = deploy_job("team.yaml")
    assert job.query("hello").answer == "HELLO"

def test_wrong_answer(deploy_job):
    job = deploy_job("team.yaml")
    assert job.query("good morning").answer == "good evening"

def test_failed_query(deploy_job):
    deploy_job("team.yaml", name="other").query("bad")

def test_never_up(deploy_job):
    deploy_job("team.yaml", set={"agents.echo": {"id": "echo", "command": ["sh", "-c", "echo no licence; exit 3"]}})

@pytest.fixture(scope="module")
def job(module_deploy_job):
    return module_deploy_job("team.yaml", name="shared")

def test_one_of_two(job):
    assert job.query("first question").ok

def test_two_of_two(job):
    assert job.query("second question").answer == ""

def test_died(deploy_job):
    deploy_job("team.yaml")
    job = deploy_job("team.yaml", name="dies", set={"agents.echo.restart": {"policy": "never"}})
    os.kill(job.view()["agents"][0]["pid"], 9)
    while job.view()["status"] == "running":
        time.sleep(0.02)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "team.yaml").write_text(TEAM)
    (folder / "mine.py").write_text(CODE)
    (folder / "test_team.py").write_text(TESTS)
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {' '.join(ALONE)}\nfilterwarnings = error\n")
    return folder


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_failure_shows_its_trace(project: Path, environment: dict[str, str]) -> None:
    done = run(project, environment, "-q", "-k", "not died")
    assert "4 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    parts = dict(zip(*[iter(_parts(done.stdout))] * 2, strict=True))
    wrong = parts["test_wrong_answer"]
    assert "trace of 'good morning'" in wrong and "Q: good morning" in wrong and "A: GOOD MORNING" in wrong
    failed = parts["test_failed_query"]
    assert "trace of 'bad'" in failed and "no luck today" in failed and "QueryFailed" in failed
    never = parts["test_never_up"]
    assert "log of echo" in never and "no licence" in never and "StartFailed" in never
    second = parts["test_two_of_two"]
    assert "trace of 'second question'" in second and "first question" not in second
    assert not list(project.glob("logs"))
    mine = str(project.parent)
    alive = [path for path in Path("/proc").glob("[0-9]*/environ") if mine in _text(path)]
    assert not alive


def test_a_job_that_dies_fails_its_test(project: Path, environment: dict[str, str]) -> None:
    done = run(project, environment, "-q", "-k", "died")
    assert "job dies is failed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1


def test_it_costs_other_projects_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other():\n"
        "    ours = sorted(name for name in sys.modules if name.split('.')[0] == 'teamwright')\n"
        "    assert ours == ['teamwright', 'teamwright.client', 'teamwright.client.pytest_plugin']\n"
        "    assert 'httpx' not in sys.modules and 'pydantic' not in sys.modules\n"
    )
    done = run(tmp_path, environment, "-q", *ALONE)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(tmp_path, environment, "--fixtures", "-q")
    assert "deploy_job -- " in listed.stdout and "module_deploy_job [module scope] -- " in listed.stdout


def _parts(text: str) -> list[str]:
    """The names of failed tests, each followed by its report."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith("____") and line.strip("_ ").startswith("test_"):
            found += [line.strip("_ "), ""]
        elif found:
            found[-1] += line + "\n"
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
