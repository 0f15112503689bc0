"""How a trace and a run cross from process to process: HTTP headers, and the message's metadata.

header    traceparent, tracestate, baggage (ids only)
metadata  {TRACE_EXT: {"traceparent", "tracestate"}, RUN_EXT: {"run_id", "parent_run_id", …}}

Nothing here raises on what comes in from outside: it is there and well-formed, or it isn't.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from teamwright.errors import UserError
from teamwright.tracing.runs import RunContext, RunId

TRACE_EXT = "https://teamwright.dev/extensions/trace-context/v1"
RUN_EXT = "https://teamwright.dev/extensions/run/v1"
USAGE_EXT = "https://teamwright.dev/extensions/usage/v1"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TEXT_LIMIT = 512
_LABELS_LIMIT = 64


@dataclass(frozen=True, slots=True)
class ParentContext:
    """A span in another process: ids as lower-case hex."""

    trace_id: str
    span_id: str
    sampled: bool = True
    trace_state: str = ""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class Traced(Protocol):
    """What `inject` takes: an ActiveSpan or a ParentContext."""

    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def trace_state(self) -> str: ...


def inject(
    span: Traced,
    headers: MutableMapping[str, str],
    metadata: MutableMapping[str, Any] | None = None,
    *,
    run: RunContext | None = None,
) -> None:
    """Write the trace context into an outgoing message; with `run`, also the run, and its ids as baggage.

    The span is announced first, so that its children elsewhere have a parent even if this process dies.
    """
    announce = getattr(span, "announce", None)
    if announce is not None:
        announce()
    carried = {"traceparent": span.traceparent}
    if span.trace_state:
        carried["tracestate"] = span.trace_state
    headers.update(carried)
    if run is not None:
        ids = {"teamwright.run.id": run.run_id, "session.id": run.session}
        headers["baggage"] = ",".join(f"{key}={quote(value, safe='')}" for key, value in ids.items() if value)
    if metadata is not None:
        metadata[TRACE_EXT] = carried
        if run is not None:
            metadata.update(run_to_metadata(run))


def extract(headers: Mapping[str, str], metadata: Mapping[str, Any] | None = None) -> ParentContext | None:
    """The trace context of an incoming message: the header's, else the metadata's, else None."""
    found = parse_traceparent(_header(headers, "traceparent"), _header(headers, "tracestate"))
    if found is None and metadata is not None:
        try:
            inner = _mapping(metadata[TRACE_EXT])
        except (KeyError, ValueError):  # protobuf's Struct has no get()
            return None
        found = parse_traceparent(inner.get("traceparent"), inner.get("tracestate"))
    return found


def parse_traceparent(text: object, trace_state: object = None) -> ParentContext | None:
    """W3C `traceparent` as a value; None when it isn't one (also for all-zero ids and version ff)."""
    match = _TRACEPARENT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    state = trace_state if isinstance(trace_state, str) and len(trace_state) <= _TEXT_LIMIT else ""
    return ParentContext(trace_id, span_id, bool(int(flags, 16) & 1), state)


def run_to_metadata(run: RunContext) -> dict[str, Any]:
    """`{RUN_EXT: {...}}`, to be merged into a message's metadata."""
    values: dict[str, Any] = {
        "run_id": run.run_id,
        "parent_run_id": run.parent_run_id,
        "root_run_id": run.root,
        "job": run.job,
        "agent": run.agent,
        "session": run.session,
        "user": run.user,
        "labels": dict(run.labels),
        "depth": run.depth,
        "peer_calls_left": run.peer_calls_left,
        "dollars_left": run.dollars_left,
        "deadline_ns": None if run.deadline_ns is None else str(run.deadline_ns),
    }
    return {RUN_EXT: {key: str(value) if isinstance(value, RunId) else value for key, value in values.items()
                      if value is not None}}  # fmt: skip


def run_from_metadata(metadata: Mapping[str, Any] | None) -> RunContext | None:
    """The run that `run_to_metadata` wrote; None when there is none or it is malformed."""
    if metadata is None or RUN_EXT not in metadata:
        return None
    data = _mapping(metadata[RUN_EXT])
    try:
        run_id = RunId.from_string(_text(data.get("run_id")) or "")
        parent, root = _text(data.get("parent_run_id")), _text(data.get("root_run_id"))
        labels = _mapping(data.get("labels"))
        return RunContext(
            run_id=run_id,
            parent_run_id=RunId.from_string(parent) if parent else None,
            root_run_id=RunId.from_string(root) if root else None,
            job=_text(data.get("job")) or "",
            agent=_text(data.get("agent")) or "",
            session=_text(data.get("session")),
            user=_text(data.get("user")),
            labels={str(key)[:_TEXT_LIMIT]: str(labels[key])[:_TEXT_LIMIT] for key in list(labels)[:_LABELS_LIMIT]},
            depth=max(0, _number(data.get("depth")) or 0),
            peer_calls_left=_number(data.get("peer_calls_left")),
            deadline_ns=_number(data.get("deadline_ns")),
            dollars_left=_dollars(data.get("dollars_left")),
        )
    except (UserError, ValueError, OverflowError):
        return None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    found = headers.get(name)
    if found is None:
        found = next((value for key, value in headers.items() if key.lower() == name), None)
    return found


def _mapping(value: Any) -> dict[str, Any]:
    # protobuf's Struct is a MutableMapping in all but name.
    try:
        return dict(value.items()) if value is not None else {}
    except AttributeError:
        return {}


def _text(value: object) -> str | None:
    return value[:_TEXT_LIMIT] if isinstance(value, str) and value else None


def _dollars(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _number(value: object) -> int | None:
    # Struct knows floats only; big numbers travel as text.
    return int(value) if isinstance(value, int | float | str) and value != "" else None
