"""Calls of models that a crew brought itself, told by CrewAI's events: a `chat` span each, and what they cost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends import loop
from teamwright.backends.api import Turn, Usage
from teamwright.backends.crewai import wording
from teamwright.backends.crewai.bridge import Bridge
from teamwright.tracing.cost import price
from teamwright.tracing.spans import ActiveSpan, ModelSpan

_FINISH = {"tool_calls": "tool_call", "end_turn": "stop", "tool_use": "tool_call", "STOP": "stop"}


@dataclass
class _Call:
    span: ModelSpan
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)


class OwnModels:
    """Those of one message."""

    def __init__(self, turn: Turn, bridge: Bridge, parent_of: Callable[[Any], ActiveSpan | None]) -> None:
        self._turn = turn
        self._bridge = bridge
        self._parent_of = parent_of
        self._lock = threading.RLock()
        self._calls: dict[str, _Call] = {}
        self._early: dict[str, tuple[Any, Any]] = {}
        self._closed = False

    def began(self, source: Any, event: Any) -> None:
        """A call starts."""
        if getattr(source, "llm_type", None) == "teamwright":
            return
        said = event.messages
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else list(said or ())
        system, shown = wording.parted(messages)
        with self._lock:
            if self._closed:
                return
            span = self._turn.tracer.model_call(
                model=event.model, provider=getattr(source, "provider", None), messages=shown, system=system or None,
                parent=self._parent_of(event) or self._turn.tracer.current(), start_ns=at_ns(event),
            )  # fmt: skip
            self._calls[event.call_id] = _Call(span)
            early = self._early.pop(event.call_id, None)
        if early is not None:
            self.ended(*early)

    def heard(self, event: Any) -> None:
        """Words of a stream."""
        with self._lock:
            if (call := self._calls.get(event.call_id)) is not None:
                if not call.text and not call.thinking:
                    call.span.first_token(at_ns(event))
                call.text.append(event.chunk or "")

    def thought(self, event: Any) -> None:
        """Thoughts of a stream."""
        with self._lock:
            if (call := self._calls.get(event.call_id)) is not None:
                if not call.text and not call.thinking:
                    call.span.first_token(at_ns(event))
                call.thinking.append(event.chunk or "")

    def ended(self, source: Any, event: Any) -> None:
        """A call is through, or failed; a failed one is told twice."""
        if getattr(source, "llm_type", None) == "teamwright":
            return
        self._bridge.has_called(source, event.call_id, getattr(event, "error", None))
        with self._lock:
            call = self._calls.pop(event.call_id, None)
            if call is None:
                self._early[event.call_id] = (source, event)  # the start is still on its way in another thread
                return
        if hasattr(event, "error"):
            call.span.fail(event.error).end(at_ns(event))
            return
        self._answered(call, source, event)

    def close(self, error: BaseException | None) -> None:
        """The message has ended: what is still open ends with that error."""
        with self._lock:
            self._closed = True
            left = list(self._calls.values())
            self._calls.clear()
        for call in left:
            if call.text:
                call.span.answer(loop.reply_message("".join(call.text), (), finish_reason="error"))
            call.span.fail(error if error is not None else "the message ended before the call did").end()

    def _answered(self, call: _Call, source: Any, event: Any) -> None:
        response = event.response
        calls = wording.calls_in(response)
        text = response if isinstance(response, str) else "" if calls else loop.as_text(response)
        finish = _FINISH.get(event.finish_reason or "", event.finish_reason) or ("tool_call" if calls else "stop")
        message = loop.reply_message(text, calls, thinking="".join(call.thinking), finish_reason=finish)
        tokens = _tokens(event.usage or {})
        provider = getattr(source, "provider", None)
        cost = price(
            event.model or "", provider or "openai", input_tokens=tokens["input_tokens"],
            output_tokens=tokens["output_tokens"], cache_read_tokens=tokens["cache_read_tokens"],
        )  # fmt: skip
        call.span.answer(message, finish_reason=finish, model=event.model, response_id=event.response_id)
        call.span.usage(
            input_tokens=tokens["input_tokens"], output_tokens=tokens["output_tokens"],
            cache_read_tokens=tokens["cache_read_tokens"], reasoning_tokens=tokens["reasoning_tokens"],
            cost_usd=cost, estimated=bool(cost),
        )  # fmt: skip
        call.span.end(at_ns(event))
        used = Usage(tokens["input_tokens"] or 0, tokens["output_tokens"] or 0, 1, cost_usd=cost, estimated=bool(cost))
        self._bridge.used(used)


def at_ns(event: Any) -> int:
    """When CrewAI sent the event, Unix time in ns."""
    return int(event.timestamp.timestamp() * 1e9)


def _tokens(usage: Mapping[str, Any]) -> dict[str, int | None]:
    """Tokens as CrewAI hands on what each vendor says."""

    def first(*names: str) -> int | None:
        return next((usage[name] for name in names if isinstance(usage.get(name), int)), None)

    return {
        "input_tokens": first("prompt_tokens", "input_tokens", "prompt_token_count"),
        "output_tokens": first("completion_tokens", "output_tokens", "candidates_token_count"),
        "cache_read_tokens": first("cached_prompt_tokens", "cached_tokens", "cache_read_input_tokens"),
        "reasoning_tokens": first("reasoning_tokens"),
    }
