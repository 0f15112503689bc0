"""Gemini's conversations: entries as contents, and what a reply says, gathered from its parts. Imports no SDK.

The parts of a reply are kept as they come and sent back unchanged: they carry signatures of thoughts, without which the
model refuses to go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from teamwright.backends.api import File, Tool
from teamwright.backends.calls import ModelError, guessed_tokens
from teamwright.backends.loop import Asked, Entry, Results, Said, ToolCall, named
from teamwright.tracing.messages import to_json

_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
_HELD_BACK = ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_")
#: The model lost its way: another attempt may do.
_LOST = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "OTHER")
_THINKS = re.compile(r"gemini-(2\.5|[3-9])(?!.*(image|tts))")
_MEDIA = ("image/", "audio/", "video/", "application/pdf")


def thinks(model: str) -> bool:
    """Whether a model of that name has thoughts to show."""
    return _THINKS.search(model) is not None


def contents(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A conversation as the request has it."""
    return [_content(entry) for entry in entries]


def declarations(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools as the request has them."""
    return [
        {"name": tool.name, "description": tool.description, "parameters_json_schema": dict(tool.parameters)}
        for tool in tools
    ]


@dataclass(slots=True)
class Gathered:
    """What one reply says. `parts` are the SDK's own objects."""

    text: str = ""
    thinking: str = ""
    finish: str | None = None
    said_at_the_end: str = ""
    blocked: str | None = None
    model: str | None = None
    id: str | None = None
    usage: Any = None
    parts: list[Any] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    _calls: list[ToolCall] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        return bool(self.parts)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(self._calls)

    @property
    def finish_reason(self) -> str:
        """In the words of the conventions."""
        if self._calls:
            return "tool_call"
        finish = self.finish or "error"
        if finish.startswith(_HELD_BACK):
            return "content_filter"
        return _FINISH.get(finish, finish.lower())

    def add(self, chunk: Any) -> str:
        """Take a chunk of a stream; the new words of the answer."""
        self.model = chunk.model_version or self.model
        self.id = chunk.response_id or self.id
        self.usage = chunk.usage_metadata or self.usage
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
            self.blocked = _word(chunk.prompt_feedback.block_reason)
        said = ""
        for candidate in (chunk.candidates or [])[:1]:
            if candidate.finish_reason is not None:
                self.finish = _word(candidate.finish_reason)
                self.said_at_the_end = candidate.finish_message or ""
            content = candidate.content
            for part in (content.parts if content is not None else None) or ():
                said += self._part(part)
        self.text += said
        return said

    def check(self, who: str) -> None:
        """Raises ModelError for a reply that is none: blocked, cut, lost, or nothing said."""
        if self.blocked is not None:
            raise ModelError(f"{who} refused the prompt: {self.blocked}", reason="blocked")
        if self.finish is None:
            raise ModelError(f"the answer of {who} broke off", reason="cut", passing=True)
        more = f": {self.said_at_the_end}" if self.said_at_the_end else ""
        if self.finish_reason == "content_filter":
            raise ModelError(f"{who} held the answer back: {self.finish}{more}", reason="blocked")
        if self.finish in _LOST:
            raise ModelError(f"{who} ended without an answer: {self.finish}{more}", reason="bad_answer", passing=True)
        if self.finish == "MISSING_THOUGHT_SIGNATURE":
            raise ModelError(f"{who} misses a thought's signature{more}", reason="bad_request")
        if self.finish == "MAX_TOKENS" and not (self.text or self._calls or self.files):
            hint = "raise model_options.max_tokens"
            raise ModelError("the model used all its tokens before it said anything", reason="length", hint=hint)

    def tokens(self, read: int) -> tuple[dict[str, int | None], bool]:
        """What the call used, and whether that is guessed (`read`: what went in). Thoughts are counted apart."""
        usage = self.usage
        if usage is None or usage.prompt_token_count is None:
            written = self.text + self.thinking + "".join(to_json(call.arguments) for call in self._calls)
            return {"input_tokens": read, "output_tokens": guessed_tokens(written)}, True
        thoughts = usage.thoughts_token_count or 0
        return {
            "input_tokens": usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0),
            "output_tokens": (usage.candidates_token_count or 0) + thoughts,
            "cache_read_tokens": usage.cached_content_token_count,
            "reasoning_tokens": usage.thoughts_token_count,
        }, False

    def _part(self, part: Any) -> str:
        if not (part.text == "" and part.thought_signature is None):
            self.parts.append(part)
        if part.function_call is not None:
            call = part.function_call
            self._calls.append(ToolCall(call.id or f"call_{uuid4().hex[:12]}", call.name or "", call.args or {}))
        elif part.inline_data is not None and part.inline_data.data is not None:
            kind = part.inline_data.mime_type or "application/octet-stream"
            ending = kind.partition("/")[2].partition(";")[0]
            name = part.inline_data.display_name or f"file-{len(self.files) + 1}.{ending}"
            self.files.append(File(name, kind, part.inline_data.data))
        elif part.thought:
            self.thinking += part.text or ""
        else:
            return part.text or ""
        return ""


def _content(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Said):
        parts = [{"text": entry.text}, *map(_file, entry.files)]
        return {"role": "model" if entry.role == "agent" else "user", "parts": parts}
    if isinstance(entry, Asked):
        return {"role": "model", "parts": entry.raw}
    return {"role": "user", "parts": _answers(entry)}


def _answers(entry: Results) -> list[dict[str, Any]]:
    return [
        {
            "function_response": {
                "id": result.call.id,
                "name": result.call.name,
                "response": {"error" if result.failed else "output": result.text},
            }
        }
        for result in entry.results
    ]


def _file(file: File) -> dict[str, Any]:
    if file.data is not None and file.media_type.startswith(_MEDIA):
        return {"inline_data": {"mime_type": file.media_type, "data": file.data}}
    if file.uri is not None and file.uri.startswith(("https://", "gs://")):
        return {"file_data": {"mime_type": file.media_type, "file_uri": file.uri}}
    try:
        said = (file.data or b"").decode()
    except UnicodeDecodeError:
        said = ""
    return {"text": f"{named(file)}\n{said}".rstrip()}


def _word(value: Any) -> str:
    """An enum of the SDK, or a word it doesn't know yet."""
    return str(getattr(value, "value", value))
