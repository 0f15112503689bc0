"""What a guard holds while it lives: the home's lock, the engine's port, the host's socket, engine.json.

Standard library only, and light: the guard imports this without site-packages.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from teamwright.host import proc
from teamwright.host.sweep import remove_traces

HOME_UNUSABLE, ALREADY_GUARDED, PORT_TAKEN, GAVE_UP = 10, 11, 12, 13
FIRST_PORT = 8500
_PORTS_TRIED = 100
_BACKLOG = 1024


class Refusal(Exception):
    """We can't guard this home; `code` is our exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Claim:
    """One guard's claim on a home. Take the lock first; the rest is safe only under it."""

    def __init__(self, home: Path, home_id: str, run_dir: Path) -> None:
        self.home = home
        self.home_id = home_id
        self.run_dir = run_dir
        self.engine_file = home / "engine.json"
        self.url = ""
        self.port = 0

    def lock(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        """Take the home's lock for as long as this process lives.

        A guard that leaves removes engine.json first: only then it is worth waiting, up to `seconds`.
        """
        deadline = time.monotonic() + seconds
        try:
            fd = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refusal(HOME_UNUSABLE, f"the home {self.home} can't be used: {error.strerror}") from None
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self.engine_file.exists() or time.monotonic() > deadline or interrupted():
                    raise Refusal(ALREADY_GUARDED, f"an engine of {self.home} is already running") from None
            except OSError as error:
                raise Refusal(HOME_UNUSABLE, f"{self.home} can't be locked: {error.strerror}") from None
            time.sleep(0.02)

    def bind_port(self, wanted: int | None) -> socket.socket:
        """The engine's listener: that port, 0 for any, or None for 8500 or the next free one."""
        tries = range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED) if wanted is None else [wanted]
        listener = next((found for port in tries if (found := _listen(port))), None)
        if listener is None and wanted is None:
            listener = _listen(0)
        if listener is None:
            raise Refusal(PORT_TAKEN, f"port {wanted} is taken by {proc.holder(wanted or FIRST_PORT)}")
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return listener

    def bind_any(self) -> socket.socket:
        """A listener on any port of the loopback, for the collector."""
        listener = _listen(0)
        if listener is None:
            raise Refusal(PORT_TAKEN, "no port is free for the collector")
        return listener

    def bind_socket(self) -> socket.socket:
        """The host's listener, `<run_dir>/host.sock`."""
        path = self.run_dir / "host.sock"
        listener = socket.socket(socket.AF_UNIX)
        try:
            self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(16)
        except OSError as error:
            listener.close()
            raise Refusal(HOME_UNUSABLE, f"can't make the socket {path}: {error}") from None
        return listener

    def write(self, version: Any, fingerprint: Any, *, on_demand: bool) -> None:
        """Write engine.json, so that others see all of it or the one before."""
        me = proc.read(os.getpid())
        content = {
            "url": self.url,
            "port": self.port,
            "guard": os.getpid(),
            "guard_start": me.start if me else None,
            "version": version,
            "fingerprint": fingerprint,
            "on_demand": on_demand,
            "home_id": self.home_id,
        }
        draft = self.home / ".engine.json.new"
        try:
            draft.write_text(json.dumps(content) + "\n")
            draft.replace(self.engine_file)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise Refusal(HOME_UNUSABLE, f"the home {self.home} is not writable: {error.strerror}") from None

    def hide(self) -> None:
        """Remove engine.json, so that nobody new finds us."""
        with suppress(OSError):
            self.engine_file.unlink()

    def remove(self) -> None:
        """Remove what others see of us. The lock goes with the process."""
        remove_traces(self.home, self.run_dir)


def _listen(port: int) -> socket.socket | None:
    """A listening socket on the loopback, or None when the port is taken."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener
