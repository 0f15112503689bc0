"""From OTLP protobuf to the rows that the store keeps: the span as it came, and what one searches by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from json.encoder import encode_basestring as quoted
from math import isfinite
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from teamwright.tracing import bounds
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
_FACT_LIMIT = 200
_EARLIEST = 946_684_800 * 10**9  # the year 2000: a clock that says less is wrong
_LATEST = 1 << 63
#: What the views show of a span, by their names for it.
_FACTS = {
    v.REQUEST_MODEL: "model", v.PROVIDER: "provider", v.INPUT_TOKENS: "input_tokens", v.OUTPUT_TOKENS: "output_tokens",
    v.CACHE_READ_TOKENS: "cache_read_tokens", v.CACHE_WRITE_TOKENS: "cache_write_tokens",
    v.REASONING_TOKENS: "reasoning_tokens", v.FIRST_TOKEN: "first_token_s", v.ATTEMPT: "attempt",
    v.COST_USD: "cost_usd", v.COST_ESTIMATED: "estimated", v.TOOL_NAME: "tool", v.TOOL_SOURCE: "source",
    v.MCP_SERVER: "server", v.TOOL_CALL_ID: "call_id", v.TARGET_ID: "target", v.TASK_ID: "task_id",
    v.TASK_STATE: "task_state", v.PARENT_RUN_ID: "parent_run_id", v.ROOT_RUN_ID: "root_run_id", v.DEPTH: "depth",
    v.USER_ID: "user", v.ERROR_TYPE: "error",
}  # fmt: skip
_WANTED = frozenset(
    [
        v.OPERATION, v.RUN_ID, v.CONVERSATION, v.AGENT, v.JOB, v.WORKFLOW, v.INPUT_TOKENS, v.OUTPUT_TOKENS,
        v.COST_USD, v.COST_ESTIMATED, v.PARTIAL, v.USER_ID, v.INPUT_MESSAGES, v.ENTRY, v.REVISION, v.DROPPED_SPANS,
    ]
)  # fmt: skip
_DEPLOYMENT = frozenset([v.OP_DEPLOY, v.OP_START_AGENT, v.OP_STOP_AGENT, v.OP_CHECK_AGENT])


#: Who sends: job and agent.
Writer = tuple[str, str]


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
    facts: str = "{}"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The facts, by their names in the views."""
        found: dict[str, Any] = json.loads(self.facts)
        return found

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


def decode(body: bytes, *, started: bool = False, writer: Writer | None = None) -> Decoded:
    """The spans in an ExportTraceServiceRequest. Raises BadSpans when it is none, or none of it can be kept.

    A `writer` may only write spans of its own service.
    """
    state = STARTED if started else REAL
    if len(body) > bounds.LOOKED_AT and bounds.items(body) > bounds.ITEMS_LIMIT:
        raise BadSpans(f"more than {bounds.ITEMS_LIMIT} spans, attributes and events in one request")
    try:
        request = TracesData.FromString(body)
    except DecodeError as error:
        raise BadSpans(f"not an OTLP trace request in protobuf: {error}") from None
    found = _collect(_decoded(request, state, writer))
    if found.rejected and not found.rows and not found.notes:
        raise BadSpans(found.reason)
    return found


def _collect(rows: Iterable[tuple[Row | None, str]]) -> Decoded:
    found = Decoded([], [])
    for row, problem in rows:
        if row is None:
            found.rejected += 1
            found.reason = found.reason or problem
        elif row.name == v.DROPPED_NOTE:
            found.notes.append((row.trace, row.span, _whole(row.extra.get(v.DROPPED_SPANS)) or 0))
        else:
            found.rows.append(row)
    return found


