"""How often one caller may do something: a bucket of calls that fills up again."""

from __future__ import annotations

import time
from collections.abc import Callable

from teamwright.errors import TooMany

#: Callers remembered; full buckets are forgotten first.
_CALLERS = 20_000


class Floods:
    """Lets each caller through `burst` times at once and `rate` times a second from then on.

    >>> Floods(rate=1, burst=10, what="registrations").check("team/lead")
    """

    def __init__(self, *, rate: float, burst: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._what = what
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, caller: str) -> None:
        """Count one call. Raises TooMany."""
        now = self._clock()
        left, since = self._left.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        if left < 1:
            self._left[caller] = (left, now)
            raise TooMany(f"too many {self._what} of {caller}", retry_after=(1 - left) / self._rate)
        if len(self._left) >= _CALLERS:
            self._forget(now)
        self._left[caller] = (left - 1, now)

    def _forget(self, now: float) -> None:
        full = self._burst / self._rate
        self._left = {caller: kept for caller, kept in self._left.items() if now - kept[1] < full}
