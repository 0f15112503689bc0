"""JSON-RPC as A2A 1.0 speaks it: reading calls, writing errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
CONTENT_TYPE_NOT_SUPPORTED, VERSION_NOT_SUPPORTED = -32005, -32009
#: The codes that A2A itself has given a meaning.
_OF_A2A = range(-32009, -32000)

SEND, STREAM = "SendMessage", "SendStreamingMessage"
QUERIES = frozenset([SEND, STREAM, "message/send", "message/stream"])
#: What the front door passes on as it is; none of these makes a trace.
PASSED = frozenset(
    [
        "GetTask",
        "ListTasks",
        "CancelTask",
        "SubscribeToTask",
        "GetExtendedAgentCard",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
    ]
)
#: The names that A2A 0.3 has for the same: passed on as they are, and understood as they pass.
SEND_03, STREAM_03 = "message/send", "message/stream"
STREAMS = frozenset([STREAM, STREAM_03])
OLD = frozenset(
    [
        SEND_03,
        STREAM_03,
        "tasks/get",
        "tasks/cancel",
        "tasks/resubscribe",
        "tasks/pushNotificationConfig/set",
        "tasks/pushNotificationConfig/get",
        "tasks/pushNotificationConfig/list",
        "tasks/pushNotificationConfig/delete",
        "agent/getAuthenticatedExtendedCard",
    ]
)
EXTENDED_CARD = frozenset(["GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"])
#: What may be half of a pair, or both.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class RpcError(Exception):
    """A call that can't be answered; becomes a JSON-RPC error."""

    def __init__(
        self, code: int, message: str, *, reason: str | None = None, id: Any = None, **details: str | None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.id = id
        self.details = {key: value for key, value in details.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.reason is not None:
            domain = "a2a-protocol.org" if self.code in _OF_A2A else "teamwright.dev"
            info = {"@type": _ERROR_INFO, "reason": self.reason, "domain": domain}
            error["data"] = [{**info, "metadata": self.details}]
        return {"jsonrpc": "2.0", "id": self.id, "error": error}

    def encode(self) -> bytes:
        return encode(self.to_dict())


@dataclass(frozen=True, slots=True)
class Call:
    """One JSON-RPC request."""

    id: str | int | None
    method: str
    params: dict[str, Any]


def read_json(body: bytes) -> Any:
    """What a body holds. Raises ValueError for what is not JSON: NaN and half surrogate pairs, too."""
    data = json.loads(body, parse_constant=_no_json)
    if _HALF.search(body):
        json.dumps(data, ensure_ascii=False).encode()
    return data


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def parse(body: bytes) -> Call:
    """The call in a request's body. Raises RpcError."""
    try:
        data = read_json(body)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, f"the body is not JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise RpcError(INVALID_REQUEST, "one JSON-RPC request is expected, batches are not supported")
    call_id = data.get("id")
    if isinstance(call_id, bool) or not isinstance(call_id, str | int | None):
        raise RpcError(INVALID_REQUEST, "id must be a string, a whole number or null")
    if data.get("jsonrpc") != "2.0" or not isinstance(data.get("method"), str):
        raise RpcError(INVALID_REQUEST, "not a JSON-RPC 2.0 request", id=call_id)
    params = data.get("params", {})
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object", id=call_id)
    method = data["method"]
    if method not in QUERIES and method not in PASSED and method not in OLD:
        raise RpcError(METHOD_NOT_FOUND, f"method {method[:80]!r} is not known", id=call_id)
    return Call(call_id, method, params)


def check_version(call: Call, version: str | None) -> None:
    """Whether a call may be made in that version of A2A; none given means 0.3. Raises RpcError."""
    wanted = "0.3" if call.method in OLD else "1.0"
    if (version or "0.3").strip().partition(".")[0] != wanted[0]:
        raise RpcError(
            VERSION_NOT_SUPPORTED,
            f"{call.method} is not of A2A {version or '0.3'}: send A2A-Version: {wanted}",
            id=call.id,
            reason="VERSION_NOT_SUPPORTED",
        )


def encode(value: Any) -> bytes:
    """Compact JSON; never ASCII-escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
