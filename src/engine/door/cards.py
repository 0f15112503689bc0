"""Agents' cards as the front door shows them: at its own address."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from starlette.responses import Response

from teamwright.engine.door import rpc

#: What of an agent's own card is about its own address.
_OWN = ("signatures", "url", "preferredTransport", "additionalInterfaces", "protocolVersion")


def here(card: dict[str, Any], url: str, *, ours: bool = True) -> None:
    """Make it the card of an agent at `url`: both bindings; for clients of A2A 0.3 as far as the agent goes.

    Not `ours` is a foreign one, which is called over JSON-RPC only.
    """
    given = card.get("supportedInterfaces") or ()
    older = {item.get("protocolBinding") for item in given if item.get("protocolVersion") == "0.3"}
    old, rest = bool(older) or "preferredTransport" in card, ours and "HTTP+JSON" in older
    for key in _OWN:
        card.pop(key, None)
    bindings = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0")]
    bindings += [("JSONRPC", "0.3")] if old else []
    bindings += [("HTTP+JSON", "0.3")] if rest else []
    card["supportedInterfaces"] = [
        {"url": url, "protocolBinding": binding, "protocolVersion": version} for binding, version in bindings
    ]
    if old:
        card |= {"url": url, "preferredTransport": "JSONRPC", "protocolVersion": "0.3"}
    if rest:
        card["additionalInterfaces"] = [{"url": url, "transport": name} for name in ("JSONRPC", "HTTP+JSON")]


def answer(card: dict[str, Any], headers: Mapping[str, str], changed: float) -> Response:
    """The card, or 304 for whoever has it; it has been as it is since `changed` (Unix time)."""
    body = rpc.encode(card)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    own = {
        "etag": tag,
        "last-modified": formatdate(int(changed), usegmt=True),
        "cache-control": "public, max-age=60",
    }
    if _known(headers, tag, int(changed)):
        return Response(status_code=304, headers=own)
    return Response(body, media_type="application/json", headers=own)


def _known(headers: Mapping[str, str], tag: str, changed: int) -> bool:
    if (tags := headers.get("if-none-match")) is not None:  # goes before the date, RFC 9110
        found = [item.strip().removeprefix("W/") for item in tags.split(",")]
        return "*" in found or tag in found
    try:
        return parsedate_to_datetime(headers.get("if-modified-since", "")).timestamp() >= changed
    except ValueError:
        return False
