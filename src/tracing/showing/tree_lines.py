"""The tree of `trace show` as rows: each span with agent, duration and bar; what was said and went wrong below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import plain_text, to_json
from teamwright.tracing.showing.tree_rows import Row, Rows
from teamwright.tracing.showing.wording import STYLES, duration, excerpt, harmless, named

_DEEPEST = 90  # columns of indentation; what is deeper is drawn as if it weren't
_EVENTS = 12  # of a span, at most
#: Events that every span of a kind has, or that stand in its message already.
_QUIET = frozenset(
    [v.EVENT_EXCEPTION, v.EVENT_FIRST_TOKEN, v.EVENT_STATUS, v.EVENT_ARTIFACT, v.EVENT_TAKEN_UP, v.EVENT_THROUGH]
)
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def tree_rows(show: dict[str, Any], *, full: bool, width: int, bar: int) -> Rows:
    """The rows for a screen of `width` columns; `bar` is the width of bars, `full` leaves nothing out."""
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
        drawn = _bar((span["start_ns"] - begin) / whole, (last - begin) / whole, bar)
        rows.append(
            Row(
                lead,
                [(_title(span), style), (" *" if span["span_id"] in critical else "", "yellow")],
                [(named(span["agent"]), "cyan"), (duration(took), style), (drawn.ljust(bar), style or "blue")],
            )
        )
        rows += [Row(below, [detail]) for detail in _details(span, full, width)]
    return Rows(("SPAN", "AGENT", "TIME", " " * bar), rows, fold=full)


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
    more = attributes.get(v.CALL, "")
    if server := attributes.get(v.MCP_SERVER):
        more = f"MCP server {server}"
    elif attributes.get(v.OPERATION) == v.OP_MODEL:
        again = attributes.get(v.ATTEMPT, 1)
        more = ", ".join(filter(None, [str(attributes.get(v.REASON, "")), f"attempt {again}" if again != 1 else ""]))
    return harmless(f"{span['name']}  {more}" if more else str(span["name"]))


def _details(span: dict[str, Any], full: bool, width: int) -> Iterator[tuple[str, str]]:
    attributes = span["attributes"]
    if span["status"] in ("error", "lost"):
        why = ": ".join(filter(None, (str(attributes.get(v.ERROR_TYPE, "error")), span["message"])))
        yield harmless(why) if full else excerpt(why, width), "red"
    loud = [event for event in span["events"] if event["name"] not in _QUIET]
    for event in loud[:_EVENTS]:
        line = f"! {_happened(event)}"
        yield harmless(line) if full else excerpt(line, width), "yellow"
    if len(loud) > _EVENTS:
        yield f"! and {len(loud) - _EVENTS} more events", "yellow"
    operation = attributes.get(v.OPERATION)
    asked = answered = ""
    if v.CALL in attributes:
        asked, answered = plain_text(attributes.get(v.INPUT_MESSAGES)), plain_text(attributes.get(v.OUTPUT_MESSAGES))
    elif operation == v.OP_MODEL:
        answered = plain_text(attributes.get(v.OUTPUT_MESSAGES))
    elif operation == v.OP_TOOL:
        asked, answered = (_as_text(attributes.get(name)) for name in (v.TOOL_ARGUMENTS, v.TOOL_RESULT))
        if span["message"]:
            answered = ""  # it stands above already
    if asked or answered:
        words = [str(side) for side in (asked, answered) if side]
        room = width // len(words)
        yield " -> ".join(harmless(side) if full else excerpt(side, room) for side in words), "dim"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else to_json(value)


def _happened(event: dict[str, Any]) -> str:
    """An event in a line: its name, and what is known of it."""
    known = dict(event["attributes"] or {})
    before, after = known.pop(v.TOKENS_BEFORE, None), known.pop(v.TOKENS_AFTER, None)
    tokens = [f"{one:,}" for one in (before, after) if isinstance(one, int)]
    again = known.pop(v.RETRY_AFTER, None)
    facts = [str(value) for value in known.values() if value not in (None, "")]
    facts += [f"{' -> '.join(tokens)} tokens"] if tokens else []
    facts += [f"again in {again:g} s"] if isinstance(again, int | float) else []
    return f"{event['name']}: {', '.join(facts)}" if facts else str(event["name"])


def _bar(start: float, end: float, room: int) -> str:
    """A bar from `start` to `end` (0 to 1), never invisible."""
    first = min(int(start * room), room - 1)
    eighths = max(1, round((end - first / room) * room * 8))
    whole, part = divmod(eighths, 8)
    return (" " * first + "█" * whole + (_EIGHTHS[part] if part else ""))[:room]
