"""Traces for people: the tree of `trace show`, the table of `trace list`. Made from view.py's JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from teamwright.tracing import vocabulary as v
from teamwright.tracing.lanes import errors, lanes
from teamwright.tracing.messages import plain_text
from teamwright.tracing.tree_rows import Row, Rows

_BAR, _WIDE_BAR = 14, 40
_EXCERPT = 96
_DEEPEST = 90  # columns of indentation; what is deeper is drawn as if it weren't
STYLES = {"ok": "green", "error": "bold red", "lost": "bold red", "running": "yellow"}
TIMES = {"model": "models", "tools": "tools", "queue": "waiting", "calls": "between agents", "agents": "agents",
          "engine": "engine", "other": "other"}  # fmt: skip
#: Columns of a screen from which on there is room for everything.
_WIDE = 110
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def render_list(listing: dict[str, Any], width: int = 200) -> RenderableType:
    """The table of `trace list`, for a screen of so many columns: a narrow one leaves out what is least asked for."""
    traces = listing["traces"]
    wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("TRACE", no_wrap=True, min_width=8)
    if wide or len({trace["job"] for trace in traces}) > 1:
        table.add_column("JOB", no_wrap=True, overflow="ellipsis", max_width=width // 5)
    table.add_column("STATUS", no_wrap=True, min_width=6)
    table.add_column("QUERY", no_wrap=True, overflow="ellipsis", ratio=1, min_width=12)
    for title in ("SPANS", "AGENTS", "TIME", "COST", "ERRORS") if wide else ("TIME", "ERRORS"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("STARTED", no_wrap=True)
    for trace in traces:
        style = STYLES[trace["status"]]
        at = datetime.fromisoformat(trace["started_at"]).astimezone()
        cells: dict[str, RenderableType] = {
            "TRACE": trace["trace_id"][:8],
            "JOB": Text(trace["job"]),
            "STATUS": Text(trace["status"], style),
            "QUERY": Text(excerpt(trace["query"], 200)),
            "SPANS": str(trace["spans"]),
            "AGENTS": str(len(trace["agents"])),
            "TIME": duration(trace["duration_ms"]),
            "COST": dollars(trace["cost_usd"]),
            "ERRORS": Text(str(trace["errors"]), "red" if trace["errors"] else ""),
            "STARTED": f"{at:%m-%d %H:%M:%S}" if wide else f"{at:%H:%M:%S}",
        }
        table.add_row(*(cells[str(column.header)] for column in table.columns))
    return table


def render_trace(show: dict[str, Any], *, full: bool = False, width: int = 120) -> RenderableType:
    """The tree of `trace show`: what went wrong, who called whom, how long it took and when, each agent's lane.

    `*` marks what the end waited for; `full` leaves nothing out of what was said.
    """
    bar = _BAR if width < _WIDE else _WIDE_BAR
    return Group(*_head(show, full), *errors(show), Text(), _rows(show, full, bar), Text(), *lanes(show, width),
                 *_foot(show))  # fmt: skip


def render_span(span: dict[str, Any]) -> RenderableType:
    """Everything about one span."""
    lines = [Text(span["name"], "bold")]
    took = None if span["end_ns"] is None else (span["end_ns"] - span["start_ns"]) / 1e6
    facts = {"span": span["span_id"], "parent": span["parent_id"], "agent": span["agent"], "status": span["status"],
             "took": duration(took), "message": span["message"]}  # fmt: skip
    for name, value in {**facts, **span["attributes"]}.items():
        if value is not None:
            lines.append(Text.assemble((f"{name}: ", "cyan"), str(value)))
    for event in span["events"]:
        after = duration((event["at_ns"] - span["start_ns"]) / 1e6)
        lines.append(
            Text.assemble((f"event {event['name']} after {after}", "yellow"), " ", str(event["attributes"] or ""))
        )
    lines += [Text(f"link to {link['trace_id']} {link['span_id']}") for link in span["links"]]
    return Group(*lines)


def duration(milliseconds: float | None) -> str:
    """`0.4 ms`, `12 ms`, `1.24 s`, `2 m 05 s`; `…` when it isn't over."""
    if milliseconds is None:
        return "…"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} m {seconds:02d} s"


def _head(show: dict[str, Any], full: bool) -> Iterator[Text]:
    summary = show["summary"]
    facts = [
        f"job {show['job']}" if show["job"] else "",
        duration(summary["duration_ms"]),
        _count(summary["spans"], "span"),
        _count(len(summary["agents"]), "agent"),
        _count(summary["errors"], "error") if summary["errors"] else "",
        dollars(summary["cost_usd"]) if summary["cost_usd"] or summary["cost_usd"] is None else "",
    ]
    line = Text.assemble(("trace ", "bold"), show["trace_id"], "  ", (show["status"], STYLES[show["status"]]))
    yield line.append("  " + " · ".join(fact for fact in facts if fact))
    root = next((span for span in show["spans"] if span["attributes"].get(v.OPERATION) == v.OP_QUERY), None)
    if root is not None:
        for mark, attribute in (("Q", v.INPUT_MESSAGES), ("A", v.OUTPUT_MESSAGES)):
            if words := plain_text(root["attributes"].get(attribute)):
                yield Text.assemble((f"{mark}: ", "bold"), words if full else excerpt(words, 400))
    if times := show["time_ns"]:
        whole = sum(times.values())
        parts = [f"{TIMES[kind]} {duration(ns / 1e6)} ({ns / whole:.0%})" for kind, ns in times.items()]
        yield Text.assemble(("time: ", "bold"), " + ".join(parts), f" = {duration(whole / 1e6)}")


