from __future__ import annotations

from datetime import date

import pytest

from teamwright.tracing import vocabulary as v
from teamwright.tracing.cost import price
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

DAY = date(2026, 11, 1)


def test_list_prices() -> None:
    million = {"input_tokens": 1_000_000, "output_tokens": 0, "day": DAY}
    assert price("claude-3-7-sonnet-latest", "anthropic", input_tokens=1000, output_tokens=100, day=DAY) == 0.0045
    # 400 plain at 3, 100 written at 3.75, 500 read at 0.30, 100 out at 15
    cached = price("claude-3-7-sonnet-latest", "anthropic", input_tokens=1000, output_tokens=100,
                   cache_read_tokens=500, cache_write_tokens=100, day=DAY)  # fmt: skip
    assert cached == pytest.approx((400 * 3 + 100 * 3.75 + 500 * 0.3 + 100 * 15) / 1e6)
    assert price("gemini-2.5-flash", "gcp.gemini", **million) == price("gemini-2.5-flash", None, **million)  # type: ignore[arg-type]


def test_prices_change_with_the_day_and_the_length() -> None:
    use = {"input_tokens": 300_000, "output_tokens": 0}
    assert price("claude-opus-4-6", "anthropic", **use, day=date(2026, 1, 1)) == 3.0
    assert price("claude-opus-4-6", "anthropic", **use, day=DAY) == 1.5


def test_unknown_is_unknown_and_not_nothing() -> None:
    for model, provider in (("llama3.2", "ollama"), ("my-own", "openai"), (None, None), ("gpt-unheard-of", "nobody")):
        assert price(model, provider, input_tokens=1000, output_tokens=1000) is None
    assert price("gpt-4o", "openai", input_tokens=None, output_tokens=None) is None


def test_a_model_call_is_priced_by_itself(tracer: Tracer, spans: Spans) -> None:
    with tracer.model_call(model="gpt-4o", provider="openai") as call:
        call.usage(input_tokens=1000, output_tokens=100)
        assert call.cost_usd == 0.0035
    with tracer.model_call(model="mine", provider="openai") as call:
        call.usage(input_tokens=1000, output_tokens=100)
        assert call.cost_usd is None
    with tracer.model_call(model="gpt-4o", provider="openai") as call:
        call.usage(input_tokens=1000, output_tokens=100, cost_usd=0.5)
    by_list, unknown, told = (attributes(span) for span in spans.all())
    assert by_list[v.COST_USD] == 0.0035 and by_list[v.COST_ESTIMATED] is True
    assert v.COST_USD not in unknown and v.COST_ESTIMATED not in unknown
    assert told[v.COST_USD] == 0.5 and v.COST_ESTIMATED not in told
