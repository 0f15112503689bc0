"""What changed in the registry, in order: for its watchers, and for whoever asks whether something did."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from teamwright.registry.records import AgentEntry

Kind = Literal["listed", "changed", "delisted"]
#: Changes that a watcher may be behind before it has to read the whole list again.
_KEPT = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `revision` counts them from 1; `reason` says why an entry went: left, died or lease."""

    revision: int
    kind: Kind
    entry: AgentEntry
    at: float
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        gone = self.kind == "delisted"
        return {
            "change": self.kind,
            "id": self.entry.id,
            "job": self.entry.job,
            "agent": self.entry.agent,
            "at": self.at,
            **({"reason": self.reason} if gone else {"entry": self.entry.to_dict()}),
        }


class Changes:
    """The newest changes. A place in them is a text, `revision` the present one; it counts for one life of the engine.

    >>> with changes.news() as news:
    ...     await news.wait()  # set at each change; clear it before reading
    """

    def __init__(self) -> None:
        self._life = uuid4().hex[:12]
        self._count = 0
        self._kept: deque[Change] = deque(maxlen=_KEPT)
        self._watchers: set[asyncio.Event] = set()

    @property
    def revision(self) -> str:
        return self.place(self._count)

    @property
    def watchers(self) -> int:
        """How many are waiting for news."""
        return len(self._watchers)

    def place(self, count: int) -> str:
        """The text for the place behind that many changes."""
        return f"{self._life}-{count}"

    def add(self, kind: Kind, entry: AgentEntry, at: float, reason: str | None = None) -> None:
        """Note a change and wake the watchers."""
        self._count += 1
        self._kept.append(Change(self._count, kind, entry, at, reason))
        for news in self._watchers:
            news.set()

    def since(self, place: str) -> list[Change] | None:
        """The changes behind a place; None when they are not known any more, or it is none of this life."""
        life, _, count = place.rpartition("-")
        if life != self._life or not count.isascii() or not count.isdigit() or int(count) > self._count:
            return None
        behind = self._count - int(count)
        if behind > len(self._kept):
            return None
        return [] if behind == 0 else list(self._kept)[-behind:]

    @contextmanager
    def news(self) -> Iterator[asyncio.Event]:
        """An event that is set at each change while the block runs."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)
