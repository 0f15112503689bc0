"""Replicas: several processes of one agent. Their names, the ids that lead back to one of them, and who gets a call.

A replica is the agent's id and a number from 0, `weather-0`, `weather-1` …, in the way of Kubernetes' stateful sets.
The names of conversations and tasks that it makes end with that number (`….r1`), so whoever has one knows whom to ask.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

_MARK = re.compile(r"\.r(\d{1,4})\Z")
#: Conversations without a mark whose replica is remembered.
_KEPT = 10_000


def replica_name(agent: str, number: int) -> str:
    """What a replica is called in its job."""
    return f"{agent}-{number}"


def replica_names(agent: str, count: int) -> tuple[str, ...]:
    """The processes of an agent; one that has no replicas goes by its own id."""
    return tuple(replica_name(agent, number) for number in range(count)) if count > 1 else (agent,)


def marked(name: str, number: int | None) -> str:
    """The name of a conversation or task that belongs to a replica."""
    return name if number is None else f"{name}.r{number}"


def mark_of(name: str | None) -> int | None:
    """The replica that such a name leads to; None where it leads to none."""
    found = _MARK.search(name) if name else None
    return int(found[1]) if found else None


class Spread:
    """Chooses among replicas: the one that a conversation belongs to, else the one with least to do.

    >>> order = spread.order("team/weather", 3, session)
    >>> with spread.working("team/weather", order[0], session): ...
    """

    def __init__(self) -> None:
        self._working: Counter[tuple[str, int]] = Counter()
        self._placed: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._turn = 0

    def order(self, agent: str, count: int, session: str | None = None) -> Sequence[int]:
        """All replicas, the best one first: others are for when that one is not there."""
        first = self._placed.get((agent, session or ""), mark_of(session))
        self._turn += 1
        others = sorted(
            range(count), key=lambda number: (self._working[agent, number], self._tie(session, number, count))
        )
        if first is None or first >= count:
            return others
        return [first, *(number for number in others if number != first)]

    def place(self, agent: str, number: int, session: str) -> None:
        """A conversation belongs there from now on, whatever its name says: two replicas never have it at once."""
        known = agent, session
        if mark_of(session) == number and known not in self._placed:
            return
        self._placed[known] = number
        self._placed.move_to_end(known)
        if len(self._placed) > _KEPT:
            self._placed.popitem(last=False)

    @contextmanager
    def working(self, agent: str, number: int, session: str | None = None) -> Iterator[None]:
        """A call is under way there."""
        if session:
            self.place(agent, number, session)
        self._working[agent, number] += 1
        try:
            yield
        finally:
            self._working[agent, number] -= 1
            if not self._working[agent, number]:
                del self._working[agent, number]

    def _tie(self, session: str | None, number: int, count: int) -> int:
        """Among equals: always the same for a conversation, also after a restart; else each in turn."""
        if session:
            return int.from_bytes(blake2b(f"{session} {number}".encode(), digest_size=8).digest())
        return (number - self._turn) % count