def _decoded(request: TracesData, state: int, writer: Writer | None) -> Iterator[tuple[Row | None, str]]:
    # Every span of a spool brings its resource along, and it is the same one nearly always.
    seen: dict[tuple[bytes, str, str], tuple[str, str, str, bytes]] = {}
    for item in request.resource_spans:
        resource = item.resource.SerializeToString()
        for scoped in item.scope_spans:
            key = (resource, scoped.scope.name, scoped.scope.version)
            whose = seen.get(key)
            if whose is None:
                whose = seen[key] = _whose(item, scoped)
            foreign = "" if writer is None or whose[:2] == writer else _not_yours(whose, writer)
            for span in scoped.spans:
                problem = foreign or _problem(span, state)
                yield (None, problem) if problem else (_row(span, state, *whose), "")


def _whose(item: ResourceSpans, scoped: ScopeSpans) -> tuple[str, str, str, bytes]:
    """Job, service, process, and the resource and scope in one piece."""
    found = {attribute.key: attribute.value.string_value for attribute in item.resource.attributes}
    job, agent = found.get(v.SERVICE_NAMESPACE, ""), found.get(v.SERVICE_NAME, "")
    origin = ResourceSpans(resource=item.resource, schema_url=item.schema_url)
    origin.scope_spans.add(schema_url=scoped.schema_url).scope.CopyFrom(scoped.scope)
    process = SpoolName(job, agent, found.get(v.SERVICE_INSTANCE, "")).text
    return job, agent, process, origin.SerializeToString(deterministic=True)


def _not_yours(whose: tuple[str, str, str, bytes], writer: Writer) -> str:
    return f"spans of {whose[0]}/{whose[1]} from {writer[0]}/{writer[1]}: an agent writes only its own"


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
    facts: list[str] = []
    for attribute in span.attributes:
        key = attribute.key
        if (name := _FACTS.get(key)) is not None:
            facts.append(f'"{name}":{_json(attribute.value)}')
            if key in _WANTED:
                found[key] = attribute.value
        elif key in _WANTED:
            found[key] = attribute.value
        elif key.startswith(v.LABEL_PREFIX):
            labels[key[len(v.LABEL_PREFIX) :]] = attribute.value.string_value
    op = _text(found.get(v.OPERATION)) or span.name.partition(" ")[0][:40]
    question = ""
    if op == v.OP_QUERY or (op == v.OP_AGENT and span.kind == Span.SPAN_KIND_SERVER):
        question = plain_text(_text(found.get(v.INPUT_MESSAGES)))[:QUERY_LIMIT]
        facts.append(f'"question":{quoted(question)}')
        if labels:
            facts.append(f'"labels":{json.dumps(labels, ensure_ascii=False)}')
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
        facts=f"{{{','.join(facts)}}}",
    )
    if op == v.OP_MODEL or top:
        for key in (v.INPUT_TOKENS, v.OUTPUT_TOKENS, v.COST_USD):
            if key in found:
                row.extra[key] = _number(found[key])
        row.extra[v.COST_ESTIMATED] = v.COST_ESTIMATED in found
    if top:
        row.extra["query"] = question or plain_text(_text(found.get(v.INPUT_MESSAGES)))[:QUERY_LIMIT]
        row.extra["user"] = _text(found.get(v.USER_ID))
        row.extra["revision"] = _text(found.get(v.REVISION))
        row.extra["labels"] = labels
    if v.PARTIAL in found:
        row.extra[v.PARTIAL] = True
    if v.DROPPED_SPANS in found:
        row.extra[v.DROPPED_SPANS] = _number(found[v.DROPPED_SPANS])
    return row


def _json(value: AnyValue) -> str:
    """A value as JSON; lists and the like are no facts."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return quoted(value.string_value[:_FACT_LIMIT])
    if kind == "int_value":
        return str(value.int_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return repr(value.double_value) if kind == "double_value" and isfinite(value.double_value) else "null"


def _text(value: AnyValue | None) -> str:
    return value.string_value if value is not None else ""


def _number(value: AnyValue) -> float | int | None:
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return value.int_value
    if kind == "double_value" and isfinite(value.double_value):
        return value.double_value
    return None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
