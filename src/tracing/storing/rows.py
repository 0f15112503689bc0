"""From OTLP protobuf to the rows that the store keeps: the span as it came, and what one searches by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from teamwright.tracing import vocabulary as v
from teamwright.tracing.attributes import plain_state
from teamwright.tracing.messages import plain_text
from teamwright.tracing.otlp_json import plain_value
from teamwright.tracing.shipping.spool import SpoolName
from teamwright.tracing.storing import bounds
from teamwright.tracing.storing.framing import Framed, framed

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
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
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
#: What becomes of an attribute: a column, or something for the trace's summary. Everything else is only stored.
_WORDS = frozenset([v.OPERATION, v.RUN_ID, v.CONVERSATION, v.AGENT, v.JOB, v.WORKFLOW, v.REVISION, v.USER_ID])
_SUMMED = frozenset(
    [
        v.INPUT_TOKENS, v.OUTPUT_TOKENS, v.COST_USD, v.COST_ESTIMATED, v.PARTIAL, v.INPUT_MESSAGES, v.ENTRY,
        v.DROPPED_SPANS,
    ]
)  # fmt: skip
_ROLES = {key: (_FACTS.get(key), key in _WORDS, key in _SUMMED) for key in {*_FACTS, *_WORDS, *_SUMMED}}
_DEPLOYMENT = frozenset([v.OP_DEPLOY, v.OP_START_AGENT, v.OP_STOP_AGENT, v.OP_CHECK_AGENT])


#: Who sends: job and agent.
Writer = tuple[str, str]
#: Spans that were lost: trace, id of the note, how many, whose job.
Note = tuple[bytes, bytes, int, str]


class BadSpans(ValueError):
    """What was sent is not OTLP, or holds no span that can be kept."""


@dataclass(slots=True)
class Row:
    """One span. Times are Unix nanoseconds; `data` is the OTLP Span, `origin` its resource and scope.

    `process` is the one that made it, as its spool is called; `top` says that its parent is none of ours.
    `facts` are what the views show, by their names there.
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
    facts: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def deployment(self) -> bool:
        return self.op in _DEPLOYMENT


@dataclass(slots=True)
class Decoded:
    """What a request came to: its rows, notes of lost spans as (trace, note id, count, job), and what was refused."""

    rows: list[Row]
    notes: list[Note]
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
        blocks = framed(body)
        rows = _decoded(TracesData.FromString(body), state, writer) if blocks is None else _cut(blocks, state, writer)
        found = _collect(rows)
    except DecodeError as error:
        raise BadSpans(f"not an OTLP trace request in protobuf: {error}") from None
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
            found.notes.append((row.trace, row.span, _whole(row.extra.get(v.DROPPED_SPANS)) or 0, row.job))
        else:
            found.rows.append(row)
    return found


def _decoded(request: TracesData, state: int, writer: Writer | None) -> Iterator[tuple[Row | None, str]]:
    for item in request.resource_spans:
        for scoped in item.scope_spans:
            whose = _whose(item, scoped)
            foreign = _not_yours(whose, writer)
            for span in scoped.spans:
                problem = foreign or _problem(span, state)
                yield (None, problem) if problem else (_row(span, span.SerializeToString(), state, whose), "")


def _cut(blocks: Iterable[Framed], state: int, writer: Writer | None) -> Iterator[tuple[Row | None, str]]:
    """As `_decoded`, where the bytes of each span are there already."""
    for head, spans in blocks:
        item = ResourceSpans.FromString(head)
        whose = _whose(item, item.scope_spans[0])
        foreign = _not_yours(whose, writer)
        for span, data in spans:
            problem = foreign or _problem(span, state)
            yield (None, problem) if problem else (_row(span, data, state, whose), "")


#: Job, agent, process, and their resource and scope in one piece.
Whose = tuple[str, str, str, bytes]


def _whose(item: ResourceSpans, scoped: ScopeSpans) -> Whose:
    """Job, service, process, and the resource and scope in one piece."""
    found = {attribute.key: attribute.value.string_value for attribute in item.resource.attributes}
    job, agent = found.get(v.SERVICE_NAMESPACE, ""), found.get(v.SERVICE_NAME, "")
    origin = ResourceSpans(resource=item.resource, schema_url=item.schema_url)
    origin.scope_spans.add(schema_url=scoped.schema_url).scope.CopyFrom(scoped.scope)
    process = SpoolName(job, agent, found.get(v.SERVICE_INSTANCE, "")).text
    return job, agent, process, origin.SerializeToString(deterministic=True)


