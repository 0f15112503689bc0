"""Runs for people: the table of `runs list`, the page of `runs show`. Made from run_reader.py's values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from teamwright.tracing.showing.wording import STYLES, WIDE, dollars, duration, excerpt, harmless

Run = dict[str, Any]


def render_list(runs: Sequence[Run], width: int, *, mark: str | None = None) -> RenderableType:
    """A line per run: those that a run asked for below it, in the order they began. `mark` is printed bold."""
    wide = width >= WIDE
    several = len({run["job"] for run in runs}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("RUN", no_wrap=True)
    table.add_column("AGENT", no_wrap=True, overflow="ellipsis", max_width=width // 3)
    table.add_column("STATUS", no_wrap=True)
    table.add_column("QUESTION", ratio=1, no_wrap=True, overflow="ellipsis")
    if wide:
        table.add_column("USER", no_wrap=True, overflow="ellipsis", max_width=16)
        table.add_column("TOKENS", justify="right", no_wrap=True)
    table.add_column("COST", justify="right", no_wrap=True)
    table.add_column("TIME", justify="right", no_wrap=True)
    table.add_column("STARTED", no_wrap=True)
    for run, lead in _walk(runs):
        at = datetime.fromisoformat(run["started_at"]).astimezone()
        who = str(run["agent"] or "?")
        if not lead and (wide or several):
            who = f"{run['job']}/{who}"
        tokens = "-" if run["input_tokens"] is None else f"{run['input_tokens']}+{run['output_tokens'] or 0}"
        bold = "bold" if run["run_id"] == mark else ""
        table.add_row(
            Text(run["run_id"][:8], bold),
            Text.assemble((lead, "dim"), (who, bold or "cyan")),
            Text(run["status"], STYLES[run["status"]]),
            Text(excerpt(run["question"], 200)),
            *([Text(run["user"] or "-"), Text(tokens)] if wide else []),
            dollars(run["cost_usd"]) if run["status"] != "running" else "",
            duration(run["duration_ms"]),
            f"{at:%m-%d %H:%M:%S}" if wide else f"{at:%H:%M:%S}",
        )
    return table


def render_run(run: Run, tree: Sequence[Run], width: int) -> RenderableType:
    """Everything about one run, and the tree it stands in."""
    head = Text.assemble(("run ", "bold"), run["run_id"], "  ", (run["status"], STYLES[run["status"]]))
    began, ended = (datetime.fromisoformat(at).astimezone() if (at := run[key]) else None
                    for key in ("started_at", "ended_at"))  # fmt: skip
    tokens = None if run["input_tokens"] is None else f"{run['input_tokens']} in, {run['output_tokens']} out"
    facts = {
        "agent": f"{run['job']}/{run['agent'] or '?'}",
        "question": excerpt(run["question"], 300),
        "error": run["error"],
        "state": run["state"],
        "user": run["user"],
        "labels": " ".join(f"{key}={value}" for key, value in run["labels"].items()),
        "session": run["session"],
        "task": run["task_id"],
        "trace": run["trace_id"],
        "parent": run["parent_run_id"],
        "started": f"{began:%Y-%m-%d %H:%M:%S}" if began else None,
        "ended": f"{ended:%Y-%m-%d %H:%M:%S}, after {duration(run['duration_ms'])}" if ended else None,
        "tokens": tokens,
        "cost": dollars(run["cost_usd"]) + (" (estimated)" if run["cost_estimated"] else "") if tokens else None,
    }
    lines = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        if value:
            lines.add_row(Text(name, "cyan"), Text(harmless(str(value))))
    return Group(head, lines, Text(), render_list(tree, width, mark=run["run_id"]))


def _walk(runs: Sequence[Run]) -> Iterator[tuple[Run, str]]:
    """Each run with the lines before it; one whose parent isn't there stands by itself."""
    known = {run["run_id"] for run in runs}
    below: dict[str | None, list[Run]] = {}
    for run in sorted(runs, key=lambda one: str(one["started_at"])):
        parent = run["parent_run_id"] if run["parent_run_id"] in known else None
        below.setdefault(parent, []).append(run)
    stack = [(run, "", "") for run in below.get(None, [])]  # the newest is on top
    while stack:
        run, lead, indent = stack.pop()
        yield run, lead
        children = below.get(run["run_id"], [])
        for number, child in enumerate(reversed(children)):
            last = number == 0
            stack.append((child, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))
