"""When an ended agent is started again, and after how long a wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from teamwright.host.api import RestartPolicy

#: So many healthy seconds wipe out what was before.
HEALTHY_AGAIN = 300.0
_FIRST = 0.1
_NEXT = 0.5
_LONGEST = 60.0


class Backoff:
    """The restarts of one agent.

    >>> backoff = Backoff(RestartPolicy("on-failure", max=5, within=600))
    >>> backoff.wait(clean=False)    # seconds to wait, None = not again
    0.1

    The first wait is short, then they double from half a second on; each is up to a fifth longer or shorter, so that
    agents that died together don't come back together.
    """

    def __init__(
        self,
        policy: RestartPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._restarts: list[float] = []
        self._healthy_since: float | None = None

    def healthy(self) -> None:
        """The agent has become ready."""
        self._healthy_since = self._clock()

    def wanted(self, *, clean: bool) -> bool:
        """Whether the policy wants an agent back that ended like this; `clean` is exit code 0."""
        return self._policy.policy == "always" or (self._policy.policy == "on-failure" and not clean)

    def wait(self, *, clean: bool) -> float | None:
        """Seconds until the agent is started again, which is counted; None when it is not."""
        if not self.wanted(clean=clean):
            return None
        now = self._clock()
        if self._healthy_since is not None and now - self._healthy_since >= HEALTHY_AGAIN:
            self._restarts = []
        self._healthy_since = None
        self._restarts = [at for at in self._restarts if now - at < self._policy.within]
        if len(self._restarts) >= self._policy.max:
            return None
        before = len(self._restarts)
        self._restarts.append(now)
        seconds = _FIRST if before == 0 else min(_NEXT * 2.0 ** (before - 1), _LONGEST)
        return seconds * self._jitter(0.8, 1.2)