def _not_yours(whose: Whose, writer: Writer | None) -> str:
    if writer is None or whose[:2] == writer:
        return ""
    return f"spans of {whose[0]}/{whose[1]} from {writer[0]}/{writer[1]}: an agent writes only its own"


def _problem(span: Span, state: int) -> str:
    trace, own, parent, start = span.trace_id, span.span_id, span.parent_span_id, span.start_time_unix_nano
    if len(trace) != 16 or trace == _NO_TRACE:
        return "a span's trace_id is not 16 bytes"
    if len(own) != 8 or own == _NO_SPAN:
        return "a span's span_id is not 8 bytes"
    if parent and len(parent) != 8:
        return "a span's parent_span_id is not 8 bytes"
    if not _EARLIEST <= start < _LATEST:
        return f"span {span.name[:80]!r} starts at {start} ns of Unix time: its clock is wrong"
    if state == REAL and not start <= span.end_time_unix_nano < _LATEST:
        return f"span {span.name[:80]!r} ends at {span.end_time_unix_nano} ns, before it starts"
    if len(span.attributes) > ATTRIBUTES_LIMIT:
        return f"span {span.name[:80]!r} has {len(span.attributes)} attributes, {ATTRIBUTES_LIMIT} are allowed"
    return ""


def _row(span: Span, data: bytes, state: int, whose: Whose) -> Row:
    job, agent, process, origin = whose
    words: dict[str, str] = {}
    summed: dict[str, AnyValue] = {}
    facts: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for attribute in span.attributes:
        key = attribute.key
        role = _ROLES.get(key)
        if role is None:
            if key.startswith(v.LABEL_PREFIX):
                labels[key[len(v.LABEL_PREFIX) :]] = attribute.value.string_value
            continue
        fact, word, sum_ = role
        value = attribute.value
        if word:
            words[key] = value.string_value
        elif sum_:
            summed[key] = value
        if fact is not None:
            facts[fact] = _fact(value)
    if (told := facts.get("task_state")) is not None:
        facts["task_state"] = plain_state(str(told))
    name, parent = span.name, span.parent_span_id
    said = words.get
    op = said(v.OPERATION) or name.partition(" ")[0][:40]
    kind = span.kind
    # The engine's and the host's spans are about a job and perhaps an agent; an agent's are its own.
    top = not parent or parent == _NO_SPAN or v.ENTRY in summed
    query = ""
    asks = op == v.OP_QUERY or (op == v.OP_AGENT and kind == Span.SPAN_KIND_SERVER)
    if top or asks:
        asked = summed.get(v.INPUT_MESSAGES)
        query = plain_text(plain_value(asked) if asked is not None else "")[:QUERY_LIMIT]
        if asks:
            facts["question"] = query
            if labels:
                facts["labels"] = labels
    row = Row(
        span.trace_id,
        span.span_id,
        parent,
        state,
        said(v.JOB) or job or said(v.WORKFLOW, ""),
        agent if job else said(v.AGENT, ""),
        process,
        name,
        kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano if state else 0,
        span.status.code,
        op,
        said(v.RUN_ID, ""),
        said(v.CONVERSATION, ""),
        origin,
        data,
        top,
        facts,
    )
    if op == v.OP_MODEL or top:
        for key in (v.INPUT_TOKENS, v.OUTPUT_TOKENS, v.COST_USD):
            if key in summed:
                row.extra[key] = _number(summed[key])
        row.extra[v.COST_ESTIMATED] = v.COST_ESTIMATED in summed
    if top:
        row.extra["query"] = query
        row.extra["user"] = said(v.USER_ID, "")
        row.extra["revision"] = said(v.REVISION, "")
        row.extra["labels"] = labels
    if v.PARTIAL in summed:
        row.extra[v.PARTIAL] = True
    if v.DROPPED_SPANS in summed:
        row.extra[v.DROPPED_SPANS] = _number(summed[v.DROPPED_SPANS])
    return row


def _fact(value: AnyValue) -> Any:
    """A value that JSON has a word for; lists and the like are no facts."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value[:_FACT_LIMIT]
    if kind == "int_value":
        return value.int_value
    if kind == "bool_value":
        return value.bool_value
    return value.double_value if kind == "double_value" and isfinite(value.double_value) else None


def _number(value: AnyValue) -> float | int | None:
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return value.int_value
    if kind == "double_value" and isfinite(value.double_value):
        return value.double_value
    return None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
