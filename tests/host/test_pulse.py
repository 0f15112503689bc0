from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from teamwright.host.pulse import Pulse, look

if TYPE_CHECKING:
    from tests.host.conftest import World


@dataclass
class Patient:
    """A process as /proc would show it, and a clock; a beat is a second."""

    states: str = "SS"
    ticks: int = 7
    now: float = 0.0

    def pulse(self) -> Pulse:
        return Pulse(1.0, see=lambda pid: (self.states, self.ticks), clock=lambda: self.now)

    def run(self, pulse: Pulse, seconds: int, *, beats: bool = False, works: bool = False) -> str | None:
        """Let time pass; the first reason to kill it."""
        for _ in range(seconds * 2):
            self.now += 0.5
            self.ticks += works
            if beats:
                pulse.beat()
            if (why := pulse.gone(1)) is not None:
                return why
        return None


def test_who_gives_signs_of_life_is_left_alone() -> None:
    patient = Patient()
    assert patient.run(patient.pulse(), 100, beats=True) is None


def test_who_is_stopped_by_a_signal_is_dead_soon() -> None:
    patient = Patient("TT")
    pulse = patient.pulse()
    assert patient.run(pulse, 100) == "stopped by a signal for 4 s"
    assert patient.now == 6


def test_who_is_silent_and_does_nothing_is_dead_later() -> None:
    patient = Patient()
    pulse = patient.pulse()
    pulse.beat()
    assert "stuck" in (patient.run(pulse, 100) or "") and patient.now == 12


@pytest.mark.parametrize("states", ["RS", "DS", "tt"])
def test_who_wants_to_run_or_waits_for_a_disk_or_a_debugger_is_left_alone(states: str) -> None:
    patient = Patient(states)
    pulse = patient.pulse()
    pulse.beat()
    assert patient.run(pulse, 100) is None


def test_who_uses_the_processor_is_left_alone() -> None:
    patient = Patient()
    pulse = patient.pulse()
    pulse.beat()
    assert patient.run(pulse, 100, works=True) is None


def test_who_never_said_a_word_is_only_watched_for_stops() -> None:
    patient = Patient()
    assert patient.run(patient.pulse(), 100) is None


def test_a_guard_that_was_held_up_itself_begins_anew() -> None:
    patient = Patient()
    pulse = patient.pulse()
    pulse.beat()
    patient.now += 1000
    assert pulse.gone(1) is None
    assert patient.run(pulse, 9) is None
    assert patient.run(pulse, 9) is not None


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = (
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    yield process
    process.kill()
    process.wait()


def test_what_proc_tells(sleeper: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while look(sleeper.pid)[0] != "SS" and time.monotonic() < end:
        time.sleep(0.01)
    states, ticks = look(sleeper.pid)
    assert states == "SS" and ticks > 0
    sleeper.send_signal(signal.SIGSTOP)
    while look(sleeper.pid)[0] != "TT" and time.monotonic() < end:
        time.sleep(0.01)
    assert look(sleeper.pid)[0] == "TT"
    sleeper.kill()
    sleeper.wait()
    assert look(sleeper.pid) == ("", 0)


def test_the_guard_kills_what_is_stuck(world: World) -> None:
    world.start(beat=0.1)
    before = world.engine(ask="pid")["pid"]
    world.engine(op="beat")  # its only one
    world.until(lambda: world.pid("engine") not in (None, before))
    assert "is killed: stuck" in (world.home / "guard.log").read_text()
