"""A plain table that leaves columns out where the terminal is too narrow for all, before it breaks their words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

#: Columns of a terminal that a cell which may be broken gets at least, and that any gets at most before others go.
_ROOM, _MOST = 20, 40


class Fitting:
    """Something to print: a head line, no rules. In a pipe all columns are there.

    >>> Fitting(("AGENT", "STATUS", "LEVEL"), [[Text("lead"), Text("healthy"), Text("0")]], spare=("LEVEL",))

    `spare` are left out in that order, as many as it takes; `broken` is the one whose cells may take several lines.
    """

    def __init__(
        self, columns: Sequence[str], rows: Iterable[Sequence[Text]], *, spare: Sequence[str] = (), broken: str = ""
    ) -> None:
        self._columns = columns
        self._rows = list(rows)
        self._spare = spare
        self._broken = broken

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left = list(range(len(self._columns)))
        if console.is_terminal:
            for name in self._spare:
                if sum(map(self._width, left)) + 2 * len(left) - 2 <= options.max_width:
                    break
                left.remove(self._columns.index(name))
        found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for at in left:
            found.add_column(self._columns[at], overflow="fold")
        for row in self._rows:
            found.add_row(*(row[at] for at in left))
        yield found

    def _width(self, at: int) -> int:
        widest = max([len(self._columns[at]), *(row[at].cell_len for row in self._rows)])
        return min(widest, _ROOM if self._columns[at] == self._broken else _MOST)
