"""Reading log files from their end, and going on as they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from teamwright.host.logs import KEPT

_BLOCK = 64 * 1024
_LONGEST_LINE = 1024 * 1024


class LogFile:
    """One agent's log. Remembers how far it was read; a file that was cut or replaced is read from its start."""

    def __init__(self, agent: str, path: Path) -> None:
        self.agent = agent
        self.path = path
        self._offset = 0
        self._inode = 0
        self._rest = b""

    def last(self, count: int | None) -> list[str]:
        """The last `count` lines, or all. What is written later is for `more()`, and so is an unfinished line."""
        try:
            with open(self.path, "rb") as file:
                self._inode = _inode(self.path)
                end = file.seek(0, 2)
                data = b""
                start = end
                while start > 0 and (count is None or data.count(b"\n") <= count):
                    step = min(_BLOCK, start)
                    start -= step
                    file.seek(start)
                    data = file.read(step) + data
        except OSError:
            return []
        self._offset = end
        *whole, self._rest = data.split(b"\n")
        return [_text(line) for line in (whole if count is None else whole[-count:] if count else [])]

    def more(self) -> Iterator[str]:
        """The lines written since the last call."""
        try:
            inode, size = _inode(self.path), self.path.stat().st_size
            if inode != self._inode:
                yield from self._before()
                self._inode, self._offset, self._rest = inode, 0, b""
            elif size < self._offset:
                yield from self._put_aside()
            if size == self._offset:
                return
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                data = file.read(_LONGEST_LINE)
        except OSError:
            return
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        for line in whole:
            yield _text(line)

    def _put_aside(self) -> Iterator[str]:
        """The beginning of the file has been put aside (`host/logs.py`): what of it was not read yet."""
        try:
            with open(f"{self.path}.1", "rb") as file:
                length = file.seek(0, 2)
                file.seek(min(self._offset, length))
                *whole, self._rest = (self._rest + file.read(_LONGEST_LINE)).split(b"\n")
        except OSError:
            self._offset, self._rest = 0, b""
            return
        self._offset = max(0, self._offset - length)
        for line in whole:
            yield _text(line)

    def _before(self) -> Iterator[str]:
        """What was still written to the file that has been put aside since."""
        aside = Path(f"{self.path}.1")
        try:
            if not self._inode or _inode(aside) != self._inode:
                return
            with open(aside, "rb") as file:
                file.seek(self._offset)
                data = self._rest + file.read()
        except OSError:
            return
        for line in data.splitlines():
            yield _text(line)

    def since(self, at: float) -> list[str]:
        """The lines of this file, and of those put aside, as far as they were written to since that Unix time."""
        found: list[str] = []
        for number in range(KEPT, 0, -1):
            aside = Path(f"{self.path}.{number}")
            with suppress(OSError):
                if aside.stat().st_mtime >= at:
                    found += aside.read_text(errors="replace").splitlines()
        return [*found, *self.last(None)]

    def end(self) -> Iterator[str]:
        """All that is left, with a last line that was never finished."""
        yield from self.more()
        if self._rest:
            yield _text(self._rest)
            self._rest = b""


def follow_logs(
    files: Sequence[LogFile],
    show: Callable[[str, str], None],
    *,
    until: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Hand each new line to `show(agent, line)` until `until()` says so, or forever."""
    while True:
        done = until()
        quiet = True
        for file in files:
            for line in file.more():
                quiet = False
                show(file.agent, line)
        if done and quiet:
            for file in files:
                for line in file.end():
                    show(file.agent, line)
            return
        if quiet:
            pause(0.1)


def _inode(path: Path) -> int:
    return path.stat().st_ino


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")
