"""An engine to talk to: found, or started when the command may start one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from teamwright.cli.app import Call
from teamwright.cli.output import note
from teamwright.cli.signals import undisturbed

if TYPE_CHECKING:
    from teamwright.client.client import Client

#: Seconds that an engine which an interrupted command had started gets to leave.
LEAVE_DEADLINE = 25.0


@contextmanager
def connected(
    call: Call, *, start: bool = False, port: int | None = None, stay: bool = False, host: bool = False
) -> Iterator[Client]:
    """A client of this home's engine. Raises EngineUnavailable when there is none and `start` is not set.

    When the command is interrupted, an engine that it has started leaves again, unless it has other jobs by now;
    KeyboardInterrupt comes out of here when it is gone.
    """
    from teamwright.lean import import_httpx

    import_httpx()
    from teamwright.client import launch

    try:
        with launch.connect(call.home, port=port, start=start, stay=stay, host=host, environ=call.environ) as client:
            if port and not client.url.endswith(f":{port}"):
                note(f"warning: the engine runs at {client.url} already; --port {port} did not count")
            yield client
    except KeyboardInterrupt:
        with undisturbed():
            launch.hang_up()
            _see_off(call)
        raise


def _see_off(call: Call) -> None:
    """Wait for the guard, if it is a child of ours. Its lifeline is closed by now: it knows what to do."""
    from teamwright.engine.store.state import StateReader

    until = time.monotonic() + LEAVE_DEADLINE
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            return
        with StateReader(call.home) as reader:
            if any(job.phase == "running" for job in reader.records().values()):
                return
        time.sleep(0.02)
