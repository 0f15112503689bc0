"""Notes of one message while a backend works on it: what it tells the tracer and the turn is written down as well.

Every backend makes a `chat` span for each attempt to ask a model, and an `execute_tool` span for each call; the spans
that it gets here are real ones that remember what they are told. They may come from several threads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, cast

from opentelemetry import trace as otel

from teamwright.backends.api import Tool, Turn
from teamwright.backends.recordings.values import Call, Exchange, Inner, Step
from teamwright.tracing import vocabulary as v
from teamwright.tracing.active import ActiveSpan, span_context
from teamwright.tracing.messages import encode, to_json
from teamwright.tracing.spans import ModelSpan, ToolSpan
from teamwright.tracing.tracer import Tracer

_TOKENS = {
    v.INPUT_TOKENS: "input_tokens", v.OUTPUT_TOKENS: "output_tokens", v.CACHE_READ_TOKENS: "cache_read_tokens",
    v.CACHE_WRITE_TOKENS: "cache_write_tokens", v.REASONING_TOKENS: "reasoning_tokens",
}  # fmt: skip


class Notes:
    """What was noted of one message. `steps` are its exchanges, in the order in which they began."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._lock = threading.Lock()
        #: Where exchanges below a span belong, by its id; the call that a tool's span is.
        self._places: dict[str, list[Step]] = {}
        self._calls: dict[str, Call] = {}
        self._speaking: Exchange | None = None

    def exchange(self, parent: str, made: Exchange) -> None:
        """A model is asked, below the span `parent`."""
        with self._lock:
            place = self._places.get(parent, self.steps)
            place.append(made)
            if place is self.steps:
                self._speaking = made

    def call(self, parent: str, span: str, made: Call) -> None:
        """A tool is called: by the exchange whose reply asks for it."""
        with self._lock:
            asking = [step for step in self._places.get(parent, self.steps) if isinstance(step, Exchange)]
            ids = [{str(part.get("id")) for part in exchange.parts} for exchange in asking]
            found = next((one for one, there in zip(asking[::-1], ids[::-1], strict=True) if made.id in there), None)
            if found is not None or asking:
                (found or asking[-1]).calls.append(made)
            self._places[span] = made.steps
            self._calls[span] = made

    def inner(self, parent: str, span: str, made: Inner) -> None:
        """An agent inside the agent begins."""
        with self._lock:
            self._places.get(parent, self.steps).append(made)
            self._places[span] = made.steps

    def ran(self, span: str) -> None:
        """A tool of the agent is carried out, within that span."""
        with self._lock:
            if (call := self._calls.get(span)) is not None:
                call.ran = True

    def streamed(self, text: str) -> None:
        """A piece of the answer went out."""
        with self._lock:
            if self._speaking is not None and isinstance(self._speaking.pieces, list) and text:
                self._speaking.pieces.append(text)


class NotedModel(ModelSpan):
    """A `chat` span that remembers."""

    __slots__ = ("_exchange",)

    def __init__(self, span: ModelSpan, exchange: Exchange) -> None:
        super().__init__(span.otel_span, span._keeper, start_ns=span._start_ns)
        self.model, self.provider = span.model, span.provider
        self._exchange = exchange

    def set(self, attributes: Mapping[str, Any] | None = None, **more: Any) -> Self:
        for name, value in (attributes or {}).items():
            if name in _TOKENS and isinstance(value, int):
                self._exchange.tokens[_TOKENS[name]] = value
        return super().set(attributes, **more)

    def first_token(self, at_ns: int | None = None) -> Self:
        at = at_ns or self._keeper.now()
        self._exchange.first_token_s = max(0, at - self._start_ns) / 1e9
        return super().first_token(at)

    def answer(self, messages: Any, **given: Any) -> Self:
        said = json.loads(encode(messages, "assistant", finish_reason=given.get("finish_reason")))
        exchange = self._exchange
        exchange.reply = said[-1] if said else None
        exchange.finish_reason = given.get("finish_reason")
        exchange.response_model, exchange.response_id = given.get("model"), given.get("response_id")
        return super().answer(messages, **given)

    def usage(self, **given: Any) -> Self:
        super().usage(**given)
        self._exchange.cost_usd = self.cost_usd
        return self

    def rate_limited(self, *, retry_after: float | None = None, message: str | None = None) -> Self:
        self._exchange.limited, self._exchange.retry_after = True, retry_after
        return super().rate_limited(retry_after=retry_after, message=message)

    def fail(self, error: BaseException | str, *, reason: str | None = None) -> Self:
        self._exchange.error = {"reason": reason or reason_of(error), "message": str(error)}
        return super().fail(error, reason=reason)

    def end(self, end_ns: int | None = None) -> None:
        end = end_ns or self._keeper.now()
        if self._exchange.duration_s is None:
            self._exchange.duration_s = max(0, end - self._start_ns) / 1e9
        super().end(end)


