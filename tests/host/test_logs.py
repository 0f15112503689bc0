from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from teamwright.host.logs import KEPT, _take_away, open_log, rotate, rotate_all, tail


def _write(path: Path, text: str) -> int:
    fd, start = open_log(path)
    os.write(fd, text.encode())
    os.close(fd)
    return start


def test_it_is_appended_to_and_private(tmp_path: Path) -> None:
    path = tmp_path / "jobs/j/agents/a.log"
    assert _write(path, "one\n") == 0
    assert _write(path, "two\n") == 4
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o077 == 0


def test_large_files_are_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for number in range(KEPT + 3):
        path.write_text(f"{number} is larger than ten bytes")
        assert rotate(path, limit=10)
        assert path.read_text() == ""
    kept = [f"a.log.{number}" for number in range(1, KEPT + 1)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", *kept]
    assert (tmp_path / "a.log.1").read_text().startswith(str(KEPT + 2))
    path.write_text("short")
    assert not rotate(path, limit=10)
    assert path.read_text() == "short"
    assert not rotate(tmp_path / "nothing.log")


def test_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert tail(path) == ()
    path.write_text("earlier life\n" + "".join(f"line {number}\n" for number in range(5000)))
    assert tail(path, lines=2) == ("line 4998", "line 4999")
    assert tail(path, since=path.stat().st_size) == ()
    path.write_bytes(b"earlier\nbad \xff byte\nno end")
    assert tail(path, since=8) == ("bad \ufffd byte", "no end")


WRITER = """
import os, sys
for number in range(int(sys.argv[2])):
    os.write(1, f"{sys.argv[1]} {number} {'x' * 60}\\n".encode())
"""


@pytest.mark.parametrize("folder", ["", "/dev/shm"], ids=["here", "tmpfs"])
def test_several_processes_write_while_it_is_rotated(tmp_path: Path, folder: str) -> None:
    """An agent, its tools and its successor have one file open. Nothing is lost where the file system can help."""
    with TemporaryDirectory(dir=folder or tmp_path) as place:
        path, lines = Path(place, "a.log"), 20_000
        lossless = _can_take_away(Path(place))
        fd, _ = open_log(path)
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(name), str(lines)], stdout=fd) for name in range(3)
        ]
        os.close(fd)
        pieces: list[bytes] = []
        while any(writer.poll() is None for writer in writers):
            if rotate(path, limit=200_000):
                pieces.append(Path(f"{path}.1").read_bytes())
        assert [writer.returncode for writer in writers] == [0, 0, 0]
        pieces.append(path.read_bytes())
    whole = [line for line in b"".join(pieces).split(b"\n") if re.fullmatch(rb"[012] \d+ x{60}", line)]
    assert len(pieces) >= 5 and b"\0" not in b"".join(pieces)
    for name in (b"0", b"1", b"2"):
        numbers = [int(line.split()[1]) for line in whole if line.startswith(name + b" ")]
        assert numbers == (list(range(lines)) if lossless else sorted(set(numbers)))
    assert len(whole) > lines


def _can_take_away(folder: Path) -> bool:
    (folder / "try").write_bytes(b"x" * 100_000)
    with open(folder / "try", "rb+") as file:
        return _take_away(file.fileno(), 65536)


def test_all_logs_of_a_home(tmp_path: Path) -> None:
    logs = [tmp_path / "engine.log", tmp_path / "host.log", tmp_path / "jobs/j/agents/a.log"]
    logs[2].parent.mkdir(parents=True)
    for log in logs:
        log.write_text("many words")
    logs[1].write_text("few")
    assert set(rotate_all(tmp_path, limit=5)) == {logs[0], logs[2]}
    assert [log.read_text() for log in logs] == ["", "few", ""]
    assert tail(logs[0], since=10) == ()
    logs[0].write_text("new\n")
    assert tail(logs[0], since=10) == ("new",)
