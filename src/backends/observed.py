"""What users' own code does with the SDKs of models: the records of `inside/` as spans and usage of a turn.

The records come from this process, or over the socket of a worker. `watch` is open while the code runs; it ends the
message when a limit of the query is reached, as the code itself knows nothing of limits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.trace import SpanKind

from teamwright.backends.api import Turn, Usage
from teamwright.backends.calls import REASONS
from teamwright.backends.inside import scope as inside
from teamwright.errors import LimitReached
from teamwright.tracing import messages as genai
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import ActiveSpan, ModelSpan, ToolSpan

#: What exceptions of HTTP clients are called, and our word for it.
_REASONS = {
    "ConnectError": "unreachable", "ConnectTimeout": "unreachable", "ConnectionError": "unreachable",
    "ClientConnectorError": "unreachable", "ReadTimeout": "timeout", "TimeoutError": "timeout",
    "RemoteProtocolError": "cut", "ReadError": "cut",
}  # fmt: skip
#: Seconds that code in a thread waits to be told that it may go on.
_PATIENCE = 1.0
#: Tokens that a sub-agent's call tells of: they are counted with the whole conversation.
_SEEN = {
    "input_tokens": v.INPUT_TOKENS, "cache_read_tokens": v.CACHE_READ_TOKENS,
    "cache_write_tokens": v.CACHE_WRITE_TOKENS,
}  # fmt: skip
_CANCELLED = ("CancelledError", "Cancelled")


class Observer:
    """Those of one turn. `here`: they come from this process, where the current span says what a new one is below."""

    def __init__(self, turn: Turn, *, here: bool) -> None:
        self._turn = turn
        self._here = here
        self._base = turn.tracer.current()
        self._loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self._lock = threading.RLock()
        self._spans: dict[int, ActiveSpan] = {}
        #: Spans of others that ours may be below, and what model calls have cost.
        self._places: dict[int, ActiveSpan] = {}
        self._costs: dict[int, float] = {}
        self._closed = False
        self.over: LimitReached | None = None
        #: The run as the code in this process has it.
        self.scope = inside.Scope(self.take, self.below, self._note_place) if here else None
        self._checks: list[Callable[[], None]] = []

    def take(self, record: Mapping[str, Any]) -> None:
        """One record; from any thread. When it returns, `over` is known."""
        with self._lock, inside.safely("a record"):
            if self._closed:
                return
            if "begin" in record:
                self._begin(record)
            elif "note" in record:
                self._note(self._spans.get(record["note"]), record)
            elif "end" in record:
                self._end(self._spans.get(record["end"]), record)
            else:
                self._beyond(record["count"])
        with self._lock:
            checks, self._checks = self._checks, []
        if checks:
            self._in_loop(checks)

    @contextmanager
    def below(self, number: int | None) -> Iterator[None]:
        """While it is open, what this context does hangs below that span; below the turn's where there is none."""
        with self._lock:
            span = self._spans.get(number or 0, self._base)
        token = otel_context.attach(otel.set_span_in_context(span.otel_span))
        try:
            yield
        finally:
            with suppress(ValueError):  # closed in another context
                token.var.reset(token)

    def close(self, error: BaseException | None) -> None:
        """The code is through: what is still open ends with that error, or as a stream that nobody read on."""
        with self._lock:
            self._closed = True
            for span in self._spans.values():
                if span.recording:
                    span.fail(error) if error is not None else span.set({v.ENDED_EARLY: True})
                    span.end()

    # --- records --------------------------------------------------------------------------------------

    def _begin(self, record: Mapping[str, Any]) -> None:
        tracer, kind = self._turn.tracer, record["kind"]
        above, at = self._above(record), int(record["at"])
        span: ActiveSpan
        if kind == "model":
            span = tracer.model_call(
                model=record.get("model"), provider=record.get("provider"), messages=record.get("messages"),
                system=record.get("system"), attempt=record.get("attempt"), parent=above, start_ns=at,
            )  # fmt: skip
            self._checks.append(lambda: self._turn.afford(None))
        elif kind == "tool":
            span = tracer.tool_call(
                name=record["name"], call_id=record.get("call_id"), arguments=record.get("arguments"),
                source=record.get("source"), server=record.get("server"), parent=above, start_ns=at,
            )  # fmt: skip
            self._used(Usage(tool_calls=1))
        else:
            asked = record.get("messages")
            span = tracer.span(
                v.span_name(v.OP_AGENT, record["name"]),
                {
                    v.OPERATION: v.OP_AGENT,
                    v.OPENINFERENCE_KIND: "AGENT",
                    v.AGENT_NAME: record["name"],
                    v.INPUT_MESSAGES: genai.encode(asked) if asked else None,
                },
                kind=SpanKind.INTERNAL,
                parent=above,
                start_ns=at,
            )
        self._spans[record["begin"]] = span

    def _above(self, record: Mapping[str, Any]) -> ActiveSpan:
        if "parent" in record:
            number = record["parent"]
            return self._spans.get(number) or self._places.get(number, self._base)
        current = self._turn.tracer.current()
        if self._here and current.trace_id == self._base.trace_id:
            return current
        return self._spans.get(record.get("below", 0), self._base)

    def _note_place(self, number: int) -> None:
        current = self._turn.tracer.current()
        self._places[number] = current if current.trace_id == self._base.trace_id else self._base

    def _note(self, span: ActiveSpan | None, record: Mapping[str, Any]) -> None:
        event, at = record["event"], int(record["at"])
        span = span or self._places.get(record["note"], self._base)
        if event == "first token" and isinstance(span, ModelSpan):
            span.first_token(at)
        elif event == "rate limit":
            span.rate_limited(retry_after=record.get("after"), message=record.get("text"))
        elif event == "compaction":
            span.compacted(record.get("text"), before=record.get("before"), after=record.get("after"))
        elif event == "denied":
            span.denied(str(record.get("text")), rule=record.get("rule"))

    def _end(self, span: ActiveSpan | None, record: Mapping[str, Any]) -> None:
        if span is None:
            return
        answer = record.get("answer")
        if isinstance(span, ModelSpan):
            if answer:
                span.answer(
                    answer, finish_reason=record.get("finish"), model=record.get("model"),
                    response_id=record.get("response_id"),
                )  # fmt: skip
            self._model_used(span, record)
        elif isinstance(span, ToolSpan):
            span.result(record.get("result", ""))
        elif answer:
            span.set({v.OUTPUT_MESSAGES: genai.encode(answer, "assistant")})
        if error := record.get("error"):
            cancelled = error.get("type") in _CANCELLED
            span.fail(asyncio.CancelledError() if cancelled else str(error["text"]), reason=_reason(error))
        if record.get("early"):
            span.set({v.ENDED_EARLY: True})
        span.end(int(record["at"]))

    def _model_used(self, span: ModelSpan, record: Mapping[str, Any]) -> None:
        usage = record.get("usage")
        if not usage:
            seen = record.get("seen_usage") or {}
            span.set({name: seen.get(key) for key, name in _SEEN.items()})
            self._used(Usage(model_calls=1))
            return
        span.usage(**usage)
        self._costs[record["end"]] = span.cost_usd or 0.0
        self._used(
            Usage(
                input_tokens=usage.get("input_tokens") or 0,
                output_tokens=usage.get("output_tokens") or 0,
                model_calls=1,
                cost_usd=span.cost_usd,
                estimated=True,
            )
        )

    # --- limits ---------------------------------------------------------------------------------------

    def _beyond(self, count: Mapping[str, Any]) -> None:
        """Tokens and dollars of a whole conversation, of which some have been counted with their calls."""
        known = sum(self._costs.get(number, 0.0) for number in count["beyond"])
        cost = max(0.0, count["cost_usd"] - known)
        self._used(Usage(count["input_tokens"], count["output_tokens"], cost_usd=cost, estimated=True))

    def _used(self, usage: Usage) -> None:
        self._checks.append(lambda: self._turn.count(usage))

    def _in_loop(self, checks: Sequence[Callable[[], None]]) -> None:
        """Turns are of the loop's thread; another one waits for it a moment, so that it goes no further."""
        done = threading.Event()

        def run() -> None:
            for check in checks:
                try:
                    check()
                except LimitReached as error:
                    self._end_with(error)
            done.set()

        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            run()
        else:
            self._loop.call_soon_threadsafe(run)
            done.wait(_PATIENCE)

    def _end_with(self, error: LimitReached) -> None:
        if self.over is None and not self._closed and self.task is not None:
            self.over = error
            if self.scope is not None:
                self.scope.stopped = True
            self.task.cancel()


