"""What a person sees on stderr while a job comes up."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from teamwright.cli.output import milliseconds, note

if TYPE_CHECKING:
    from rich.status import Status

_READY = ("healthy", "busy")


class Progress:
    """Takes the lines of a start's stream: a spinner on a terminal, a line per level and agent elsewhere.

    >>> with Progress("hello", levels=2) as progress:
    ...     progress.take({"event": "level", "level": 0, "agents": ["greeter"]})
    """

    def __init__(self, job: str, levels: int, *, quiet: bool = False, doing: str = "starting") -> None:
        self._job = job
        self._doing = doing
        self._levels = levels
        self._quiet = quiet
        self._waiting: list[str] = []
        self._level = 0
        self._spinner: Status | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from teamwright.cli.output import console

            self._spinner = console(stderr=True).status(f"{self._job}: {self._doing}")
            self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._spinner is not None:
            self._spinner.stop()

    def take(self, line: dict[str, Any]) -> None:
        """Show one line of the stream."""
        if self._quiet:
            return
        if line.get("event") == "level":
            self._level = int(line["level"]) + 1
            self._waiting = list(line["agents"])
            self._show(f"level {self._level} of {max(self._levels, self._level)}: {', '.join(self._waiting)}")
        elif line.get("event") == "draining" and (old := [*line["replaced"], *line["removed"]]):
            names = ", ".join(name.partition("/")[2] for name in old)
            self._show(f"waiting until what {names} did before is done")
        elif line.get("event") == "agent":
            self._agent(str(line.get("id")), line)

    def _agent(self, agent: str, line: dict[str, Any]) -> None:
        status = line.get("status")
        if status in _READY and agent in self._waiting:
            self._waiting.remove(agent)
            launched, ready = line.get("launched_ns"), line.get("ready_ns")
            took = f" in {milliseconds((ready - launched) / 1e6)}" if launched and ready else ""
            note(f"  {agent} is ready{took}")
        elif status in ("backing_off", "failed", "unhealthy"):
            note(f"  {agent} is {str(status).replace('_', ' ')}")

    def _show(self, text: str) -> None:
        if self._spinner is not None:
            self._spinner.update(f"{self._job}: {text}")
        else:
            note(f"{self._job}: {text}")
