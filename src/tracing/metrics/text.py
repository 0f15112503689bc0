"""Metrics as Prometheus text, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from teamwright.tracing.metrics.counts import Histogram, Labels, Metrics
from teamwright.tracing.metrics.instruments import INSTRUMENTS, Gauge, Instrument, label


def page(metrics: Metrics) -> str:
    """All histograms and counters."""
    with metrics.lock:
        return "".join(f"{line}\n" for line in _lines(metrics))


def gauges(values: Iterable[Gauge]) -> str:
    """The part of a page that holds gauges."""
    lines: list[str] = []
    for name, found in groupby(sorted(values, key=lambda gauge: gauge.name), key=lambda gauge: gauge.name):
        instrument = INSTRUMENTS[name]
        lines += _head(instrument)
        lines += [f"{instrument.prometheus}{_labels(tuple(one.labels.items()))} {_number(one.value)}" for one in found]
    return "".join(f"{line}\n" for line in lines)


def _lines(metrics: Metrics) -> Iterator[str]:
    for name, instrument in INSTRUMENTS.items():
        if instrument.kind == "counter":
            counted = [(labels, value) for (one, labels), value in metrics.counters.items() if one == name]
            if counted:
                yield from _head(instrument)
            for labels, value in counted:
                yield f"{instrument.prometheus}{_labels(labels)} {_number(value)}"
        elif instrument.kind == "histogram":
            observed = [(labels, found) for (one, labels), found in metrics.histograms.items() if one == name]
            if observed:
                yield from _head(instrument)
            for labels, found in observed:
                yield from _histogram(instrument.prometheus, labels, found)


def _head(instrument: Instrument) -> list[str]:
    name = instrument.prometheus
    return [f"# HELP {name} {instrument.help}", f"# TYPE {name} {instrument.kind}"]


def _histogram(name: str, labels: Labels, found: Histogram) -> Iterator[str]:
    seen = 0
    for bound, count in zip((*found.bounds, float("inf")), found.counts, strict=True):
        seen += count
        shown = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"{name}_bucket{_labels((*labels, ('le', shown)))} {seen}"
    yield f"{name}_sum{_labels(labels)} {_number(found.total)}"
    yield f"{name}_count{_labels(labels)} {seen}"


def _labels(labels: Labels) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{label(name)}="{quoted(value)}"' for name, value in labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
