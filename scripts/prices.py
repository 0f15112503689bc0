"""Write src/tracing/prices.json from the data of genai-prices.

    uv run --with genai-prices scripts/prices.py            write
    uv run --with genai-prices scripts/prices.py --check    exit 1 when our figures are not those of genai-prices

The package itself takes 0.7 s and 90 MB to import, which an agent can't afford; of its data we use a part.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from teamwright.tracing import cost

FILE = Path(cost.__file__).with_name("prices.json")
PROVIDERS = (
    "anthropic", "openai", "google", "mistral", "groq", "deepseek", "x-ai", "cohere", "cerebras", "together",
    "fireworks", "moonshotai",
)  # fmt: skip
_KINDS = {"input_mtok": "in", "output_mtok": "out", "cache_read_mtok": "read", "cache_write_mtok": "write"}


def main() -> int:
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
    if "--check" in sys.argv[1:]:
        return check(snapshot)
    providers = {provider.id: list(models(provider)) for provider in snapshot.providers if provider.id in PROVIDERS}
    made = {"source": f"genai-prices {version('genai-prices')}", "providers": providers}
    FILE.write_text(json.dumps(made, separators=(",", ":"), ensure_ascii=False).replace('{"id"', '\n{"id"') + "\n")
    print(f"{FILE}: {sum(map(len, providers.values()))} models, {FILE.stat().st_size >> 10} KiB")
    return check(snapshot)


def models(provider: Any) -> Iterator[dict[str, Any]]:
    """Each model that is priced by the token: id, what its name matches, prices from which day on."""
    for model in provider.models:
        listed = model.prices if isinstance(model.prices, list) else [None]
        if any(hasattr(getattr(entry, "constraint", None), "start_time") for entry in listed):
            continue  # dearer at some hours: an average would be wrong at all of them
        found = []
        for entry in listed:
            start = getattr(getattr(entry, "constraint", None), "start_date", None)
            prices = tokens(entry.prices if entry is not None else model.prices)
            if "in" in prices and "out" in prices:
                found.append([start.isoformat() if start else "", prices])
        if found:
            yield {"id": model.id.lower(), "match": clause(model.match), "prices": found}


def tokens(prices: Any) -> dict[str, Any]:
    """Dollars per million tokens by kind: a number, or [base, [[from so many input tokens, price], …]]."""
    found: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        value = getattr(prices, name, None)
        if isinstance(value, Decimal):
            found[kind] = float(value)
        elif value is not None:
            found[kind] = [float(value.base), [[tier.start, float(tier.price)] for tier in value.tiers]]
    return found


def clause(match: Any) -> list[Any]:
    """["or", [...]], ["contains", "gpt"] …"""
    ((name, value),) = vars(match).items()
    name = name.rstrip("_")
    if name in ("or", "and"):
        return [name, [clause(item) for item in value]]
    return [name, value if name == "regex" else value.lower()]


def check(snapshot: Any) -> int:
    """Compare with the package's own sums, model by model."""
    prices = import_module("genai_prices")
    wrong = compared = 0
    uses = ((1000, 100, 0, 0), (1000, 100, 400, 200), (300_000, 5000, 1000, 0))
    for provider in (one for one in snapshot.providers if one.id in PROVIDERS):
        for model in models(provider):
            for read, written, cached, stored in uses:
                usage = prices.Usage(
                    input_tokens=read, output_tokens=written, cache_read_tokens=cached, cache_write_tokens=stored
                )
                when = datetime.now(UTC)
                try:
                    theirs = prices.calc_price(
                        usage, model_ref=model["id"], provider_id=provider.id, genai_request_timestamp=when
                    )
                except (LookupError, ValueError):
                    continue
                ours = cost.price(
                    model["id"], provider.id, input_tokens=read, output_tokens=written,
                    cache_read_tokens=cached, cache_write_tokens=stored, day=date.today(),
                )  # fmt: skip
                compared += 1
                if ours is None or abs(ours - float(theirs.total_price)) > 1e-9:
                    wrong += 1
                    print(
                        f"{provider.id} {model['id']} {(read, written, cached, stored)}: {ours}, {theirs.total_price}"
                    )
    print(f"{compared} sums compared, {wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
