"""The rows of a tree on the screen. rich's own table takes a millisecond for each, and a trace may have thousands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import strip_control_codes
from rich.segment import Segment
from rich.style import Style

#: Pieces of text, each with its style.
Pieces = Sequence[tuple[str, str]]

_LEAST = 12  # columns for what a row is about, however narrow the screen


@dataclass(frozen=True, slots=True)
class Row:
    """A line: `lead` is drawn again where the rest of a long `text` goes on below it. `cells` are the other columns;
    without them the text has the whole screen.
    """

    lead: str
    text: Pieces
    cells: Pieces = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows under their titles. The first column takes the room that the others leave it.

    What doesn't fit is cut, or with `fold` goes on below. `right` is the number of a column that stands to the right.
    """

    titles: Sequence[str]
    rows: Sequence[Row]
    fold: bool = False
    right: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[cell_len(text) for text, _ in row.cells] for row in self.rows if row.cells]
        widths = [max(column) for column in zip(map(cell_len, self.titles[1:]), *cells, strict=True)]
        first = max(options.max_width - sum(widths) - len(widths), _LEAST)
        styles: dict[str, Style] = {}

        def segment(text: str, style: str) -> Segment:
            if style not in styles:
                styles[style] = console.get_style(style) if style else Style.null()
            return Segment(text, styles[style])

        for row in (Row("", [(self.titles[0], "bold")], [(title, "bold") for title in self.titles[1:]]), *self.rows):
            for number, pieces in enumerate(self._lines(row, first if row.cells else max(options.max_width, _LEAST))):
                used = 0
                for text, style in pieces:
                    yield segment(text, style)
                    used += cell_len(text)
                if number == 0 and row.cells:
                    yield Segment(" " * (first - used))
                    for place, ((text, style), width) in enumerate(zip(row.cells, widths, strict=True)):
                        gap = width - cell_len(text)
                        yield segment(f" {' ' * gap}{text}" if place == self.right else f" {text}{' ' * gap}", style)
                yield Segment.line()

    def _lines(self, row: Row, room: int) -> Iterator[list[tuple[str, str]]]:
        """The first column of a row: one line, or with `fold` as many as it takes."""
        lead = set_cell_size(row.lead, min(cell_len(row.lead), room - 1))
        left = room - cell_len(lead)
        if self.fold:
            for number, (line, style) in enumerate(_folded(row.text, left)):
                yield [(lead, "dim"), (line, style)] if number or line else [(lead, "dim")]
            return
        found = [(lead, "dim")]
        whole = sum(cell_len(text) for text, _ in row.text)
        for text, style in row.text:
            text = " ".join(_plain(text).splitlines())
            if whole > room - cell_len(lead) and cell_len(text) > left - 1:
                found.append((set_cell_size(text, max(left - 1, 0)) + "…", style))
                break
            found.append((text, style))
            left -= cell_len(text)
        yield found


def _folded(pieces: Pieces, room: int) -> Iterator[tuple[str, str]]:
    style = next((style for _, style in pieces if style), "")
    for line in "".join(_plain(text) for text, _ in pieces).splitlines() or [""]:
        held = ""
        for word in re.findall(r"\s*\S+", line):
            if cell_len(held + word) > room:
                if held:
                    yield held, style
                    word = word.lstrip()
                *full, word = chop_cells(word, room) or [""]
                for part in full:
                    yield part, style
                held = ""
            held += word
        yield held, style


def _plain(text: str) -> str:
    """`text` without what would move the cursor or make a terminal do something."""
    return strip_control_codes(text.replace("\t", "    ")).replace("\x1b", "")
