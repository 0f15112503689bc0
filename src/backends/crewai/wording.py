"""CrewAI's conversations and tools as chat completions and spans have them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from teamwright.backends import chat_wire, loop
from teamwright.backends.api import Tool, Turn
from teamwright.backends.loop import Said, ToolCall
from teamwright.tracing import messages as genai

_KEYS = ("role", "content", "tool_calls", "tool_call_id")


def tool_name(name: str) -> str:
    """A tool's name as CrewAI gives it to models."""
    from crewai.utilities.string_utils import sanitize_tool_name

    return str(sanitize_tool_name(name))


def parted(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Mapping[str, Any]]]:
    """The instructions, and the rest as a `chat` span holds it."""
    system = "\n\n".join(_text(one.get("content")) for one in messages if one.get("role") == "system")
    made: list[Mapping[str, Any]] = []
    for one in messages:
        role, text = one.get("role"), _text(one.get("content"))
        if role == "tool":
            made.append(genai.message("tool", genai.tool_result(text, str(one.get("tool_call_id") or ""))))
        elif role == "assistant":
            calls = [_call(call) for call in one.get("tool_calls") or ()]
            made.append(loop.reply_message(text, calls))
        elif role != "system":
            made.append(genai.message("user", genai.text(text)))
    return system, made


def last_words(messages: Any) -> str:
    """What an agent is asked: a text, or the last of a conversation."""
    if isinstance(messages, str):
        return messages
    return _text(messages[-1].get("content")) if messages else ""


def for_wire(
    messages: Sequence[Mapping[str, Any]], raw: Mapping[str, Mapping[str, Any]], turn: Turn
) -> list[dict[str, Any]]:
    """The conversation as the request has it: replies with calls as they came, by the id of a call in `raw`."""
    made: list[dict[str, Any]] = []
    asks = _question(messages, turn) if turn.files else -1
    for number, one in enumerate(messages):
        calls = one.get("tool_calls") or ()
        if calls and (known := raw.get(str(calls[0].get("id")))) is not None:
            made.append(dict(known))
            continue
        message = {key: one[key] for key in _KEYS if one.get(key) is not None}
        message.setdefault("content", None if calls else "")
        if number == asks:
            (message,) = chat_wire.messages("", [Said("user", _text(one.get("content")), tuple(turn.files))])
        made.append(message)
    return made


def functions(offered: Sequence[Mapping[str, Any]], tools: Mapping[str, Tool]) -> list[dict[str, Any]]:
    """The tools as the request has them: ours with the schema they have, the crew's own as CrewAI words them."""
    made = []
    for one in offered:
        about = dict(one.get("function") or one)
        about.pop("strict", None)
        if (tool := tools.get(str(about.get("name")))) is not None:
            about["parameters"] = dict(tool.parameters)
        made.append({"type": "function", "function": about})
    return made


def calls_in(response: Any) -> tuple[ToolCall, ...]:
    """The tool calls in what CrewAI says a model answered."""
    if not isinstance(response, list):
        return ()
    return tuple(_call(one) for one in response if isinstance(one, Mapping) and "function" in one)


def _question(messages: Sequence[Mapping[str, Any]], turn: Turn) -> int:
    """Which message asks what the user asked: the files belong to it."""
    found = [
        number
        for number, one in enumerate(messages)
        if one.get("role") == "user" and turn.text in _text(one.get("content"))
    ]
    return found[-1] if found else -1


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function") or {}
    text = str(function.get("arguments") or "{}")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    good = isinstance(found, dict)
    return ToolCall(
        str(call.get("id") or ""), str(function.get("name") or ""), found if good else {}, None if good else text
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content or "")


def matches(rule: str, name: str) -> bool:
    """Whether a deny rule (`delete_*`) is about that tool."""
    return re.fullmatch(re.escape(rule).replace(r"\*", ".*"), name) is not None
