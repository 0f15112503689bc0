"""The `chat` spans of one message, from what the SDK streams: true start, first token, end, tokens, retries.

A call begins when the CLI says `requesting`; a failed try ends with `api_retry`, and the next begins when its pause
is over. A call that shortens the conversation has the reason `compaction`; the SDK shows of it only when it ran and
what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from teamwright.backends.api import Turn, Usage
from teamwright.backends.claude.failures import reason_of
from teamwright.backends.claude.settings import PROVIDER
from teamwright.backends.inside import claude_words as words
from teamwright.tracing import messages as genai
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import ModelSpan

_RATE_LIMITED = "rate_limit"


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
        self._reply = words.Growing({})
        self._attempt = 1
        self._pause: asyncio.TimerHandle | None = None
        self._compacting = False
        self._early: list[Mapping[str, Any]] = []
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
            self._reply = words.Growing(event.get("message") or {})
        elif kind == "message_stop":
            self._finish(at_ns)
        else:
            begun = reply.begun
            reply.event(event)
            if reply.begun and not begun:
                self._open(at_ns).first_token(at_ns)
            if kind == "content_block_delta":
                return str(event["delta"].get("text") or "")
        return ""

    def shown(self, results: Sequence[Mapping[str, Any]]) -> None:
        """What the model will be shown next; what the CLI refuses while the reply still comes stands behind it."""
        (self._early if self.under_way else self.messages).extend(results)

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
        self._reply = words.Growing({})
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
            self.messages.extend(self._early)
            self._early.clear()

    def _answer(self, span: ModelSpan) -> str:
        reply = self._reply
        message = reply.message
        finish = message.get("finish_reason")
        span.answer(message, finish_reason=finish, model=reply.model, response_id=reply.id)
        self.messages.append(message)
        return finish or ""

    def _finish(self, at_ns: int) -> None:
        span, reply = self._open(at_ns), self._reply
        self.cut = not self._answer(span)
        if self.cut:
            span.fail("the stream ended before the answer did", reason="cut")
        used = words.tokens(reply.usage)
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
