"""Answers of the door: errors in the form of the binding that the request came over, before the A2A SDK sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

_DOMAIN = "teamwright.dev"
_A2A_DOMAIN = "a2a-protocol.org"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way to refuse: HTTP status, gRPC status name, the reason's short word, the JSON-RPC code."""

    status: int
    name: str
    reason: str
    code: int = -32600
    domain: str = _DOMAIN

    async def send(self, message: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request with it."""
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        body = self.rpc(message) if scope["path"] == "/" else self.rest(message)
        await JSONResponse(body, self.status, headers=headers)(scope, receive, send)

    def rpc(self, message: str) -> dict[str, Any]:
        """As a JSON-RPC error."""
        return {"jsonrpc": "2.0", "id": None, "error": {"code": self.code, "message": message, "data": self._details()}}

    def rest(self, message: str) -> dict[str, Any]:
        """As a google.rpc.Status."""
        error = {"code": self.status, "status": self.name, "message": message, "details": self._details()}
        return {"error": error}

    def _details(self) -> list[dict[str, Any]]:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        return [{"@type": kind, "reason": self.reason, "domain": self.domain, "metadata": {}}]


UNAUTHENTICATED = Refusal(401, "UNAUTHENTICATED", "UNAUTHENTICATED")
FORBIDDEN = Refusal(403, "PERMISSION_DENIED", "PERMISSION_DENIED")
TOO_LARGE = Refusal(413, "RESOURCE_EXHAUSTED", "TOO_LARGE")
WRONG_TYPE = Refusal(415, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED", -32005, _A2A_DOMAIN)
NOT_JSON = Refusal(400, "INVALID_ARGUMENT", "INVALID_REQUEST", -32700, _A2A_DOMAIN)
WRONG_VERSION = Refusal(400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED", -32009, _A2A_DOMAIN)
