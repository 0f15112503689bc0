"""The words between a service and systemd (sd_notify): over the socket that NOTIFY_SOCKET names, if there is one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Tells a service manager how we fare; nothing without one.

    >>> systemd = Notifier(environ)
    >>> systemd.tell("READY=1", "STATUS=at http://127.0.0.1:8500")

    `every` is how often it wants to hear `WATCHDOG=1`, in seconds, with room to spare; None = not at all.
    """

    def __init__(self, environ: Mapping[str, str], *, pid: int | None = None) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.every: float | None = None
        span, whom = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
        if path and span.isdigit() and int(span) and whom in (None, str(os.getpid() if pid is None else pid)):
            self.every = int(span) / 1e6 / 3

    def tell(self, *lines: str, patience: float = 2.0) -> None:
        """Send `NAME=value` lines. A manager that doesn't listen for `patience` seconds is no reason to end."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(patience)
            sock.sendto("\n".join(lines).encode(), self._address)