class NotedTool(ToolSpan):
    """An `execute_tool` span that remembers."""

    __slots__ = ("_call",)

    def __init__(self, span: ToolSpan, call: Call) -> None:
        super().__init__(span.otel_span, span._keeper, start_ns=span._start_ns)
        self._call = call

    def result(self, value: Any) -> Self:
        self._call.result = value if isinstance(value, str) else to_json(value)
        return super().result(value)

    def fail(self, error: BaseException | str, *, reason: str | None = None) -> Self:
        self._call.error = reason or reason_of(error)
        return super().fail(error, reason=reason)


class NotedInner(ActiveSpan):
    """The span of an agent inside the agent, that remembers."""

    __slots__ = ("_inner",)

    def __init__(self, span: ActiveSpan, inner: Inner) -> None:
        super().__init__(span.otel_span, span._keeper, start_ns=span._start_ns)
        self._inner = inner

    def set(self, attributes: Mapping[str, Any] | None = None, **more: Any) -> Self:
        given = attributes or {}
        self._inner.asked = given.get(v.INPUT_MESSAGES) or self._inner.asked
        self._inner.said = given.get(v.OUTPUT_MESSAGES) or self._inner.said
        return super().set(attributes, **more)


class NotedTracer:
    """A tracer whose spans of models, tools and inner agents remember; everything else is the tracer's own."""

    def __init__(self, tracer: Tracer, notes: Notes) -> None:
        self._tracer = tracer
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracer, name)

    def model_call(self, **given: Any) -> ModelSpan:
        messages = given.get("messages")
        exchange = Exchange(
            given.get("model"),
            given.get("provider"),
            given.get("attempt"),
            given.get("system"),
            json.loads(encode(messages)) if messages else [],
        )
        parent = self._parent(given)
        span = NotedModel(self._tracer.model_call(**given), exchange)
        self._notes.exchange(parent, exchange)
        return span

    def tool_call(self, **given: Any) -> ToolSpan:
        call = Call(str(given.get("call_id") or ""), given["name"], json.loads(to_json(given.get("arguments"))))
        parent = self._parent(given)
        span = NotedTool(self._tracer.tool_call(**given), call)
        self._notes.call(parent, span.span_id, call)
        return span

    def span(self, name: str, attributes: Mapping[str, Any] | None = None, **given: Any) -> ActiveSpan:
        found = attributes or {}
        if found.get(v.OPERATION) != v.OP_AGENT:
            return self._tracer.span(name, found, **given)
        inner = Inner(str(found.get(v.AGENT_NAME) or name), found.get(v.INPUT_MESSAGES))
        parent = self._parent(given)
        span = NotedInner(self._tracer.span(name, found, **given), inner)
        self._notes.inner(parent, span.span_id, inner)
        return span

    @staticmethod
    def _parent(given: Mapping[str, Any]) -> str:
        context = span_context(given.get("parent")) or otel.get_current_span().get_span_context()
        return f"{context.span_id:016x}"


class NotedTurn:
    """A turn whose tracer, tools and stream are noted; everything else is the turn's own."""

    def __init__(self, turn: Turn, notes: Notes) -> None:
        self._turn = turn
        self._notes = notes
        self.tracer = cast(Tracer, NotedTracer(turn.tracer, notes))
        self.tools: Sequence[Tool] = tuple(replace(tool, call=self._noted(tool.call)) for tool in turn.tools)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turn, name)

    async def stream(self, text: str) -> None:
        self._notes.streamed(text)
        await self._turn.stream(text)

    def _noted(self, call: Callable[[Mapping[str, Any], Turn], Awaitable[Any]]) -> Any:
        async def noted(arguments: Mapping[str, Any], turn: Turn) -> Any:
            self._notes.ran(self._turn.tracer.current().span_id)
            return await call(arguments, turn)

        return noted


def reason_of(error: BaseException | str) -> str:
    """The short word that a failure has on spans."""
    if isinstance(error, str):
        return "error"
    found = getattr(error, "reason", None) or getattr(error, "limit", None)
    return found if isinstance(found, str) and found else type(error).__qualname__
