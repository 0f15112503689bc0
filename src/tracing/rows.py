"""From OTLP protobuf to the rows that the store keeps: the span as it came, and what one searches by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import plain_text
from teamwright.tracing.spool import SpoolName

#: What is known of a span; a higher one replaces a lower one.
STARTED: Final = 0
SYNTHETIC: Final = 1
REAL: Final = 2

ERROR: Final = 2  # the status code

ATTRIBUTES_LIMIT = 4096
QUERY_LIMIT = 300
_EARLIEST = 946_684_800 * 10**9  # the year 2000: a clock that says less is wrong
_LATEST = 1 << 63
_WANTED = frozenset(
    [
        v.OPERATION, v.RUN_ID, v.CONVERSATION, v.AGENT, v.JOB, v.WORKFLOW, v.INPUT_TOKENS, v.OUTPUT_TOKENS,
        v.COST_USD, v.USER_ID, v.INPUT_MESSAGES, v.ENTRY, v.REVISION, v.DROPPED_SPANS,
    ]
)  # fmt: skip
_DEPLOYMENT = frozenset([v.OP_DEPLOY, v.OP_START_AGENT, v.OP_STOP_AGENT])


#: Job, service, process and origin of each resource (as bytes) and scope (name, version) of one request.
Seen = dict[tuple[bytes, str, str], tuple[str, str, str, bytes]]


class BadSpans(ValueError):
    """What was sent is not OTLP, or holds no span that can be kept."""


@dataclass(slots=True)
class Row:
    """One span. Times are Unix nanoseconds; `data` is the OTLP Span, `origin` its resource and scope.

    `process` is the one that made it, as its spool is called; `top` says that its parent is none of ours.
    """

    trace: bytes
    span: bytes
    parent: bytes
    state: int
    job: str
    agent: str
    process: str
    name: str
    kind: int
    start: int
    end: int
    status: int
    op: str
    run: str
    session: str
    origin: bytes
    data: bytes
    top: bool
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def deployment(self) -> bool:
        return self.op in _DEPLOYMENT


@dataclass(slots=True)
class Decoded:
    """What a request came to: its rows, notes of lost spans as (trace, note id, count), and what was refused."""

    rows: list[Row]
    notes: list[tuple[bytes, bytes, int]]
    rejected: int = 0
    reason: str = ""


def decode(body: bytes, *, started: bool = False) -> Decoded:
    """The spans in an ExportTraceServiceRequest. Raises BadSpans when it is none, or none of it can be kept."""
    try:
        request = TracesData.FromString(body)
    except DecodeError as error:
        raise BadSpans(f"not an OTLP trace request in protobuf: {error}") from None
    found = Decoded([], [])
    seen: Seen = {}
    for item in request.resource_spans:
        for row, problem in _resource(item, STARTED if started else REAL, seen):
            if row is None:
                found.rejected += 1
                found.reason = found.reason or problem
            elif row.name == v.DROPPED_NOTE:
                found.notes.append((row.trace, row.span, _whole(row.extra.get(v.DROPPED_SPANS)) or 0))
            else:
                found.rows.append(row)
    if found.rejected and not found.rows and not found.notes:
        raise BadSpans(found.reason)
    return found


def _resource(item: ResourceSpans, state: int, seen: Seen) -> Iterator[tuple[Row | None, str]]:
    # Every span of a spool brings its resource along, and it is the same one nearly always.
    key = item.resource.SerializeToString()
    for scoped in item.scope_spans:
        known = (key, scoped.scope.name, scoped.scope.version)
        whose = seen.get(known)
        if whose is None:
            whose = seen[known] = _whose(item, scoped)
        job, agent, process, origin = whose
        for span in scoped.spans:
            problem = _problem(span, state)
            yield (None, problem) if problem else (_row(span, state, job, agent, process, origin), "")


def _whose(item: ResourceSpans, scoped: ScopeSpans) -> tuple[str, str, str, bytes]:
    """Job, service, process, and the resource and scope in one piece."""
    found = {attribute.key: attribute.value.string_value for attribute in item.resource.attributes}
    job, agent = found.get(v.SERVICE_NAMESPACE, ""), found.get(v.SERVICE_NAME, "")
    origin = ResourceSpans(resource=item.resource, schema_url=item.schema_url)
    origin.scope_spans.add(schema_url=scoped.schema_url).scope.CopyFrom(scoped.scope)
    process = SpoolName(job, agent, found.get(v.SERVICE_INSTANCE, "")).text
    return job, agent, process, origin.SerializeToString(deterministic=True)


def _problem(span: Span, state: int) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "a span's trace_id is not 16 bytes"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "a span's span_id is not 8 bytes"
    if len(span.parent_span_id) not in (0, 8):
        return "a span's parent_span_id is not 8 bytes"
    if not _EARLIEST <= span.start_time_unix_nano < _LATEST:
        return f"span {span.name[:80]!r} starts at {span.start_time_unix_nano} ns of Unix time: its clock is wrong"
    if state == REAL and not span.start_time_unix_nano <= span.end_time_unix_nano < _LATEST:
        return f"span {span.name[:80]!r} ends at {span.end_time_unix_nano} ns, before it starts"
    if len(span.attributes) > ATTRIBUTES_LIMIT:
        return f"span {span.name[:80]!r} has {len(span.attributes)} attributes, {ATTRIBUTES_LIMIT} are allowed"
    return ""


def _row(span: Span, state: int, job: str, agent: str, process: str, origin: bytes) -> Row:
    found: dict[str, AnyValue] = {}
    labels: dict[str, str] = {}
    for attribute in span.attributes:
        key = attribute.key
        if key in _WANTED:
            found[key] = attribute.value
        elif key.startswith(v.LABEL_PREFIX):
            labels[key[len(v.LABEL_PREFIX) :]] = attribute.value.string_value
    op = _text(found.get(v.OPERATION)) or span.name.partition(" ")[0][:40]
    parent = span.parent_span_id
    # The engine's and the host's spans are about a job and perhaps an agent; an agent's are its own.
    top = not parent.strip(b"\0") or v.ENTRY in found
    row = Row(
        trace=span.trace_id,
        span=span.span_id,
        parent=parent,
        state=state,
        job=_text(found.get(v.JOB)) or job or _text(found.get(v.WORKFLOW)),
        agent=agent if job else _text(found.get(v.AGENT)),
        process=process,
        name=span.name,
        kind=span.kind,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano if state else 0,
        status=span.status.code,
        op=op,
        run=_text(found.get(v.RUN_ID)),
        session=_text(found.get(v.CONVERSATION)),
        origin=origin,
        data=span.SerializeToString(),
        top=top,
    )
    if op == v.OP_MODEL or top:
        for key in (v.INPUT_TOKENS, v.OUTPUT_TOKENS, v.COST_USD):
            if key in found:
                row.extra[key] = _number(found[key])
    if top:
        row.extra["query"] = plain_text(_text(found.get(v.INPUT_MESSAGES)))[:QUERY_LIMIT]
        row.extra["user"] = _text(found.get(v.USER_ID))
        row.extra["revision"] = _text(found.get(v.REVISION))
        row.extra["labels"] = labels
    if v.DROPPED_SPANS in found:
        row.extra[v.DROPPED_SPANS] = _number(found[v.DROPPED_SPANS])
    return row


def _text(value: AnyValue | None) -> str:
    return value.string_value if value is not None else ""


def _number(value: AnyValue) -> float | int | None:
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return value.int_value
    if kind == "double_value" and value.double_value == value.double_value:  # not NaN
        return value.double_value
    return None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
