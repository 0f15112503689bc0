"""A span that runs, as one works with it: a context manager that never breaks its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.trace import Status, StatusCode

from teamwright.errors import LimitReached, Refused, words_of
from teamwright.tracing import vocabulary as v
from teamwright.tracing.attributes import clean
from teamwright.tracing.happenings import Happenings
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.recording import RecordedSpan
from teamwright.tracing.runs import RunContext, use_run

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Keeper(Protocol):
    """What a span needs of its tracer."""

    now: Callable[[], int]

    def announce(self, span: otel.Span) -> None: ...
    def failed(self, what: str, error: Exception) -> None: ...


class ActiveSpan(Happenings):
    """A span that runs. Started when made; `with` makes it the current one and ends it.

    >>> with tracer.tool_call(name="add", arguments={"a": 1}) as span:
    ...     span.result(2)

    Without `with` it is nobody's parent by context: give it on as `parent=`, and call `end()`.
    An exception that leaves the block becomes its status and an event.
    """

    __slots__ = ("_entered", "_keeper", "_run", "_span", "_start_ns", "_token")

    def __init__(self, span: otel.Span, keeper: Keeper, *, start_ns: int = 0) -> None:
        self._span = span
        self._keeper = keeper
        self._run: RunContext | None = None
        self._start_ns = start_ns
        self._token: Token[otel_context.Context] | None = None
        self._entered: AbstractContextManager[RunContext | None] | None = None

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return f"{self._span.get_span_context().span_id:016x}"

    @property
    def traceparent(self) -> str:
        """This span as W3C has it in headers."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"

    @property
    def trace_state(self) -> str:
        return self._span.get_span_context().trace_state.to_header()

    @property
    def otel_span(self) -> otel.Span:
        """The OpenTelemetry span underneath."""
        return self._span

    @property
    def recording(self) -> bool:
        """Whether it still takes attributes: not ended, tracing not off."""
        return self._span.is_recording()

    def set(self, attributes: Mapping[str, Any] | None = None, **more: Any) -> Self:
        """Set attributes. None is left out; mappings and mixed lists become JSON text."""
        if self.recording:
            try:
                span = self._span
                given = {**(attributes or {}), **more} if more else attributes or {}
                span.set_attributes(given if type(span) is RecordedSpan else clean(given))
            except Exception as error:
                self._keeper.failed("attributes", error)
        return self

    def event(self, name: str, attributes: Mapping[str, Any] | None = None, *, at_ns: int | None = None) -> Self:
        """Add an event; `at_ns` is Unix time, now if not given."""
        if self.recording:
            try:
                span = self._span
                given = attributes or {}
                at = at_ns or self._keeper.now()
                span.add_event(name, given if type(span) is RecordedSpan else clean(given), at)
            except Exception as error:
                self._keeper.failed("event", error)
        return self

    def link(
        self, other: ActiveSpan | ParentContext | otel.SpanContext, attributes: Mapping[str, Any] | None = None
    ) -> Self:
        """Refer to a span elsewhere."""
        if self.recording:
            context = span_context(other)
            if context is not None:
                self._span.add_link(context, clean(attributes or {}))
        return self

    def fail(self, error: BaseException | str, *, reason: str | None = None) -> Self:
        """Mark it as failed: status, `error.type` (`reason` if given) and, for an exception, an event."""
        if not self.recording:
            return self
        try:
            if isinstance(error, str):
                kind, message = reason or "error", error
            elif isinstance(error, asyncio.CancelledError):
                kind, message = reason or "cancelled", str(error) or "cancelled"
                self.cancelled(str(error) or None)
            else:
                found = getattr(error, "reason", None) or getattr(error, "limit", None)
                kind = reason or (found if isinstance(found, str) else type(error).__qualname__)
                message = words_of(error) or type(error).__name__
                self._record(error)
                if isinstance(error, LimitReached):
                    self.limit_reached(error.limit, message)
                elif isinstance(error, Refused):
                    self.denied(message)
            self._span.set_attribute(v.ERROR_TYPE, kind)
            self._span.set_status(Status(StatusCode.ERROR, message))
        except Exception as problem:
            self._keeper.failed("status", problem)
        return self

    def ok(self) -> Self:
        """Mark it as good for certain; later failures don't change that."""
        if self.recording:
            self._span.set_status(Status(StatusCode.OK))
        return self

    def enter_run(self, run: RunContext) -> Self:
        """Make `run` the current run inside `with`, with this trace's id."""
        self._run = replace(run, trace_id=self.trace_id)
        return self

    def announce(self) -> None:
        """Make it known before it ends (its parents too): its children elsewhere will never be orphans."""
        if self.recording:
            self._keeper.announce(self._span)

    def end(self, end_ns: int | None = None) -> None:
        """End it now, or at that Unix time. Ending twice does nothing."""
        if self.recording:
            try:
                self._span.end(end_ns or self._keeper.now())
            except Exception as error:
                self._keeper.failed("end", error)

    def __enter__(self) -> Self:
        self._token = otel_context.attach(otel.set_span_in_context(self._span))
        if self._run is not None:
            self._entered = use_run(self._run)
            self._entered.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered is not None:
            self._entered.__exit__(None, None, None)
            self._entered = None
        if self._token is not None:
            # Not otel_context.detach: that logs an error when a generator is closed from another task.
            with suppress(ValueError):
                self._token.var.reset(self._token)
            self._token = None
        if isinstance(error, GeneratorExit):
            self.set({v.ENDED_EARLY: True})
        elif error is not None:
            self.fail(error)
        self.end()

    def _record(self, error: BaseException) -> None:
        try:
            self._span.record_exception(error, timestamp=self._keeper.now())
        except Exception as problem:  # its own words may fail
            self._keeper.failed("exception", problem)


#: Where a span hangs: a span of this process, or one elsewhere.
Parent = ActiveSpan | ParentContext | otel.SpanContext


def span_context(parent: Parent | None) -> otel.SpanContext | None:
    """What OpenTelemetry calls the span that `parent` stands for."""
    if parent is None or isinstance(parent, otel.SpanContext):
        return parent
    if isinstance(parent, ActiveSpan):
        return parent.otel_span.get_span_context()
    state = otel.TraceState.from_header([parent.trace_state]) if parent.trace_state else None
    flags = otel.TraceFlags(otel.TraceFlags.SAMPLED if parent.sampled else otel.TraceFlags.DEFAULT)
    return otel.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags, state)
