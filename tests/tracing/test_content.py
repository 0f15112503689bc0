from __future__ import annotations

import json
import logging

import pytest

from teamwright.tracing import vocabulary as v
from teamwright.tracing.content import MASK, Content, redact
from teamwright.tracing.logs import FORMAT, RunFilter
from teamwright.tracing.messages import encode, message, plain_text, text, to_json, tool_call
from teamwright.tracing.runs import RunContext, RunId, use_run
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

SECRETS = [
    "sk-ant-api03-abcdefghijklmnop1234", "ghp_abcdefghijklmnop12345678", "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl", "ada.l@example.co.uk", "AIza" + "a" * 35,
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_masked_wherever_they_stand(secret: str) -> None:
    for where in ("{}", "use {} now", '{{"a": "{}"}}', "\\{}\\"):
        masked = redact(where.format(secret))
        assert secret not in masked and MASK in masked


def test_named_values_and_headers_are_masked_and_json_stays_json() -> None:
    given = {"api_key": "abc123def", "password": "hunter22", "note": "Authorization: Bearer abcdef123456", "n": 1}
    nested = {"inner": json.dumps(given), "url": "https://ada:hunter22@example.com/x", "session_token_count": 5}
    masked = json.loads(redact(json.dumps({**nested, **given})))
    assert "hunter22" not in str(masked) and "abc123def" not in str(masked) and "abcdef123456" not in str(masked)
    assert json.loads(masked["inner"])["n"] == masked["n"] == 1
    assert redact("the secret of happiness, token by token") == "the secret of happiness, token by token"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["a", "a.", "secret", "eyJ", "sk-", "x://", "bearer ", "@", "key=", '\\"', "-----BEGIN "]
)
def test_a_megabyte_of_anything_takes_no_age(piece: str) -> None:
    for tail in ("", " a@b.c secret x://"):
        redact(piece * (1_000_000 // len(piece)) + tail)


@pytest.mark.parametrize(("content", "kept"), [("full", True), ("redacted", True), ("off", False)])
def test_the_policy_decides_for_every_span(content: Content, kept: bool) -> None:
    spans = Spans()
    tracer = Tracer("lead", "team", "i1", spans, content=content, strict=True)
    secret = "mail ada@example.com"
    with tracer.query("team", text=secret) as root:
        with tracer.tool_call(name="t", arguments={"to": secret}) as call:
            call.result(secret).set({"gen_ai.prompt.0": secret, "note": secret}).fail(secret)
        root.answer(secret)
    raw = spans.body.decode(errors="replace")
    assert (secret in raw) is (content == "full") and ("mail" in raw)
    tool, top = spans.named("execute_tool t"), spans.named("invoke_workflow team")
    assert (v.TOOL_ARGUMENTS in attributes(tool)) is (v.OUTPUT_MESSAGES in attributes(top)) is kept
    assert ("gen_ai.prompt.0" in attributes(tool)) is kept
    assert tool.status.message == (secret if content == "full" else f"mail {MASK}")


def test_messages_have_one_form() -> None:
    made = json.loads(encode("hi"))
    assert made == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    parts = tool_call("add", {"a": 1}, "c1"), tool_call("sub", {}, "c2")
    calls = message("assistant", *parts, finish_reason="tool_call")
    assert json.loads(encode(calls)) == [calls] == json.loads(encode([calls]))
    assert plain_text(encode("hi")) == "hi" and plain_text(encode(calls)) == 'add({"a":1}) sub({})'
    assert plain_text(encode([message("user", text("a")), message("user", text("b"), text("c"))])) == "b c"
    for odd in (None, "", "[]", "{}", "not json", '[{"role": "user"}]', "[1]"):
        assert plain_text(odd) in ("", odd)
    assert to_json({"k": {1: 2}, "s": {"b", "a"}}) == '{"k":{"1":2},"s":["a","b"]}'


def test_log_lines_carry_run_and_trace() -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    handler.addFilter(RunFilter())
    handler.setFormatter(logging.Formatter(FORMAT))
    third_party = logging.getLogger("third.party.library")
    root = logging.getLogger("third")
    root.addHandler(handler)
    root.propagate = False
    tracer = Tracer("lead", "team", "i1", Spans(), strict=True)
    run = RunContext(RunId.generate(), "team", "lead")
    try:
        third_party.warning("outside")
        with tracer.agent(message="x", run=run) as agent:
            third_party.warning("inside")
        with use_run(run):
            third_party.warning("no trace")
    finally:
        root.removeHandler(handler)
    assert "[run=- trace=-] third.party.library: outside" in lines[0]
    assert f"[run={run.run_id} trace={agent.trace_id}]" in lines[1]
    assert f"[run={run.run_id} trace=-]" in lines[2]
