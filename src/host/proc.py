"""What /proc tells about processes.

Standard library only, and light: the guard imports this without site-packages.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

#: The variable that every process of ours has from its start: `<home id>:<who>[:<incarnation>]`. What it starts
#: inherits it, so what outlives it can be found.
MARK = "TEAMWRIGHT_MARK"

_MARK = MARK.encode() + b"="
_LISTENING = "0A"


class Process(NamedTuple):
    """One process at one moment. `start` and `ticks` (CPU time used) are in clock ticks; pid + start are unique."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    state: str
    ticks: int
    name: str

    @property
    def gone(self) -> bool:
        """A zombie holds nothing any more."""
        return self.state in "ZX"

    @property
    def key(self) -> tuple[int, int]:
        return (self.pid, self.start)


Snapshot = Mapping[int, Process]


def read(pid: int | str) -> Process | None:
    """The process of that pid, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name may hold blanks and brackets: the fields begin after the last one.
    left, _, right = text.rpartition(b")")
    number, _, name = left.partition(b" (")
    fields = right.split()
    if not fields:
        return None
    return Process(
        pid=int(number),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start=int(fields[19]),
        state=fields[0].decode(),
        ticks=int(fields[11]) + int(fields[12]),
        name=name.decode(errors="replace"),
    )


def snapshot() -> dict[int, Process]:
    """All processes there are, by pid."""
    found = (read(name) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def descendants(roots: Iterable[int], processes: Snapshot) -> list[Process]:
    """Everything below `roots`, parents before children, the roots themselves left out."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    below: list[Process] = []
    seen = set(roots)
    level = list(seen)
    while level:
        found = [child for pid in level for child in children.get(pid, ()) if child.pid not in seen]
        seen.update(child.pid for child in found)
        below += found
        level = [child.pid for child in found]
    return below


def ancestors(pid: int, processes: Snapshot) -> set[int]:
    """`pid`, its parent, and so on upwards."""
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        process = processes.get(pid)
        pid = process.parent if process else 0
    return found


def mark(pid: int) -> str:
    """The mark in the environment that the process was exec'ed with; empty when there is none or it can't be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return ""
    return next((text[len(_MARK) :].decode(errors="replace") for text in variables if text.startswith(_MARK)), "")


def memory(pid: int) -> int:
    """The proportional set size in bytes; 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            line = next((line for line in file if line.startswith(b"Pss:")), None)
    except OSError:
        return 0
    return int(line.split()[1]) * 1024 if line else 0


def boot() -> str:
    """What pids and start times are counted in: this boot and this pid namespace."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{Path('/proc/self/ns/pid').readlink()}"


def kill(process: Process, number: int = signal.SIGKILL) -> bool:
    """Send a signal to exactly this process, never to another one that got its pid meanwhile."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        again = read(process.pid)
        if again is None or again.start != process.start or again.gone:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def holder(port: int) -> str:
    """Who listens on a TCP port, for an error message: `node server.js (pid 4711)`."""
    sockets = {f"socket:[{inode}]" for inode in _listeners(port)}
    for name in os.listdir("/proc") if sockets else ():
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(_link(f"/proc/{name}/fd/{fd}") in sockets for fd in os.listdir(f"/proc/{name}/fd")):
                return f"{_command(name)} (pid {name})"
    return "a process of another user" if sockets else "another process"


def _listeners(port: int) -> list[str]:
    inodes: list[str] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as file:
            rows = [line.split() for line in file.readlines()[1:]]
            inodes += [row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]
    return inodes


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _command(pid: str) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").decode(errors="replace").split("\0")
    text = " ".join([Path(words[0]).name, *words[1:]])
    return text if len(text) <= 80 else text[:79] + "…"
