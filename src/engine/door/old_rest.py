"""A2A 0.3 over HTTP+JSON (`/v1/…`) at the front door: passed on to the agent's own `/v1/…`, and read as it passes.

The words differ from those of 1.0 (`content` for `parts`, either way of writing names), so the bodies stay as they are;
towards the front door each reply looks like the JSON-RPC one of the same meaning.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from teamwright.engine.door import rest, rpc
from teamwright.engine.door.foreign import ForeignResponse
from teamwright.engine.door.frames import Splitter, event, payload
from teamwright.engine.door.upstream import Upstream
from teamwright.engine.store.records import AgentRecord
from teamwright.errors import PeerError
from teamwright.loopback import Response

MEDIA_TYPE = "application/json"
_SSE = "text/event-stream"
#: (HTTP method, path below the agent's, the JSON-RPC method of the same meaning).
PATHS = (
    ("POST", "/v1/message:send", rpc.SEND_03),
    ("POST", "/v1/message:stream", rpc.STREAM_03),
    ("POST", "/v1/tasks/{id}:cancel", "tasks/cancel"),
    ("GET", "/v1/tasks/{id}:subscribe", "tasks/resubscribe"),
    ("POST", "/v1/tasks/{id}:subscribe", "tasks/resubscribe"),
    ("POST", "/v1/tasks/{id}/pushNotificationConfigs", "tasks/pushNotificationConfig/set"),
    ("GET", "/v1/tasks/{id}/pushNotificationConfigs", "tasks/pushNotificationConfig/list"),
    ("GET", "/v1/tasks/{id}/pushNotificationConfigs/{push_id}", "tasks/pushNotificationConfig/get"),
    ("GET", "/v1/tasks/{id}", "tasks/get"),
    ("GET", "/v1/card", "agent/getAuthenticatedExtendedCard"),
)
#: Names of a message that the front door looks at, as protobuf writes them and as JSON does.
_NAMES = {"message_id": "messageId", "context_id": "contextId", "task_id": "taskId"}


@dataclass(frozen=True, slots=True)
class OldCall(rpc.Call):
    """A call over HTTP+JSON of 0.3: what is asked of the agent, and with which body."""

    verb: str
    target: str
    body: bytes


def parse(method: str, request: Request, body: bytes) -> OldCall:
    """The call that a request means; a message in its parameters looks like one of JSON-RPC. Raises RpcError."""
    path = "/v1/" + request.url.path.partition("/v1/")[2]
    target = f"{path}?{request.url.query}" if request.url.query else path
    if method not in rpc.QUERIES:
        return OldCall(1, method, {}, request.method, target, body)
    try:
        given = rpc.read_json(body)
    except (ValueError, RecursionError) as error:
        raise rpc.RpcError(rpc.PARSE_ERROR, f"the body is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise rpc.RpcError(rpc.INVALID_REQUEST, "the body must be an object")
    message = given.pop("request", None) or given.pop("message", None)
    if isinstance(message, dict):
        message = {_NAMES.get(key, key): value for key, value in message.items()}
        message["parts"] = message.pop("content", None)
    return OldCall(1, method, {**given, "message": message}, request.method, target, b"")


@asynccontextmanager
async def post(
    upstream: Upstream,
    agent: AgentRecord,
    call: OldCall,
    params: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    caller: str,
) -> AsyncIterator[OldResponse]:
    """The agent's response to such a call. Raises PeerError."""
    if upstream.foreign.plan(agent) is not None:
        raise PeerError(f"agent {agent.agent} can be asked over JSON-RPC only", reason="unsupported")
    body = call.body
    if "message" in params:
        message = dict(params["message"])
        message["content"] = message.pop("parts")
        body = rpc.encode({**params, "message": message})
    async with upstream.post(agent, body, headers, caller=caller, verb=call.verb, target=call.target) as response:
        yield OldResponse(response)


class OldResponse:
    """A response over HTTP+JSON as the JSON-RPC one of the same meaning."""

    def __init__(self, response: Response | ForeignResponse) -> None:
        self._response = response
        self.status = 200
        self.headers = response.headers

    async def read(self) -> bytes:
        """The whole reply."""
        body = await self._response.read()
        try:
            found = json.loads(body)
        except ValueError:
            return body
        if self._response.status < 400:
            return _wrapped({"result": found})
        return _wrapped({"error": _error(self._response.status, found)})

    async def chunks(self) -> AsyncIterator[bytes]:
        """The frames of a stream."""
        splitter = Splitter()
        async for chunk in self._response.chunks():
            for frame in splitter.feed(chunk):
                found = payload(frame)
                if found is None:
                    yield frame
                elif isinstance(found.get("error"), Mapping):
                    yield event(_wrapped({"error": _error(int(found["error"].get("code", 500)), found)}), "error")
                else:
                    yield event(_wrapped({"result": found}))


def _wrapped(reply: Mapping[str, Any]) -> bytes:
    return rpc.encode({"jsonrpc": "2.0", "id": 1, **reply})


def _error(status: int, body: Any) -> dict[str, Any]:
    """An HTTP error as JSON-RPC has it; `rest.error_body` makes the same of it again."""
    found = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(found, Mapping):
        return {"code": rpc.INTERNAL, "message": f"HTTP {status}"}
    details = found.get("details")
    reason = details[0].get("reason") if isinstance(details, list) and details else None
    error = {"code": rest.code_of(status, reason), "message": str(found.get("message", f"HTTP {status}"))}
    return {**error, "data": details} if details else error
