"""Chat completions on the wire: conversations as messages, streams as what a model said.

One dialect of many: the field for thoughts, whether tokens are counted, ids of calls and the end of a stream differ
from server to server, and all of it is taken as it comes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx

from teamwright.backends.api import File, Tool
from teamwright.backends.calls import ModelError, guessed_tokens
from teamwright.backends.loop import Asked, Entry, Said, ToolCall, named
from teamwright.tracing.messages import to_json

#: Where servers put thoughts: vLLM, llama.cpp, DeepSeek; OpenRouter, Ollama.
_THOUGHTS = ("reasoning_content", "reasoning")
_DONE: Mapping[str, Any] = {"done": True}
_OPEN, _CLOSE = "<think>", "</think>"
_FINISH = {"tool_calls": "tool_call", "function_call": "tool_call"}


def messages(system: str, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A conversation as the request has it."""
    made: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for entry in entries:
        if isinstance(entry, Said):
            role = "assistant" if entry.role == "agent" else "user"
            made.append({"role": role, "content": _content(entry)})
        elif isinstance(entry, Asked):
            made.append(entry.raw)
        else:
            made += [
                {"role": "tool", "tool_call_id": result.call.id, "content": result.text} for result in entry.results
            ]
    return made


def functions(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools as the request has them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in tools
    ]


async def events(response: httpx.Response) -> AsyncIterator[Mapping[str, Any]]:
    """The chunks of a stream, as far as it goes. Raises ModelError where one is no JSON object."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue  # comments that keep the connection open, names of events
        data = line[5:].strip()
        if data == "[DONE]":
            yield _DONE
            return
        yield parsed(data)


def parsed(text: str) -> Mapping[str, Any]:
    """A JSON object from the server. Raises ModelError: no JSON, or the object of an error."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"the server sent no JSON object: {text[:200]}", reason="bad_answer", passing=True)
    if found.get("error"):
        error = found["error"]
        said = error.get("message", error) if isinstance(error, dict) else error
        code = error.get("code") if isinstance(error, dict) else None
        limited = code == 429
        raise ModelError(
            f"the server ended the answer with an error: {said}",
            reason="rate_limited" if limited else "server_error",
            passing=True,
        )
    return found


