"""Whether traces are being dropped for want of room, and how many spans have been: for everybody who shows traces."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from teamwright.database import connect
from teamwright.tracing.shipping.spool import dropped_spans
from teamwright.tracing.storing.room import Room


@dataclass(frozen=True, slots=True)
class Shedding:
    """`shedding`: spans are dropped now. `dropped_spans`: since the home was made. Sizes in bytes."""

    shedding: bool
    dropped_spans: int
    free: int
    reserve: int

    @property
    def text(self) -> str | None:
        """One line for a person; None when there is nothing to say."""
        left = f"{self.free / (1 << 20):.1f} MiB are left, {self.reserve / (1 << 20):.1f} are kept free"
        if self.shedding:
            return f"the disk is full: traces are being dropped ({left}); {self.dropped_spans} spans so far"
        return f"{self.dropped_spans} spans were dropped for want of room" if self.dropped_spans else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def shedding(spans_db: Path, spool_dir: Path) -> Shedding:
    """How it is now; reads only."""
    room = Room(spans_db.parent)
    scarce = room.scarce()
    return Shedding(scarce, dropped_spans(spool_dir) + _of_the_dead(spans_db), room.free, room.reserve)


def _of_the_dead(spans_db: Path) -> int:
    try:
        if not spans_db.exists():
            return 0
        with closing(connect(spans_db, read_only=True)) as db:
            (count,) = db.execute("select coalesce(sum(spans), 0) from lost").fetchone()
            return int(count)
    except sqlite3.Error:  # being made, or of older code
        return 0
