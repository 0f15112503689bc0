"""One trace in other people's formats, made from view.py's JSON: Chrome/Perfetto, and CSV of its spans."""

from __future__ import annotations

import csv
import io
from typing import Any

from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import to_json

COLUMNS = (
    "trace_id", "span_id", "parent_id", "name", "kind", "agent", "start_ns", "end_ns", "duration_ms", "status",
    "message", "model", "input_tokens", "output_tokens", "cost_usd", "attributes",
)  # fmt: skip


def chrome(show: dict[str, Any]) -> dict[str, Any]:
    """The JSON that chrome://tracing and ui.perfetto.dev open: a process per agent, lanes for what overlaps."""
    agents: dict[str, int] = {}
    lanes: dict[int, list[int]] = {}
    events: list[dict[str, Any]] = []
    last = max((span["end_ns"] or span["start_ns"] for span in show["spans"]), default=0)
    for span in sorted(show["spans"], key=lambda one: (one["start_ns"], -(one["end_ns"] or last))):
        name = span["agent"] or "engine"
        pid = agents.setdefault(name, len(agents) + 1)
        end = span["end_ns"] or last
        lane = _lane(lanes.setdefault(pid, []), span["start_ns"], end)
        place = {"pid": pid, "tid": lane}
        events.append(
            {
                "ph": "X",
                "name": span["name"],
                "cat": span["kind"].lower(),
                "ts": span["start_ns"] / 1000,
                "dur": (end - span["start_ns"]) / 1000,
                "args": {"status": span["status"], **span["attributes"]},
                **place,
            }
        )
        events += [
            {
                "ph": "i",
                "s": "t",
                "name": event["name"],
                "ts": event["at_ns"] / 1000,
                "args": event["attributes"],
                **place,
            }
            for event in span["events"]
        ]
    names = [{"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}} for name, pid in agents.items()]
    return {"traceEvents": names + events, "displayTimeUnit": "ms", "otherData": {"trace_id": show["trace_id"]}}


def table(show: dict[str, Any]) -> str:
    """CSV, a line per span."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for span in show["spans"]:
        found = span["attributes"]
        took = None if span["end_ns"] is None else (span["end_ns"] - span["start_ns"]) / 1e6
        writer.writerow(
            {
                **span,
                "trace_id": show["trace_id"],
                "duration_ms": took,
                "model": found.get(v.REQUEST_MODEL),
                "input_tokens": found.get(v.INPUT_TOKENS),
                "output_tokens": found.get(v.OUTPUT_TOKENS),
                "cost_usd": found.get(v.COST_USD),
                "attributes": to_json(found),
            }
        )
    return out.getvalue()


def _lane(ends: list[int], start: int, end: int) -> int:
    for number, free in enumerate(ends):
        if free <= start:
            ends[number] = end
            return number
    ends.append(end)
    return len(ends) - 1
