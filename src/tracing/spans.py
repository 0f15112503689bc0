"""The spans one works with: context managers that know what belongs on them, and never break their caller."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.trace import Status, StatusCode

from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import Messages, encode, to_json
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.runs import RunContext, use_run

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_STACK_LIMIT = 16_000


class Keeper(Protocol):
    """What a span needs of its tracer."""

    now: Callable[[], int]

    def announce(self, span: otel.Span) -> None: ...
    def failed(self, what: str, error: Exception) -> None: ...


class Usage(Protocol):
    """What a piece of work used, summed over everything below it; `cost_usd` None = unknown."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def model_calls(self) -> int: ...
    @property
    def tool_calls(self) -> int: ...
    @property
    def peer_calls(self) -> int: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def estimated(self) -> bool: ...


class ActiveSpan:
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
                self._span.set_attributes(clean({**(attributes or {}), **more}))
            except Exception as error:
                self._keeper.failed("attributes", error)
        return self

    def event(self, name: str, attributes: Mapping[str, Any] | None = None, *, at_ns: int | None = None) -> Self:
        """Add an event; `at_ns` is Unix time, now if not given."""
        if self.recording:
            try:
                self._span.add_event(name, clean(attributes or {}), at_ns or self._keeper.now())
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
                self.event(v.EVENT_CANCEL)
            else:
                found = getattr(error, "reason", None) or getattr(error, "limit", None)
                kind = reason or (found if isinstance(found, str) else type(error).__qualname__)
                message = str(error) or type(error).__name__
                self._exception(error)
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

    def _exception(self, error: BaseException) -> None:
        stack = "".join(traceback.format_exception(error))
        module, name = type(error).__module__, type(error).__qualname__
        self.event(
            v.EVENT_EXCEPTION,
            {
                v.EXCEPTION_TYPE: name if module == "builtins" else f"{module}.{name}",
                v.EXCEPTION_MESSAGE: str(error),
                v.EXCEPTION_STACKTRACE: stack[-_STACK_LIMIT:],
            },
        )

    def _usage(self, usage: Usage) -> None:
        self.set(
            {
                v.INPUT_TOKENS: usage.input_tokens,
                v.OUTPUT_TOKENS: usage.output_tokens,
                v.MODEL_CALLS: usage.model_calls,
                v.TOOL_CALLS: usage.tool_calls,
                v.PEER_CALLS: usage.peer_calls,
                v.COST_USD: usage.cost_usd,
                v.COST_ESTIMATED: usage.estimated or None,
            }
        )


#: Where a span hangs: a span of this process, or one elsewhere.
Parent = ActiveSpan | ParentContext | otel.SpanContext


class QuerySpan(ActiveSpan):
    """The root: what a user asked a job, and what came of it."""

    __slots__ = ()

    def answer(self, text: str | None, *, state: str | None = None, usage: Usage | None = None) -> Self:
        """What the user got. `state` is the task's, `usage` the sum over the whole tree."""
        self.set(
            {
                v.OUTPUT_MESSAGES: encode(text, "assistant") if text else None,
                v.TASK_STATE: state,
            }
        )
        if usage is not None:
            self._usage(usage)
        return self


class AgentSpan(QuerySpan):
    """SERVER: an agent handles a message."""

    __slots__ = ()

    @property
    def run(self) -> RunContext | None:
        """The run it belongs to, with its trace id."""
        return self._run


class PeerSpan(QuerySpan):
    """CLIENT: an agent calls another."""

    __slots__ = ()


class ModelSpan(ActiveSpan):
    """CLIENT: one call of a model."""

    __slots__ = ()

    def first_token(self, at_ns: int | None = None) -> Self:
        """The answer began to arrive."""
        at = at_ns or self._keeper.now()
        self.set({v.FIRST_TOKEN: max(0, at - self._start_ns) / 1e9})
        return self.event(v.EVENT_FIRST_TOKEN, at_ns=at)

    def answer(
        self,
        messages: Messages,
        *,
        finish_reason: str | None = None,
        model: str | None = None,
        response_id: str | None = None,
    ) -> Self:
        """What the model said. An answer of tool calls only has those calls as its content."""
        reasons = [finish_reason] if finish_reason else None
        return self.set(
            {
                v.OUTPUT_MESSAGES: encode(messages, "assistant", finish_reason=finish_reason),
                v.FINISH_REASONS: reasons,
                v.RESPONSE_MODEL: model,
                v.RESPONSE_ID: response_id,
            }
        )

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost_usd: float | None = None,
        estimated: bool = False,
    ) -> Self:
        """What the call used. Unknown is None, not 0."""
        return self.set(
            {
                v.INPUT_TOKENS: input_tokens,
                v.OUTPUT_TOKENS: output_tokens,
                v.CACHE_READ_TOKENS: cache_read_tokens,
                v.CACHE_WRITE_TOKENS: cache_write_tokens,
                v.REASONING_TOKENS: reasoning_tokens,
                v.COST_USD: cost_usd,
                v.COST_ESTIMATED: True if estimated and cost_usd is not None else None,
            }
        )


class ToolSpan(ActiveSpan):
    """INTERNAL: one call of a tool."""

    __slots__ = ()

    def result(self, value: Any) -> Self:
        """What the tool returned: text as it is, anything else as JSON."""
        return self.set({v.TOOL_RESULT: value if isinstance(value, str) else to_json(value)})


def span_context(parent: Parent | None) -> otel.SpanContext | None:
    """What OpenTelemetry calls the span that `parent` stands for."""
    if parent is None or isinstance(parent, otel.SpanContext):
        return parent
    if isinstance(parent, ActiveSpan):
        return parent.otel_span.get_span_context()
    state = otel.TraceState.from_header([parent.trace_state]) if parent.trace_state else None
    flags = otel.TraceFlags(otel.TraceFlags.SAMPLED if parent.sampled else otel.TraceFlags.DEFAULT)
    return otel.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags, state)


def clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as OpenTelemetry takes them: no None, nothing nested but JSON text."""
    return {key: _clean(value) for key, value in attributes.items() if value is not None}


def _clean(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool:
        return value
    if isinstance(value, str):
        return str(value)  # RunId and enums of text: plain text on the wire
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple) and all(type(item) is str for item in value):
        return list(value)
    return to_json(value)
