"""SQLite as we use it: WAL, one writer thread per file, grouped commits, versioned schemas."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from teamwright.errors import StoreTooNew

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_BATCH = 256
_MAPPED = 1 << 31  # bytes


def connect(
    path: Path, *, synchronous: str = "NORMAL", read_only: bool = False, page_size: int | None = None
) -> sqlite3.Connection:
    """A connection with our settings; rows answer to column names. `read_only` never makes the file.

    `page_size` in bytes is that of a file which is made now; one that is there keeps its own.
    """
    if read_only:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, check_same_thread=False)
        try:
            db.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError:
            # On a file system that can't be written to nobody else writes either: read the file as it is.
            db.close()
            db = sqlite3.connect(f"file:{path}?immutable=1", uri=True, check_same_thread=False)
        # Pages are looked at where they lie: reading through a large file takes a third of the time.
        # We never shrink a file, which is what readers of a mapped one would have to fear.
        db.execute(f"pragma mmap_size={_MAPPED}")
    else:
        db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        if page_size is not None:
            db.execute(f"pragma page_size={page_size}")
        db.execute("pragma journal_mode=wal")
        db.execute(f"pragma synchronous={synchronous}")
    db.row_factory = sqlite3.Row
    return db


def migrate(db: sqlite3.Connection, steps: Sequence[str], path: Path) -> None:
    """Bring the schema from `user_version` up to `len(steps)`, each step in one transaction.

    Raises StoreTooNew when the file was written by newer code.
    """
    check_version(db, len(steps), path)
    (have,) = db.execute("pragma user_version").fetchone()
    for number, script in enumerate(steps[have:], start=have + 1):
        db.executescript(f"begin immediate; {script}; pragma user_version={number}; commit;")


def check_version(db: sqlite3.Connection, known: int, path: Path) -> None:
    """Raise StoreTooNew when the file's schema is newer than the `known` version."""
    (have,) = db.execute("pragma user_version").fetchone()
    if have > known:
        raise StoreTooNew(f"{path} was written by a newer Teamwright (schema {have}, this one knows {known})")


class Writer:
    """The one thread that writes to a file. Work that waits together is committed together.

    >>> writer = Writer(path, steps=("create table t(x)",))
    >>> writer.submit(lambda db: db.execute("insert into t values (1)")).result()

    A piece of work that raises is rolled back alone (savepoint) and its future carries the error.
    The future is done only after the commit. Cancelling it drops the work, unless it has begun.
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[str],
        *,
        synchronous: str = "NORMAL",
        capacity: int = 10_000,
        page_size: int | None = None,
    ) -> None:
        self.path = path
        self._db = connect(path, synchronous=synchronous, page_size=page_size)
        migrate(self._db, steps, path)
        self._queue: queue.Queue[tuple[Work[Any], Future[Any]] | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name=f"writer:{path.name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many pieces of work wait."""
        return self._queue.qsize()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue `work(connection)`. Raises queue.Full when `capacity` pieces wait already."""
        future: Future[T] = Future()
        self._queue.put_nowait((work, future))
        return future

    def close(self) -> None:
        """Finish what waits, then close the file."""
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            last = False
            while len(batch) < _BATCH and not last:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    last = True
                else:
                    batch.append(item)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[tuple[Work[Any], Future[Any]]]) -> None:
        # From here on nobody can cancel them, so that their outcomes can be set.
        batch = [item for item in batch if item[1].set_running_or_notify_cancel()]
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            self._db.execute("begin immediate")
            for work, future in batch:
                self._db.execute("savepoint work")
                try:
                    done.append((future, work(self._db), None))
                except Exception as error:
                    self._db.execute("rollback to work")
                    done.append((future, None, error))
                self._db.execute("release work")
            self._db.execute("commit")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("rollback")
            done = [(future, None, error) for _, future in batch]
        for future, result, problem in done:
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)
