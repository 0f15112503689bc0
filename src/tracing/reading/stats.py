"""Many queries summed up, for `trace stats`: from summaries, and from the newest traces as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from teamwright.tracing.reading.analysis import KINDS, UNACCOUNTED, costs
from teamwright.tracing.reading.reader import status
from teamwright.tracing.reading.view import cost
from teamwright.tracing.vocabulary import TRACING_US

#: So many of the newest are read whole, for times and agents.
READ = 50


def summed(rows: Sequence[dict[str, Any]], show: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    """Counts, durations, costs; an unknown price is counted beside the sum, not as nothing, and where none is known
    the sum is None.

    `unaccounted_share` is the part of the time that agents spent outside models, tools, waiting and calls: their own
    code. `tracing_share` is what making and writing spans took in agents and engine, of the same time.
    """
    ended = [row for row in rows if row["root_state"]]
    times = sorted((row["end"] - row["start"]) / 1e6 for row in ended) or [0.0]
    known = [found for row in rows if (found := cost(row)) is not None]
    spent: Counter[str] = Counter()
    spans: list[dict[str, Any]] = []
    for row in ended[:READ]:
        whole = show(row["trace"])
        spent.update(whole["time_ns"])
        spans += whole["spans"]
    total = sum(spent.values())
    tracing = sum(span["attributes"].get(TRACING_US) or 0 for span in spans)
    read = max(1, min(len(ended), READ))
    count = max(1, len(rows))
    sessions: dict[str, list[float | None]] = {}
    for row in rows:
        if row["session"]:
            sessions.setdefault(row["session"], []).append(cost(row))
    return {
        "queries": len(rows),
        "status": dict(Counter(status(row) for row in rows)),
        "duration_ms": {
            "p50": times[len(times) // 2],
            "p95": times[min(len(times) - 1, len(times) * 95 // 100)],
            "max": times[-1],
        },
        "spans_per_query": sum(row["spans"] for row in rows) / count,
        "bytes_per_query": sum(row["bytes"] or 0 for row in rows) / count,
        "input_tokens": sum(row["input_tokens"] for row in rows),
        "output_tokens": sum(row["output_tokens"] for row in rows),
        "cost_usd": round(sum(known), 9) if known or not rows else None,
        "estimated": any(row["estimated"] for row in rows),
        "unpriced_queries": len(rows) - len(known),
        "time_share": {kind: spent[kind] / total for kind in KINDS if spent[kind]},
        "unaccounted_share": sum(spent[kind] for kind in UNACCOUNTED) / total if total else 0.0,
        "tracing_us_per_query": tracing / read,
        "tracing_share": tracing * 1000 / total if total else 0.0,
        "agents": costs(spans, "agent"),
        "sessions": [
            {"session": name, "queries": len(dollars), "cost_usd": _whole(dollars)}
            for name, dollars in sessions.items()
        ],
    }


def _whole(dollars: Sequence[float | None]) -> float | None:
    known = [one for one in dollars if one is not None]
    return round(sum(known), 9) if len(known) == len(dollars) else None
