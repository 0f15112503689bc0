"""Chat completions, as OpenAI, Ollama, vLLM, llama.cpp and OpenRouter speak them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.standins.script import Call, Reply, Seen, Tokens
from tests.standins.server import StandIn, sse


class ChatCompletions(StandIn):
    """`url` is a base URL with `/v1`. `reasoning` is the field that thoughts come in: servers differ."""

    prefix = "/v1"

    def __init__(self, reasoning: str = "reasoning_content") -> None:
        super().__init__()
        self.reasoning = reasoning

    def read(self, number: int, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Seen | None:
        if not path.endswith("/chat/completions"):
            return None
        messages = body.get("messages") or []
        said = [_text(message.get("content")) for message in messages if message.get("role") in ("user", "assistant")]
        asked = max((at for at, message in enumerate(messages) if message.get("role") == "assistant"), default=0)
        return Seen(
            number,
            path,
            headers,
            body,
            model=str(body.get("model", "")),
            streaming=bool(body.get("stream")),
            system="\n".join(_text(message["content"]) for message in messages if message["role"] == "system"),
            user=next((_text(message["content"]) for message in reversed(messages) if message["role"] == "user"), ""),
            said=[text for text in said if text],
            tools=[tool["function"]["name"] for tool in body.get("tools") or []],
            results={
                message["tool_call_id"]: _text(message["content"])
                for message in messages[asked:]
                if message["role"] == "tool"
            },
        )

    def frames(self, seen: Seen, reply: Reply) -> Iterator[bytes]:
        yield self._chunk(seen, {"role": "assistant", "content": ""})
        if reply.thinking:
            yield self._chunk(seen, {self.reasoning: reply.thinking})
        for piece in reply.pieces:
            yield self._chunk(seen, {"content": piece})
        for index, call in enumerate(_calls(seen, reply)):
            arguments = call["function"]["arguments"]
            begun = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
            yield self._chunk(seen, {"tool_calls": [{"index": index, **begun}]})
            half = len(arguments) // 2
            for part in (arguments[:half], arguments[half:]):
                yield self._chunk(seen, {"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        yield self._chunk(seen, {}, _finish(reply))
        if reply.tokens and (seen.body.get("stream_options") or {}).get("include_usage"):
            yield sse({**_base(seen, "chat.completion.chunk"), "choices": [], "usage": _usage(reply.tokens)})
        yield sse("[DONE]")

    def whole(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.whole or None}
        if reply.thinking:
            message[self.reasoning] = reply.thinking
        if reply.calls:
            message["tool_calls"] = _calls(seen, reply)
        made = {
            **_base(seen, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply)}],
        }
        return {**made, "usage": _usage(reply.tokens)} if reply.tokens else made

    def error(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        kind = {401: "invalid_request_error", 429: "rate_limit_error"}.get(reply.status, "server_error")
        return {"error": {"message": reply.error or "no", "type": kind, "code": None}}

    def _chunk(self, seen: Seen, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse({**_base(seen, "chat.completion.chunk"), "choices": [choice]})


def _base(seen: Seen, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{seen.number}", "object": kind, "created": 1, "model": f"{seen.model}-2026"}


def _calls(seen: Seen, reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id or f"call_{seen.number}_{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": _arguments(call)},
        }
        for index, call in enumerate(reply.calls, 1)
    ]


def _arguments(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


def _finish(reply: Reply) -> str:
    return reply.finish or ("tool_calls" if reply.calls else "stop")


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.read,
        "completion_tokens": tokens.written,
        "total_tokens": tokens.read + tokens.written,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content or "")
