"""Traces for people: the tree of `trace show`, the table of `trace list`. Made from view.py's JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import plain_text
from teamwright.tracing.showing.lanes import errors, lanes
from teamwright.tracing.showing.tree_lines import tree_rows
from teamwright.tracing.showing.wording import STYLES, TIMES, WIDE, count, dollars, duration, excerpt, harmless

_BAR, _WIDE_BAR = 14, 40


def render_list(listing: dict[str, Any], width: int = 200) -> RenderableType:
    """The table of `trace list`, for a screen of so many columns: a narrow one leaves out what is least asked for."""
    traces = listing["traces"]
    wide = width >= WIDE
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
    rows = tree_rows(show, full=full, width=width, bar=_BAR if width < WIDE else _WIDE_BAR)
    return Group(*_head(show, full), *errors(show), Text(), rows, Text(), *lanes(show, width), *_foot(show))


def render_span(span: dict[str, Any]) -> RenderableType:
    """Everything about one span."""
    lines = [Text(span["name"], "bold")]
    took = None if span["end_ns"] is None else (span["end_ns"] - span["start_ns"]) / 1e6
    facts = {"span": span["span_id"], "parent": span["parent_id"], "agent": span["agent"], "status": span["status"],
             "took": duration(took), "message": span["message"]}  # fmt: skip
    for name, value in {**facts, **span["attributes"]}.items():
        if value is not None:
            lines.append(Text.assemble((f"{name}: ", "cyan"), harmless(str(value))))
    for event in span["events"]:
        after = duration((event["at_ns"] - span["start_ns"]) / 1e6)
        lines.append(
            Text.assemble(
                (f"event {event['name']} after {after}", "yellow"), " ", harmless(str(event["attributes"] or ""))
            )
        )
    lines += [Text(f"link to {link['trace_id']} {link['span_id']}") for link in span["links"]]
    return Group(*lines)


def _head(show: dict[str, Any], full: bool) -> Iterator[Text]:
    summary = show["summary"]
    facts = [
        f"job {show['job']}" if show["job"] else "",
        duration(summary["duration_ms"]),
        count(summary["spans"], "span"),
        count(len(summary["agents"]), "agent"),
        count(summary["errors"], "error") if summary["errors"] else "",
        dollars(summary["cost_usd"]) if summary["cost_usd"] or summary["cost_usd"] is None else "",
        "replayed" if any(v.REPLAY in span["attributes"] for span in show["spans"]) else "",
    ]
    line = Text.assemble(("trace ", "bold"), show["trace_id"], "  ", (show["status"], STYLES[show["status"]]))
    yield line.append("  " + " · ".join(fact for fact in facts if fact))
    root = next((span for span in show["spans"] if span["attributes"].get(v.OPERATION) == v.OP_QUERY), None)
    if root is not None:
        for mark, attribute in (("Q", v.INPUT_MESSAGES), ("A", v.OUTPUT_MESSAGES)):
            if words := plain_text(root["attributes"].get(attribute)):
                yield Text.assemble((f"{mark}: ", "bold"), harmless(words) if full else excerpt(words, 400))
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
