"""What stands before and after the tree of `trace show`: what went wrong, and what each agent did when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from teamwright.tracing import vocabulary as v
from teamwright.tracing.reading.analysis import kind_of
from teamwright.tracing.showing.wording import excerpt, harmless, named

Span = Mapping[str, Any]

_BAD = ("error", "lost")
_ERRORS = 10
#: Agents in the lanes, and columns of a lane at most.
_LANES, _LANE = 40, 100
#: A kind of work: its mark and style. Where several share a cell the first counts.
_MARKS = {
    "model": ("█", "magenta"),
    "tools": ("▓", "green"),
    "queue": ("?", "yellow"),
    "calls": ("░", "blue"),
    "agents": ("─", "cyan"),
}
_LEGEND = {
    "model": "model",
    "tools": "tool",
    "queue": "in the queue",
    "calls": "waits for an agent",
    "agents": "own code",
}


def errors(show: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What went wrong, the first first: only where it began, not every span that it went up through."""
    spans: Sequence[Span] = show["spans"]
    bad = [span for span in spans if span["status"] in _BAD]
    if not bad:
        return
    above = {span["parent_id"] for span in bad}
    causes = sorted((span for span in bad if span["span_id"] not in above), key=lambda one: one["end_ns"] or 0)
    yield Text(f"went wrong: {len(causes)}", "bold red")
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in ("no", "no", "fold", "no"):
        table.add_column(no_wrap=column == "no", overflow="fold" if column == "fold" else "ellipsis")
    for span in causes[:_ERRORS]:
        kind = str(span["attributes"].get(v.ERROR_TYPE, span["status"]))
        what = f"{kind}: {excerpt(span['message'], 300)}" if span["message"] else kind
        table.add_row(
            Text(f"  {named(span['agent'] or 'engine')}", "cyan"),
            Text(harmless(span["name"])),
            Text(what, "red"),
            Text(f"--span {span['span_id'][:8]}", "dim"),
        )
    yield table
    if (more := len(causes) - _ERRORS) > 0:
        yield Text(f"  and {more} more", "dim")


def lanes(show: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    """A line per agent: what it did at each moment from the begin to the end of the trace."""
    spans: Sequence[Span] = show["spans"]
    names = list(dict.fromkeys(span["agent"] for span in spans if span["agent"]))[:_LANES]
    if not names:
        return
    begin = min(span["start_ns"] for span in spans)
    end = max([span["end_ns"] or span["start_ns"] for span in spans] + [begin + 1])
    head = max(8, *(len(named(name)) for name in names))
    room = max(20, min(_LANE, width - head - 2))
    for name in names:
        cells = cells_of([span for span in spans if span["agent"] == name], begin, end, room)
        line = Text(f"{named(name):<{head}}  ", "cyan")
        for kind in cells:
            mark, style = _MARKS.get(kind or "", (" ", ""))
            line.append(mark, style)
        yield line
    used = [kind for kind in _MARKS if kind in {kind_of(span) for span in spans}]
    legend = Text(" " * (head + 2))
    for kind in used:
        legend.append(_MARKS[kind][0], _MARKS[kind][1]).append(f" {_LEGEND[kind]}  ", "dim")
    yield legend.append("* the end waited for it", "dim")


def cells_of(spans: Sequence[Span], begin: int, end: int, room: int) -> list[str | None]:
    """What an agent did in each of `room` equal parts of the time; None = nothing."""
    order = list(_MARKS)
    cells: list[str | None] = [None] * room
    for span in spans:
        kind = kind_of(span)
        if kind == "tools" and span["attributes"].get(v.TOOL_SOURCE) == "peer":
            kind = "calls"
        if kind not in _MARKS or span["attributes"].get(v.OPERATION) == v.OP_QUERY:
            continue
        first = min(room - 1, (span["start_ns"] - begin) * room // (end - begin))
        last = min(room - 1, max(0, (span["end_ns"] or end) - begin - 1) * room // (end - begin))
        for cell in range(first, last + 1):
            held = cells[cell]
            if held is None or order.index(kind) < order.index(held):
                cells[cell] = kind
    return cells
