"""What the Claude CLI says, frame by frame, in the words of the GenAI conventions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_call", "max_tokens": "length",
    "model_context_window_exceeded": "length", "refusal": "content_filter",
}  # fmt: skip
_WORDS = {
    "authentication_failed": "bad_key", "billing_error": "no_credit", "rate_limit": "rate_limited",
    "overloaded": "server_error", "invalid_request": "bad_request", "server_error": "server_error",
    "max_output_tokens": "length", "unknown": "unreachable",
}  # fmt: skip


class Growing:
    """A reply while it arrives: blocks by index, tokens, why it stopped."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.id = message.get("id")
        self.model = message.get("model")
        self.usage = dict(message.get("usage") or {})
        self.blocks: dict[int, dict[str, Any]] = {}
        self.stop: str | None = None
        self.begun = False

    def event(self, event: Mapping[str, Any]) -> None:
        """An event of the API's stream."""
        kind = event.get("type")
        if kind == "content_block_start":
            self.blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif kind == "content_block_delta":
            self.begun = True
            _grow(self.blocks.setdefault(event["index"], {"type": "text", "text": ""}), event["delta"])
        elif kind == "message_delta":
            self.stop = (event.get("delta") or {}).get("stop_reason") or self.stop
            self.usage.update({key: value for key, value in (event.get("usage") or {}).items() if value is not None})

    @property
    def message(self) -> dict[str, Any]:
        """What has come by now."""
        return reply([self.blocks[index] for index in sorted(self.blocks)], FINISH.get(self.stop or "", self.stop))


def reply(blocks: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    """Blocks as an assistant's message."""
    parts = [part for block in blocks if (part := part_of(block)) is not None]
    made: dict[str, Any] = {"role": "assistant", "parts": parts or [_text("")]}
    if finish:
        made["finish_reason"] = finish
    return made


def part_of(block: dict[str, Any]) -> dict[str, Any] | None:
    """A block as a part of a message; None for what has no words."""
    kind = block.get("type")
    if kind == "text":
        return _text(block["text"]) if block.get("text") else None
    if kind == "thinking":
        return {"type": "reasoning", "content": block["thinking"]} if block.get("thinking") else None
    if kind in ("tool_use", "server_tool_use"):
        return {
            "type": "tool_call", "id": block.get("id"), "name": str(block.get("name")), "arguments": _arguments(block)
        }  # fmt: skip
    if kind == "tool_result":
        return {"type": "tool_call_response", "id": block.get("tool_use_id"), "response": plain(block.get("content"))}
    return _text(f"({kind})") if kind in ("image", "document") else None


def messages_of(content: Any) -> list[dict[str, Any]]:
    """What the model is told: words of a user, and results of tools."""
    if isinstance(content, str):
        return [{"role": "user", "parts": [_text(content)]}]
    parts = [part for block in content or () if (part := part_of(block)) is not None]
    results = [part for part in parts if part["type"] == "tool_call_response"]
    others = [part for part in parts if part["type"] != "tool_call_response"]
    made = [{"role": "tool", "parts": results}] if results else []
    return [*made, {"role": "user", "parts": others}] if others else made


def tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens as our spans have them: those read include the cached ones."""
    read, written, fresh = (
        usage.get(key) for key in ("cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens")
    )
    return {
        "input_tokens": None if fresh is None else fresh + (read or 0) + (written or 0),
        "output_tokens": usage.get("output_tokens"),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens") or None,
    }


def plain(content: Any) -> str:
    """The text in a tool's result: text, MCP content, or a structure of a built-in tool."""
    if isinstance(content, str):
        return str(content).replace("<tool_use_error>", "").replace("</tool_use_error>", "")
    if isinstance(content, dict) and isinstance(content.get("content"), list):
        content = content["content"]
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return "" if content is None else json.dumps(content, ensure_ascii=False, default=str)


def unreadable(arguments: Any) -> str | None:
    """What came instead of arguments where it was no JSON: the CLI shows it in a wrapping of its own."""
    found = arguments.get("__unparsedToolInput") if isinstance(arguments, dict) and len(arguments) == 1 else None
    return str(found.get("raw", "")) if isinstance(found, dict) else None


def status_of(word: Any, text: str) -> int | None:
    """The HTTP status of a failure for which the CLI has no name of its own, where its words tell it."""
    found = re.match(r"API Error: (\d{3})\b", text) if word in (None, "unknown") else None
    return int(found[1]) if found else None


def reason_of(word: Any) -> str:
    """A short stable word for an error of the API, by the CLI's name for it."""
    return _WORDS.get(str(word), "backend_error")


def _arguments(block: dict[str, Any]) -> Any:
    if not block.get("json"):
        return block.get("input") or {}
    try:
        return json.loads(block["json"])
    except ValueError:
        return block["json"]


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for kind, key, part in (
        ("text_delta", "text", "text"), ("thinking_delta", "thinking", "thinking"),
        ("input_json_delta", "json", "partial_json"),
    ):  # fmt: skip
        if delta.get("type") == kind:
            block[key] = block.get(key, "") + delta[part]


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}
