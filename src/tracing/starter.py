"""How spans begin and get written: what the tracer's vocabulary of spans stands on.

The OpenTelemetry SDK's provider is there for spans of other instrumentation, which join in by context, and are
exported too after `install()`. Build it after a fork. Nothing here raises into its caller, unless `strict`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from teamwright import __version__
from teamwright.tracing import vocabulary as v
from teamwright.tracing.active import ActiveSpan, Parent, span_context
from teamwright.tracing.attributes import clean
from teamwright.tracing.content import Content, policy
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.recording import (
    ATTRIBUTES_LIMIT,
    EVENTS_LIMIT,
    LINKS_LIMIT,
    RecordedEvent,
    RecordedLink,
    RecordedSpan,
)
from teamwright.tracing.redaction import Rule
from teamwright.tracing.runs import RunContext, current_run
from teamwright.tracing.shipping.encoding import Encoder
from teamwright.tracing.shipping.processor import CallableSink, SpoolProcessor
from teamwright.tracing.shipping.spool import Sink
from teamwright.tracing.storing.parts import Parts

log = logging.getLogger(__name__)

S = TypeVar("S", bound=ActiveSpan)


class Given(TypedDict, total=False):
    """What every kind of span may be begun with.

    `parent`: else the current span. `links`: spans that belong to it in another way. `start_ns`: Unix time in ns, else
    now. `attributes`: beside those of its kind, and before them.
    """

    parent: Parent | None
    links: Sequence[Parent]
    start_ns: int | None
    attributes: Mapping[str, Any] | None


_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_LIMITS = {"max_attributes": ATTRIBUTES_LIMIT, "max_events": EVENTS_LIMIT, "max_links": LINKS_LIMIT}


class Starter:
    """Starts spans of any name and kind, and writes finished ones."""

    def __init__(
        self,
        service: str,
        namespace: str | None,
        incarnation: str,
        sink: Sink | Callable[[bytes], object],
        *,
        name: str | None = None,
        content: Content = "full",
        rules: Iterable[Rule] = (),
        files: Parts | None = None,
        enabled: bool = True,
        strict: bool = False,
        now: Callable[[], int] = time.time_ns,
        ids: IdGenerator | None = None,
        resource: Mapping[str, Any] | None = None,
    ) -> None:
        self.service = service
        self.namespace = namespace or ""
        self.incarnation = incarnation
        self.name = name or service
        self.now = now
        self.strict = strict
        self.errors = 0
        described = {
            v.SERVICE_NAME: service,
            v.SERVICE_NAMESPACE: self.namespace,
            v.SERVICE_INSTANCE: incarnation,
            v.SERVICE_VERSION: __version__,
            **(resource or {}),
        }
        self._resource = Resource({key: value for key, value in described.items() if value})
        self.processor = SpoolProcessor(
            sink if hasattr(sink, "append") and not callable(sink) else CallableSink(sink),
            Encoder(self._resource.attributes, policy(content, rules), files),
            self.failed,
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON if enabled else ALWAYS_OFF,
            resource=self._resource,
            shutdown_on_exit=False,
            id_generator=ids,
            span_limits=SpanLimits(**_LIMITS),
        )
        self._provider.add_span_processor(self.processor)
        self._enabled = enabled
        self._ids = self._provider.id_generator

    def span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: Parent | None = None,
        links: Sequence[Parent] = (),
        start_ns: int | None = None,
    ) -> ActiveSpan:
        """A span of any name, for users' own code."""
        return self._start(ActiveSpan, name, kind, attributes or {}, parent=parent, links=links, start_ns=start_ns)

    def current(self) -> ActiveSpan:
        """The span that this code runs in. Outside any: one that takes everything and records nothing."""
        return ActiveSpan(otel.get_current_span(), self)

    def record(
        self,
        name: str,
        *,
        start_ns: int,
        end_ns: int,
        trace_id: str | None = None,
        span_id: str | None = None,
        parent: Parent | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        events: Sequence[tuple[str, int, Mapping[str, Any]]] = (),
        links: Sequence[Parent] = (),
        error: str | None = None,
    ) -> ParentContext:
        """Write a span that has ended, with ids and times as given (or new ids); returns it as a parent.

        `events` are (name, Unix time in ns, attributes). The same ids again replace a started or synthetic span.
        """
        above = span_context(parent)
        trace = int(trace_id, 16) if trace_id else above.trace_id if above else self._ids.generate_trace_id()
        own = int(span_id, 16) if span_id else self._ids.generate_span_id()
        try:
            context = SpanContext(trace, own, False, _SAMPLED)
            span = RecordedSpan(name, context, above, kind, clean(attributes or {}), start_ns, self.processor.finish)
            span.events = [RecordedEvent(what, at, clean(more)) for what, at, more in events]
            span.links = _links(links)
            if error:
                span.status = Status(StatusCode.ERROR, error)
            span.end_time = end_ns
            self.processor.finish(span)
        except Exception as problem:
            self.failed("record", problem)
        return ParentContext(f"{trace:032x}", f"{own:016x}")

    def install(self) -> None:
        """Make this process's OpenTelemetry default ours, so that other instrumentation's spans come along."""
        otel.set_tracer_provider(self._provider)

    def announce(self, span: otel.Span) -> None:
        """Write a started record for a span that runs, and its parents here, if there is none yet."""
        self.processor.announce(span)

    def failed(self, what: str, error: Exception) -> None:
        """Count and log a fault of tracing itself; raise it when strict."""
        if self.strict:
            raise error
        self.errors += 1
        if self.errors == 1 or self.errors % 1000 == 0:
            log.warning("tracing: %s failed (%d so far): %s: %s", what, self.errors, type(error).__name__, error)

    def _start(
        self,
        made: type[S],
        name: str,
        kind: SpanKind,
        fixed: Mapping[str, Any],
        *,
        root: bool = False,
        run: RunContext | None = None,
        **given: Unpack[Given],
    ) -> S:
        began = time.perf_counter_ns()
        start = given.get("start_ns") or self.now()
        span: otel.Span = otel.INVALID_SPAN
        try:
            above = self._above(given.get("parent"), root)
            attributes = {**fixed, **(given.get("attributes") or {})}
            span = self._span(name, kind, attributes, above, given.get("links", ()), start, run)
        except Exception as error:
            self.failed("start", error)
        active = made(span, self, start_ns=start)
        if run is not None:
            active.enter_run(run)
        if self._enabled:
            self.processor.spent(span.get_span_context().trace_id, time.perf_counter_ns() - began)
        return active

    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        above: SpanContext | None,
        links: Sequence[Parent],
        start: int,
        run: RunContext | None,
    ) -> otel.Span:
        trace = above.trace_id if above is not None else self._ids.generate_trace_id()
        state = above.trace_state if above is not None else None
        own = self._ids.generate_span_id()
        if not self._enabled:
            return NonRecordingSpan(SpanContext(trace, own, False, _NOT_SAMPLED, state))
        # A hook of a foreign context has the run that was current when that was made: the parent knows better.
        inherited = self.processor.run_of(above.span_id) if run is None and above is not None else {}
        if not inherited and (run := run or current_run()) is not None:
            inherited = {v.RUN_ID: run.run_id, v.CONVERSATION: run.session}
        if inherited:
            attributes = {**inherited, **attributes}
        context = SpanContext(trace, own, False, _SAMPLED, state)
        span = RecordedSpan(name, context, above, kind, clean(attributes), start, self.processor.finish)
        if links:
            span.links = _links(links)
        self.processor.begin(span)
        return span

    @staticmethod
    def _above(parent: Parent | None, root: bool) -> SpanContext | None:
        if parent is not None:
            context = span_context(parent)
        elif root:
            return None
        else:
            context = otel.get_current_span().get_span_context()
        return context if context is not None and context.is_valid else None


def _links(links: Sequence[Parent]) -> list[RecordedLink]:
    return [RecordedLink(found, {}) for other in links[:LINKS_LIMIT] if (found := span_context(other))]
