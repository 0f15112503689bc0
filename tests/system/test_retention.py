"""Conversations of a job that does not run are forgotten by the engine, in the home of the real command line."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.conftest import Deploy


def conversations(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {session for (session,) in db.execute("select session from exchanges")}


def test_conversations_nobody_uses_are_forgotten(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("job: {name: rests}\nagents: [{id: a, backend: offline}]")
    for session in ("old", "new"):
        deploy("query", tmp_path / "job.yaml", "hello", "--session", session).ok()
    deploy("stop", "--all").ok()
    path = deploy.home / "jobs" / "rests" / "sessions" / "a.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("update exchanges set at_ns = at_ns - 91 * 86400 * 1000000000 where session = 'old'")
    deploy("engine", "start").ok()
    until = time.monotonic() + 60
    while conversations(path) != {"new"}:
        assert time.monotonic() < until, conversations(path)
        time.sleep(0.05)
    deploy("engine", "stop").ok()
