"""Conversations are forgotten when they are old or too many, and never while somebody uses them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from teamwright.agents.memory.session_file import FileSessions, open_sessions
from teamwright.agents.memory.session_retention import STEP, SessionRetention, job_of, prune_file, session_files
from teamwright.agents.memory.sessions import SessionKey
from teamwright.home import Home
from teamwright.tracing.storing.retention import Retention

if TYPE_CHECKING:
    from .conftest import Team

DAY = 86_400.0


class Days:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.day = 0.0

    def __call__(self) -> int:
        return int((self.day + 1) * DAY * 1e9)


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def sessions(tmp_path: Path, days: Days) -> Iterator[FileSessions]:
    with closing(FileSessions(tmp_path / "a.db", clock=days)) as made:
        yield made


def key(number: int | str) -> SessionKey:
    return SessionKey("ann", "ann", str(number))


def left(sessions: FileSessions, among: int) -> list[int]:
    return [number for number in range(among) if sessions.history(key(number))]


async def test_those_unused_for_long_go(sessions: FileSessions, days: Days) -> None:
    used = {key(1)}
    retention = SessionRetention(sessions, Retention(age=10 * DAY), lambda: used, clock=days)
    for number in range(4):
        sessions.add(key(number), "q", "a")
    days.day = 6
    sessions.add(key(2), "again", "a")
    assert await retention.prune() == 0
    days.day = 11
    assert await retention.prune() == 2
    assert left(sessions, 4) == [1, 2]
    assert len(sessions.history(key(2))) == 4
    used.clear()
    assert await retention.prune() == 1
    assert left(sessions, 4) == [2]


async def test_many_go_in_steps_and_those_in_use_stay(sessions: FileSessions, days: Days) -> None:
    for number in range(3 * STEP):
        sessions.add(key(number), "q", "a")
    days.day = 2
    used = {key(number) for number in range(0, 3 * STEP, 3)}
    retention = SessionRetention(sessions, Retention(age=DAY), lambda: used, clock=days)
    assert await retention.prune() == 2 * STEP
    assert left(sessions, 3 * STEP) == list(range(0, 3 * STEP, 3))


async def test_the_oldest_go_when_all_take_too_much_room(sessions: FileSessions, days: Days) -> None:
    for number in range(4 * STEP):
        days.day += 0.001
        sessions.add(key(number), "q" * 5_000, "a" * 5_000)
    retention = SessionRetention(sessions, Retention(size=1_000_000), lambda: {key(0)}, clock=days)
    days.day = 2
    gone = await retention.prune()
    stayed = left(sessions, 4 * STEP)
    assert gone + len(stayed) == 4 * STEP
    assert stayed == [0, *range(4 * STEP - len(stayed) + 1, 4 * STEP)]
    assert 20 < len(stayed) < 100
    assert await retention.prune() == 0


async def test_without_limits_nothing_goes(sessions: FileSessions, days: Days) -> None:
    sessions.add(key(1), "q", "a")
    days.day = 10_000
    assert await SessionRetention(sessions, Retention(), set, clock=days).prune() == 0


def test_the_files_of_jobs_that_do_not_run(tmp_path: Path, days: Days) -> None:
    home = Home(tmp_path / "logs").create()
    for job in ("one", "two"):
        with closing(open_sessions(str(home.sessions_dir(job)), "a")) as made:
            made.add(key(1), "q", "a")
    path, other = session_files(home)
    assert (job_of(path), job_of(other)) == ("one", "two")
    assert prune_file(path, Retention(age=DAY)) == 0
    days.day = 100_000
    assert prune_file(path, Retention(age=DAY), clock=days) == 1
    assert prune_file(path, Retention(age=DAY), clock=days) == 0
    path.write_bytes(b"not a database" * 1000)
    assert prune_file(path, Retention(age=DAY), clock=days) == 0


def test_an_agent_forgets_while_it_runs(team: Team) -> None:
    folder = team.folder / "sessions"
    with closing(FileSessions(folder_file(folder), clock=lambda: 1)) as old:
        old.add(key("old"), "q", "a")
    team.write("bot.py", "def answer(text, turn):\n    return str(len(turn.history))\n")
    team.start("bot", kind="run", run="bot:answer", sessions_dir=str(folder), session_age=3600.0)
    team.ask("bot", "hello", contextId="new")
    # Its hour has not come yet; what it would do then is done here, to the file that it has open.
    assert prune_file(folder_file(folder), Retention(age=3600.0)) == 1
    again = team.ask("bot", "hello", contextId="new")["task"]
    assert again["artifacts"][0]["parts"][0]["text"] == "2"
    with closing(sqlite3.connect(folder_file(folder))) as db:
        assert {session for (session,) in db.execute("select session from exchanges")} == {"new"}


def folder_file(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / "bot.db"
