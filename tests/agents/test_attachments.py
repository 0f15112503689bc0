from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from teamwright.agents.own_code.attachments import Folders, sweep
from teamwright.backends.api import File
from teamwright.errors import CodeError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("..", "file"),
        ("", "file"),
        ("C:\\\\x\\\\y.doc", "y.doc"),
        ("a\n\x00b", "ab"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
        ("\ud800.txt", ".txt"),
    ],
)
def test_names_stay_in_the_folder(temporary: Path, name: str, plain: str) -> None:
    with Folders("h.job.agent", [File(name, data=b"1")]) as folders:
        (came,) = Path(folders.environment["TEAMWRIGHT_FILES"]).iterdir()
        assert (came.name, came.read_bytes()) == (plain, b"1")
        assert came.is_relative_to(temporary)
        assert came.parent.parent.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_it_is_gone_whatever_happens(temporary: Path) -> None:
    with pytest.raises(ValueError, match="any"), Folders("h.job.agent", [File("a", data=b"1")]):
        raise ValueError("any")
    assert list(temporary.iterdir()) == []


def test_only_plain_files_of_a_bearable_size_go_out() -> None:
    with Folders("h.job.agent", []) as folders:
        out = Path(folders.environment["TEAMWRIGHT_ANSWER_FILES"])
        (out / "b.json").write_text("{}")
        (out / "folder").mkdir()
        os.mkfifo(out / "pipe")
        assert folders.answer_files() == (File("b.json", "application/json", b"{}"),)
        with (out / "big").open("wb") as file:
            file.truncate(21_000_000)
        with pytest.raises(CodeError, match="more than 20 MB"):
            folders.answer_files()


def test_what_the_dead_have_left_is_swept(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    left = temporary / f"teamwright-files.h.job.agent.{dead.pid}.abc"
    other = temporary / f"teamwright-files.h.job.other.{dead.pid}.abc"
    for folder in (left, other):
        (folder / "files").mkdir(parents=True)
    with Folders("h.job.agent", []) as folders:
        sweep("h.job.agent")
        assert not left.exists()
        assert other.exists()
        assert Path(folders.environment["TEAMWRIGHT_FILES"]).exists()
