from __future__ import annotations

import asyncio

import pytest

from teamwright.agents.calling.breaker import FAILURES, INCIDENT, LONGEST, PAUSE, Breaker
from teamwright.errors import LimitReached, PeerError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("b", clock=clock)


def fail(breaker: Breaker, clock: Clock, reason: str = "unreachable", times: int = 1) -> None:
    for _ in range(times):
        clock.now += INCIDENT
        with pytest.raises(PeerError), breaker.attempt():
            raise PeerError("b can't be reached", reason=reason)


def opened(breaker: Breaker) -> str:
    with pytest.raises(PeerError) as caught, breaker.attempt():
        raise AssertionError("it was asked")
    assert caught.value.reason == "circuit_open"
    return caught.value.message


def test_it_opens_after_failures_in_a_row(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, times=FAILURES - 1)
    with breaker.attempt():
        """One that succeeds."""
    fail(breaker, clock, times=FAILURES - 1)
    assert not breaker.open
    fail(breaker, clock)
    assert opened(breaker) == (
        "b is not asked: it has failed 5 times in a row, the last time because b can't be reached;"
        " it is tried again in 1.0 s"
    )


@pytest.mark.parametrize("reason", ["refused", "busy", "failed", "unauthorized", "depth"])
def test_a_peer_that_says_no_is_well(breaker: Breaker, clock: Clock, reason: str) -> None:
    fail(breaker, clock, times=FAILURES - 1)
    fail(breaker, clock, reason=reason)
    fail(breaker, clock, times=FAILURES - 1)
    assert not breaker.open


async def test_many_calls_that_one_death_ends_are_one_failure(breaker: Breaker, clock: Clock) -> None:
    async def call() -> None:
        with breaker.attempt():
            await asyncio.sleep(0)
            clock.now += 0.001
            raise PeerError("broke", reason="broken_connection")

    for _ in range(FAILURES):
        assert not breaker.open
        clock.now += 1
        await asyncio.gather(*(call() for _ in range(20)), return_exceptions=True)
    assert breaker.open


def test_one_call_tries_and_waits_double_when_it_fails(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, times=FAILURES)
    pause = PAUSE
    for _ in range(8):
        clock.now += pause - INCIDENT - 0.02
        opened(breaker)
        clock.now += 0.02
        fail(breaker, clock)
        pause = min(pause * 2, LONGEST)
    assert pause == LONGEST
    clock.now += pause
    with breaker.attempt():
        assert "when the call that tries now has succeeded" in opened(breaker)
    fail(breaker, clock, times=FAILURES)
    assert "tried again in 1.0 s" in opened(breaker)


def test_a_call_that_its_caller_ends_says_nothing(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, times=FAILURES)
    clock.now += PAUSE
    for error in (asyncio.CancelledError(), LimitReached("duration", "over")):
        with pytest.raises(type(error)), breaker.attempt():
            raise error
        assert breaker.open
    with breaker.attempt():
        """The next one may try at once."""
    assert not breaker.open
