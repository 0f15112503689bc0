"""The line before one account of a provider: who may call now, who waits, in the order they came.

No clock and no tasks of its own: whoever uses it says what time it is, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from teamwright.jobs.plan import ProviderLimit

T = TypeVar("T", bound=Hashable)
#: Seconds that `rpm` counts.
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds for a provider: the strictest of what the jobs say. None = no limit of that kind."""

    concurrent: int | None = None
    rpm: int | None = None

    @classmethod
    def strictest(cls, given: Iterable[ProviderLimit]) -> Limit:
        """The least of each; those that say nothing don't count."""
        limits = list(given)
        return cls(
            min((one.concurrent for one in limits if one.concurrent is not None), default=None),
            min((one.rpm for one in limits if one.rpm is not None), default=None),
        )


class Line(Generic[T]):
    """One account: the callers that hold a place, those that wait, and the calls of the last minute."""

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self.working: set[T] = set()
        self.backed_off_until = -math.inf
        self._calls: deque[float] = deque()

    @property
    def idle(self) -> bool:
        """Whether nobody calls or waits."""
        return not self.waiting and not self.working

    def calls(self, now: float) -> int:
        """How many calls began in the last minute."""
        while self._calls and self._calls[0] <= now - MINUTE:
            self._calls.popleft()
        return len(self._calls)

    def take_back(self, caller: T, now: float) -> None:
        """A call that is under way already: it is counted, whatever the limit."""
        self.working.add(caller)
        self._calls.append(now)

    def leave(self, caller: T) -> None:
        """It has ended its call, or waits no more."""
        if caller in self.working:
            self.working.remove(caller)
        elif caller in self.waiting:
            self.waiting.remove(caller)

    def back_off(self, until: float) -> None:
        """Nobody begins a call before `until`; the later of two such times counts."""
        self.backed_off_until = max(self.backed_off_until, until)

    def why(self, limit: Limit, now: float) -> str | None:
        """What keeps the next caller waiting: rate_limited, concurrent or rpm; None = it may go."""
        if now < self.backed_off_until:
            return "rate_limited"
        if limit.concurrent is not None and len(self.working) >= limit.concurrent:
            return "concurrent"
        return "rpm" if limit.rpm is not None and self.calls(now) >= limit.rpm else None

    def admit(self, limit: Limit, now: float, go: Callable[[T], None]) -> float | None:
        """Tell those who may begin now, first come first served.

        Returns the seconds after which another look is worth it; None = when somebody leaves, or nobody waits.
        """
        while self.waiting:
            reason = self.why(limit, now)
            if reason == "rate_limited":
                return self.backed_off_until - now
            if reason == "concurrent":
                return None
            if reason == "rpm":
                return self._calls[len(self._calls) - (limit.rpm or 1)] + MINUTE - now
            caller = self.waiting.popleft()
            self.working.add(caller)
            self._calls.append(now)
            go(caller)
        return None
