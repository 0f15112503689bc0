"""Ends for spans whose process has died: what the engine writes in its stead."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData

from teamwright.tracing import vocabulary as v
from teamwright.tracing.storing.rows import ERROR, STARTED, SYNTHETIC, Row, decode


def open_rows(db: sqlite3.Connection, process: str) -> list[Row]:
    """The spans of that process that have started and not ended, as they were stored."""
    query = "select s.data, o.data from span s join origin o on o.id = s.origin where s.state = 0 and s.process = ?"
    rows: list[Row] = []
    for data, origin in db.execute(query, (process,)):
        item = ResourceSpans.FromString(origin)
        item.scope_spans[0].spans.append(Span.FromString(data))
        rows += decode(TracesData(resource_spans=[item]).SerializeToString(), started=True).rows
    return rows


def closed(row: Row, reason: str, at_ns: int) -> Row:
    """`row`, a started span, as it ended when its process did; `reason` is why that did (SIGKILL, hung …)."""
    assert row.state == STARTED
    span = Span.FromString(row.data)
    end = max(at_ns, span.start_time_unix_nano + 1)
    span.end_time_unix_nano = end
    who = row.agent or row.process.partition("@")[0].lstrip(".")
    why = "" if reason == v.PROCESS_LOST else f" ({reason})"
    message = f"{who} ended{why} before this did"
    span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=message))
    span.attributes.append(KeyValue(key=v.ERROR_TYPE, value=AnyValue(string_value=v.PROCESS_LOST)))
    span.attributes.append(KeyValue(key=v.SYNTHETIC, value=AnyValue(bool_value=True)))
    event = span.events.add(time_unix_nano=end, name=v.EVENT_AGENT_LOST)
    event.attributes.append(KeyValue(key=v.REASON, value=AnyValue(string_value=reason)))
    return replace(row, state=SYNTHETIC, end=end, status=ERROR, data=span.SerializeToString())