@asynccontextmanager
async def watch(turn: Turn, *, here: bool) -> AsyncIterator[Observer]:
    """While it is open, the user's code works on `turn`: in this process (`here`) or in a worker.

    Raises LimitReached when the code has used more than it may; whatever it still does is cancelled.
    """
    observer = Observer(turn, here=here)
    scope = observer.scope
    failed: BaseException | None = None
    try:
        try:
            with inside.entered(scope):
                yield observer
            if observer.over is not None:
                await asyncio.sleep(0)  # where a cancellation that is still due comes out
        except (Exception, asyncio.CancelledError) as error:
            if observer.over is None:
                raise
            if isinstance(error, Exception):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
        if observer.over is not None:
            if observer.task is not None and observer.task.uncancel() > 0:
                raise asyncio.CancelledError  # somebody else wants it to end as well
            raise observer.over
    except BaseException as error:
        failed = error
        raise
    finally:
        if scope is not None:
            scope.close(failed)
        observer.close(failed)


def _reason(error: Mapping[str, Any]) -> str | None:
    if reason := error.get("reason"):
        return str(reason)
    status, text, kind = error.get("status"), str(error.get("text")), str(error.get("type") or "")
    if "API_KEY_INVALID" in text or "API key not valid" in text:
        return "bad_key"
    if isinstance(status, int) and status >= 400:
        return REASONS.get(status, "server_error" if status >= 500 else "bad_request")
    return _REASONS.get(kind, None if kind in _CANCELLED else kind or None)
