"""Where the SDK's spans go when they end: encoded, and into the sink, before `end()` returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from teamwright.errors import SpoolFull
from teamwright.tracing import vocabulary as v
from teamwright.tracing.recording import ATTRIBUTES_LIMIT, RecordedSpan
from teamwright.tracing.runs import current_run
from teamwright.tracing.shipping.encoding import Encodable, Encoder, encoded_span_id
from teamwright.tracing.shipping.spool import Kind, Sink

#: Traces whose losses are remembered until they can be told; beyond that the oldest are forgotten.
_NOTES_LIMIT = 10_000
#: Spans, whose start is stored, that are kept in memory when they end while there is no room.
_LATE_LIMIT = 256
#: What a span has from the one above it.
_OF_RUN = (v.RUN_ID, v.CONVERSATION)


class CallableSink:
    """A function as a sink: gets ended spans only."""

    def __init__(self, function: Callable[[bytes], object]) -> None:
        self._function = function

    def append(self, payload: bytes, kind: Kind = "ended") -> None:
        if kind == "ended":
            self._function(payload)

    def lose(self) -> None:
        """Nobody asks how many."""


class SpoolProcessor(SpanProcessor):
    """Knows the open spans of a process, and writes each where it belongs.

    A span is written when it ends. It is announced (written as started) earlier: when its context goes to
    another process, when a child of it ends first, or when it has been open for a while (the exporter's tick);
    so whatever dies, nothing that is stored hangs in the air.
    """

    def __init__(self, sink: Sink, encoder: Encoder, failed: Callable[[str, Exception], None]) -> None:
        self._sink = sink
        self._encoder = encoder
        self._failed = failed
        self._open: dict[int, Encodable] = {}
        self._announced: set[int] = set()
        self._told: set[int] = set()
        self._late: dict[int, Encodable] = {}
        self._lost: dict[int, int] = {}
        self._spent: dict[int, int] = {}
        self.on_activity: Callable[[], None] | None = None
        self.ended = 0
        self.dropped = 0

    @property
    def open(self) -> int:
        """How many spans run."""
        return len(self._open)

    @property
    def unannounced(self) -> bool:
        """Whether a span runs that nobody has heard of, or was lost and nobody could be told."""
        return len(self._open) > len(self._announced) or self._untold

    @property
    def _untold(self) -> bool:
        return bool(self._lost or self._late)

    def is_open_record(self, payload: bytes) -> bool:
        """Whether the span of a started record still runs."""
        span_id = encoded_span_id(payload)
        return span_id is None or span_id in self._open

    def run_of(self, span_id: int) -> dict[str, Any]:
        """The run and session that an open span of this process belongs to, as attributes."""
        span = self._open.get(span_id)
        held = span.attributes if span is not None else None
        return {key: held[key] for key in _OF_RUN if key in held} if held else {}

    def begin(self, span: Encodable) -> None:
        """A span runs."""
        self._open[span.context.span_id] = span
        if self.on_activity is not None:
            self.on_activity()

    def finish(self, span: Encodable) -> None:
        """A span has ended: write it, its open parent before it."""
        began = time.perf_counter_ns()
        context = span.context
        span_id = context.span_id
        parent = self._open.get(span.parent.span_id) if span.parent is not None else None
        try:
            if parent is not None:
                self._announce(parent)
            else:
                self._own_time(span, self._spent.pop(context.trace_id, 0))
            if self._untold:
                self.write_notes()
            self._sink.append(self._encoder.encode(span))
            self.ended += 1
        except SpoolFull as error:
            if span_id in self._told:
                self._keep(span)  # or it would seem to run for ever
            else:
                self._count_lost(context.trace_id)
            self._failed("spool", error)
        except Exception as error:
            self._count_lost(context.trace_id)
            self._failed("encoding", error)
        finally:
            # Only now: while a span is written, the exporter must still see it as open or find it ended.
            self._open.pop(span_id, None)
            self._announced.discard(span_id)
            self._told.discard(span_id)
            if parent is not None:
                self.spent(context.trace_id, time.perf_counter_ns() - began)
            if self.on_activity is not None:
                self.on_activity()

    @staticmethod
    def _own_time(span: Encodable, ns: int) -> None:
        if ns and type(span) is RecordedSpan and len(span.attributes) < ATTRIBUTES_LIMIT:
            span.attributes[v.TRACING_US] = ns // 1000

    def spent(self, trace_id: int, ns: int) -> None:
        """Tracing took so long for a trace; the topmost span of this process will tell."""
        self._spent[trace_id] = self._spent.get(trace_id, 0) + ns
        if len(self._spent) > _NOTES_LIMIT:
            del self._spent[next(iter(self._spent))]  # spans that outlived their parents

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Of other instrumentation: it doesn't know its run."""
        found = self.run_of(span.parent.span_id) if span.parent is not None else {}
        run = current_run()
        if found or run is not None:
            span.set_attributes(found or {v.RUN_ID: str(run.run_id) if run else ""})
        self.begin(span)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None:
            self.finish(span)

    def announce(self, span: otel.Span) -> None:
        """Write started records for `span` and its open parents, outermost first, each once."""
        found = self._open.get(span.get_span_context().span_id)
        if found is not None:
            self._announce(found)

    def _announce(self, found: Encodable | None) -> None:
        if found is not None and found.context.span_id in self._announced:
            return
        try:
            chain = []
            while found is not None and (id_ := found.context.span_id) not in self._announced:
                self._announced.add(id_)
                chain.append(found)
                found = self._open.get(found.parent.span_id) if found.parent is not None else None
            for item in reversed(chain):
                self._sink.append(self._encoder.encode(item, started=True), "started")
                self._told.add(item.context.span_id)
        except SpoolFull:
            pass  # only the preview is lost; the span itself is still to come
        except Exception as error:
            self._failed("announcement", error)

    def announce_older(self, than_ns: int) -> None:
        """Announce every span that started before that Unix time."""
        for span in list(self._open.values()):
            if (span.start_time or 0) < than_ns and span.context.span_id not in self._announced:
                self._announce(span)

    def write_notes(self) -> None:
        """Tell, if there is room again, which traces have lost spans: they must not look complete."""
        with suppress(SpoolFull):
            for span_id in list(self._late):
                self._sink.append(self._encoder.encode(self._late[span_id]))
                self._late.pop(span_id, None)
                self.ended += 1
            for trace_id in list(self._lost):
                self._sink.append(self._encoder.note(trace_id, self._lost[trace_id]), "dropped")
                self._lost.pop(trace_id, None)

    def shutdown(self) -> None:
        """Nothing to flush: what ended is in the spool."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True

    def _keep(self, span: Encodable) -> None:
        self._late[span.context.span_id] = span
        if len(self._late) > _LATE_LIMIT:
            self._count_lost(self._late.pop(next(iter(self._late))).context.trace_id)

    def _count_lost(self, trace_id: int) -> None:
        self.dropped += 1
        self._sink.lose()
        self._lost[trace_id] = self._lost.pop(trace_id, 0) + 1
        if len(self._lost) > _NOTES_LIMIT:
            self._lost.pop(next(iter(self._lost)), None)
