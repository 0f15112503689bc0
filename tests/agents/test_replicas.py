"""Which replica gets a call."""

from __future__ import annotations

from contextlib import ExitStack

from teamwright.agents.replicas import Spread, mark_of, marked, replica_names


def test_names() -> None:
    assert replica_names("weather", 1) == ("weather",)
    assert replica_names("weather", 2) == ("weather-0", "weather-1")
    assert marked("x", None) == "x" and mark_of(marked("x", 12)) == 12
    assert mark_of("x") is mark_of("x.r") is mark_of("x.r1.y") is mark_of(None) is mark_of("") is None


def test_the_one_with_least_to_do() -> None:
    spread = Spread()
    assert sorted(spread.order("a", 3)[0] for _ in range(3)) == [0, 1, 2]  # each in turn
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(spread.working("a", spread.order("a", 3)[0]))
        stack.enter_context(spread.working("a", 0))
        stack.enter_context(spread.working("a", 2))
        assert spread.order("a", 3)[0] == 1
        assert spread.order("another", 3)  # what others do is not counted
    assert sorted(spread.order("a", 3)) == [0, 1, 2]


def test_a_conversation_stays() -> None:
    spread = Spread()
    first = spread.order("a", 4, "talk")[0]
    assert first == Spread().order("a", 4, "talk")[0]  # after a restart of whoever asks, too
    with spread.working("a", first, "talk"), spread.working("a", first), spread.working("a", first):
        assert spread.order("a", 4, "talk")[0] == first
    assert len({spread.order("a", 4, f"talk {number}")[0] for number in range(40)}) == 4
    assert spread.order("a", 4, "mine.r3")[0] == 3
    assert spread.order("a", 3, "mine.r3")[0] in range(3)  # there are fewer now


def test_a_conversation_that_has_moved_stays_where_it_is() -> None:
    spread = Spread()
    with spread.working("a", 1, "mine.r0"):
        assert spread.order("a", 2, "mine.r0") == [1, 0]
    assert spread.order("a", 2, "mine.r0") == [1, 0]
    with spread.working("a", 0, "mine.r0"):
        assert spread.order("a", 2, "mine.r0") == [0, 1]
