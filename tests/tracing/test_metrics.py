from __future__ import annotations

import math
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client.parser import text_string_to_metric_families

from teamwright.tracing.metrics import otlp as metrics_otlp
from teamwright.tracing.metrics import text as metrics_text
from teamwright.tracing.metrics.counts import Metrics
from teamwright.tracing.metrics.instruments import INSTRUMENTS, Gauge
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Clock, Spans
from teamwright.tracing.tracer import Tracer

LEAD = {"teamwright.job": "team", "teamwright.agent": "lead"}
CHAT = {**LEAD, "gen_ai.operation.name": "chat"}
GPT = {**CHAT, "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
OWN = {**CHAT, "gen_ai.request.model": 'own "one"\\\n', "gen_ai.provider.name": "unknown"}
GAUGES = [
    Gauge("teamwright.agent.up", LEAD, 1.0),
    Gauge("teamwright.agent.heartbeat.age", LEAD, 0.25),
    Gauge("teamwright.agent.up", {**LEAD, "teamwright.agent": "writer"}, 0.0),
]


@pytest.fixture
def metrics(spans: Spans, store: SpanStore) -> Metrics:
    metrics = Metrics(now=lambda: 5)
    store.listen_to_spans(metrics.take)
    tracer = Tracer("lead", "team", "1", spans, strict=True, now=Clock())
    with tracer.query("team", text="x"), tracer.agent(message="x"):
        with tracer.model_call(model="gpt-4o", provider="openai") as call:
            call.first_token().usage(input_tokens=1000, output_tokens=100)
        with tracer.model_call(model=OWN["gen_ai.request.model"]) as call:
            call.usage(input_tokens=1, output_tokens=1)
        with tracer.tool_call(name="t") as tool:
            tool.fail("no", reason="timeout")
        with tracer.peer_call(target="Writer", target_id="writer"):
            pass
    for _ in range(2):  # a replay counts once
        store.ingest(spans.body).result()
    return metrics


#: Metric, labels, and how often or how much.
EXPECTED: list[tuple[str, dict[str, str], float]] = [
    ("gen_ai.client.operation.duration", GPT, 1),
    ("gen_ai.client.operation.duration", OWN, 1),
    ("gen_ai.client.operation.time_to_first_chunk", GPT, 1),
    ("gen_ai.client.token.usage", {**GPT, "gen_ai.token.type": "input"}, 1),
    ("gen_ai.execute_tool.duration", {**LEAD, "gen_ai.tool.name": "t", "error.type": "timeout"}, 1),
    ("gen_ai.invoke_agent.duration", LEAD, 1),
    ("gen_ai.workflow.duration", LEAD, 1),
    ("teamwright.a2a.duration", {**LEAD, "teamwright.target.id": "writer"}, 1),
    ("teamwright.errors", {**LEAD, "gen_ai.operation.name": "execute_tool", "error.type": "timeout"}, 1),
    ("teamwright.cost_usd", GPT, 0.0035),
    ("teamwright.unpriced_model_calls", OWN, 1),
    *((gauge.name, dict(gauge.labels), gauge.value) for gauge in GAUGES),
]


def test_prometheus_text_as_its_parser_reads_it(metrics: Metrics) -> None:
    text = metrics_text.page(metrics) + metrics_text.gauges(GAUGES)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families) == text.count("# TYPE ") == text.count("# HELP ")
    for name, labels, value in EXPECTED:
        instrument = INSTRUMENTS[name]
        family = families[instrument.prometheus.removesuffix("_total")]
        assert (family.type, family.documentation) == (instrument.kind, instrument.help)
        wanted = {key.replace(".", "_"): text for key, text in labels.items()}
        suffix = "_count" if instrument.kind == "histogram" else ""
        found = {sample.name: sample.value for sample in family.samples if sample.labels == wanted}
        assert found[instrument.prometheus + suffix] == pytest.approx(value), (name, found)
    for family in families.values():
        if family.type == "histogram":
            check_buckets(family.samples)


def check_buckets(samples: list[Any]) -> None:
    """Bounds and counts rise, and the last bucket holds them all."""
    series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    counts = {tuple(sorted(one.labels.items())): one.value for one in samples if one.name.endswith("_count")}
    for sample in samples:
        if sample.name.endswith("_bucket"):
            labels = dict(sample.labels)
            bound = float(labels.pop("le"))
            series.setdefault(tuple(sorted(labels.items())), []).append((bound, sample.value))
    assert set(series) == set(counts)
    for labels_, buckets in series.items():
        assert buckets == sorted(buckets) and math.isinf(buckets[-1][0]) and buckets[-1][1] == counts[labels_]


def test_otlp(metrics: Metrics) -> None:
    body = metrics_otlp.request(metrics, GAUGES, {"service.name": "engine"}, now=lambda: 9)
    (block,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert block.resource.attributes[0].value.string_value == "engine"
    (scope,) = block.scope_metrics
    found: dict[str, Metric] = {metric.name: metric for metric in scope.metrics}
    assert len(found) == len(scope.metrics)
    for name, labels, value in EXPECTED:
        metric, instrument = found[name], INSTRUMENTS[name]
        assert (metric.unit, metric.description) == (instrument.unit, instrument.help)
        kind = {"histogram": "histogram", "counter": "sum", "gauge": "gauge"}[instrument.kind]
        assert metric.WhichOneof("data") == kind
        (point,) = [
            point
            for point in getattr(metric, kind).data_points
            if {item.key: item.value.string_value for item in point.attributes} == labels
        ]
        assert point.time_unix_nano == 9
        if kind == "histogram":
            assert (point.count, sum(point.bucket_counts)) == (value, value)
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and point.start_time_unix_nano == 5
        else:
            assert point.as_double == pytest.approx(value)
        if kind != "gauge":
            assert getattr(metric, kind).aggregation_temporality == 2  # cumulative


def test_no_more_series_than_there_may_be(monkeypatch: pytest.MonkeyPatch, spans: Spans, store: SpanStore) -> None:
    monkeypatch.setattr("teamwright.tracing.metrics.counts.SERIES_LIMIT", 3)
    metrics = Metrics()
    store.listen_to_spans(metrics.take)
    tracer = Tracer("lead", "team", "1", spans, strict=True)
    for number in range(10):
        with tracer.tool_call(name=f"t{number}") as tool:
            tool.fail("no", reason=f"r{number}")
    store.ingest(spans.body).result()
    assert len(metrics.histograms) == len(metrics.counters) == 3
