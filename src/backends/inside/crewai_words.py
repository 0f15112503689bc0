"""CrewAI's conversations, replies and counts in the words of the GenAI conventions."""

from __future__ import annotations

import json
import re
from typing import Any

_FINISH = {
    "tool_calls": "tool_call", "tool_use": "tool_call", "end_turn": "stop", "stop_sequence": "stop",
    "max_tokens": "length", "STOP": "stop", "MAX_TOKENS": "length",
}  # fmt: skip
_STATUS = re.compile(r"(?:Error code|HTTP|status(?: code)?)[: ]+([45]\d\d)")


def parted(said: Any) -> tuple[str, list[dict[str, Any]]]:
    """The instructions, and the rest as messages; `said` is a text or chat messages."""
    if isinstance(said, str):
        return "", [{"role": "user", "parts": [_text(said)]}]
    system: list[str] = []
    made: list[dict[str, Any]] = []
    for one in said or ():
        role, text = one.get("role"), _plain(one.get("content"))
        if role == "system":
            system.append(text)
        elif role == "tool":
            part = {"type": "tool_call_response", "id": str(one.get("tool_call_id") or ""), "response": text}
            made.append({"role": "tool", "parts": [part]})
        elif role == "assistant":
            calls = calls_in(one.get("tool_calls"))
            made.append({"role": "assistant", "parts": [*([_text(text)] if text or not calls else []), *calls]})
        else:
            made.append({"role": "user", "parts": [_text(text)]})
    return "\n\n".join(system), made


def calls_in(response: Any) -> list[dict[str, Any]]:
    """The tool calls in a reply, as OpenAI, Anthropic or Google word them; none where it is words."""
    if not isinstance(response, (list, tuple)):
        return []
    return [made for one in response if (made := _call(one)) is not None]


def finish_of(word: str | None, calls: list[dict[str, Any]]) -> str:
    """Why the model stopped."""
    return _FINISH.get(word or "", word or "") or ("tool_call" if calls else "stop")


def tokens(usage: Any) -> dict[str, int | None] | None:
    """Tokens as CrewAI hands on what each vendor says."""
    if not isinstance(usage, dict):
        return None

    def first(*names: str) -> int | None:
        return next((usage[name] for name in names if isinstance(usage.get(name), int)), None)

    found = {
        "input_tokens": first("prompt_tokens", "input_tokens", "prompt_token_count"),
        "output_tokens": first("completion_tokens", "output_tokens", "candidates_token_count"),
        "cache_read_tokens": first("cached_prompt_tokens", "cached_tokens", "cache_read_input_tokens"),
        "reasoning_tokens": first("reasoning_tokens"),
    }
    return found if any(value is not None for value in found.values()) else None


def arguments(given: Any) -> Any:
    """Arguments of a call: from JSON where they are that."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given or "{}")
    except ValueError:
        return given


def as_text(value: Any) -> str:
    """A result as a text."""
    if isinstance(value, str):
        return value
    dump = getattr(value, "model_dump_json", None)
    return str(dump() if callable(dump) else "" if value is None else value)


def status_in(error: Any) -> int | None:
    """The HTTP status in a vendor's words."""
    found = _STATUS.search(str(error))
    return int(found.group(1)) if found else None


def _call(one: Any) -> dict[str, Any] | None:
    def of(thing: Any, *names: str) -> Any:
        values = (thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None) for name in names)
        return next((value for value in values if value is not None), None)

    about = of(one, "function", "function_call") or one
    name = of(about, "name")
    if not isinstance(name, str):
        return None
    made = {"type": "tool_call", "id": of(one, "id"), "name": name}
    made["arguments"] = arguments(of(about, "arguments", "input", "args") or {})
    return {key: value for key, value in made.items() if value is not None}


def _plain(content: Any) -> str:
    if isinstance(content, (list, tuple)):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}
