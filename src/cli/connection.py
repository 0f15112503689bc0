"""An engine to talk to: found, or started when the command may start one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from teamwright.cli.app import Call

if TYPE_CHECKING:
    from teamwright.client.client import Client


@contextmanager
def connected(
    call: Call, *, start: bool = False, port: int | None = None, stay: bool = False, host: bool = False
) -> Iterator[Client]:
    """A client of this home's engine. Raises EngineUnavailable when there is none and `start` is not set.

    An engine that this command has started leaves again when the command ends by an exception and no job runs.
    """
    from teamwright.client import launch

    with launch.connect(call.home, port=port, start=start, stay=stay, host=host) as client:
        yield client
