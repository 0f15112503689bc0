"""What an agent remembers: bounded, on disk, its own for each user, there again after every death."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from teamwright.agents.memory.session_file import FileSessions, open_sessions
from teamwright.agents.memory.sessions import WORDS, MemorySessions, SessionKey, Sessions

ANN = SessionKey("ann", "ann", "s")


def words(sessions: Sessions, key: SessionKey) -> list[str]:
    return [f"{word.role[0]}:{word.text}" for word in sessions.history(key)]


@pytest.fixture(params=["memory", "file"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Sessions:
    made = MemorySessions() if request.param == "memory" else FileSessions(tmp_path / "a.db")
    request.addfinalizer(made.close)
    return made


def test_words_come_back_in_order(sessions: Sessions) -> None:
    assert words(sessions, ANN) == []
    sessions.add(ANN, "one", "1")
    sessions.add(ANN, "two", "2")
    assert words(sessions, ANN) == ["u:one", "a:1", "u:two", "a:2"]


@pytest.mark.parametrize(
    "other",
    [
        SessionKey("bob", "bob", "s"),
        SessionKey("job/peer", "ann", "s"),
        SessionKey("ann", "", "s"),
        SessionKey("ann", "ann", "t"),
        SessionKey("ann ann", "", "s"),
        SessionKey("", "ann ann", "s"),
    ],
)
def test_nobody_sees_the_words_of_another(sessions: Sessions, other: SessionKey) -> None:
    sessions.add(ANN, "secret", "kept")
    assert words(sessions, other) == []
    sessions.add(other, "mine", "too")
    assert words(sessions, ANN) == ["u:secret", "a:kept"]
    assert words(sessions, other) == ["u:mine", "a:too"]


def test_only_the_newest_words_are_read(sessions: Sessions) -> None:
    for number in range(WORDS):
        sessions.add(ANN, f"q{number}", f"a{number}")
    found = words(sessions, ANN)
    assert len(found) == WORDS
    assert (found[0], found[-1]) == (f"u:q{WORDS // 2}", f"a:a{WORDS - 1}")


def test_huge_words_are_bounded(tmp_path: Path) -> None:
    sessions = FileSessions(tmp_path / "a.db")
    for number in range(5):
        sessions.add(ANN, f"{number}" * 900_000, "")
    assert [word.text[:1] for word in sessions.history(ANN)] == ["3", "", "4", ""]
    sessions.close()


@pytest.mark.parametrize("text", ["", "ümläut 日本", "nul \0 in it", "half \ud83d a pair", "it's; drop table x"])
def test_any_text(sessions: Sessions, text: str) -> None:
    sessions.add(ANN, text, text)
    assert [word.text.replace("\ud83d", "?") for word in sessions.history(ANN)] == [text.replace("\ud83d", "?")] * 2


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    one, two = FileSessions(tmp_path / "a.db"), FileSessions(tmp_path / "a.db")
    one.add(ANN, "one", "1")
    two.add(ANN, "two", "2")
    assert words(one, ANN) == words(two, ANN) == ["u:one", "a:1", "u:two", "a:2"]
    one.close()
    two.close()
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0


def test_what_was_added_outlives_a_kill(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from teamwright.agents.memory.session_file import open_sessions
from teamwright.agents.memory.sessions import SessionKey
sessions = open_sessions(sys.argv[1], "a")
for number in range(500):
    sessions.add(SessionKey("ann", "ann", "s"), f"q{number}", "a")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "sessions")], capture_output=True)
    assert done.returncode == -9, done.stderr
    sessions = open_sessions(str(tmp_path / "sessions"), "a")
    assert words(sessions, ANN)[-2:] == ["u:q499", "a:a"]
    sessions.close()


def test_a_damaged_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.db").write_bytes(b"this is no database at all, " * 200)
    sessions = open_sessions(str(tmp_path), "a")
    sessions.add(ANN, "one", "1")
    sessions.close()
    assert "moved to a.db.damaged-" in caplog.text
    again = open_sessions(str(tmp_path), "a")
    assert words(again, ANN) == ["u:one", "a:1"]
    again.close()


def test_where_no_file_can_be_made_words_are_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    sessions = open_sessions(str(tmp_path / "file" / "sessions"), "a")
    sessions.add(ANN, "one", "1")
    assert words(sessions, ANN) == ["u:one", "a:1"]
    assert "in memory only" in caplog.text
    assert isinstance(open_sessions("", "a"), MemorySessions)


def test_a_full_disk_costs_durability_not_the_conversation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sessions = FileSessions(tmp_path / "a.db")
    sessions.add(ANN, "one", "1")
    sessions._db.execute(f"pragma max_page_count={sessions._db.execute('pragma page_count').fetchone()[0]}")
    sessions.add(ANN, "two" * 10_000, "2")
    assert "can't be written: database or disk is full" in caplog.text
    assert [word[:5] for word in words(sessions, ANN)] == ["u:one", "a:1", "u:two", "a:2"]
    sessions.close()


def test_a_writer_that_holds_the_file_is_waited_for_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teamwright.agents.memory.session_file._BUSY", 0.05)
    sessions = FileSessions(tmp_path / "a.db")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("begin immediate")
    sessions.add(ANN, "one", "1")
    assert words(sessions, ANN) == ["u:one", "a:1"]
    other.execute("rollback")
    other.close()
    sessions.close()
