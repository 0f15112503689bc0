"""What is the same from run to run, and what only looks so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from teamwright.backends.recordings.volatile import same

THEN = datetime(2026, 11, 21, 15, tzinfo=UTC).timestamp()
NOW = datetime(2027, 3, 2, 9, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("recorded", "given"),
    [
        ("hello", "hello"),
        ("run 6f1c7c0e-2a55-5d0b-9f4e-0d7c5e1b7a21", "run 00000000-2a55-5d0b-9f4e-0d7c5e1b7a21"),
        ("trace 4bf92f3577b34da6a3ce929d0e0e4736", "trace 0af7651916cd43dd8448eb211c80319c"),
        ("http://127.0.0.1:8500/a", "http://127.0.0.1:9123/a"),
        ("see {tmp}/pytest-1/out.csv, then", "see {tmp}/pytest-22/x/out.csv, then"),
        ("Today is 2026-11-21.", "Today is 2027-03-02."),
        ("Today is Saturday, 21 November 2026", "Today is Tuesday, 2 March 2027"),
        ("Today is November 21, 2026", "Today is Mar 2, 2027"),
        ("at 2026-11-21T15:00:01.5Z", "at 2027-03-02T09:10:00+01:00"),
        ("at 1795273200.25", "at 1803978000.5"),
        ("due 2026-12-24", "due 2026-12-24"),
    ],
)
def test_the_same(recorded: str, given: str) -> None:
    assert same(recorded, THEN, given, NOW)


@pytest.mark.parametrize(
    ("recorded", "given"),
    [
        ("hello", "Hello"),
        ("due 2026-12-24", "due 2026-12-25"),
        ("Today is 2026-11-21.", "Today is 2027-05-02."),
        ("founded 2 March 1998", "founded 3 March 1998"),
        ("wait 5 seconds", "wait 6 seconds"),
        ("http://example.org:8500/", "http://example.org:8501/"),
        ("id 6f1c7c0e-2a55-5d0b-9f4e-0d7c5e1b7a21", "id unknown"),
        ("order 1234567890", "order 1234567891"),
        ("2026-13-41", "2026-13-42"),
    ],
)
def test_not_the_same(recorded: str, given: str) -> None:
    assert not same(recorded, THEN, given, NOW)
