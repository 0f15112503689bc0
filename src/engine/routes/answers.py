"""Errors as the engine's HTTP answers: {"error": {"message", "type", "hint", "tail"}}."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teamwright.errors import (
    EngineError,
    Refused,
    StartFailed,
    TeamwrightError,
    TokenRefused,
    TooMany,
    UnknownJob,
    UserError,
)

log = logging.getLogger("teamwright.engine")


def error_body(error: BaseException) -> dict[str, Any]:
    """What goes under `error`."""
    if isinstance(error, TeamwrightError):
        tail = list(error.tail) if isinstance(error, StartFailed) else []
        agent = error.agent if isinstance(error, StartFailed) else None
        return {
            "message": error.message,
            "type": type(error).__name__,
            "hint": error.hint,
            "tail": tail,
            "agent": agent,
            "status": status_of(error),
        }
    return {
        "message": f"{type(error).__name__}: {error}",
        "type": "Bug",
        "hint": "see engine.log in the home",
        "tail": [],
        "agent": None,
        "status": 500,
    }


def status_of(error: TeamwrightError) -> int:
    """The HTTP status that fits the error."""
    match error:
        case EngineError():
            return error.status
        case TokenRefused():
            return 401
        case Refused():
            return 403
        case UnknownJob():
            return 404
        case UserError():
            return 400
        case _:
            return 500


async def on_error(request: Request, error: Exception) -> Response:
    """One of our own errors."""
    assert isinstance(error, TeamwrightError)
    status = status_of(error)
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    if isinstance(error, TooMany):
        headers = {"retry-after": str(math.ceil(error.retry_after))}
    return JSONResponse({"error": error_body(error)}, status, headers=headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """No such path, wrong method …"""
    assert isinstance(error, HTTPException)
    body = {"message": f"{error.detail}: {request.method} {request.url.path}", "type": "HTTPError", "hint": None}
    headers: Mapping[str, str] | None = error.headers
    return JSONResponse({"error": {**body, "tail": []}}, error.status_code, headers=headers)


async def on_bug(request: Request, error: Exception) -> Response:
    """Anything else is ours to mend; the traceback is in engine.log."""
    return JSONResponse({"error": error_body(error)}, 500)
