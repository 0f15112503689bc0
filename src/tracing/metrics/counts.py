"""Counts and histograms of what the spans say, filled when spans are stored: agents pay nothing for it.

Counts begin with the process that keeps the spans. metrics_text.py and metrics_otlp.py write them down.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from teamwright.tracing import vocabulary as v
from teamwright.tracing.metrics.instruments import DURATIONS, INSTRUMENTS, TOKEN_TYPE
from teamwright.tracing.storing.rows import ERROR, Row

Labels = tuple[tuple[str, str], ...]

SERIES_LIMIT = 2000
_COUNTED = frozenset([*DURATIONS, v.OP_AGENT, v.OP_START_AGENT])
_CLIENT = 3  # OTLP's kind of a span


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
    """Give `take` to the store. Series beyond a limit are not begun. `since_ns` is when counting began, Unix time."""

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        self.since_ns = now()
        #: By instrument and labels; read them under `lock`.
        self.histograms: dict[tuple[str, Labels], Histogram] = {}
        self.counters: dict[tuple[str, Labels], float] = {}
        self.lock = threading.Lock()

    def take(self, rows: Sequence[Row]) -> None:
        """These spans are new."""
        with self.lock:
            for row in rows:
                if row.state and (row.op in _COUNTED or row.status == ERROR):
                    self._row(row)

    def _row(self, row: Row) -> None:
        whose: Labels = ((v.JOB, row.job), (v.AGENT, row.agent))
        seconds = (row.end - row.start) / 1e9
        facts = row.facts
        failed: Labels = ()
        if row.status == ERROR:
            failed = ((v.ERROR_TYPE, str(facts.get("error") or "error")),)
            self._count("teamwright.errors", (*whose, (v.OPERATION, row.op), *failed))
        who = whose
        if row.op == v.OP_MODEL:
            model, provider = str(facts.get("model") or "unknown"), str(facts.get("provider") or "unknown")
            who = (*whose, (v.OPERATION, row.op), (v.REQUEST_MODEL, model), (v.PROVIDER, provider))
            self._model_call(facts, who)
        elif row.op == v.OP_TOOL:
            who = (*whose, (v.TOOL_NAME, str(facts.get("tool") or "")))
        elif row.op == v.OP_START_AGENT:
            self._count("teamwright.agent.starts", whose)
        if name := DURATIONS.get(row.op):
            self._observe(name, (*who, *failed), seconds)
        elif row.op == v.OP_AGENT and row.kind == _CLIENT:
            target = (v.TARGET_ID, str(facts.get("target") or ""))
            self._observe("teamwright.a2a.duration", (*whose, target, *failed), seconds)
        elif row.op == v.OP_AGENT:
            self._observe("gen_ai.invoke_agent.duration", (*whose, *failed), seconds)

    def _model_call(self, facts: Mapping[str, Any], who: Labels) -> None:
        for kind in ("input", "output"):
            if (count := _figure(facts.get(f"{kind}_tokens"))) is not None:
                self._observe("gen_ai.client.token.usage", (*who, (TOKEN_TYPE, kind)), count)
        if (first := _figure(facts.get("first_token_s"))) is not None:
            self._observe("gen_ai.client.operation.time_to_first_chunk", who, first)
        cost = _figure(facts.get("cost_usd"))
        if cost is None:
            self._count("teamwright.unpriced_model_calls", who)
        else:
            self._count("teamwright.cost_usd", who, cost)

    def _observe(self, name: str, labels: Labels, value: float) -> None:
        key = (name, labels)
        found = self.histograms.get(key)
        if found is None:
            if len(self.histograms) >= SERIES_LIMIT:
                return
            found = self.histograms[key] = Histogram(INSTRUMENTS[name].bounds)
        found.add(value)

    def _count(self, name: str, labels: Labels, by: float = 1.0) -> None:
        key = (name, labels)
        if key in self.counters or len(self.counters) < SERIES_LIMIT:
            self.counters[key] = self.counters.get(key, 0.0) + by


def _figure(value: Any) -> float | None:
    """A span of somebody else's may hold anything; no count goes down."""
    return float(value) if isinstance(value, int | float) and value >= 0 else None
