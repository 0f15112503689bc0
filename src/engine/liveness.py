"""Which engine runs in a home, and whether the guard it belongs to is still the same living process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teamwright.home import Home

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The id of this boot of the machine; the empty string where the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """When the process was started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold blanks and brackets: count from the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a guard: its pid alone could be anybody's after a while or after a reboot."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Incarnation:
        """The living process `pid`; `start` is 0 when it is gone."""
        return cls(pid, start_time(pid) or 0, boot_id())

    @property
    def alive(self) -> bool:
        return self.start != 0 and self.boot == boot_id() and start_time(self.pid) == self.start

    def to_text(self) -> str:
        return f"{self.pid} {self.start} {self.boot}"

    @classmethod
    def from_text(cls, text: str) -> Incarnation:
        pid, start, boot = text.split(" ")
        return cls(int(pid), int(start), boot)


@dataclass(frozen=True, slots=True)
class EngineFile:
    """What `<home>/engine.json` says."""

    url: str
    port: int
    guard: int
    version: str
    fingerprint: str
    on_demand: bool
    home_id: str
    guard_start: int | None = None

    @classmethod
    def read(cls, home: Home) -> EngineFile | None:
        """The file of a guard that is alive; None when there is none, it is damaged, or its guard is gone."""
        try:
            found: Any = json.loads(home.engine_file.read_text())
            info = cls(
                url=str(found["url"]),
                port=int(found["port"]),
                guard=int(found["guard"]),
                version=str(found["version"]),
                fingerprint=str(found["fingerprint"]),
                on_demand=bool(found["on_demand"]),
                home_id=str(found["home_id"]),
                guard_start=found.get("guard_start"),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        started = start_time(info.guard)
        if started is None or (info.guard_start is not None and started != info.guard_start):
            return None
        return info
