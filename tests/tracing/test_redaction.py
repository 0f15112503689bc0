from __future__ import annotations

import itertools
import json
import time

import pytest

from teamwright.errors import UserError
from teamwright.tracing.content import Content
from teamwright.tracing.redaction import Masks, check, problem
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

RULES = [("customer", r"C-\d{6}"), ("quote", r'[a-z]"')]
ENDLESS = ["(a+)+b", "(a|a)*b", r"(\w+\s?)+x", "a*a*a*b", r"(.*)(.*)x", r"\w+@\w+", "(a{1,30}){1,30}b"]
GOOD = [r"\d+", "[a-z]+b", r"(?i)account\s{0,8}:\s{0,8}\w{1,64}", r"\w{1,64}@\w{1,64}", r"[A-Z]{2}\d{2}( ?\d{4}){4,7}"]


@pytest.mark.parametrize("pattern", [*ENDLESS, "x*", "", "(", "a" * 501])
def test_what_could_take_for_ever_is_no_rule(pattern: str) -> None:
    assert problem(pattern)
    with pytest.raises(UserError, match="rule 'r'"):
        check([("r", pattern)])


@pytest.mark.parametrize("pattern", GOOD)
def test_a_megabyte_of_anything_takes_no_age(pattern: str) -> None:
    assert problem(pattern) is None
    masks = Masks([("r", pattern)])
    for piece in ("a", "1", "aA1 ", "account:  ", "AB12 3456"):
        began = time.process_time()
        masks(piece * (1_000_000 // len(piece)))
        assert time.process_time() - began < 5


def test_a_text_that_takes_too_long_is_masked_as_a_whole() -> None:
    masks = Masks([("r", "b")], clock=itertools.count(0.0).__next__)
    assert masks("a" * 100_000) == "[redacted: r took too long]"
    assert json.loads(masks(json.dumps({"k": "a" * 9}))) == {"k": "[redacted: r took too long]"}


def test_rules_mask_inside_json_and_json_stays_json() -> None:
    masks = Masks(RULES)
    assert masks("ask C-123456 and C-12345") == "ask [redacted: customer] and C-12345"
    given = {"C-123456": 'say "hi" to C-123456', "n": [1, None, "C-654321"], "inner": json.dumps({"a": "C-111111"})}
    masked = json.loads(masks(json.dumps(given)))
    assert masked["n"] == [1, None, "[redacted: customer]"]
    assert masked["C-123456"] == 'say "h[redacted: quote] to [redacted: customer]'  # the key stays
    assert json.loads(masked["inner"]) == {"a": "[redacted: customer]"}
    long = "x" * 2040 + " C-123456 " + "y" * 5000 + "C-123456"
    assert masks(long).count("[redacted: customer]") == 2 and "C-" not in masks(long)
    assert masks("{not json C-123456") == "{not json [redacted: customer]"


@pytest.mark.parametrize("content", ["redacted", "off"])
def test_they_count_for_every_attribute_event_and_message(content: Content) -> None:
    spans = Spans()
    tracer = Tracer("lead", "team", "1", spans, content=content, rules=RULES, strict=True)
    with tracer.query("team", text="for C-123456 mail ada@example.com") as root:
        with tracer.tool_call(name="t", arguments={"to": "C-123456"}) as tool:
            tool.set({"note": "C-123456", "more": ["C-123456"]}).event("seen", {"who": "C-123456"})
            tool.fail(ValueError("no C-123456"))
        root.answer("C-123456")
    raw = spans.body.decode(errors="replace")
    assert "C-123456" not in raw and "[redacted: customer]" in raw and "ada@" not in raw
    assert attributes(spans.named("execute_tool t"))["more"] == ["[redacted: customer]"]
