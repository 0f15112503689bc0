"""Asking a public service, where that is wanted: `EXAMPLES_ONLINE=1`. Without it, and when the service doesn't answer
within seconds, the examples use the data they come with; every result says which in `source`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

SAMPLE = "bundled sample data"
TIMEOUT = 3.0  # seconds, for connecting and for each piece of the answer


def wanted() -> bool:
    """Whether the user asked for live data."""
    return os.environ.get("EXAMPLES_ONLINE", "").casefold() in ("1", "true", "yes", "on")


def fetch(url: str, parameters: Mapping[str, str | int | float]) -> dict[str, Any] | None:
    """The JSON object at `url`; None when live data isn't wanted or can't be had."""
    if not wanted():
        return None
    import httpx

    try:
        answer = httpx.get(url, params=dict(parameters), timeout=TIMEOUT, headers={"User-Agent": "teamwright-examples"})
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None
