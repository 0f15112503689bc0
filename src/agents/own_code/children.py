"""Processes of the user's below an agent: started in a session of their own, ended with everything they started."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

#: In the environment of a child and, by inheritance, of all that it starts.
TOKEN = "TEAMWRIGHT_CHILD"

#: Killing is repeated until nothing is found: what was about to fork has done so by then.
_ROUNDS, _PAUSE = 200, 0.003
#: Seconds after which a process that can't be killed (uninterruptible sleep) is left to the host.
_GIVE_UP = 2.0


class Child:
    """One process, and what is below it. `ended` is its exit code, negative for a signal.

    >>> child = Child(["python", "x.py"], folder=".", environment=os.environ)
    >>> await child.ended
    >>> await child.end()                       # nothing of it is left
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: str,
        environment: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._token = secrets.token_hex(12)
        self._process = subprocess.Popen(
            list(words),
            cwd=folder,
            env={**environment, TOKEN: self._token},
            pass_fds=pass_fds,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.ended: asyncio.Future[int] = loop.create_future()
        self._over = False
        self._handle = os.pidfd_open(self.pid)
        loop.add_reader(self._handle, self._gone)

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._process.stderr

    async def end(self, grace: float = 0.0) -> int:
        """SIGTERM to its group, after `grace` seconds SIGKILL to all that is below it; its exit code.

        May be called again; runs to its end even if whoever waits for it is cancelled.
        """
        return await asyncio.shield(asyncio.ensure_future(self._end(grace)))

    async def _end(self, grace: float) -> int:
        if not self.ended.done() and grace > 0:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            await asyncio.wait([self.ended], timeout=grace)
        if not self._over:
            await self._kill_all()
            self._over = True
        await asyncio.wait([self.ended], timeout=_GIVE_UP)
        return self.ended.result() if self.ended.done() else -signal.SIGKILL

    async def _kill_all(self) -> None:
        for _ in range(_ROUNDS):
            if not await asyncio.to_thread(kill_family, self.pid, self._token, not self.ended.done()):
                return
            await asyncio.sleep(_PAUSE)

    def _gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self.ended.set_result(self._process.wait())


def kill_family(pid: int, token: str, alive: bool) -> int:
    """SIGKILL to what is of the group and session `pid` or below it, and to who carries `token`; how many there were.

    `alive`: the pid is still its own, so it may be killed as well.
    """
    processes = {found[0]: found for name in os.listdir("/proc") if name.isdigit() and (found := _read(int(name)))}
    ours = {number for number, found in processes.items() if pid in found[2:4] and (alive or number != pid)}
    searched: set[int] = set()
    while True:
        below = {number for number, found in processes.items() if found[1] in ours} - ours
        if not below:
            below = {number for number in processes.keys() - ours - searched if _carries(number, token)}
            searched = set(processes)
        if not below:
            return sum(_kill(processes[number]) for number in ours)
        ours |= below


#: pid, parent, group, process session, start in clock ticks.
_Process = tuple[int, int, int, int, int]


def _read(pid: int) -> _Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name may hold blanks and brackets: the fields begin after the last one.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    return pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])


def _carries(pid: int, token: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{TOKEN}={token}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def _kill(process: _Process) -> bool:
    """Kill exactly this process, never another one that got its pid meanwhile; whether it still lived."""
    try:
        handle = os.pidfd_open(process[0])
    except OSError:
        return False
    try:
        again = _read(process[0])
        if again is None or again[4] != process[4]:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
