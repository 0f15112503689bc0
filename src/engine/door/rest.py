"""A2A over HTTP+JSON at the front door: each request becomes the JSON-RPC call it means, each reply the other way.

The two bindings carry the same objects, so this is all the difference there is: where a call's parameters stand, and
how an error looks. What the front door does with calls it does once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from teamwright.engine.door import rpc
from teamwright.engine.door.frames import Splitter, event, payload
from teamwright.engine.door.relay import Head, Relay

MEDIA_TYPE = "application/a2a+json"
#: (HTTP method, path below the agent's, method): the placeholders are names of parameters.
PATHS = (
    ("POST", "/message:send", "SendMessage"),
    ("POST", "/message:stream", "SendStreamingMessage"),
    ("POST", "/tasks/{id}:cancel", "CancelTask"),
    ("GET", "/tasks/{id}:subscribe", "SubscribeToTask"),
    ("POST", "/tasks/{id}:subscribe", "SubscribeToTask"),
    ("POST", "/tasks/{taskId}/pushNotificationConfigs", "CreateTaskPushNotificationConfig"),
    ("GET", "/tasks/{taskId}/pushNotificationConfigs", "ListTaskPushNotificationConfigs"),
    ("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}", "GetTaskPushNotificationConfig"),
    ("DELETE", "/tasks/{taskId}/pushNotificationConfigs/{id}", "DeleteTaskPushNotificationConfig"),
    ("GET", "/tasks/{id}", "GetTask"),
    ("GET", "/tasks", "ListTasks"),
    ("GET", "/extendedAgentCard", "GetExtendedAgentCard"),
)
_IDS = ("id", "taskId")
_BOOLEANS = {"true": True, "false": False}
#: JSON-RPC code: HTTP status, gRPC's name of it, the reason where the error tells none.
_ERRORS: Mapping[int, tuple[int, str, str]] = {
    -32001: (404, "NOT_FOUND", "TASK_NOT_FOUND"),
    -32002: (400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    -32003: (400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
    -32004: (400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    -32005: (415, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
    -32006: (500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
    -32007: (400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
    -32008: (400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED"),
    -32009: (400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
    rpc.PARSE_ERROR: (400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    rpc.INVALID_REQUEST: (400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    rpc.METHOD_NOT_FOUND: (404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    rpc.INVALID_PARAMS: (400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
}
_INTERNAL = (500, "INTERNAL", "INTERNAL_ERROR")


def parse(method: str, request: Request, body: bytes) -> rpc.Call:
    """The call that a request means. Raises RpcError."""
    params: dict[str, Any] = {key: _BOOLEANS.get(value, value) for key, value in request.query_params.items()}
    params.pop("A2A-Version", None)
    if body.strip():
        try:
            given = rpc.read_json(body)
        except (ValueError, RecursionError) as error:
            raise rpc.RpcError(rpc.PARSE_ERROR, f"the body is not JSON: {error}") from None
        if not isinstance(given, dict):
            raise rpc.RpcError(rpc.INVALID_REQUEST, "the body must be an object")
        params |= given
    params |= {key: request.path_params[key] for key in _IDS if key in request.path_params}
    return rpc.Call(1, method, params)


def code_of(status: int, reason: str | None) -> int:
    """The JSON-RPC code of an HTTP error."""
    return next((code for code, known in _ERRORS.items() if known[::2] == (status, reason)), rpc.INTERNAL)


def error_body(error: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """HTTP status and body for a JSON-RPC error."""
    status, name, _ = _ERRORS.get(error.get("code", 0), _INTERNAL)
    message = str(error.get("message", ""))
    return status, {"error": {"code": status, "status": name, "message": message, "details": details(error)}}


def details(error: Mapping[str, Any]) -> list[Any]:
    """What an error says beside its code: its own, else the specification's word for the code."""
    found = error.get("data")
    if isinstance(found, list):
        return found
    kind, reason = "type.googleapis.com/google.rpc.ErrorInfo", _ERRORS.get(error.get("code", 0), _INTERNAL)[2]
    return [{"@type": kind, "reason": reason, "domain": "a2a-protocol.org", "metadata": {}}]


class RestRelay(Relay):
    """Turns the JSON-RPC replies that pass it into HTTP+JSON."""

    def __init__(self, media_type: str = MEDIA_TYPE) -> None:
        super().__init__()
        self._media_type = media_type
        self._splitter = Splitter()

    def begin(self, head: Head) -> None:
        if head.body is None:
            super().begin(head)
            return
        try:
            reply = json.loads(head.body)
            error, result = reply.get("error"), reply.get("result")
        except (ValueError, AttributeError):
            super().begin(head)
            return
        status, body = error_body(error) if isinstance(error, Mapping) else (head.status, result or {})
        super().begin(Head(self._media_type, rpc.encode(body), status, head.headers))

    async def send(self, chunk: bytes) -> None:
        for frame in self._splitter.feed(chunk):
            await super().send(_frame(frame))


def _frame(frame: bytes) -> bytes:
    reply = payload(frame)
    if reply is None:
        return frame
    if isinstance(error := reply.get("error"), Mapping):
        return event(rpc.encode(error_body(error)[1]), "error")
    return event(rpc.encode(reply.get("result") or {}))
