"""Ollama's own chat API: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.standins.script import Reply, Seen
from tests.standins.server import StandIn


class OllamaChat(StandIn):
    """`url` is what OLLAMA_HOST is set to. Calls have no ids here: results come in the order of the calls."""

    def read(self, number: int, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Seen | None:
        if path != "/api/chat":
            return None
        messages = body.get("messages") or []
        last = max((at for at, one in enumerate(messages) if one["role"] == "assistant"), default=0)
        results = [one["content"] for one in messages[last:] if one["role"] == "tool"]
        return Seen(
            number,
            path,
            headers,
            body,
            model=str(body.get("model", "")),
            streaming=body.get("stream", True),
            system="\n".join(one["content"] for one in messages if one["role"] == "system"),
            user=next((one["content"] for one in reversed(messages) if one["role"] == "user"), ""),
            said=[one["content"] for one in messages if one["role"] in ("user", "assistant") and one["content"]],
            tools=[tool["function"]["name"] for tool in body.get("tools") or []],
            results={str(at): text for at, text in enumerate(results)},
        )

    def frames(self, seen: Seen, reply: Reply) -> Iterator[bytes]:
        for piece in reply.pieces:
            yield _line(seen, {"content": piece})
        if reply.calls:
            calls = [{"function": {"name": call.name, "arguments": _arguments(call.arguments)}} for call in reply.calls]
            yield _line(seen, {"content": "", "tool_calls": calls})
        yield _line(seen, {"content": ""}, **_end(reply))

    def whole(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        return {"model": seen.model, "message": {"role": "assistant", "content": reply.whole}, **_end(reply)}

    def error(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        return {"error": reply.error or "no"}


def _line(seen: Seen, message: Mapping[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": seen.model, "message": {"role": "assistant", **message}, **more}).encode() + b"\n"


def _arguments(given: Mapping[str, Any] | str) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given


def _end(reply: Reply) -> dict[str, Any]:
    tokens = reply.tokens
    used = {"prompt_eval_count": tokens.read, "eval_count": tokens.written} if tokens else {}
    return {"done": True, "done_reason": reply.finish or "stop", **used}
