"""Where a trace's time and money went. Made from view.py's JSON of its spans.

Every nanosecond of the root is given to exactly one kind of work: that of the innermost span running then, models
before tools before waiting where several run at once. So the parts add up to the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from teamwright.tracing import vocabulary as v

Span = Mapping[str, Any]

#: In the order in which they go first when several run at once.
KINDS = ("model", "tools", "queue", "calls", "agents", "engine", "other")
#: Of these, those of which no span says what was done.
UNACCOUNTED = ("agents", "other")
_BY_OPERATION = {v.OP_MODEL: "model", v.OP_TOOL: "tools", v.OP_QUEUED: "queue", v.OP_QUERY: "engine"}


def kind_of(span: Span) -> str:
    """`calls`: on the way between agents; `agents`: an agent's own code; `engine`: the front door."""
    operation = span["attributes"].get(v.OPERATION)
    if operation == v.OP_AGENT:
        return "calls" if span["kind"] == "CLIENT" else "agents"
    return _BY_OPERATION.get(operation, "other")


def root_of(spans: Sequence[Span]) -> Span | None:
    """The span that everything hangs below; None when it is not there."""
    known = {span["span_id"] for span in spans}
    tops = [span for span in spans if span["parent_id"] not in known]
    return min(
        tops, key=lambda span: (span["attributes"].get(v.OPERATION) != v.OP_QUERY, span["start_ns"]), default=None
    )


def time_ns(spans: Sequence[Span]) -> dict[str, int]:
    """Nanoseconds by kind of work; together exactly the root's. Empty while it runs."""
    root = root_of(spans)
    if root is None or root["end_ns"] is None:
        return {}
    begin, end = root["start_ns"], root["end_ns"]
    parents = {span["span_id"]: span["parent_id"] for span in spans}
    kinds = {span["span_id"]: kind_of(span) for span in spans}
    edges: list[tuple[int, int, str]] = []
    for span in spans:
        start, stop = max(span["start_ns"], begin), min(span["end_ns"] or end, end)
        if start < stop:
            edges += [(start, 1, span["span_id"]), (stop, -1, span["span_id"])]
    edges.sort(key=lambda edge: edge[0])
    below: Counter[str | None] = Counter()
    active: set[str] = set()
    leaves: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    last = begin
    for at, step, id_ in edges:
        if at > last:
            spent[next((kind for kind in KINDS if leaves[kind] > 0), "other")] += at - last
            last = at
        parent = parents[id_]
        if step > 0:
            active.add(id_)
            leaves[kinds[id_]] += not below[id_]
            if parent in active and not below[parent]:
                leaves[kinds[parent]] -= 1
            below[parent] += 1
        else:
            active.discard(id_)
            leaves[kinds[id_]] -= not below[id_]
            below[parent] -= 1
            if parent in active and not below[parent]:
                leaves[kinds[parent]] += 1
    return {kind: spent[kind] for kind in KINDS if spent[kind]}


def critical_path(spans: Sequence[Span]) -> list[str]:
    """The ids of the spans that the end waited for: had one been shorter, the whole would have been."""
    root = root_of(spans)
    if root is None or root["end_ns"] is None:
        return []
    children: dict[str, list[Span]] = {}
    for span in spans:
        if span["parent_id"] is not None and span["end_ns"] is not None:
            children.setdefault(span["parent_id"], []).append(span)
    found: list[Span] = []
    waiting = [(root, root["end_ns"])]
    while waiting:
        span, until = waiting.pop()
        found.append(span)
        for child in sorted(children.get(span["span_id"], ()), key=lambda one: one["end_ns"], reverse=True):
            if child["end_ns"] <= until or child["start_ns"] < until <= child["end_ns"] == span["end_ns"]:
                waiting.append((child, min(until, child["end_ns"])))
                until = child["start_ns"]
    return [span["span_id"] for span in sorted(found, key=lambda span: span["start_ns"])]


def costs(spans: Sequence[Span], key: str) -> list[dict[str, Any]]:
    """Model calls summed up by `agent` or `run`; an unknown price makes the sum unknown (None)."""
    sums: dict[str, dict[str, Any]] = {}
    for span in spans:
        operation = span["attributes"].get(v.OPERATION)
        if operation not in (v.OP_MODEL, v.OP_TOOL):
            continue
        found = span["attributes"]
        who = str((found.get(v.RUN_ID) if key == "run" else span["agent"]) or "")
        one = sums.setdefault(
            who,
            {key: who, "model_calls": 0, "tool_calls": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0,
             "estimated": False},
        )  # fmt: skip
        if operation == v.OP_TOOL:
            one["tool_calls"] += 1
            continue
        one["model_calls"] += 1
        one["input_tokens"] += _number(found.get(v.INPUT_TOKENS)) or 0
        one["output_tokens"] += _number(found.get(v.OUTPUT_TOKENS)) or 0
        cost = _number(found.get(v.COST_USD))
        one["cost_usd"] = None if cost is None or one["cost_usd"] is None else round(one["cost_usd"] + cost, 9)
        one["estimated"] |= bool(found.get(v.COST_ESTIMATED))
    return list(sums.values())


def _number(value: Any) -> float | int | None:
    """What a span of somebody else's says may be anything."""
    return value if isinstance(value, int | float) else None


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What changed from one trace to another: facts that differ, and each kind of span with both sides' figures."""
    sides = [_side(first), _side(second)]
    facts = [_facts(first), _facts(second)]
    changed = {name: [facts[0][name], facts[1][name]] for name in facts[0] if facts[0][name] != facts[1][name]}
    return {
        "traces": [first["trace_id"], second["trace_id"]],
        "changed": changed,
        "time_ns": [first["time_ns"], second["time_ns"]],
        "spans": [
            {
                "agent": key[0],
                "name": key[1],
                **{
                    what: [side[key][what] if key in side else 0 for side in sides]
                    for what in ("count", "errors", "duration_ms")
                },
            }
            for key in dict.fromkeys([*sides[0], *sides[1]])
        ],
    }


def _side(show: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for span in show["spans"]:
        one = found.setdefault((span["agent"] or "", span["name"]), {"count": 0, "errors": 0, "duration_ms": 0.0})
        one["count"] += 1
        one["errors"] += span["status"] in ("error", "lost")
        one["duration_ms"] = round(
            one["duration_ms"] + ((span["end_ns"] or span["start_ns"]) - span["start_ns"]) / 1e6, 3
        )
    return found


def _facts(show: Mapping[str, Any]) -> dict[str, Any]:
    root = root_of(show["spans"])
    attributes = root["attributes"] if root else {}
    summary = show["summary"]
    return {
        "question": summary["query"],
        "answer": attributes.get(v.OUTPUT_MESSAGES),
        "status": show["status"],
        "revision": attributes.get(v.REVISION),
        "duration_ms": summary["duration_ms"],
        "spans": summary["spans"],
        "agents": summary["agents"],
        "input_tokens": summary["input_tokens"],
        "output_tokens": summary["output_tokens"],
        "cost_usd": summary["cost_usd"],
        "errors": summary["errors"],
    }
