"""The calls to other agents that one query may still make, and the dollars it may spend, shared by all below a run."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from teamwright.errors import LimitReached

_RESERVE = 8
#: The part of what is left that is handed to the agents called in one moment.
_LENT = 0.9


class Purse:
    """Dollars that a query may still spend; `left` None = no limit. The answer of one model call may pass it."""

    def __init__(self, left: float | None) -> None:
        self.limit = self.left = left

    def spend(self, dollars: float) -> None:
        """So much was spent."""
        if self.left is not None:
            self.left -= dollars

    def afford(self, dollars: float) -> None:
        """Raises LimitReached when there is not so much left, or nothing any more."""
        if self.left is None or self.limit is None:
            return
        if dollars > self.left or (self.left <= 0 and self.limit > 0):
            words = f"the query has spent the ${self.limit:.4g} that it may"
            if self.left > 0:
                left = f"${self.left:.2g} of ${self.limit:.4g} is left"
                words = f"the next model call costs ${dollars:.2g} or more, and {left}"
            raise LimitReached("cost_usd", f"{words} (limit cost_usd)")

    def lend(self, parts: int) -> float | None:
        """What each of so many calls may spend; a little stays here. It comes back with `spend(-dollars)`."""
        if self.left is None:
            return None
        share = max(0.0, self.left) * _LENT / parts
        self.left -= share * parts
        return share


class PeerBudget:
    """Counts calls so that a query, with all that its callees do, never makes more than `left` of them.

    Each call takes one and hands a share of the rest to the callee, which is what the callee may spend in turn;
    what it didn't spend comes back with its answer. Calls that start in the same moment share evenly. A call that
    finds nothing left waits while others are out, as they may bring something back.
    """

    def __init__(self, left: int | None, purse: Purse | None = None) -> None:
        self.left = left
        self.purse = purse or Purse(None)
        self._out = 0
        self._batch: list[Grant] = []
        self._changed = asyncio.Event()

    async def take(self) -> Grant:
        """One call and the callee's share. Raises LimitReached when the query has no calls, or no dollars, left."""
        self.purse.afford(0.0)
        grant = Grant(self)
        if self.left is None:
            grant.dollars = self.purse.lend(1)
            return grant
        while self.left <= 0:
            if self._out == 0:
                raise LimitReached("peer_calls", "the query has made all the calls to agents it may (limit peer_calls)")
            self._changed.clear()
            await self._changed.wait()
        self.left -= 1
        self._out += 1
        self._batch.append(grant)
        try:
            await asyncio.sleep(0)  # whoever starts in the same moment joins the batch
        except BaseException:
            self._settle()
            grant.back()
            raise
        self._settle()
        return grant

    def _settle(self) -> None:
        batch, self._batch = self._batch, []
        if not batch or self.left is None:
            return
        share = max(0, self.left - min(_RESERVE, self.left // 4)) // len(batch)
        dollars = self.purse.lend(len(batch))
        for grant in batch:
            grant.dollars = dollars
            grant.share = share
            self.left -= share

    def _back(self, unspent: int) -> None:
        self._out -= 1
        if self.left is not None:
            self.left += unspent
        self._changed.set()


class Grant:
    """One call's part of the budget. `share` calls and `dollars` are what the callee may spend; None = no limit."""

    def __init__(self, budget: PeerBudget) -> None:
        self._budget = budget
        self._open = budget.left is not None
        self.share: int | None = 0 if self._open else None
        self.dollars: float | None = None
        self.spent = 0

    def back(self) -> None:
        """Return what was not spent. Safe to call twice."""
        lent, self.dollars = self.dollars, None
        self._budget.purse.spend(-(lent or 0.0))  # what the callee did spend of it is counted by itself
        if self._open:
            self._open = False
            self._budget._back(max(0, (self.share or 0) - self.spent))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.back()
