"""`deploy init` and `deploy start --reload`: for those who write a job."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .test_chat import Person

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: draft}
agents:
  - {id: poet, type: Poet, module: verses, prompt: {file: prompts/poet.md}}
"""
CODE = """
from teamwright import Agent

class Poet(Agent):
    async def run(self, turn):
        return f"first {self.prompt.strip()}"
"""


def test_what_init_writes_works(deploy: Deploy, tmp_path: Path) -> None:
    folder = tmp_path / "weather-desk"
    found = deploy("init", "weather-desk", "--json", folder=tmp_path).ok().json
    assert found["job"] == "weather-desk" and all(Path(path).parent == folder for path in found["files"])
    deploy("validate", folder / "weather-desk.yaml").ok()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder, env=deploy.environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
    before = {path: path.read_text() for path in folder.glob("*.*") if path.is_file()}
    again = deploy("init", "weather-desk", folder=tmp_path)
    assert again.code == 2 and "is there already" in again.err
    assert {path: path.read_text() for path in folder.glob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["Bad Name", "-x", "../up", ""])
def test_init_with_a_bad_name(deploy: Deploy, tmp_path: Path, name: str) -> None:
    done = deploy("init", "--", name, folder=tmp_path)
    assert done.code == 2 and "Traceback" not in done.err and list(tmp_path.glob("*.yaml")) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_init_where_nothing_can_be_written(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    done = deploy("init", "weather", "--folder", "shut/weather", folder=tmp_path)
    assert done.code == 2 and "can't be written" in done.err


@pytest.fixture
def draft(deploy: Deploy) -> Iterator[tuple[Person, Path]]:
    folder = deploy.home.parent / "draft"
    (folder / "prompts").mkdir(parents=True)
    (folder / "draft.yaml").write_text(JOB)
    (folder / "verses.py").write_text(CODE)
    (folder / "prompts" / "poet.md").write_text("of roses\n")
    person = Person(deploy, folder, "start", "draft.yaml", "--reload")
    person.sees("watching the files of draft", within=60)
    yield person, folder
    person.goes()


def test_changes_are_applied_as_they_are_saved(deploy: Deploy, draft: tuple[Person, Path]) -> None:
    person, folder = draft

    def answer() -> str:
        return str(deploy("query", "draft", "hello", "--json").ok().json["answer"])

    assert answer() == "first of roses"
    (folder / "verses.py").write_text(CODE.replace("first", "second"))
    person.sees("applied", within=60)
    assert answer() == "second of roses"
    (folder / "verses.py").write_text("class Poet(:\n")
    person.sees("not applied", within=60)
    assert answer() == "second of roses", "the running team stays"
    (folder / "verses.py").write_text(CODE.replace("first", "third"))
    person.sees("applied", within=60)
    (folder / "prompts" / "poet.md").write_text("of rain\n")
    person.sees("applied", within=60)
    assert answer() == "third of rain"
    (folder / "draft.yaml").write_text(JOB.replace("type: Poet", "typo: Poet"))
    person.sees("not applied", within=60)
    assert answer() == "third of rain"
    assert "Traceback" not in person.screen
    assert person.leaves("\x03") == 130
    assert deploy("ps", "draft", "--json").ok().json["status"] == "stopped"


def test_reload_or_attach(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "draft.yaml").write_text("agents: [{id: one, backend: offline, prompt: Hello}]")
    done = deploy("start", tmp_path / "draft.yaml", "--reload", "--attach")
    assert done.code == 2 and "either" in done.err
