"""What a model call costs, from list prices that come along: no network, no account.

The prices are those of genai-prices, brought into prices.json by scripts/prices.py: the package itself takes 0.7 s
and 90 MB, this 3 ms and 1 MB when first asked.
"""

from __future__ import annotations

import json
import re
from datetime import date
from functools import cache, lru_cache
from importlib import resources
from typing import Any

#: What our backends and OpenTelemetry call providers, as the prices have them.
_NAMES = {
    "gcp.gemini": "google", "gcp.vertex_ai": "google", "gcp.gen_ai": "google", "gemini": "google",
    "claude": "anthropic",
    "x_ai": "x-ai", "xai": "x-ai", "mistral_ai": "mistral", "moonshot": "moonshotai", "fireworks_ai": "fireworks",
    "together_ai": "together",
}  # fmt: skip
#: Whose models are meant when nobody says whose they are.
_KNOWN_BY_NAME = (("claude", "anthropic"), ("gpt-", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"),
                  ("gemini", "google"))  # fmt: skip


def price(
    model: str | None,
    provider: str | None = None,
    *,
    input_tokens: int | None,
    output_tokens: int | None,
    cache_read_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    day: date | None = None,
) -> float | None:
    """Dollars by the list, or None when the price is not known; unknown is never 0.

    `input_tokens` includes those read from and written to the provider's cache.

    >>> price("claude-sonnet-4-5", "anthropic", input_tokens=1_000_000, output_tokens=0, day=date(2026, 11, 1))
    3.0
    """
    if not model or (input_tokens is None and output_tokens is None):
        return None
    found = _prices(model.lower(), _provider(model, provider), day or date.today())
    if found is None:
        return None
    whole, written = input_tokens or 0, output_tokens or 0
    read, stored = cache_read_tokens or 0, cache_write_tokens or 0
    plain = max(0, whole - read - stored)
    dollars = 0.0
    for kind, count in (("in", plain), ("out", written), ("read", read), ("write", stored)):
        if count:
            dollars += count * _rate(found.get(kind, found["in"]), whole)
    return round(dollars / 1e6, 12)


def _provider(model: str, provider: str | None) -> str | None:
    if provider:
        name = provider.lower()
        return _NAMES.get(name, name)
    return next((whose for beginning, whose in _KNOWN_BY_NAME if model.lower().startswith(beginning)), None)


@lru_cache(maxsize=256)
def _prices(model: str, provider: str | None, day: date) -> dict[str, Any] | None:
    models = _table().get(provider or "", [])
    entry = next((entry for entry in models if entry["id"] == model), None) or next(
        (entry for entry in models if _matches(entry["match"], model)), None
    )
    if entry is None:
        return None
    today = day.isoformat()
    fitting: list[dict[str, Any]] = [prices for start, prices in entry["prices"] if start <= today]
    return fitting[-1] if fitting else None


def _rate(rate: float | list[Any], whole: int) -> float:
    """Dollars per million; long requests cost more, as a whole."""
    if not isinstance(rate, list):
        return rate
    base, tiers = rate
    return float(next((dear for start, dear in reversed(tiers) if whole > start), base))


def _matches(clause: list[Any], model: str) -> bool:
    kind, value = clause
    match kind:
        case "or":
            return any(_matches(item, model) for item in value)
        case "and":
            return all(_matches(item, model) for item in value)
        case "equals":
            return bool(model == value)
        case "starts_with":
            return model.startswith(value)
        case "ends_with":
            return model.endswith(value)
        case "contains":
            return value in model
        case _:
            return re.search(value, model) is not None


@cache
def _table() -> dict[str, list[dict[str, Any]]]:
    text = resources.files("teamwright.tracing").joinpath("prices.json").read_text()
    found: dict[str, list[dict[str, Any]]] = json.loads(text)["providers"]
    return found
