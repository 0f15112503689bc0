"""Log files read from their end and followed as they grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamwright.cli.following import LogFile, follow_logs
from teamwright.host.logs import rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "agent.log"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    return path


def test_last_lines(log: Path) -> None:
    assert LogFile("a", log).last(2) == ["line 998", "line 999"]
    assert LogFile("a", log).last(0) == []
    assert len(LogFile("a", log).last(5000)) == 1000


def test_last_lines_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("".join("x" * 50_000 + f" {number}\n" for number in range(10)))
    assert [line[-2:] for line in LogFile("a", path).last(3)] == [" 7", " 8", " 9"]


def test_no_file_yet(tmp_path: Path) -> None:
    file = LogFile("a", tmp_path / "none.log")
    assert file.last(10) == []
    assert list(file.more()) == []
    (tmp_path / "none.log").write_text("first\n")
    assert list(file.more()) == ["first"]


def test_more_waits_for_whole_lines(log: Path) -> None:
    file = LogFile("a", log)
    file.last(1)
    with log.open("a") as handle:
        handle.write("half")
        handle.flush()
        assert list(file.more()) == []
        handle.write(" and half\nnext")
    assert list(file.more()) == ["half and half"]
    assert list(file.end()) == ["next"]


def test_cut_and_replaced_files_are_read_again(log: Path, tmp_path: Path) -> None:
    file = LogFile("a", log)
    file.last(0)
    log.write_text("cut\n")
    assert list(file.more()) == ["cut"]
    other = tmp_path / "other"
    other.write_text("a new file that is longer\n")
    other.replace(log)
    assert list(file.more()) == ["a new file that is longer"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\xff\xfe\r\n")
    assert LogFile("a", path).last(1) == ["��"]


def test_follow_shows_everything_before_it_ends(log: Path) -> None:
    file = LogFile("a", log)
    file.last(0)
    shown: list[str] = []
    steps = iter([b"one\n", b"two\nlast"])

    def pause(seconds: float) -> None:
        with log.open("ab") as handle:
            handle.write(next(steps))

    follow_logs([file], lambda agent, line: shown.append(line), until=lambda: "two" in shown, pause=pause)
    assert shown == ["one", "two", "last"]


def test_a_file_whose_beginning_is_put_aside(tmp_path: Path) -> None:
    """No line twice, and none left out."""
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number}\n" for number in range(3000)))
    log = LogFile("a", path)
    assert log.last(1) == ["line 2999"]
    with path.open("a") as file:
        file.writelines(f"line {number}\n" for number in range(3000, 5000))
        file.flush()
        assert rotate(path, limit=1000)
        file.write("line 5000\n")
    assert list(log.more()) == [f"line {number}" for number in range(3000, 5001)]
