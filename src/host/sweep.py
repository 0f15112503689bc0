"""Leaving nothing behind: killing what is below us, and what an earlier life of this home left running.

A process of ours is known by its mark (`proc.MARK`, inherited through exec), or by pid, start time and boot from the
records in `<home>/processes/`, which also hold those that cleared their environment.
Standard library only, and light: the guard imports this without site-packages, the CLI may use it too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from teamwright.host.proc import Process, ancestors, boot, descendants, kill, mark, snapshot

RECORDS = "processes"
_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


class Records:
    """The processes that one of ours owns, written down: `<home>/processes/<owner>.json`.

    Failing to write (a full disk) is not an error: the mark finds nearly everything anyway.
    """

    def __init__(self, home: Path, owner: str) -> None:
        self._path = home / RECORDS / f"{owner}.json"
        self._written: list[list[int]] | None = None

    def write(self, keys: Iterable[tuple[int, int]]) -> None:
        """Put these (pid, start) down as all there are, if that is any news."""
        entries = sorted([pid, start] for pid, start in keys)
        if entries == self._written:
            return
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            draft.write_text(json.dumps({"boot": boot(), "processes": entries}))
            draft.replace(self._path)
            self._written = entries

    def remove(self) -> None:
        """Nothing is left of them."""
        self._written = None
        with contextlib.suppress(OSError):
            self._path.unlink()


def kill_below(keep: Collection[int] = (), seconds: float = 10.0) -> list[Process]:
    """Kill every descendant of this process but `keep` and what is below those, again until none is left.

    This process has to be a child subreaper and reaps them itself. Gives what was still there after `seconds`
    (a process in an uninterruptible sleep).
    """
    deadline = time.monotonic() + seconds
    pause = _PAUSE
    while True:
        victims = _below(keep)
        if not victims:
            return []
        for process in victims:
            kill(process)
        if time.monotonic() > deadline:
            return victims
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def leftovers(home: Path, home_id: str) -> list[Process]:
    """What an earlier life of this home left running: marked, recorded, or below one of those.

    This process and those above it never count: `deploy` may be called by an agent's own shell.
    """
    processes = snapshot()
    ours = ancestors(os.getpid(), processes)
    recorded = _recorded(home)
    found = [
        process
        for process in processes.values()
        if process.pid not in ours
        and not process.gone
        and (process.key in recorded or mark(process.pid).startswith(f"{home_id}:"))
    ]
    below = descendants([process.pid for process in found], processes)
    known = {process.pid for process in found}
    found += [process for process in below if process.pid not in known and process.pid not in ours and not process.gone]
    return found


def sweep(home: Path, home_id: str, seconds: float = 5.0) -> list[int]:
    """Kill all leftovers, again until none is left, and forget the records. Hold the home's lock when calling this.

    Gives the pids killed.
    """
    deadline = time.monotonic() + seconds
    killed: dict[int, None] = {}
    pause = _PAUSE
    while found := leftovers(home, home_id):
        killed.update((process.pid, None) for process in found if kill(process))
        if time.monotonic() > deadline:
            return list(killed)
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    forget(home)
    return list(killed)


def forget(home: Path) -> None:
    """Remove all records."""
    with contextlib.suppress(OSError):
        for file in (home / RECORDS).iterdir():
            file.unlink()
        (home / RECORDS).rmdir()


def sweep_home(home: Path, home_id: str, run_dir: Path | None = None) -> list[int] | None:
    """What `deploy stop` does without an engine: sweep, and remove what a killed guard left in home and `run_dir`.

    Gives the pids killed, or None when a guard holds the lock: there is an engine after all.
    """
    try:
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return []
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        killed = sweep(home, home_id)
        remove_traces(home, run_dir)
        return killed
    finally:
        os.close(lock)


def remove_traces(home: Path, run_dir: Path | None) -> None:
    """Remove engine.json, the sockets, and their folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        (home / "engine.json").unlink()
    if run_dir:
        with contextlib.suppress(OSError):
            (run_dir / "host.sock").unlink()
        with contextlib.suppress(OSError):
            run_dir.rmdir()


def _below(keep: Collection[int]) -> list[Process]:
    """Living descendants of this process that are not spared; dead children that nobody waits for are reaped."""
    processes = snapshot()
    spared = set(keep)
    spared.update(process.pid for process in descendants(keep, processes))
    below = [process for process in descendants([os.getpid()], processes) if process.pid not in spared]
    for process in below:
        if process.gone and process.parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
    return [process for process in below if not process.gone]


def _recorded(home: Path) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    with contextlib.suppress(OSError):
        for file in (home / RECORDS).glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                content = json.loads(file.read_text())
                if content["boot"] == boot():
                    found.update((int(pid), int(start)) for pid, start in content["processes"])
    return found
