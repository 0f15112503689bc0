"""A2A messages as JSON and protobuf: between what travels and what Turn and Answer hold.

What an agent sends to a peer is written and read by hand: one JSON-RPC method needs no object model,
and the SDK's client costs three times the CPU for the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from a2a.types import Message, Part, Role
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value

from teamwright.backends.api import Answer, File, PeerAnswer, Usage
from teamwright.backends.parts import files_in, part_of
from teamwright.errors import PeerError
from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, USAGE_EXT

EXTENSIONS = (TRACE_EXT, RUN_EXT, USAGE_EXT)
HEADERS = {"a2a-version": "1.0", "content-type": "application/json", "a2a-extensions": ", ".join(EXTENSIONS)}


def text_of(message: Message) -> str:
    """The words of a message, one line per text part; data parts as JSON."""
    found = []
    for part in message.parts:
        kind = part.WhichOneof("content")
        if kind == "text":
            found.append(part.text)
        elif kind == "data":
            found.append(json.dumps(MessageToDict(part.data), ensure_ascii=False))
    return "\n".join(found)


def files_of(message: Message) -> tuple[File, ...]:
    """The files of a message: bytes, or where they lie."""
    found = []
    for number, part in enumerate(message.parts, start=1):
        kind = part.WhichOneof("content")
        if kind in ("raw", "url"):
            found.append(
                File(
                    name=part.filename or f"file-{number}",
                    media_type=part.media_type or "application/octet-stream",
                    data=part.raw if kind == "raw" else None,
                    uri=part.url if kind == "url" else None,
                )
            )
    return tuple(found)


def parts_of(answer: Answer) -> list[Part]:
    """An answer as A2A parts; one empty text where there is nothing to say."""
    parts = [Part(text=answer.text)] if answer.text else []
    if answer.data is not None:
        value = Value()
        value.struct_value.update(answer.data)
        parts.append(Part(data=value, media_type="application/json"))
    for file in answer.files:
        if file.data is not None:
            parts.append(Part(raw=file.data, filename=file.name, media_type=file.media_type))
        elif file.uri is not None:
            parts.append(Part(url=file.uri, filename=file.name, media_type=file.media_type))
    return parts or [Part(text="")]


def reply(answer: Answer, context_id: str, metadata: Struct) -> Message:
    """An answer as a Message of its own."""
    return Message(
        message_id=str(uuid4()), context_id=context_id, role=Role.ROLE_AGENT, parts=parts_of(answer), metadata=metadata
    )


def struct(values: Mapping[str, Any]) -> Struct:
    """Plain values as protobuf's Struct."""
    made = Struct()
    made.update(values)
    return made


def usage_values(usage: Usage) -> dict[str, Any]:
    """A usage as it travels under USAGE_EXT."""
    counts = {name: count for name, count in usage.counts.items() if count is not None}
    values: dict[str, Any] = {**counts, "estimated": usage.estimated}
    if usage.partial:
        values["partial"] = True
    if usage.cost_usd is not None:
        values["cost_usd"] = usage.cost_usd
    return values


def usage_from(metadata: Mapping[str, Any]) -> Usage:
    """The usage in a reply's metadata; unknown where it isn't one of ours."""
    found = metadata.get(USAGE_EXT)
    if not isinstance(found, Mapping):
        return Usage.unknown()

    def number(key: str) -> float:
        value = found.get(key)
        return max(0.0, float(value)) if isinstance(value, int | float) else 0.0

    return Usage(
        input_tokens=int(number("input_tokens")),
        output_tokens=int(number("output_tokens")),
        model_calls=int(number("model_calls")),
        tool_calls=int(number("tool_calls")),
        peer_calls=int(number("peer_calls")),
        cost_usd=number("cost_usd") if "cost_usd" in found else None,
        estimated=bool(found.get("estimated")),
        partial=found.get("partial") is True,
    )


def request_body(
    text: str, files: Sequence[File], *, message_id: str, context_id: str, metadata: Mapping[str, Any]
) -> bytes:
    """A blocking SendMessage as JSON-RPC."""
    parts = [{"text": text}, *map(part_of, files)]
    message = {
        "messageId": message_id,
        "contextId": context_id,
        "role": "ROLE_USER",
        "parts": parts,
        "metadata": metadata,
        "extensions": list(EXTENSIONS),
    }
    body = {"jsonrpc": "2.0", "id": message_id, "method": "SendMessage", "params": {"message": message}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def read_answer(agent: str, content: bytes) -> tuple[PeerAnswer, PeerError | None]:
    """What a peer replied, and the error it means if its task didn't succeed.

    Raises PeerError for an A2A error and for bytes that are no reply at all.
    """
    try:
        body = json.loads(content)
        if error := body.get("error"):
            raise PeerError(f"{agent} refused: {error.get('message', error)}", reason=_reason(error))
        result = body["result"]
        if "message" in result:
            return _message(agent, result["message"]), None
        return _task(agent, result["task"])
    except (ValueError, LookupError, TypeError, AttributeError):
        raise PeerError(f"{agent} answered with something that is not A2A", reason="bad_answer") from None


def _message(agent: str, message: Mapping[str, Any]) -> PeerAnswer:
    text, files, data = _read_parts(message["parts"])
    return PeerAnswer(
        agent=agent,
        text=text,
        files=files,
        data=data,
        session=message.get("contextId"),
        usage=usage_from(message.get("metadata", {})),
    )


def _task(agent: str, task: Mapping[str, Any]) -> tuple[PeerAnswer, PeerError | None]:
    status = task["status"]
    state = str(status["state"]).removeprefix("TASK_STATE_").lower()
    metadata = task.get("metadata", {})
    said = _read_parts(status["message"]["parts"])[0] if "message" in status else ""
    text, files, data = _read_parts([part for artifact in task.get("artifacts", ()) for part in artifact["parts"]])
    answer = PeerAnswer(
        agent=agent,
        text=text or said,
        state=state,
        files=files,
        data=data,
        task_id=task.get("id"),
        session=task.get("contextId"),
        usage=usage_from(metadata),
    )
    if state == "completed":
        return answer, None
    found = metadata.get(RUN_EXT)
    about: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    error = PeerError(
        f"{agent} {_PHRASES.get(state, state)}{f': {said}' if said else ''}", reason=str(about.get("reason") or state)
    )
    error.run_id = str(about["run_id"]) if about.get("run_id") else None
    return answer, error


_PHRASES = {
    "failed": "failed",
    "canceled": "was cancelled",
    "rejected": "rejected the task",
    "input_required": "asks for more input",
    "auth_required": "asks for credentials",
}


def _read_parts(parts: Sequence[Mapping[str, Any]]) -> tuple[str, tuple[File, ...], Mapping[str, Any] | None]:
    text = "".join(part["text"] for part in parts if "text" in part)
    data = next((part["data"] for part in parts if isinstance(part.get("data"), Mapping)), None)
    return text, files_in(parts), data


def _reason(error: Mapping[str, Any]) -> str:
    details = error.get("data")
    if isinstance(details, list) and details and isinstance(details[0], Mapping):
        metadata = details[0].get("metadata")
        if isinstance(metadata, Mapping) and isinstance(metadata.get("reason"), str):
            return str(metadata["reason"])
    return "refused"