class Gathered:
    """What one reply says, gathered from its chunks."""

    def __init__(self) -> None:
        self.text = ""
        self.thinking = ""
        self.finish: str | None = None
        self.model: str | None = None
        self.id: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.begun = False
        self.done = False
        self._thoughts_in: str | None = None
        self._calls: list[dict[str, str]] = []
        self._held = ""
        self._inside: bool | None = None

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take a chunk of a stream, or a whole reply; the new words of the answer."""
        self.done |= chunk is _DONE
        self.model = chunk.get("model") or self.model
        self.id = chunk.get("id") or self.id
        self.usage = chunk.get("usage") or self.usage
        said = ""
        for choice in (chunk.get("choices") or [])[:1]:
            self.finish = choice.get("finish_reason") or self.finish
            said += self._delta(choice.get("delta") or choice.get("message") or {})
        return said

    def rest(self) -> str:
        """The end of the stream: what was held back, as it might have been the beginning of a tag."""
        held, self._held = self._held, ""
        if self._inside:
            self.thinking += held
            return ""
        self.text += held
        return held

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls; each has an id, also where the server gives none."""
        made: list[ToolCall] = []
        for slot in self._calls:
            slot["id"] = slot["id"] or f"call_{uuid4().hex[:12]}"
            arguments, broken = _arguments(slot["arguments"])
            made.append(ToolCall(slot["id"], slot["name"], arguments, broken))
        return tuple(made)

    @property
    def finish_reason(self) -> str:
        """In the words of the conventions."""
        if self._calls:
            return "tool_call"
        return _FINISH.get(self.finish or "stop", self.finish or "stop")

    def raw(self, calls: Sequence[ToolCall]) -> dict[str, Any]:
        """The reply as it is sent back: thoughts in the field they came in, broken arguments as none."""
        made: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self._thoughts_in is not None:
            made[self._thoughts_in] = self.thinking
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": to_json(call.arguments)}}
            for call in calls
        ]
        return made

    def _delta(self, delta: Mapping[str, Any]) -> str:
        for field in _THOUGHTS:
            if isinstance(delta.get(field), str) and delta[field]:
                self.begun = True
                self._thoughts_in = field
                self.thinking += delta[field]
                break
        for call in delta.get("tool_calls") or []:
            self.begun = True
            self._call(call)
        content = delta.get("content") or delta.get("refusal") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        if content:
            self.begun = True
        return self._words(content)

    def _call(self, call: Mapping[str, Any]) -> None:
        index, function = call.get("index"), call.get("function") or {}
        if not isinstance(index, int):  # servers that send each call whole
            same = next(
                (at for at, slot in enumerate(self._calls) if call.get("id") and slot["id"] == call["id"]), None
            )
            index = len(self._calls) if same is None else same
        while len(self._calls) <= min(index, 999):
            self._calls.append({"id": "", "name": "", "arguments": ""})
        slot = self._calls[min(index, 999)]
        slot["id"] = slot["id"] or call.get("id") or ""
        slot["name"] = slot["name"] or function.get("name") or ""
        arguments = function.get("arguments") or ""
        slot["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _words(self, content: str) -> str:
        """The words of the answer in `content`: thoughts between tags at its beginning are taken out."""
        self._held += content
        if self._inside is None:
            start = self._held.lstrip()
            if len(start) < len(_OPEN) and _OPEN.startswith(start):
                return ""
            self._inside = start.startswith(_OPEN)
            if self._inside:
                self._held = start[len(_OPEN) :]
        if self._inside:
            end = self._held.find(_CLOSE)
            if end < 0:
                keep = max(0, len(self._held) - len(_CLOSE) + 1)
                self.thinking, self._held = self.thinking + self._held[:keep], self._held[keep:]
                return ""
            self.thinking += self._held[:end]
            self._held = self._held[end + len(_CLOSE) :].lstrip()
            self._inside = False
        said, self._held = self._held, ""
        self.text += said
        return said


def tokens(gathered: Gathered, read: int) -> tuple[dict[str, int | None], float | None, bool]:
    """What a call used: tokens for a span, dollars where the server names them, and whether the tokens are guessed.

    `read` is the guess of what went in.
    """
    usage = gathered.usage
    if not usage or not isinstance(usage.get("prompt_tokens"), int):
        written = gathered.text + gathered.thinking + "".join(to_json(call.arguments) for call in gathered.calls)
        return {"input_tokens": read, "output_tokens": guessed_tokens(written)}, None, True
    details, wrote = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    cost = usage.get("cost")
    return (
        {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage.get("completion_tokens"),
            "cache_read_tokens": details.get("cached_tokens"),
            "reasoning_tokens": wrote.get("reasoning_tokens"),
        },
        float(cost) if isinstance(cost, int | float) else None,
        False,
    )


def _content(entry: Said) -> str | list[dict[str, Any]]:
    if not entry.files:
        return entry.text
    return [{"type": "text", "text": entry.text}, *map(_file, entry.files)]


def _file(file: File) -> dict[str, Any]:
    kind = file.media_type
    if kind.startswith("image/") and (file.data is not None or (file.uri or "").startswith("https://")):
        return {"type": "image_url", "image_url": {"url": _data_url(file) if file.data is not None else file.uri}}
    if file.data is not None and kind in ("audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3"):
        form = "wav" if "wav" in kind else "mp3"
        return {"type": "input_audio", "input_audio": {"data": b64encode(file.data).decode(), "format": form}}
    if file.data is not None and kind == "application/pdf":
        return {"type": "file", "file": {"filename": file.name, "file_data": _data_url(file)}}
    try:
        said = (file.data or b"").decode()
    except UnicodeDecodeError:
        said = ""
    return {"type": "text", "text": f"{named(file)}\n{said}".rstrip()}


def _data_url(file: File) -> str:
    return f"data:{file.media_type};base64,{b64encode(file.data or b'').decode()}"


def _arguments(text: str) -> tuple[Mapping[str, Any], str | None]:
    if not text.strip():
        return {}, None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return (found, None) if isinstance(found, dict) else ({}, text)
