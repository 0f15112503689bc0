"""Back-off, with a clock of our own."""

from __future__ import annotations

from teamwright.host.api import RestartPolicy
from teamwright.host.policy import HEALTHY_AGAIN, Backoff


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _backoff(policy: RestartPolicy, clock: _Clock) -> Backoff:
    return Backoff(policy, clock=clock, jitter=lambda low, high: 1.0)


def test_waits_double_until_it_is_given_up() -> None:
    backoff = _backoff(RestartPolicy(max=6, within=600), _Clock())
    assert [backoff.wait(clean=False) for _ in range(7)] == [0.1, 0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_only_restarts_within_the_window_count() -> None:
    clock = _Clock()
    backoff = _backoff(RestartPolicy(max=2, within=10), clock)
    assert backoff.wait(clean=False) == 0.1
    clock.now = 6
    assert backoff.wait(clean=False) == 0.5
    clock.now = 9
    assert backoff.wait(clean=False) is None
    clock.now = 11
    assert backoff.wait(clean=False) == 0.5


def test_healthy_minutes_wipe_it_out() -> None:
    clock = _Clock()
    backoff = _backoff(RestartPolicy(max=2, within=10_000), clock)
    backoff.wait(clean=False)
    backoff.wait(clean=False)
    backoff.healthy()
    clock.now = HEALTHY_AGAIN - 1
    assert backoff.wait(clean=False) is None
    backoff.healthy()
    clock.now += HEALTHY_AGAIN
    assert backoff.wait(clean=False) == 0.1


def test_who_is_wanted_back() -> None:
    wanted = {
        (policy, clean): Backoff(RestartPolicy(policy)).wanted(clean=clean)
        for policy in ("always", "on-failure", "never")
        for clean in (True, False)
    }
    assert [case for case, back in wanted.items() if back] == [
        ("always", True), ("always", False), ("on-failure", False)
    ]  # fmt: skip


def test_jitter_and_the_longest_wait() -> None:
    backoff = Backoff(RestartPolicy(max=100), clock=_Clock())
    waits = [backoff.wait(clean=False) or 0 for _ in range(50)]
    assert 0.08 <= waits[0] <= 0.12
    assert max(waits) <= 72
    assert len(set(waits[10:])) > 10
