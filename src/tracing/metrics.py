"""Counts and histograms of what the spans say, in Prometheus text: names of the GenAI conventions.

Filled when spans are stored, so agents pay nothing for it; counts begin with the engine.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from teamwright.tracing import vocabulary as v
from teamwright.tracing.rows import ERROR, Row

Labels = tuple[tuple[str, str], ...]
#: Name, help, labels, value of this moment.
Gauge = tuple[str, str, Mapping[str, str], float]

#: What the GenAI conventions advise: seconds, and tokens.
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
SERIES_LIMIT = 2000

_HELP: Mapping[str, tuple[str, str]] = {
    "gen_ai_client_operation_duration_seconds": ("histogram", "How long model calls took."),
    "gen_ai_client_token_usage": ("histogram", "Tokens of model calls, by gen_ai_token_type."),
    "gen_ai_server_time_to_first_token_seconds": ("histogram", "Until a model's answer began to arrive."),
    "teamwright_tool_duration_seconds": ("histogram", "How long tool calls took."),
    "teamwright_a2a_duration_seconds": ("histogram", "How long calls between agents took, seen by the caller."),
    "teamwright_query_duration_seconds": ("histogram", "How long queries took."),
    "teamwright_queued_duration_seconds": ("histogram", "How long messages waited for their turn."),
    "teamwright_errors_total": ("counter", "Spans that failed, by operation and error_type."),
    "teamwright_cost_usd_total": ("counter", "Dollars of model calls whose price is known."),
    "teamwright_unpriced_model_calls_total": ("counter", "Model calls whose price is not known."),
    "teamwright_agent_starts_total": ("counter", "Starts of agents."),
}
_DURATIONS = {
    v.OP_MODEL: "gen_ai_client_operation_duration_seconds",
    v.OP_TOOL: "teamwright_tool_duration_seconds",
    v.OP_QUEUED: "teamwright_queued_duration_seconds",
    v.OP_QUERY: "teamwright_query_duration_seconds",
}
_COUNTED = frozenset([*_DURATIONS, v.OP_AGENT, v.OP_START_AGENT])


class Histogram:
    """How often values fell up to each bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """Give `take` to the store; `text` is the page. Series beyond a limit are not begun."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, Labels], Histogram] = {}
        self._counters: dict[tuple[str, Labels], float] = {}
        self._lock = threading.Lock()

    def take(self, rows: Sequence[Row]) -> None:
        """These spans are new."""
        with self._lock:
            for row in rows:
                if row.state and (row.op in _COUNTED or row.status == ERROR):
                    self._row(row)

    def text(self, gauges: Iterable[Gauge] = ()) -> str:
        """The page; `gauges` stand at its end."""
        with self._lock:
            lines = list(self._lines())
        return "\n".join(lines) + "\n" + gauges_text(gauges)

    def _row(self, row: Row) -> None:
        who: Labels = (("job", row.job), ("agent", row.agent))
        seconds = (row.end - row.start) / 1e9
        facts = row.facts
        if row.op == v.OP_MODEL:
            model = str(facts.get("model") or "unknown")
            who = (*who, ("gen_ai_request_model", model), ("gen_ai_provider_name", str(facts.get("provider") or "")))
            self._model_call(facts, who)
        elif row.op == v.OP_TOOL:
            who = (*who, ("gen_ai_tool_name", str(facts.get("tool") or "")))
        elif row.op == v.OP_START_AGENT:
            self._count("teamwright_agent_starts_total", who)
        if name := _DURATIONS.get(row.op):
            self._observe(name, who, SECONDS, seconds)
        elif row.op == v.OP_AGENT and row.kind == 3:
            who = (*who, ("target", str(facts.get("target") or "")))
            self._observe("teamwright_a2a_duration_seconds", who, SECONDS, seconds)
        if row.status == ERROR:
            why = (("operation", row.op), ("error_type", str(facts.get("error") or "error")))
            self._count("teamwright_errors_total", (("job", row.job), ("agent", row.agent), *why))

    def _model_call(self, facts: Mapping[str, Any], who: Labels) -> None:
        for kind in ("input", "output"):
            if (count := facts.get(f"{kind}_tokens")) is not None:
                self._observe("gen_ai_client_token_usage", (*who, ("gen_ai_token_type", kind)), TOKENS, float(count))
        if (first := facts.get("first_token_s")) is not None:
            self._observe("gen_ai_server_time_to_first_token_seconds", who, SECONDS, float(first))
        cost = facts.get("cost_usd")
        if cost is None:
            self._count("teamwright_unpriced_model_calls_total", who)
        else:
            self._count("teamwright_cost_usd_total", who, float(cost))

    def _observe(self, name: str, labels: Labels, bounds: tuple[float, ...], value: float) -> None:
        key = (name, labels)
        found = self._histograms.get(key)
        if found is None:
            if len(self._histograms) >= SERIES_LIMIT:
                return
            found = self._histograms[key] = Histogram(bounds)
        found.add(value)

    def _count(self, name: str, labels: Labels, by: float = 1.0) -> None:
        key = (name, labels)
        if key in self._counters or len(self._counters) < SERIES_LIMIT:
            self._counters[key] = self._counters.get(key, 0.0) + by

    def _lines(self) -> Iterator[str]:
        for name, (kind, help_) in _HELP.items():
            yield f"# HELP {name} {help_}"
            yield f"# TYPE {name} {kind}"
            if kind == "counter":
                for (counted, labels), value in self._counters.items():
                    if counted == name:
                        yield f"{name}{_labels(labels)} {value:g}"
                continue
            for (observed, labels), found in self._histograms.items():
                if observed == name:
                    yield from _histogram(name, labels, found)


def gauges_text(gauges: Iterable[Gauge]) -> str:
    """The part of a page that holds gauges; those of one name must follow one another."""
    lines: list[str] = []
    told: set[str] = set()
    for name, help_, labels, value in gauges:
        if name not in told:
            told.add(name)
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge"]
        lines.append(f"{name}{_labels(tuple(labels.items()))} {value:g}")
    return "".join(f"{line}\n" for line in lines)


def _histogram(name: str, labels: Labels, found: Histogram) -> Iterator[str]:
    seen = 0
    for bound, count in zip((*found.bounds, float("inf")), found.counts, strict=True):
        seen += count
        shown = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"{name}_bucket{_labels((*labels, ('le', shown)))} {seen}"
    yield f"{name}_sum{_labels(labels)} {found.total:g}"
    yield f"{name}_count{_labels(labels)} {seen}"


def _labels(labels: Labels) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in labels) + "}" if labels else ""
