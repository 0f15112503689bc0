"""Sessions on disk: one SQLite file per agent, `<home>/jobs/<job>/sessions/<agent>.db`.

An exchange is committed before its answer leaves, in the agent's own loop: 0.03 ms of CPU, and no thread that could
reorder or lose it. The page cache holds it from then on, so it outlives a kill of any process; with `synchronous`
at NORMAL a loss of power may take the last seconds. Nothing is kept in memory: a look costs 0.01 ms, and so
several processes may share one file, such as the replicas of an agent.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from teamwright.agents.memory.sessions import WORDS, MemorySessions, SessionKey, Sessions
from teamwright.backends.api import Message
from teamwright.backends.parts import readable
from teamwright.database import connect, migrate

log = logging.getLogger(__name__)

STEPS = (
    "create table if not exists exchanges("
    " id integer primary key, session text not null, user text not null, subject text not null,"
    " at_ns integer not null, question text not null, answer text not null);"
    "create index if not exists exchanges_of on exchanges(session, user, subject)",
)
#: Seconds that the loop may wait for another process that writes to the same file.
_BUSY = 2.0
#: Characters of a session's newest words that are read at most.
_CHARACTERS = 2_000_000


def open_sessions(folder: str, agent: str) -> Sessions:
    """The sessions of an agent below `folder`; in memory where that is empty or no file can be made there.

    A file that is damaged is moved aside, so that the next words are kept again.
    """
    if not folder:
        return MemorySessions()
    path = Path(folder) / f"{agent}.db"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return FileSessions(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
            log.error("the sessions in %s can't be read (%s); moved to %s", path, error, aside.name)
            path.rename(aside)
            for more in ("-wal", "-shm"):
                path.with_name(path.name + more).unlink(missing_ok=True)
            return FileSessions(path)
    except (OSError, sqlite3.Error) as error:
        log.error("sessions are kept in memory only: %s: %s", path, error)
        return MemorySessions()


class FileSessions:
    """Sessions in a file; what it could not take (a full disk) is kept in memory until the process ends."""

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self._clock = clock
        self._db = connect(path)
        try:
            self._db.execute(f"pragma busy_timeout={int(_BUSY * 1000)}")
            migrate(self._db, STEPS, path)
            path.chmod(0o600)
        except BaseException:
            self._db.close()
            raise
        self._unwritten = MemorySessions()

    def history(self, key: SessionKey) -> Sequence[Message]:
        try:
            rows = self._db.execute(
                "select question, answer from exchanges where session=? and user=? and subject=?"
                f" order by id desc limit {WORDS // 2}",
                (key.session, key.user, key.subject),
            )
            found: list[Message] = []
            room = _CHARACTERS
            for question, answer in rows:
                room -= len(question) + len(answer)
                if room < 0 and found:
                    break
                found += (Message("agent", answer), Message("user", question))
            rows.close()
        except sqlite3.Error as error:
            log.error("the session %s can't be read: %s", key.session, error)
            return self._unwritten.history(key)
        return (*reversed(found), *self._unwritten.history(key))

    def add(self, key: SessionKey, question: str, answer: str) -> None:
        try:
            self._db.execute(
                "insert into exchanges(session, user, subject, at_ns, question, answer) values (?, ?, ?, ?, ?, ?)",
                (key.session, key.user, key.subject, self._clock(), *map(readable, (question, answer))),
            )
        except sqlite3.Error as error:
            log.error("the session %s can't be written: %s", key.session, error)
            self._unwritten.add(key, question, answer)

    def drop(self, keys: Sequence[SessionKey]) -> None:
        """Forget these conversations. Raises sqlite3.Error."""
        self._db.execute("begin immediate")
        try:
            self._db.executemany("delete from exchanges where subject=? and user=? and session=?", keys)
        finally:
            self._db.execute("commit")

    def erase(self, keys: Sequence[SessionKey]) -> int:
        """Forget them and overwrite what they were, in the file and in its log."""
        before = self._db.total_changes
        self._db.execute("pragma secure_delete=on")
        try:
            self.drop(keys)
        finally:
            self._db.execute("pragma secure_delete=off")
        gone = self._db.total_changes - before
        self._db.execute("pragma wal_checkpoint(truncate)").close()
        return gone + self._unwritten.erase(keys)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._db.close()
