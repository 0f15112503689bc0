from __future__ import annotations

from teamwright.tracing.metrics import Metrics
from teamwright.tracing.store import SpanStore
from teamwright.tracing.testing import Clock, Spans
from teamwright.tracing.tracer import Tracer


def test_what_the_spans_say(spans: Spans, store: SpanStore) -> None:
    metrics = Metrics()
    store.listen_to_spans(metrics.take)
    tracer = Tracer("lead", "team", "1", spans, strict=True, now=Clock())
    with tracer.query("team", text="x"), tracer.agent(message="x"):
        with tracer.model_call(model="gpt-4o", provider="openai") as call:
            call.first_token().usage(input_tokens=1000, output_tokens=100)
        with tracer.model_call(model='own "one"') as call:
            call.usage(input_tokens=1, output_tokens=1)
        with tracer.tool_call(name="t") as tool:
            tool.fail("no", reason="timeout")
        with tracer.peer_call(target="Writer", target_id="writer"):
            pass
    for _ in range(2):  # a replay counts once
        store.ingest(spans.body).result()
    text = metrics.text([("up", "Is up.", {"a": "b"}, 1.0)])
    who = 'job="team",agent="lead"'
    gpt = who + ',gen_ai_request_model="gpt-4o",gen_ai_provider_name="openai"'
    own = who + ',gen_ai_request_model="own \\"one\\"",gen_ai_provider_name=""'
    for line in (
        f"gen_ai_client_operation_duration_seconds_count{{{gpt}}} 1",
        f'gen_ai_client_operation_duration_seconds_bucket{{{gpt},le="0.01"}} 1',
        f'gen_ai_client_token_usage_sum{{{gpt},gen_ai_token_type="input"}} 1000',
        f"gen_ai_server_time_to_first_token_seconds_count{{{gpt}}} 1",
        f"teamwright_cost_usd_total{{{gpt}}} 0.0035",
        f"teamwright_unpriced_model_calls_total{{{own}}} 1",
        f'teamwright_tool_duration_seconds_count{{{who},gen_ai_tool_name="t"}} 1',
        f'teamwright_a2a_duration_seconds_count{{{who},target="writer"}} 1',
        f'teamwright_errors_total{{{who},operation="execute_tool",error_type="timeout"}} 1',
        "# TYPE up gauge",
        'up{a="b"} 1',
    ):
        assert line in text.splitlines(), line
