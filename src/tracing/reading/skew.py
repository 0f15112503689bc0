"""Clocks that differ: corrected when a trace is looked at, never in what is stored or sent on.

Processes of one machine share its clock. An agent elsewhere that sends spans of its own may have another one; that is
plain only where effect comes before cause: a callee that begins before it was called, or after its caller had
the answer. Then it and everything below it is moved into the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def correct(spans: Sequence[dict[str, Any]]) -> None:
    """Move what can't have been when it says; `skew_ns` of a moved span is by how much. As `trace_show` has spans."""
    below: dict[str | None, list[dict[str, Any]]] = {}
    for span in spans:
        below.setdefault(span["parent_id"], []).append(span)
    known = {span["span_id"] for span in spans}
    waiting = [(span, None, 0) for span in spans if span["parent_id"] not in known]
    todo: list[tuple[dict[str, Any], dict[str, Any] | None, int]] = list(waiting)
    seen: set[str] = set()
    while todo:
        span, parent, moved = todo.pop()
        if span["span_id"] in seen:
            continue
        seen.add(span["span_id"])
        if moved:
            _move(span, moved)
        if parent is not None and (more := _gap(span, parent)):
            _move(span, more)
            moved += more
        if moved:
            span["skew_ns"] = moved
        todo += [(child, span, moved) for child in below.get(span["span_id"], ())]


def _gap(callee: dict[str, Any], caller: dict[str, Any]) -> int:
    if (caller["kind"], callee["kind"]) != ("CLIENT", "SERVER") or caller["agent"] == callee["agent"]:
        return 0
    early = callee["start_ns"] < caller["start_ns"]
    answered = caller["end_ns"] is not None and caller["status"] == "ok"
    if not early and not (answered and callee["start_ns"] > caller["end_ns"]):
        return 0
    room = 0
    if caller["end_ns"] is not None and callee["end_ns"] is not None:
        room = caller["end_ns"] - caller["start_ns"] - (callee["end_ns"] - callee["start_ns"])
    # As long on the way there as back, which nobody can know better.
    return int(caller["start_ns"] + max(0, room) // 2 - callee["start_ns"])


def _move(span: dict[str, Any], by: int) -> None:
    span["start_ns"] += by
    if span["end_ns"] is not None:
        span["end_ns"] += by
    for event in span["events"]:
        event["at_ns"] += by
