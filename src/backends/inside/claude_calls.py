"""The model calls of one message to Claude, as the CLI streams them, and its sub-agents', from whole blocks."""

from __future__ import annotations

from typing import Any

from . import claude_words as words
from .scope import Scope

_PROVIDER = "anthropic"


class Calls:
    """Those of the main conversation: `messages` is what it holds, and grows. `place` is where their spans belong."""

    def __init__(
        self, scope: Scope, place: int, model: str | None, system: str, messages: list[dict[str, Any]]
    ) -> None:
        self.model = model
        #: The spans that were made.
        self.numbers: list[int] = []
        #: Tokens read and written by them.
        self.read = self.written = 0
        self._scope = scope
        self._place = place
        self._system = system
        self._messages = messages
        self._number = 0
        self._reply: words.Growing | None = None
        self._attempt = 1
        self._next = 0
        self._compacting = False
        self._early: list[dict[str, Any]] = []

    def requesting(self, at: int) -> None:
        """A request goes out."""
        self._attempt, self._next = 1, 0
        self._begin(at)

    def retrying(self, data: dict[str, Any], at: int) -> None:
        """A try has failed, and another follows after a pause."""
        delay, status = int(data.get("retry_delay_ms") or 0), data.get("error_status")
        word = str(data.get("error") or "failed")
        number = self._open(at)
        if word == "rate_limit" or status == 429:
            self._scope.note(number, "rate limit", at, after=delay / 1000, text=word)
        text = f"{word} (HTTP {status})" if status else "no answer from the API"
        self._end(at, error={"text": text, "status": status, "reason": None if status else words.reason_of(word)})
        self._attempt = int(data.get("attempt") or self._attempt) + 1
        self._next = at + delay * 1_000_000

    def event(self, event: dict[str, Any], at: int) -> None:
        """An event of the stream of the API."""
        kind = event.get("type")
        number = self._open(at)
        if kind == "message_start":
            self._reply = words.Growing(event.get("message") or {})
        elif self._reply is not None and kind == "message_stop":
            self._finish(at)
        elif self._reply is not None:
            before = self._reply.begun
            self._reply.event(event)
            if self._reply.begun and not before:
                self._scope.note(number, "first token", at)

    def whole(self, message: dict[str, Any], since: int, at: int) -> None:
        """A block of a reply that was not streamed to us: what the CLI shows of it is all there is."""
        if self._reply is not None and self._reply.id == message.get("id"):
            return
        self._begin(since)
        self._reply = words.Growing(message)
        self._reply.blocks = dict(enumerate(message.get("content") or ()))
        self._reply.stop = message.get("stop_reason") or "end_turn"
        self._finish(at)

    def shown(self, results: list[dict[str, Any]]) -> None:
        """What the model will be shown next; what the CLI refuses while the reply still comes stands behind it."""
        (self._early if self._number else self._messages).extend(results)

    def compacting(self) -> None:
        """What was requested is a summary of the conversation."""
        self._compacting = True

    def compacted(self, data: dict[str, Any], at: int) -> None:
        """The conversation is shorter now, and the model is asked what it was to be asked."""
        about = data.get("compact_metadata") or {}
        self._scope.note(
            self._place, "compaction", at, text=about.get("trigger"), before=about.get("pre_tokens"),
            after=about.get("post_tokens"),
        )  # fmt: skip
        if self._compacting and self._number:
            self._end(at, compaction=True)
        self._compacting = False
        self._messages[:] = self._messages[-1:]
        self._begin(at)

    def failed(self, text: str, word: Any, at: int) -> None:
        """The API's last word was an error."""
        if self._number or self._next:
            self._open(at)
            cut = self._reply is not None and bool(self._reply.blocks)
            status = None if cut else words.status_of(word, text)
            reason = "cut" if cut else None if status else words.reason_of(word)
            self._end(at, error={"text": text, "status": status, "reason": reason}, partly=True)

    def close(self, error: dict[str, Any] | None, at: int) -> None:
        """The message has ended: what is still open ends with that error."""
        if self._number:
            self._end(at, error=error, partly=True, early=True if error is None else None)

    def _begin(self, at: int) -> None:
        if self._number:
            self._end(at)
        self._reply = None
        self._number = self._scope.begin(
            "model", parent=self._place, at=self._next or at, model=self.model, provider=_PROVIDER,
            messages=list(self._messages), system=self._system or None, attempt=self._attempt,
        )  # fmt: skip
        self._next = 0
        self.numbers.append(self._number)

    def _open(self, at: int) -> int:
        if not self._number:
            self._begin(at)
        return self._number

    def _end(self, at: int, *, partly: bool = False, compaction: bool = False, **about: Any) -> None:
        if partly and self._reply is not None and self._reply.blocks:
            about["answer"] = self._reply.message
        if compaction:
            about["answer"] = {"role": "assistant", "parts": [{"type": "text", "content": "(a summary)"}]}
        self._scope.end(self._number, at, **about)
        self._number = 0
        self._messages += self._early
        self._early = []

    def _finish(self, at: int) -> None:
        reply = self._reply
        assert reply is not None
        message, used = reply.message, words.tokens(reply.usage)
        error = None if reply.stop else {"text": "the stream ended before the answer did", "reason": "cut"}
        self._messages.append(message)
        self.read += used["input_tokens"] or 0
        self.written += used["output_tokens"] or 0
        self._end(
            at, answer=message, finish=message.get("finish_reason"), model=reply.model, response_id=reply.id,
            usage=used, error=error,
        )  # fmt: skip


class SubAgent:
    """One that the CLI runs inside a message. A call begins when it starts, or when its tools are through."""

    def __init__(self, scope: Scope, number: int, at: int) -> None:
        self.number = number
        self.next = at
        self._scope = scope
        self._messages: list[dict[str, Any]] = []
        self._call = 0
        self._id: str | None = None
        self._blocks: list[dict[str, Any]] = []
        self._usage: dict[str, Any] = {}
        self._last = at

    def said(self, message: dict[str, Any], at: int) -> None:
        """Blocks of its model's reply."""
        if not self._call or self._id != message.get("id"):
            self.end_call()
            self._call = self._scope.begin(
                "model", parent=self.number, at=self.next, model=message.get("model"), provider=_PROVIDER,
                messages=list(self._messages),
            )  # fmt: skip
            self._id, self._blocks = message.get("id"), []
        self._blocks += message.get("content") or ()
        self._usage, self._last = message.get("usage") or {}, at

    def told(self, content: Any) -> None:
        """Its task, or the results of its tools."""
        self.end_call()
        self._messages += words.messages_of(content)

    def end_call(self) -> None:
        """Its model has said what it had to say. Tokens written are not told; those of all count with the message's."""
        if not self._call:
            return
        asks = any(block.get("type") == "tool_use" for block in self._blocks)
        finish = "tool_call" if asks else "stop"
        message = words.reply(self._blocks, finish)
        known = {key: value for key, value in words.tokens(self._usage).items() if key != "output_tokens"}
        self._scope.end(
            self._call, self._last, answer=message, finish=finish, response_id=self._id, seen_usage=known
        )  # fmt: skip
        self._messages.append(message)
        self._call = 0

    def end(self, at: int, said: Any = None, error: dict[str, Any] | None = None) -> None:
        """It is through."""
        self.end_call()
        self._scope.end(self.number, at, answer=str(said) if said else None, error=error)
