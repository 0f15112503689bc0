"""The writer: one thread, grouped commits, and waiters that give up."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from teamwright.database import Writer, connect

STEPS = ("create table t(x integer primary key)",)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "a.db", STEPS)
    yield made
    made.close()


def rows(writer: Writer) -> list[int]:
    db = connect(writer.path, read_only=True)
    try:
        return [x for (x,) in db.execute("select x from t order by x")]
    finally:
        db.close()


def hold(begun: threading.Event, gate: threading.Event) -> None:
    begun.set()
    gate.wait()


def test_done_means_committed(writer: Writer) -> None:
    for number in range(3):
        writer.submit(lambda db, number=number: db.execute("insert into t values (?)", (number,)) and None).result()  # type: ignore[misc]
        assert rows(writer) == list(range(number + 1))


def test_a_failure_is_rolled_back_alone(writer: Writer) -> None:
    gate = threading.Event()
    writer.submit(lambda db: gate.wait())
    good = writer.submit(lambda db: db.execute("insert into t values (1)") and None)
    bad = writer.submit(lambda db: [db.execute("insert into t values (2)"), 1 / 0])
    double = writer.submit(lambda db: db.execute("insert into t values (1)"))
    last = writer.submit(lambda db: db.execute("insert into t values (3)") and None)
    gate.set()
    last.result()
    good.result()
    with pytest.raises(ZeroDivisionError):
        bad.result()
    with pytest.raises(sqlite3.IntegrityError):
        double.result()
    assert rows(writer) == [1, 3]


async def test_waiters_that_give_up_leave_the_writer_alive(writer: Writer) -> None:
    gate, begun = threading.Event(), threading.Event()
    running = asyncio.wrap_future(writer.submit(lambda db: hold(begun, gate)))
    await asyncio.to_thread(begun.wait)
    queued = asyncio.wrap_future(writer.submit(lambda db: db.execute("insert into t values (1)")))
    for future in (running, queued):
        future.cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wrap_future(writer.submit(lambda db: db.execute("insert into t values (2)") and None))
    assert rows(writer) == [2]


def test_a_full_queue_says_so(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.db", STEPS, capacity=2)
    gate, begun = threading.Event(), threading.Event()
    writer.submit(lambda db: hold(begun, gate))
    begun.wait()
    with pytest.raises(queue.Full):
        for _ in range(3):
            writer.submit(lambda db: None)
    gate.set()
    writer.close()
