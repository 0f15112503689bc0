"""The public card over HTTP: the same bytes for the whole life of the agent, so clients need fetch them only once."""

from __future__ import annotations

import hashlib
import json
import time
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MAX_AGE = "public, max-age=60"


class CardRoute:
    """A card as JSON with `ETag` and `Last-Modified`; 304 for whoever has it already. `changed` is Unix time."""

    def __init__(self, card: dict[str, Any], changed: float | None = None) -> None:
        self._body = json.dumps(card, ensure_ascii=False, separators=(",", ":")).encode()
        self._changed = int(time.time() if changed is None else changed)
        self._headers = {
            "etag": f'"{hashlib.sha256(self._body).hexdigest()[:32]}"',
            "last-modified": formatdate(self._changed, usegmt=True),
            "cache-control": MAX_AGE,
        }

    def route(self, path: str) -> Route:
        """Where it is served."""
        return Route(path, self._answer)

    async def _answer(self, request: Request) -> Response:
        if self._known(request):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, media_type="application/json", headers=self._headers)

    def _known(self, request: Request) -> bool:
        if (tags := request.headers.get("if-none-match")) is not None:  # goes before the date, RFC 9110
            found = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
            return "*" in found or self._headers["etag"] in found
        if (since := request.headers.get("if-modified-since")) is not None:
            try:
                return parsedate_to_datetime(since).timestamp() >= self._changed
            except ValueError:
                return False
        return False
