from __future__ import annotations

import os
from pathlib import Path

from teamwright.host.logs import KEPT, open_log, rotate, tail


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
        rotate(path, limit=10)
        assert not path.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"a.log.{number}" for number in range(1, KEPT + 1)]
    assert (tmp_path / "a.log.1").read_text().startswith(str(KEPT + 2))
    path.write_text("short")
    rotate(path, limit=10)
    assert path.exists()


def test_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert tail(path) == ()
    path.write_text("earlier life\n" + "".join(f"line {number}\n" for number in range(5000)))
    assert tail(path, lines=2) == ("line 4998", "line 4999")
    assert tail(path, since=path.stat().st_size) == ()
    path.write_bytes(b"earlier\nbad \xff byte\nno end")
    assert tail(path, since=8) == ("bad \ufffd byte", "no end")
