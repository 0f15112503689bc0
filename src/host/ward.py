"""One process the guard looks after: engine or host.

Standard library only, and light: the guard imports this without site-packages.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from teamwright.host import proc
from teamwright.host.logs import rotate
from teamwright.host.pulse import BEAT, Pulse
from teamwright.host.spawn import spawn

#: Deaths are counted over so many seconds.
_WITHIN = 60.0
#: Seconds to wait before the next start, after the first, second … death within that time.
_DELAYS = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0)


class Ward:
    """A process that is started again when it ends: its command, its listener, its control socket, its deaths."""

    def __init__(
        self, name: str, command: list[str], listener: socket.socket, log_file: Path, beat: float = BEAT
    ) -> None:
        self.name = name
        self.command = command
        self.listener = listener
        self.log_file = log_file
        self.pid: int | None = None
        self.control: socket.socket | None = None
        self.start_at: float | None = None
        self.kill_at: float | None = None
        self.replacing = False
        self.pulse = Pulse(beat)
        self._received = b""
        self._deaths: list[float] = []

    def start(self, order: dict[str, Any], environment: dict[str, str]) -> None:
        """Exec it with the order as its one argument. Raises OSError."""
        self.start_at = None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        argument = json.dumps({**order, "listener": self.listener.fileno(), "control": theirs.fileno()})
        try:
            with open_log(self.log_file) as output:
                self.pid = spawn(
                    [*self.command, argument],
                    env=environment,
                    output=output.fileno(),
                    keep=(self.listener.fileno(), theirs.fileno()),
                    death_signal=signal.SIGTERM,
                )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.control, self._received = ours, b""
        self.pulse.begin()

    def terminate(self, seconds: float) -> None:
        """Ask it to leave, and kill it after `seconds`; at once when it is stopped and can't hear us."""
        if self.pid is None:
            return
        process = proc.read(self.pid)
        self.kill_at = time.monotonic() + seconds
        self.signal(signal.SIGKILL if process and process.state in "Tt" else signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal; it is our child and not reaped yet, so the pid is still its own."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ended(self) -> None:
        """It was reaped."""
        self.pid = self.kill_at = None

    def died(self) -> int:
        """Note a death nobody ordered; how many there were within a minute."""
        now = time.monotonic()
        self._deaths = [*(at for at in self._deaths if now - at < _WITHIN), now]
        return len(self._deaths)

    def start_again(self) -> None:
        """At once after the first death, later after more of them."""
        self.start_at = time.monotonic() + _DELAYS[min(len(self._deaths), len(_DELAYS)) - 1]

    def tell(self, message: dict[str, Any]) -> None:
        """Send it a line; when it doesn't listen to a few hundred bytes it needs no telling."""
        if self.control is not None:
            say(self.control, message)

    def hear(self) -> list[bytes] | None:
        """The lines it sent, or None when it has hung up."""
        assert self.control is not None
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        return lines if data else None


def say(to: socket.socket, message: dict[str, Any]) -> None:
    """Send a line of JSON without ever waiting."""
    with suppress(OSError):
        to.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def open_log(path: Path) -> IO[bytes]:
    """The file, to append to; what was in it is put aside when it has grown large. Raises OSError."""
    with suppress(OSError):
        rotate(path)
    return open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))
