"""The line before an account: first come first served, counted by a clock of the test's own."""

from __future__ import annotations

import pytest

from teamwright.engine.providers.line import Limit, Line
from teamwright.jobs.plan import ProviderLimit


class Clock:
    """A line and its time."""

    def __init__(self, limit: Limit) -> None:
        self.line: Line[str] = Line()
        self.limit = limit
        self.now = 1000.0

    def come(self, *callers: str) -> list[str]:
        """They come now; who gets a place."""
        self.line.waiting.extend(callers)
        return self.look()[0]

    def go(self, caller: str) -> list[str]:
        """It leaves; who gets its place."""
        self.line.leave(caller)
        return self.look()[0]

    def later(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.look()[0]

    def look(self) -> tuple[list[str], float | None]:
        gone: list[str] = []
        again = self.line.admit(self.limit, self.now, gone.append)
        return gone, again


def test_in_the_order_they_came() -> None:
    clock = Clock(Limit(concurrent=2))
    assert clock.come(*"abcde") == ["a", "b"]
    assert clock.look() == ([], None)
    assert clock.go("b") == ["c"]
    assert clock.go("d") == []  # waits no more: its turn is over
    assert clock.go("a") == ["e"]
    assert clock.go("e") == [] and clock.go("c") == []
    assert clock.line.idle
    assert clock.go("nobody") == []


def test_calls_in_any_minute() -> None:
    clock = Clock(Limit(rpm=3))
    assert clock.come("a") == ["a"]
    clock.later(20)
    assert clock.come("b", "c", "d", "e") == ["b", "c"]
    assert clock.look() == ([], 40.0)
    assert clock.later(39.9) == []
    assert clock.go("a") == []  # a call that has ended counts all the same
    assert clock.look()[1] == pytest.approx(0.1)
    assert clock.later(0.2) == ["d"]
    assert clock.look()[1] == pytest.approx(19.9)
    assert clock.later(20) == ["e"]
    assert clock.line.calls(clock.now) == 2
    assert clock.later(60) == [] and clock.line.calls(clock.now) == 0


def test_a_rate_limit_holds_for_all_and_the_longest_counts() -> None:
    clock = Clock(Limit())
    assert clock.come("a", "b") == ["a", "b"]
    clock.line.back_off(clock.now + 5)
    clock.line.back_off(clock.now + 2)
    assert clock.come("c") == [] and clock.line.why(clock.limit, clock.now) == "rate_limited"
    assert clock.look() == ([], 5.0)
    assert clock.later(4.9) == []
    assert clock.later(0.2) == ["c"]


def test_one_that_was_under_way_before_is_counted_over_the_limit() -> None:
    clock = Clock(Limit(concurrent=1, rpm=2))
    clock.line.take_back("a", clock.now)
    clock.line.take_back("b", clock.now)
    assert clock.come("c") == []
    assert clock.go("a") == [] and clock.go("b") == []
    assert clock.line.why(clock.limit, clock.now) == "rpm"
    assert clock.later(60) == ["c"]


def test_the_strictest_of_each() -> None:
    given = [ProviderLimit("p", 8, None), ProviderLimit("p", 3, 100), ProviderLimit("p", None, 50), ProviderLimit("p")]
    assert Limit.strictest(given) == Limit(3, 50)
    assert Limit.strictest([]) == Limit(None, None)
