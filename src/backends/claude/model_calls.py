"""The `chat` spans of one message, from what the SDK streams: true start, first token, end, tokens, retries.

A call begins when the CLI says `requesting`; a failed try ends with `api_retry`, and the next begins when its pause
is over. A call that shortens the conversation has the reason `compaction`; the SDK shows of it only when it ran and
what came of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends.api import Turn, Usage
from teamwright.backends.claude.failures import reason_of
from teamwright.backends.claude.settings import PROVIDER
from teamwright.tracing import messages as genai
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import ModelSpan

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_call",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_RATE_LIMITED = "rate_limit"


@dataclass
class Growing:
    """A reply while it arrives: blocks by index, tokens, why it stopped."""

    id: str | None = None
    model: str | None = None
    blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    stop: str | None = None
    begun: bool = False


def is_rate_limit(data: Mapping[str, Any]) -> bool:
    """Whether a try of the CLI, told by `api_retry`, failed because the key is used too often."""
    return data.get("error") == _RATE_LIMITED or data.get("error_status") == 429


class ModelCalls:
    """Makes the spans. `messages` is the conversation so far and grows; `used` is told what each call came to."""

    def __init__(
        self,
        turn: Turn,
        model: str | None,
        system: str,
        messages: list[Mapping[str, Any]],
        used: Callable[[Usage], None],
    ) -> None:
        self.model = model
        self.messages = messages
        self._turn = turn
        self._system = system
        self._used = used
        self._span: ModelSpan | None = None
        self._reply = Growing()
        self._attempt = 1
        self._pause: asyncio.TimerHandle | None = None
        self._compacting = False
        #: Whether the last reply broke off.
        self.cut = False

    @property
    def under_way(self) -> bool:
        """Whether the model is being asked, or speaks."""
        return self._span is not None

    def requesting(self, at_ns: int) -> None:
        """A request goes out."""
        self._attempt = 1
        self._begin(at_ns)

    def retrying(self, data: Mapping[str, Any], at_ns: int) -> None:
        """A try has failed, and another will follow after a pause."""
        delay = float(data.get("retry_delay_ms") or 0) / 1000
        status, word = data.get("error_status"), str(data.get("error") or "failed")
        span = self._open(at_ns)
        if is_rate_limit(data):
            span.rate_limited(retry_after=delay, message=word)
        span.fail(f"{word} (HTTP {status})" if status else "no answer from the API", reason=reason_of(word, status))
        self._end(at_ns)
        self._attempt = int(data.get("attempt") or self._attempt) + 1
        loop = asyncio.get_running_loop()
        self._pause = loop.call_later(delay, self._begin, at_ns + int(delay * 1e9))

    def fell_back(self, data: Mapping[str, Any], at_ns: int) -> None:
        """The model could not be had, and another is asked for the rest of the message."""
        word = str(data.get("trigger") or "overloaded")
        self._open(at_ns).fail(
            f"{word}: {data.get('content') or 'another model is asked'}", reason=reason_of(word, None)
        )
        self._end(at_ns)
        self._attempt += 1
        self.model = data.get("fallback_model") or self.model
        self._begin(at_ns)

    def event(self, event: Mapping[str, Any], at_ns: int) -> str:
        """An event of the stream of the API; the piece of the answer in it, if any."""
        kind, reply = event.get("type"), self._reply
        if kind == "message_start":
            self._open(at_ns)
            message = event.get("message") or {}
            self._reply = Growing(message.get("id"), message.get("model"), usage=dict(message.get("usage") or {}))
        elif kind == "content_block_start":
            reply.blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif kind == "content_block_delta":
            if not reply.begun:
                reply.begun = True
                self._open(at_ns).first_token(at_ns)
            return _grow(reply.blocks.setdefault(event["index"], {"type": "text", "text": ""}), event["delta"])
        elif kind == "message_delta":
            reply.stop = (event.get("delta") or {}).get("stop_reason") or reply.stop
            reply.usage.update({key: value for key, value in (event.get("usage") or {}).items() if value is not None})
        elif kind == "message_stop":
            self._finish(at_ns)
        return ""

    def compacting(self, at_ns: int) -> None:
        """What was requested is a summary of the conversation."""
        if not self._compacting:
            self._compacting = True
            self._open(at_ns).set({v.REASON: "compaction"})

    def compacted(self, data: Mapping[str, Any], summary: str, at_ns: int) -> None:
        """The conversation is shorter now, and the model is asked what it was to be asked."""
        about = data.get("compact_metadata") or {}
        before, after = about.get("pre_tokens"), about.get("post_tokens")
        self._turn.tracer.current().compacted(about.get("trigger"), before=before, after=after)
        span = self._open(at_ns)
        span.set({v.REASON: "compaction"})
        span.answer(genai.message("assistant", genai.text(summary), finish_reason="stop"), finish_reason="stop")
        self._end(at_ns)
        self._compacting = False
        self.messages[:] = [genai.message("user", genai.text(summary)), *self.messages[-1:]]
        self._begin(at_ns)

    def failed(self, message: str, reason: str, at_ns: int) -> None:
        """The API's last word was an error."""
        if self._span is None and self._pause is None:
            return
        span = self._open(at_ns)
        if self._reply.blocks:
            self.cut, reason = True, "cut"
            self._answer(span)
        span.fail(message, reason=reason)
        self._end(at_ns)

    def close(self, error: BaseException | str | None, at_ns: int) -> None:
        """The message has ended: what is still open ends with that error."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._span is not None:
            if self._reply.blocks:
                self._answer(self._span)
            if error is not None:
                self._span.fail(error)
            self._end(at_ns)

    def _begin(self, at_ns: int) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._span is not None:
            self._end(at_ns)
        self._reply = Growing()
        self._span = self._turn.tracer.model_call(
            model=self.model,
            provider=PROVIDER,
            messages=self.messages,
            system=self._system or None,
            attempt=self._attempt,
            start_ns=at_ns,
        )

    def _open(self, at_ns: int) -> ModelSpan:
        if self._span is None:
            self._begin(at_ns)
        assert self._span is not None
        return self._span

    def _end(self, at_ns: int) -> None:
        if self._span is not None:
            self._span.end(at_ns)
            self._span = None

    def _answer(self, span: ModelSpan) -> str:
        reply = self._reply
        finish = _FINISH.get(reply.stop or "", reply.stop or "")
        parts = [part for index in sorted(reply.blocks) if (part := part_of(reply.blocks[index])) is not None]
        message = genai.message("assistant", *(parts or [genai.text("")]), finish_reason=finish or None)
        span.answer(message, finish_reason=finish or None, model=reply.model, response_id=reply.id)
        self.messages.append(message)
        return finish

    def _finish(self, at_ns: int) -> None:
        span, reply = self._open(at_ns), self._reply
        self.cut = not self._answer(span)
        if self.cut:
            span.fail("the stream ended before the answer did", reason="cut")
        used = tokens(reply.usage)
        span.usage(**used)
        self._end(at_ns)
        self._used(
            Usage(
                input_tokens=used["input_tokens"] or 0,
                output_tokens=used["output_tokens"] or 0,
                model_calls=1,
                cost_usd=span.cost_usd,
                estimated=True,
            )
        )


def tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens as our spans have them: those read include the cached ones."""
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    fresh = usage.get("input_tokens")
    return {
        "input_tokens": None if fresh is None else fresh + (read or 0) + (written or 0),
        "output_tokens": usage.get("output_tokens"),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens") or None,
    }


def part_of(block: Mapping[str, Any]) -> genai.Part | None:
    """A block of a reply as a part of a message; None for what has no words."""
    kind = block.get("type")
    if kind == "text":
        return genai.text(block.get("text", "")) if block.get("text") else None
    if kind == "thinking":
        return genai.reasoning(block["thinking"]) if block.get("thinking") else None
    if kind in ("tool_use", "server_tool_use"):
        return genai.tool_call(str(block.get("name")), _arguments(block), block.get("id"))
    return None


def _arguments(block: Mapping[str, Any]) -> Any:
    if not block.get("json"):
        return block.get("input") or {}
    try:
        return json.loads(block["json"])
    except ValueError:
        return block["json"]


def _grow(block: dict[str, Any], delta: Mapping[str, Any]) -> str:
    kind = delta.get("type")
    if kind == "text_delta":
        block["text"] = block.get("text", "") + delta["text"]
        return str(delta["text"])
    if kind == "thinking_delta":
        block["thinking"] = block.get("thinking", "") + delta["thinking"]
    elif kind == "input_json_delta":
        block["json"] = block.get("json", "") + delta["partial_json"]
    return ""
