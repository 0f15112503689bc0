"""What a request brings along."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from teamwright.errors import UserError


async def body(request: Request) -> dict[str, Any]:
    """Its JSON object; empty where it has none. Raises UserError."""
    try:
        found = await request.json() if await request.body() else {}
    except ValueError:
        raise UserError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise UserError("the body is not a JSON object")
    return found