def _foot(show: dict[str, Any]) -> Iterator[Text]:
    names = {
        "open": "still running",
        "lost": "closed for a process that died",
        "dropped": "dropped for want of disk space",
        "orphans": "without their parents",
    }
    gaps = [f"{count} {names[what]}" for what, count in show["missing"].items() if count]
    if not show["complete"] and show["status"] != "running":
        yield Text()
        yield Text("incomplete: " + (", ".join(gaps) or "the root is missing"), "yellow")


def _rows(show: dict[str, Any], full: bool, room: int) -> Rows:
    rows: list[Row] = []
    spans = show["spans"]
    begin = min((span["start_ns"] for span in spans), default=0)
    end = max(max((span["end_ns"] or span["start_ns"] for span in spans), default=0), begin + 1)
    whole = end - begin
    critical = set(show["critical_path"])
    for span, lead, below in _walk(spans):
        style = STYLES[span["status"]] if span["status"] != "ok" else ""
        last = span["end_ns"] or end
        took = None if span["end_ns"] is None else (last - span["start_ns"]) / 1e6
        bar = _bar((span["start_ns"] - begin) / whole, (last - begin) / whole, room)
        rows.append(
            Row(
                lead,
                [(_title(span), style), (" *" if span["span_id"] in critical else "", "yellow")],
                [(span["agent"] or "", "cyan"), (duration(took), style), (bar.ljust(room), style or "blue")],
            )
        )
        rows += [Row(below, [detail]) for detail in _details(span, full)]
    return Rows(("SPAN", "AGENT", "TIME", " " * room), rows, fold=full)


def _walk(spans: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each span under its parent, in the order they started, with the lines before it and before its details."""
    known = {span["span_id"] for span in spans}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda one: one["start_ns"]):
        parent = span["parent_id"] if span["parent_id"] in known else None
        children.setdefault(parent, []).append(span)
    # A stack, not recursion: a trace may be deeper than Python likes.
    stack = [(span, "", "") for span in reversed(children.get(None, []))]
    while stack:
        span, lead, indent = stack.pop()
        below = children.get(span["span_id"], [])
        yield span, lead, indent + ("│  " if below else "   ")
        for number, child in enumerate(reversed(below)):
            last = number == 0
            further = indent + ("   " if last else "│  ") if len(indent) < _DEEPEST else indent
            stack.append((child, indent + ("└─ " if last else "├─ "), further))


def _title(span: dict[str, Any]) -> str:
    attributes = span["attributes"]
    if call := attributes.get(v.CALL):
        return f"{span['name']}  {call}"
    return str(span["name"])


def _details(span: dict[str, Any], full: bool) -> Iterator[tuple[str, str]]:
    attributes = span["attributes"]
    if span["status"] in ("error", "lost"):
        why = span["message"] or ""
        yield f"{attributes.get(v.ERROR_TYPE, 'error')}: {why if full else excerpt(why)}", "red"
    operation = attributes.get(v.OPERATION)
    asked = answered = ""
    if v.CALL in attributes:
        asked, answered = plain_text(attributes.get(v.INPUT_MESSAGES)), plain_text(attributes.get(v.OUTPUT_MESSAGES))
    elif operation == v.OP_MODEL:
        answered = plain_text(attributes.get(v.OUTPUT_MESSAGES))
    elif operation == v.OP_TOOL:
        asked, answered = attributes.get(v.TOOL_ARGUMENTS) or "", attributes.get(v.TOOL_RESULT) or ""
        if span["message"]:
            answered = ""  # it stands above already
    if asked or answered:
        half = _EXCERPT // 2
        yield (
            " -> ".join(str(words) if full else excerpt(str(words), half) for words in (asked, answered) if words),
            "dim",
        )


def _bar(start: float, end: float, room: int) -> str:
    """A bar from `start` to `end` (0 to 1), never invisible."""
    first = min(int(start * room), room - 1)
    eighths = max(1, round((end - first / room) * room * 8))
    whole, part = divmod(eighths, 8)
    return (" " * first + "█" * whole + (_EIGHTHS[part] if part else ""))[:room]


def excerpt(text: str, limit: int = _EXCERPT) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def dollars(cost: float | None) -> str:
    if cost is None:
        return "?"
    return f"${cost:.4f}" if 0 < cost < 1 else f"${cost:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
