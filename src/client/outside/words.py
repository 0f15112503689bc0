"""The words of A2A 1.0 and 0.3 over JSON-RPC and HTTP+JSON: what is sent, and replies as 1.0 over JSON-RPC has them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from teamwright.backends.api import File
from teamwright.backends.parts import part_of
from teamwright.client.outside.way import JSONRPC, Way
from teamwright.engine.door import rpc

_KINDS = {"task": "task", "message": "message", "status-update": "statusUpdate", "artifact-update": "artifactUpdate"}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to an agent."""

    verb: str
    url: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Message:
    """What a person says: to which conversation, or in answer to which task."""

    text: str
    session: str | None = None
    task: str | None = None
    files: Sequence[File] = ()
    metadata: Mapping[str, Any] | None = None


def sending(way: Way, message: Message) -> Request:
    """The request that asks."""
    rest, old = way.binding != JSONRPC, way.version == "0.3"
    said: dict[str, Any] = {"messageId": str(uuid4()), "role": "user" if old and not rest else "ROLE_USER"}
    parts = [_text(message.text, way), *(_file(file, way) for file in message.files)]
    said["content" if old and rest else "parts"] = parts
    about = {"contextId": message.session, "taskId": message.task, "metadata": message.metadata}
    said |= {name: value for name, value in about.items() if value}
    if old and not rest:
        said["kind"] = "message"
    if rest:
        path = "/message:stream" if way.streaming else "/message:send"
        body: dict[str, Any] = {"request" if old else "message": said}
        if old and not way.streaming:
            body["configuration"] = {"blocking": True}
        return Request("POST", _below(way, path), _json(body))
    params: dict[str, Any] = {"message": said}
    if old:
        method = rpc.STREAM_03 if way.streaming else rpc.SEND_03
        params["configuration"] = {"blocking": True}
    else:
        method = rpc.STREAM if way.streaming else rpc.SEND
    return Request("POST", way.url, _call(method, params))


def looking(way: Way, task: str) -> Request:
    """The request for how a task fares."""
    if way.binding != JSONRPC:
        return Request("GET", _below(way, f"/tasks/{task}"), None)
    return Request("POST", way.url, _call("tasks/get" if way.version == "0.3" else "GetTask", {"id": task}))


def cancelling(way: Way, task: str) -> Request:
    """The request to end the work on a task."""
    if way.binding != JSONRPC:
        return Request("POST", _below(way, f"/tasks/{task}:cancel"), b"{}")
    return Request("POST", way.url, _call("tasks/cancel" if way.version == "0.3" else "CancelTask", {"id": task}))


def reply(way: Way, found: Any) -> dict[str, Any]:
    """An object that came as a JSON-RPC reply of 1.0: {"result": {kind: …}} or {"error": …}. Raises ValueError."""
    if not isinstance(found, Mapping):
        raise ValueError("it is not an object")
    if isinstance(error := found.get("error"), Mapping):
        return {"error": dict(error)}
    result = found.get("result") if way.binding == JSONRPC else found
    if not isinstance(result, Mapping):
        raise ValueError("it has neither a result nor an error")
    kind = _KINDS.get(str(result.get("kind")))
    if kind is None and result.keys().isdisjoint(_KINDS.values()):
        kind = "task" if "status" in result else None  # what GetTask answers
    if kind is not None:
        result = {kind: result}
    return {"result": _modern(result) if way.version == "0.3" else dict(result)}


def _modern(value: Any) -> Any:
    """A value of 0.3 in the words of 1.0: `content` of messages, and files and data in parts."""
    if isinstance(value, list):
        return [_modern(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "artifactId" in value or "messageId" in value or "artifact_id" in value:
        parts = value.get("parts") or value.get("content") or []
        return {**value, "parts": [_part(part) for part in parts if isinstance(part, Mapping)]}
    return {key: _modern(item) for key, item in value.items()}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(file := part.get("file"), Mapping):
        raw, url = file.get("bytes") or _once(file.get("fileWithBytes")), file.get("uri") or file.get("fileWithUri")
        named = {"filename": file.get("name") or "", "mediaType": file.get("mimeType") or file.get("mime_type") or ""}
        return {**named, **({"raw": raw} if raw is not None else {"url": url})}
    data = part.get("data")
    if isinstance(data, Mapping) and set(data) == {"data"} and "kind" not in part:
        return {"data": data["data"]}  # over HTTP+JSON it is wrapped once more
    return {key: value for key, value in part.items() if key != "kind"}


def _once(raw: Any) -> Any:
    """Bytes over HTTP+JSON of 0.3: a2a-sdk, the reference, puts base64 of base64 there, others do not."""
    with suppress(ValueError, TypeError):
        inner = b64decode(raw, validate=True).decode("ascii")
        b64decode(inner, validate=True)
        return inner
    return raw


def _text(text: str, way: Way) -> dict[str, Any]:
    return {"kind": "text", "text": text} if way.version == "0.3" and way.binding == JSONRPC else {"text": text}


def _file(file: File, way: Way) -> dict[str, Any]:
    if way.version != "0.3":
        return part_of(file)
    raw = b64encode(file.data).decode() if file.data is not None else None
    if way.binding == JSONRPC:
        content = {"bytes": raw} if raw is not None else {"uri": file.uri}
        return {"kind": "file", "file": {"name": file.name, "mimeType": file.media_type, **content}}
    raw = b64encode(raw.encode()).decode() if raw is not None else None  # see _once
    content = {"fileWithBytes": raw} if raw is not None else {"fileWithUri": file.uri}
    return {"file": {"name": file.name, "mimeType": file.media_type, **content}}


def _below(way: Way, path: str) -> str:
    return way.url.rstrip("/") + ("/v1" if way.version == "0.3" else "") + path


def _call(method: str, params: Mapping[str, Any]) -> bytes:
    return _json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
