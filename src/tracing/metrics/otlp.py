"""Metrics as an OTLP request: sums and histograms counted since the process began, gauges of this moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from teamwright import __version__
from teamwright.tracing import vocabulary as v
from teamwright.tracing.metrics.counts import Metrics
from teamwright.tracing.metrics.instruments import INSTRUMENTS, Gauge


def request(
    metrics: Metrics, gauges: Iterable[Gauge], resource: Mapping[str, str], *, now: Callable[[], int] = time.time_ns
) -> bytes:
    """An ExportMetricsServiceRequest; `resource` says whose they are."""
    made = ExportMetricsServiceRequest()
    block = made.resource_metrics.add()
    block.resource.attributes.extend(_pairs(resource.items()))
    scope = block.scope_metrics.add()
    scope.scope.name, scope.scope.version = v.SCOPE, __version__
    found: dict[str, Metric] = {}

    def metric(name: str) -> Metric:
        if name not in found:
            known = INSTRUMENTS[name]
            found[name] = scope.metrics.add(name=name, unit=known.unit, description=known.help)
        return found[name]

    since, at = metrics.since_ns, now()
    with metrics.lock:
        for (name, labels), held in metrics.histograms.items():
            histogram = metric(name).histogram
            histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
            histogram.data_points.append(
                HistogramDataPoint(
                    attributes=_pairs(labels),
                    count=sum(held.counts),
                    sum=held.total,
                    bucket_counts=held.counts,
                    explicit_bounds=held.bounds,
                    start_time_unix_nano=since,
                    time_unix_nano=at,
                )
            )
        for (name, labels), value in metrics.counters.items():
            counter = metric(name).sum
            counter.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
            counter.is_monotonic = True
            counter.data_points.append(
                NumberDataPoint(
                    attributes=_pairs(labels), as_double=value, start_time_unix_nano=since, time_unix_nano=at
                )
            )
    for gauge in gauges:
        metric(gauge.name).gauge.data_points.append(
            NumberDataPoint(attributes=_pairs(gauge.labels.items()), as_double=gauge.value, time_unix_nano=at)
        )
    return made.SerializeToString()


def _pairs(items: Iterable[tuple[str, str]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in items]
