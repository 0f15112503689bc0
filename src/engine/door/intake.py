"""What the front door looks at before it lets a call in: its size, its type, and whether it holds a message."""

from __future__ import annotations

from starlette.requests import Request

from teamwright.engine.door import rest, rpc
from teamwright.errors import UserError

#: Bytes of one call; files travel in it.
BODY_LIMIT = 64 << 20
_MEDIA_TYPES = frozenset(["application/json", rest.MEDIA_TYPE])


async def body_of(request: Request) -> bytes:
    """The whole body. Raises UserError when it is too large."""
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise UserError(f"the call is larger than {BODY_LIMIT >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts)


def check_type(request: Request) -> None:
    """Raises RpcError for a body that is not JSON by its own account; one that says nothing may be."""
    given = request.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if kind and kind not in _MEDIA_TYPES and request.headers.get("content-length") != "0":
        raise rpc.RpcError(
            rpc.CONTENT_TYPE_NOT_SUPPORTED,
            f"{kind} is not understood: send JSON",
            reason="CONTENT_TYPE_NOT_SUPPORTED",
        )


def check_message(call: rpc.Call) -> None:
    """Raises RpcError for a query without a message that makes sense."""
    message = call.params.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("parts"), list) or not message["parts"]:
        raise rpc.RpcError(rpc.INVALID_PARAMS, "params.message needs parts", id=call.id)
    for key in ("contextId", "taskId"):
        if not isinstance(message.get(key, ""), str):
            raise rpc.RpcError(rpc.INVALID_PARAMS, f"params.message.{key} must be a text", id=call.id)
    if not isinstance(message.get("metadata") or {}, dict):
        raise rpc.RpcError(rpc.INVALID_PARAMS, "params.message.metadata must be an object", id=call.id)
