"""google-genai's contents and replies in the words of the GenAI conventions."""

from __future__ import annotations

from typing import Any

from .scope import Asked

_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
_HELD_BACK = ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_")


class Reply:
    """What one answer says, gathered from its pieces."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self.finish: str | None = None
        self._blocked: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._usage: Any = None

    @property
    def begun(self) -> bool:
        return bool(self.parts)

    def add(self, chunk: Any) -> None:
        """A piece, or all of it."""
        self._model = getattr(chunk, "model_version", None) or self._model
        self._id = getattr(chunk, "response_id", None) or self._id
        self._usage = getattr(chunk, "usage_metadata", None) or self._usage
        blocked = getattr(getattr(chunk, "prompt_feedback", None), "block_reason", None)
        if blocked is not None:
            self._blocked = _word(blocked)
        for candidate in (chunk.candidates or ())[:1]:
            if candidate.finish_reason is not None:
                self.finish = _word(candidate.finish_reason)
            for part in parts_of(candidate.content):
                if part["type"] == "tool_call":
                    self.asked.append(Asked(part["name"], part["arguments"], part.get("id")))
                self._join(part)

    @property
    def fault(self) -> dict[str, Any] | None:
        """Why it is no answer."""
        if self._blocked is not None:
            return {"text": f"the prompt was refused: {self._blocked}", "reason": "blocked"}
        if self.finish is None:
            return {"text": "the answer broke off", "reason": "cut"}
        return None

    def told(self) -> dict[str, Any]:
        """What the end of the call says of it."""
        made: dict[str, Any] = {"model": self._model, "response_id": self._id, "usage": self._tokens()}
        if self.parts or self.finish is not None:
            made["finish"] = self._finish_reason()
            made["answer"] = {
                "role": "assistant",
                "parts": self.parts or [{"type": "text", "content": ""}],
                "finish_reason": made["finish"],
            }
        return made

    def _finish_reason(self) -> str:
        if self.asked:
            return "tool_call"
        if self.finish is None:
            return "error"
        return "content_filter" if self.finish.startswith(_HELD_BACK) else _FINISH.get(self.finish, self.finish.lower())

    def _tokens(self) -> dict[str, int | None] | None:
        usage = self._usage
        if usage is None or usage.prompt_token_count is None:
            return None
        thoughts = usage.thoughts_token_count
        return {
            "input_tokens": usage.prompt_token_count + (getattr(usage, "tool_use_prompt_token_count", None) or 0),
            "output_tokens": (usage.candidates_token_count or 0) + (thoughts or 0),
            "cache_read_tokens": usage.cached_content_token_count,
            "reasoning_tokens": thoughts,
        }

    def _join(self, part: dict[str, Any]) -> None:
        last = self.parts[-1] if self.parts else None
        if last is not None and part["type"] == last["type"] and part["type"] in ("text", "reasoning"):
            last["content"] += part["content"]
        else:
            self.parts.append(part)


def message_of(content: Any) -> dict[str, Any]:
    """A Content as a message."""
    parts = parts_of(content)
    role = "assistant" if getattr(content, "role", None) == "model" else "user"
    if parts and all(part["type"] == "tool_call_response" for part in parts):
        role = "tool"
    return {"role": role, "parts": parts}


def parts_of(content: Any) -> list[dict[str, Any]]:
    """The parts of a Content; what has no words is named."""
    if isinstance(content, str):
        return [_text(content)]
    return [part for one in getattr(content, "parts", None) or () if (part := _part(one)) is not None]


def text_of(given: Any) -> str:
    """Instructions: a text, a Content, parts or a list of any of these."""
    if given is None or isinstance(given, str):
        return given or ""
    if isinstance(given, (list, tuple)):
        return "\n".join(filter(None, map(text_of, given)))
    if isinstance(given, dict):
        return str(given.get("text") or "") or text_of(given.get("parts"))
    return str(getattr(given, "text", None) or "") or text_of(getattr(given, "parts", None))


def _part(part: Any) -> dict[str, Any] | None:
    call, response, data = part.function_call, part.function_response, part.inline_data
    if call is not None:
        return _known({"type": "tool_call", "id": call.id, "name": call.name or "", "arguments": call.args or {}})
    if response is not None:
        value = response.response or {}
        plain = next((value[key] for key in ("output", "result", "error") if list(value) == [key]), value)
        made = {"type": "tool_call_response", "id": response.id, "name": response.name or "", "response": plain}
        return _known(made)
    if data is not None:
        size = len(data.data) if data.data is not None else None
        return _file(getattr(data, "display_name", None), data.mime_type, size=size)
    if part.file_data is not None:
        return _file(
            getattr(part.file_data, "display_name", None), part.file_data.mime_type, uri=part.file_data.file_uri
        )
    if part.text:
        return {"type": "reasoning", "content": part.text} if part.thought else _text(part.text)
    for name in ("executable_code", "code_execution_result"):
        if (found := getattr(part, name, None)) is not None:
            return _text(str(getattr(found, "code", None) or getattr(found, "output", None) or ""))
    return None


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _file(name: str | None, kind: str | None, **about: Any) -> dict[str, Any]:
    return _known({"type": "file", "name": name or "file", "mime_type": kind or "application/octet-stream", **about})


def _known(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if value is not None}


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))
