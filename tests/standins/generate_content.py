"""generateContent and streamGenerateContent, as the Gemini API speaks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.standins.script import Reply, Seen, Tokens
from tests.standins.server import StandIn, sse

#: What a thought's signature looks like on the wire; a client must send it back with its part.
SIGNATURE = "c2lnbmF0dXJl"


class GenerateContent(StandIn):
    """`finish="BLOCKED"` answers without a candidate, as for a prompt that the safety filter refuses."""

    def read(self, number: int, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Seen | None:
        name, _, method = path.partition("?")[0].rpartition("/")[2].partition(":")
        if method not in ("generateContent", "streamGenerateContent"):
            return None
        contents = body.get("contents") or []
        texts = [_text(content) for content in contents]
        users = [content for content in contents if content.get("role") == "user"]
        last = (contents[-1].get("parts") or []) if contents else []
        answers = [part["functionResponse"] for part in last if "functionResponse" in part]
        return Seen(
            number,
            path,
            headers,
            body,
            model=name,
            streaming=method.startswith("stream"),
            system=_text(body.get("systemInstruction") or {}),
            user=next((_text(content) for content in reversed(users) if _text(content)), ""),
            said=[text for text in texts if text],
            tools=[
                function["name"]
                for tool in body.get("tools") or []
                for function in tool.get("functionDeclarations") or []
            ],
            results={answer.get("id", answer["name"]): _response(answer["response"]) for answer in answers},
        )

    def frames(self, seen: Seen, reply: Reply) -> Iterator[bytes]:
        if reply.finish == "BLOCKED":
            yield sse(self.whole(seen, reply))
            return
        if reply.thinking:
            yield sse(_chunk(seen, [{"text": reply.thinking, "thought": True}]))
        for piece in reply.pieces:
            yield sse(_chunk(seen, [{"text": piece}]))
        calls = _calls(seen, reply)
        yield sse(_chunk(seen, calls or [{"text": ""}], _finish(reply), reply.tokens))

    def whole(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        if reply.finish == "BLOCKED":
            return {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": f"{seen.model}-001"}
        parts: list[dict[str, Any]] = [{"text": reply.thinking, "thought": True}] if reply.thinking else []
        parts += [{"text": reply.whole}] if reply.whole else []
        return _chunk(seen, parts + _calls(seen, reply), _finish(reply), reply.tokens)

    def error(self, seen: Seen, reply: Reply) -> Mapping[str, Any]:
        words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
        status = words.get(reply.status, "INTERNAL")
        return {"error": {"code": reply.status, "message": reply.error or "no", "status": status}}


def _chunk(
    seen: Seen, parts: list[dict[str, Any]], finish: str | None = None, tokens: Tokens | None = None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    made: dict[str, Any] = {
        "candidates": [candidate],
        "modelVersion": f"{seen.model}-001",
        "responseId": f"response-{seen.number}",
    }
    if finish:
        candidate["finishReason"] = finish
    if tokens:
        made["usageMetadata"] = {
            "promptTokenCount": tokens.read,
            "candidatesTokenCount": tokens.written - tokens.reasoning,
            "thoughtsTokenCount": tokens.reasoning,
            "cachedContentTokenCount": tokens.cached,
            "totalTokenCount": tokens.read + tokens.written,
        }
    return made


def _calls(seen: Seen, reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "functionCall": {
                "id": call.id or f"call_{seen.number}_{index}",
                "name": call.name,
                # this wire has no way to send broken JSON: what a test writes as text becomes a wrong argument
                "args": {"": call.arguments} if isinstance(call.arguments, str) else dict(call.arguments),
            },
            **({"thoughtSignature": SIGNATURE} if index == 1 else {}),
        }
        for index, call in enumerate(reply.calls, 1)
    ]


def _finish(reply: Reply) -> str:
    return reply.finish or "STOP"


def _response(response: Mapping[str, Any]) -> str:
    return str(next(iter(response.values()), ""))


def _text(content: Mapping[str, Any]) -> str:
    return "".join(part.get("text", "") for part in content.get("parts") or [] if not part.get("thought"))
