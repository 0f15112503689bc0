"""The circuit breaker of one peer: after several failures in a row it isn't asked for a while, then once, to see.

A class of our own rather than a library's: what we looked at counts every exception, so that one death of a peer that
twenty calls wait for would be twenty failures; lets everybody through at once when it tries again; and wants the call
to be a function of its own. A call that ends badly because its caller has ended it says nothing about the peer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from teamwright.errors import PeerError

log = logging.getLogger(__name__)

#: Failures in a row until the circuit opens.
FAILURES = 5
#: Seconds. Calls that begin so soon after a failure belong to the same incident, and count as one with it.
INCIDENT = 0.25
#: Seconds until the first try after that, and at most; each try that fails doubles them.
PAUSE, LONGEST = 1.0, 30.0

#: Reasons that speak of a peer that is not well. One that refuses, or is busy, or whose work fails, is well.
FAULTS = frozenset(["unreachable", "broken_connection", "timeout", "bad_answer"])


class Breaker:
    """Closed (calls pass), open (they fail at once), half open (one call tries).

    >>> with breaker.attempt():
    ...     content = await post()
    """

    def __init__(self, peer: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._peer = peer
        self._clock = clock
        self._failures = 0
        self._noticed = float("-inf")
        self._pause = PAUSE
        self._until: float | None = None
        self._trying = False
        self._why = ""

    @property
    def open(self) -> bool:
        """Whether calls fail at once."""
        return self._until is not None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one call. Raises PeerError (circuit_open) instead of making it while the circuit is open."""
        began, trying = self._clock(), self._admit()
        try:
            yield
        except PeerError as error:
            if error.reason in FAULTS:
                self._failed(began, trying, error)
            else:
                self._well()
            raise
        else:
            self._well()
        finally:
            if trying:
                self._trying = False

    def _admit(self) -> bool:
        if self._until is None:
            return False
        left = self._until - self._clock()
        if left > 0 or self._trying:
            when = f"in {max(left, 0.1):.1f} s" if left > 0 else "when the call that tries now has succeeded"
            raise PeerError(
                f"{self._peer} is not asked: it has failed {self._failures} times in a row, the last time because"
                f" {self._why}; it is tried again {when}",
                reason="circuit_open",
            )
        self._trying = True
        return True

    def _failed(self, began: float, trying: bool, error: PeerError) -> None:
        if began < self._noticed + INCIDENT and not trying:
            return
        now = self._clock()
        self._noticed, self._why = now, error.message
        self._failures += 1
        if trying:
            self._pause = min(self._pause * 2, LONGEST)
        elif self._failures < FAILURES:
            return
        self._until = now + self._pause
        log.warning("%s is not asked for %g s: %s", self._peer, self._pause, error.message)

    def _well(self) -> None:
        if self._until is not None:
            log.info("%s answers again", self._peer)
        self._failures, self._pause, self._until = 0, PAUSE, None
