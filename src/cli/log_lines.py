"""Lines of agents' logs: what stands in them, which are wanted, and how they look on a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle

import click

from teamwright.cli.app import Call

#: As agents write them (tracing/logs.py); what follows in a traceback, or is just printed, has none of it.
_HEAD = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d{3}) (?P<level>[A-Z]+) "
    r"\[run=(?P<run>\S+) trace=(?P<trace>\S+)\] (?P<rest>.*)",
    re.DOTALL,
)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_AGENTS = ("cyan", "magenta", "green", "blue", "bright_cyan", "bright_magenta", "bright_green", "bright_blue")
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "bright_black"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line. One without a head has time, level and ids of the line that it belongs to; `at` is Unix seconds."""

    job: str
    agent: str
    text: str
    at: float | None = None
    level: str | None = None
    run_id: str | None = None
    trace_id: str | None = None
    head: bool = True


class Parser:
    """Makes lines of one agent's text; the order counts."""

    def __init__(self, job: str, agent: str) -> None:
        self._last = Line(job, agent, "")

    def line(self, text: str) -> Line:
        """The next line."""
        match = _HEAD.match(text)
        if match is None:
            return replace(self._last, text=text, head=False)
        at = datetime.strptime(match["time"].replace(",", "."), "%Y-%m-%d %H:%M:%S.%f").timestamp()
        run, trace = (None if word == "-" else word for word in (match["run"], match["trace"]))
        self._last = Line(self._last.job, self._last.agent, text, at, match["level"], run, trace)
        return self._last


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: `pattern` is looked for in them, `level` and above, of one run, not before `since` (Unix s)."""

    pattern: re.Pattern[str] | None = None
    level: str | None = None
    run: str | None = None
    since: float | None = None

    def fits(self, line: Line) -> bool:
        """Whether the line is wanted."""
        if self.pattern is not None and not self.pattern.search(line.text):
            return False
        if self.since is not None and (line.at is None or line.at < self.since):
            return False
        if self.run is not None and not any((name or "").startswith(self.run) for name in (line.run_id, line.trace_id)):
            return False
        return self.level is None or (line.level in _LEVELS and _LEVELS.index(line.level) >= _LEVELS.index(self.level))


def in_order(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines of several agents by time; those that belong together stay together."""
    blocks: list[tuple[float, list[Line]]] = []
    for line in lines:
        if not line.head and blocks and blocks[-1][1][-1].agent == line.agent and blocks[-1][1][-1].job == line.job:
            blocks[-1][1].append(line)
        else:
            blocks.append((line.at or 0.0, [line]))
    for _, block in sorted(blocks, key=lambda found: found[0]):
        yield from block


def printer(call: Call, agents: Sequence[tuple[str, str]]) -> Callable[[Line], None]:
    """What prints lines of these (job, agent): with the agent in front where there are several, one object a line with
    --json. Colours on a terminal only, and not with NO_COLOR; there what the agents wrote is shown, never obeyed. In a
    pipe it goes on as it is.
    """
    from teamwright.cli.output import spoken

    terminal = sys.stdout.isatty()
    jobs = {job for job, _ in agents}
    names = {(job, agent): f"{job}/{agent}" if len(jobs) > 1 else agent for job, agent in agents}
    colours = dict(zip(names, cycle(_AGENTS), strict=False))
    width = max(map(len, names.values()), default=0) if len(names) > 1 else 0
    plain = not terminal or bool(call.environ.get("NO_COLOR"))

    def show(line: Line) -> None:
        if call.json:
            call.emit(
                {
                    "job": line.job,
                    "agent": line.agent,
                    "line": line.text,
                    "at": line.at,
                    "level": line.level,
                    "run_id": line.run_id,
                    "trace_id": line.trace_id,
                }
            )
            return
        key = (line.job, line.agent)
        text = spoken(click.unstyle(line.text)) if terminal else line.text
        text = text if plain else click.style(text, fg=_COLOURS.get(line.level or ""))
        name = f"{names.get(key, line.agent):<{width}} | "
        front = (name if plain else click.style(name, fg=colours.get(key, "cyan"))) if width else ""
        click.echo(front + text, color=True)  # else it takes out of a pipe what agents wrote there

    return show
