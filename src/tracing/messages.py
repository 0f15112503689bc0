"""Messages as the GenAI conventions have them: JSON text of roles with parts.

[{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]
[{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}],
  "finish_reason": "tool_call"}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from json.encoder import encode_basestring as quoted
from typing import Any

Part = dict[str, Any]
Message = Mapping[str, Any]
#: A plain text, one message, several, or JSON that is already in this form.
Messages = str | Message | Sequence[Message]


def text(content: str) -> Part:
    """A part that is text."""
    return {"type": "text", "content": content}


def reasoning(content: str) -> Part:
    """A part that the model thought rather than said."""
    return {"type": "reasoning", "content": content}


def tool_call(name: str, arguments: Any, call_id: str | None = None) -> Part:
    """A part in which the model asks for a tool."""
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}


def tool_result(response: Any, call_id: str | None = None) -> Part:
    """A part that answers a tool call."""
    return {"type": "tool_call_response", "id": call_id, "response": response}


def file(name: str, media_type: str, size: int | None = None, uri: str | None = None) -> Part:
    """A part that is a file, without what is in it: its size in bytes, or where it lies."""
    found = {"type": "file", "name": name, "mime_type": media_type, "size": size, "uri": uri}
    return {key: value for key, value in found.items() if value is not None}


def said(role: str, words: str, files: Iterable[Part] = ()) -> Messages | None:
    """Words with files beside them; None where there is neither."""
    parts = [*([text(words)] if words else []), *files]
    return words or None if len(parts) == bool(words) else message(role, *parts)


def message(role: str, *parts: Part, finish_reason: str | None = None) -> dict[str, Any]:
    """One message; `role` is system, user, assistant or tool."""
    made: dict[str, Any] = {"role": role, "parts": list(parts)}
    if finish_reason is not None:
        made["finish_reason"] = finish_reason
    return made


def to_json(value: Any) -> str:
    """`value` as compact JSON; what JSON has no word for becomes text. Never raises."""
    try:
        return _encoder().encode(value)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_repr(value), ensure_ascii=False)


def encode(messages: Messages, role: str = "user", *, finish_reason: str | None = None) -> str:
    """Messages as the JSON text of an attribute; a plain text becomes one message of `role`."""
    if isinstance(messages, str):
        # The commonest case by far, so not by way of a dictionary.
        end = "" if finish_reason is None else f',"finish_reason":{quoted(finish_reason)}'
        return f'[{{"role":{quoted(role)},"parts":[{{"type":"text","content":{quoted(messages)}}}]{end}}}]'
    if isinstance(messages, Mapping):
        return to_json([messages])
    return to_json(list(messages))


def plain_text(encoded: Any) -> str:
    """The words in an attribute that `encode` made: the last message's text, or the calls it consists of.

    Others give messages as lists of mappings, as the conventions prefer, or anything at all.
    """
    try:
        found = json.loads(encoded or "[]") if isinstance(encoded, str) else encoded or []
        if isinstance(found, dict) and "preview" in found:  # in a file of its own
            return f"{found['preview']}…"
        parts = found[-1]["parts"] if found else []
        words = [part["content"] for part in parts if part.get("type") == "text" and part.get("content")]
        words += [f"{part['preview']}…" for part in parts if part.get("type") == "uri" and part.get("preview")]
        calls = [
            f"{part['name']}({to_json(part.get('arguments'))})" for part in parts if part.get("type") == "tool_call"
        ]
        answers = [part for part in parts if part.get("type") == "tool_call_response"]
        replies = [_said(part.get("response", part.get("result"))) for part in answers]
        files = [f"(file {part['name']})" for part in parts if part.get("type") == "file"]
        return " ".join(words + calls + replies + files)
    except (ValueError, LookupError, TypeError, AttributeError):
        return _said(encoded) if encoded else ""


@cache
def _encoder() -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=_repr)
    for method in ("model_dump", "to_dict"):
        dump = getattr(value, method, None)
        if callable(dump) and not isinstance(value, type):
            try:
                return dump()
            except Exception:
                break
    return _repr(value)


def _repr(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
