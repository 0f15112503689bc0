"""The Messages API, as Claude's CLI and SDKs speak it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.standins.script import Reply, Seen, Tokens
from tests.standins.server import StandIn, sse

_REMINDER = "<system-reminder>"


class Messages(StandIn):
    """`said`, `user` and `results` are without the reminders that the CLI adds to messages."""

    def read(self, number: int, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Seen | None:
        if not path.partition("?")[0].endswith("/v1/messages"):
            return None
        messages = body.get("messages") or []
        texts = [(message["role"], text) for message in messages for text in _texts(message["content"])]
        asked = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=0)
        return Seen(
            number,
            path,
            headers,
            body,
            model=str(body.get("model", "")),
            streaming=bool(body.get("stream")),
            system="\n".join(_texts(body.get("system") or "")),
            user=next((text for role, text in reversed(texts) if role == "user"), ""),
            said=[text for _, text in texts],
            tools=[str(tool["name"]) for tool in body.get("tools") or []],
            results=_results(messages, asked),
        )

    def frames(self, seen: Seen, reply: Reply) -> Iterator[bytes]:
        begun = {**_message(seen, reply), "content": [], "stop_reason": None, "usage": _usage(reply.tokens, 1)}
        yield _event("message_start", message=begun)
        for index, block in enumerate(_content(seen, reply)):
            yield from _block(index, block, reply)
        ended = {"stop_reason": _finish(reply), "stop_sequence": None}
        tokens = reply.tokens or Tokens()
        usage: dict[str, Any] = {"output_tokens": tokens.written}
        if tokens.reasoning:
            usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
        yield _event("message_delta", delta=ended, usage=usage)
        yield _event("message_stop")

    def whole(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        content = [
            {**block, "input": _arguments(block["input"])} if block["type"] == "tool_use" else block
            for block in _content(seen, reply)
        ]
        return {**_message(seen, reply), "content": content, "usage": _usage(reply.tokens)}

    def error(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        return {
            "type": "error",
            "error": {"type": kinds.get(reply.status, "api_error"), "message": reply.error or "no"},
        }


def _results(messages: Sequence[Mapping[str, Any]], asked: int) -> dict[str, str]:
    """What came back since message number `asked`, in the order of the calls: the CLI sends what is done first."""
    found = {
        block["tool_use_id"]: "\n".join(_texts(block.get("content") or ""))
        for message in messages[asked:]
        for block in _blocks(message["content"])
        if block.get("type") == "tool_result"
    }
    calls = (block for message in messages for block in _blocks(message["content"]) if block.get("type") == "tool_use")
    return {**{call["id"]: found[call["id"]] for call in calls if call["id"] in found}, **found}


def _event(kind: str, **data: Any) -> bytes:
    return sse({"type": kind, **data}, kind)


def _block(index: int, block: Mapping[str, Any], reply: Reply) -> Iterator[bytes]:
    def delta(**data: Any) -> bytes:
        return _event("content_block_delta", index=index, delta=data)

    if block["type"] == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        yield _event("content_block_start", index=index, content_block=empty)
        yield delta(type="thinking_delta", thinking=block["thinking"])
        yield delta(type="signature_delta", signature=block["signature"])
    elif block["type"] == "text":
        yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for piece in reply.pieces:
            yield delta(type="text_delta", text=piece)
    else:
        yield _event("content_block_start", index=index, content_block={**block, "input": {}})
        arguments, half = block["input"], len(block["input"]) // 2
        for part in (arguments[:half], arguments[half:]):
            yield delta(type="input_json_delta", partial_json=part)
    yield _event("content_block_stop", index=index)


def _content(seen: Seen, reply: Reply) -> list[dict[str, Any]]:
    """The blocks of a reply; the input of a tool_use as JSON text."""
    blocks: list[dict[str, Any]] = []
    if reply.thinking:
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": "c2lnbmF0dXJl"})
    if reply.whole or not isinstance(reply.text, str):  # [""] is a block without a word
        blocks.append({"type": "text", "text": reply.whole})
    for index, call in enumerate(reply.calls, 1):
        arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
        call_id = call.id or f"toolu_{seen.number}_{index}"
        blocks.append({"type": "tool_use", "id": call_id, "name": call.name, "input": arguments})
    return blocks


def _message(seen: Seen, reply: Reply) -> dict[str, Any]:
    return {
        "id": f"msg_{seen.number}",
        "type": "message",
        "role": "assistant",
        "model": f"{seen.model}-20260101",
        "stop_reason": _finish(reply),
        "stop_sequence": None,
    }


def _finish(reply: Reply) -> str:
    return reply.finish or ("tool_use" if reply.calls else "end_turn")


def _usage(tokens: Tokens | None, written: int | None = None) -> dict[str, int]:
    tokens = tokens or Tokens(0, 0, 0)
    return {
        "input_tokens": tokens.read - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.written if written is None else written,
    }


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"": text}


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _texts(content: Any) -> list[str]:
    """The texts in a message, without the reminders that the CLI puts behind them and the newline before those."""
    found = [str(block.get("text", "")) for block in _blocks(content) if block.get("type") == "text"]
    reminded = [text.startswith(_REMINDER) for text in [*found[1:], ""]]
    texts = [text.removesuffix("\n") if before else text for text, before in zip(found, reminded, strict=False)]
    return [text.partition("\n\n" + _REMINDER)[0] for text in texts if not text.startswith(_REMINDER)]
