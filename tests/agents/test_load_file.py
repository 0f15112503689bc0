"""What an agent has to do, read by somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from teamwright.agents.load_file import Load, LoadFile, read_loads


def test_numbers_are_there_at_once(tmp_path: Path) -> None:
    file = LoadFile(tmp_path / "load", "lead", "aa")
    assert read_loads(tmp_path / "load") == {os.getpid(): Load(0, 0)}
    file.write(3, 2)
    assert read_loads(tmp_path / "load") == {os.getpid(): Load(3, 2)}
    file.close()
    assert read_loads(tmp_path / "load") == {}


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib; from teamwright.agents.load_file import LoadFile;"
        "LoadFile(pathlib.Path(sys.argv[1]), 'lead', 'dead').write(9, 9); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert list(read_loads(tmp_path).values()) == [Load(9, 9)]
    file = LoadFile(tmp_path, "lead", "alive")
    assert list(read_loads(tmp_path)) == [os.getpid()]
    file.close()


def test_a_folder_that_cannot_be_made_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "load").write_text("a file")
    file = LoadFile(tmp_path / "load", "lead", "aa")
    file.write(1, 1)
    file.close()
    assert read_loads(tmp_path / "load") == {}


def test_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lead@aa").write_bytes(b"short")
    assert read_loads(tmp_path) == {}
