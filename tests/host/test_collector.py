"""The guard's third charge: a collector, with the stand-in engine in its place."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.host.proc import read
from tests.host.conftest import STANDINS

if TYPE_CHECKING:
    from tests.host.conftest import World

ENTRY = {"collector": ["-I", str(STANDINS / "engine.py")]}


@pytest.fixture
def watched(world: World) -> World:
    world.start(collector=True, entry=ENTRY)
    world.until(lambda: world.pid("collector"))
    return world


def told(world: World) -> list[dict[str, Any]]:
    return [event for event in world.engine(ask="events") if event["event"].startswith("collector")]


def test_the_engine_knows_of_it(watched: World) -> None:
    url = watched.engine(ask="pid")["order"]["collector_url"]
    assert url.startswith("http://127.0.0.1:") and url != watched.engine(ask="pid")["order"]["url"]
    watched.until(lambda: told(watched))
    assert told(watched)[-1] == {"event": "collector_started", "pid": watched.pid("collector")}
    os.kill(watched.engine(ask="pid")["pid"], signal.SIGKILL)
    watched.until(lambda: told(watched))  # the next engine too


def test_it_comes_back_however_often_it_dies(watched: World) -> None:
    for _ in range(6):  # an engine would have been given up
        before = watched.pid("collector")
        assert before is not None
        os.kill(before, signal.SIGKILL)
        watched.until(lambda before=before: watched.pid("collector") not in (None, before))  # type: ignore[misc]
    assert watched.guard.poll() is None
    assert [event["signal"] for event in told(watched) if event["event"] == "collector_exit"] == [9] * 6


def test_a_replaced_engine_gets_another_one(watched: World) -> None:
    before = watched.pid("collector")
    watched.engine(op="restart", version="2", fingerprint="g")
    watched.until(lambda: watched.pid("collector") not in (None, before))
    watched.until(lambda: [e for e in told(watched) if e["event"] == "collector_started"])
    assert "death" not in (watched.home / "guard.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_with_the_guard(watched: World, number: int) -> None:
    watched.guard.send_signal(number)
    watched.guard.wait(60)
    watched.until(lambda: not watched.left())


def test_it_is_ended_last(watched: World) -> None:
    """After the engine, whose last spans it takes."""
    engine, collector = watched.engine(ask="pid")["pid"], watched.pid("collector")
    watched.guard.terminate()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        there = read(collector or 0) is not None
        if read(engine) is None:
            break
        assert there  # before, when the engine was still there
    assert watched.guard.wait(60) == 0
