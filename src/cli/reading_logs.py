"""The logs of several agents together: their last lines by time, and what is added to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from teamwright.cli.app import Call
from teamwright.cli.following import LogFile
from teamwright.cli.log_lines import Line, Parser, Wanted, in_order
from teamwright.cli.targets import Target, agents_of

_PAUSE = 0.1
#: Seconds between two looks whether the jobs have more agents by now.
_LOOK = 2.0


class Logs:
    """The logs that `targets` mean, as far as their lines are wanted. Reads the home, no engine."""

    def __init__(self, call: Call, targets: Sequence[Target], wanted: Wanted) -> None:
        self._call = call
        self._targets = targets
        self._wanted = wanted
        self._files: dict[tuple[str, str], tuple[LogFile, Parser]] = {}
        self._find()

    @property
    def agents(self) -> list[tuple[str, str]]:
        """Whose they are: (job, agent)."""
        return list(self._files)

    def last(self, count: int | None) -> Iterator[Line]:
        """The last `count` wanted lines of each, or all of them, by time."""
        found: list[Line] = []
        for file, parser in self._files.values():
            since = self._wanted.since
            whole = file.last(count if self._plain else None) if since is None else file.since(since)
            mine = [line for line in map(parser.line, whole) if self._wanted.fits(line)]
            found += mine if count is None else mine[-count:] if count else []
        return in_order(found)

    def follow(self, show: Callable[[Line], None]) -> None:
        """Hand each new wanted line to `show`, forever; agents that a job gets meanwhile are among them."""
        looked = time.monotonic()
        while True:
            quiet = True
            for file, parser in list(self._files.values()):
                for text in file.more():
                    quiet = False
                    if self._wanted.fits(line := parser.line(text)):
                        show(line)
            if quiet:
                time.sleep(_PAUSE)
            if time.monotonic() - looked >= _LOOK:
                looked = time.monotonic()
                self._find()

    @property
    def _plain(self) -> bool:
        """Whether every line is wanted: then the last ones are the last of the file."""
        return self._wanted == Wanted()

    def _find(self) -> None:
        from teamwright.engine.store.state import StateReader

        with StateReader(self._call.home) as reader:
            jobs = reader.records()
        for target in self._targets:
            if (job := jobs.get(target.job)) is None:
                continue
            for agent in agents_of(job, target):
                key = (target.job, agent)
                if key not in self._files:
                    path = self._call.home.agent_log(*key)
                    self._files[key] = LogFile(agent, path), Parser(*key)
