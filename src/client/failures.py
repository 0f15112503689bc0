"""The engine's errors, as it sends them, turned back into ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from teamwright import errors
from teamwright.errors import EngineError, EngineUnavailable, StartFailed, TeamwrightError

_KINDS: dict[str, type[TeamwrightError]] = {
    "UserError": errors.UserError,
    "UnknownJob": errors.UnknownJob,
    "Refused": errors.Refused,
    "TokenRefused": errors.TokenRefused,
    "HomeError": errors.HomeError,
    "HostError": errors.HostError,
    "StoreTooNew": errors.StoreTooNew,
}


def failure(found: Mapping[str, Any], status: int = 500) -> TeamwrightError:
    """The error in an answer's `error`."""
    message, hint, kind = str(found.get("message", "failed")), found.get("hint"), str(found.get("type"))
    if kind == "StartFailed":
        return StartFailed(message, agent=found.get("agent"), tail=tuple(found.get("tail") or ()), hint=hint)
    if kind == "EngineUnavailable":
        return EngineUnavailable(message, status=status, hint=hint)
    if kind in _KINDS:
        return _KINDS[kind](message, hint=hint)
    return EngineError(message, status=int(found.get("status") or status), hint=hint)


def check(response: httpx.Response) -> None:
    """Raise what a response of the engine says went wrong; its body must have been read."""
    if response.is_success:
        return
    try:
        found = response.json()["error"]
    except (ValueError, LookupError, TypeError):
        found = {"message": f"the engine answered with HTTP {response.status_code}"}
    raise failure(found, response.status_code)


def unreachable(error: httpx.HTTPError, url: str) -> EngineUnavailable:
    """No answer at all."""
    if isinstance(error, httpx.ConnectError):
        return EngineUnavailable(f"no engine answers at {url}", status=503, hint="deploy engine start")
    if isinstance(error, httpx.TimeoutException):
        return EngineUnavailable(f"the engine at {url} did not answer in time", status=503)
    return EngineUnavailable(f"the engine at {url} ended before it had answered", status=503)
