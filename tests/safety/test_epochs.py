from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from teamwright.errors import Refused
from teamwright.safety import epochs as module
from teamwright.safety.epochs import EpochFile, agent_scope, group_scope, job_scope, scopes


def test_bump_is_seen_by_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "epochs"
    writer = EpochFile.create(path)
    reader = EpochFile.open(path)
    assert reader.values(("engine", "job:a")) == (0, 0)
    for count in range(1, 50):  # many within one tick of the file system's clock
        assert writer.bump("job:a") == count
        assert reader.values(("engine", "job:a")) == (0, count)
    assert writer.bump("engine") == 1
    assert reader.total(("engine", "job:a", "job:b")) == 50


def test_create_never_resets_and_the_size_never_changes(tmp_path: Path) -> None:
    path = tmp_path / "epochs"
    EpochFile.create(path).bump("agent:a/b")
    size = path.stat().st_size
    again = EpochFile.create(path)
    assert again.values(("agent:a/b",)) == (1,)
    again.bump("agent:a/c")
    assert path.stat().st_size == size
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["epochs"]


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "directory"])
def test_a_file_that_cannot_be_read_counts_as_halted(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "epochs"
    reader = EpochFile.create(path)
    assert reader.total(("engine",)) == 0
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, 40)
    elif damage == "foreign":
        path.write_bytes(b"x" * path.stat().st_size)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(Refused, match="halted"):
        reader.total(("engine",))
    with pytest.raises(Refused, match="halted"):
        EpochFile.open(path)
    with pytest.raises(Refused, match="halted"):
        reader.bump("engine")


def test_a_replaced_file_is_opened_again(tmp_path: Path) -> None:
    path, other = tmp_path / "epochs", tmp_path / "other"
    reader = EpochFile.create(path)
    EpochFile.create(other).bump("engine")
    other.replace(path)
    assert reader.total(("engine",)) == 1


def test_a_full_table_halts_the_wider_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIZE", module._HEADER.size + 3 * module._SLOT.size)
    epochs = EpochFile.create(tmp_path / "epochs")
    epochs.bump(job_scope("a"))
    epochs.bump(agent_scope("a", "x"))
    assert epochs.bump(agent_scope("a", "y")) == 2
    assert epochs.values((job_scope("a"), "engine")) == (2, 0)
    epochs.bump(group_scope("b", "g"))
    assert epochs.values(("engine",)) == (1,)


def test_writers_in_several_processes_lose_no_count(tmp_path: Path) -> None:
    path = tmp_path / "epochs"
    EpochFile.create(path)
    code = (
        "import sys, pathlib; from teamwright.safety.epochs import EpochFile\n"
        "epochs = EpochFile.open(pathlib.Path(sys.argv[1]))\n"
        "for _ in range(50): epochs.bump('job:a')"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert EpochFile.open(path).values(("job:a",)) == (100,)


def test_scopes_of_a_subject() -> None:
    assert scopes() == ("engine",)
    assert scopes("j") == ("engine", "job:j")
    assert scopes("j", "a", "g") == ("engine", "job:j", "group:j/g", "agent:j/a")
