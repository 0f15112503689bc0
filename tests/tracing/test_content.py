from __future__ import annotations

import json
import logging
from contextlib import suppress

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


A, H = "Ab1" * 20, "0123456789abcdef" * 2
# Put together here, so that no scanner takes them for real ones.
VENDORS = [
    f"sk-proj-{A}", f"sk-or-v1-{A}", f"csk-{A}", f"AQ.{A}", f"ya29.{A}", f"GOCSPX-{A}", f"1//0{A}", f"gsk_{A}",
    f"xai-{A}", f"hf_{A}", f"r8_{A}", f"pplx-{A}", f"nvapi-{A}", f"tgp_v1_{A}", f"fw_{A}", f"dapi{H}", f"ABSK{A}",
    f"github_pat_{A}", f"glrt-{A}", f"xapp-1-{A}", f"sk_live_{A}", f"whsec_{A}", f"SG.{A}.{A}", f"npm_{A}", f"pypi-{A}",
    f"dop_v1_{H}", f"lin_api_{A}", f"ntn_{A}", f"ATATT{A}", f"shpat_{H}", f"12345678:AA{A}", f"tvly-dev-{A}",
    f"lsv2_pt_{H}", f"key-{H}", f"hvs.{A}", f"AGE-SECRET-KEY-{A}", f"hooks.slack.com/services/{A}",
]  # fmt: skip
# What surrounds the secret, which is `hunter2secret`, stays readable.
PLACES = [
    "postgres://bob:{}@db/x", "redis://:{}@cache:6379/0", "https://a.example/x?page=2&access_token={}&y=1",
    "https://a.example/x?key={}", "https://x.example/c?sv=2022&sig={}", "Authorization: Token {}",
    "{{'authorization': '{}'}}", "Cookie: session={}", "x-api-key: {}", "MISTRAL_API_KEY={}", "pwd={}", "token: {}",
    "AccountName=x;AccountKey={};EndpointSuffix=y", 'password: "{} and more words"', "passphrase='{} and more words'",
    "my password is {} I think", "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY----- after",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n{}\n-----END PGP PRIVATE KEY BLOCK----- after",
]  # fmt: skip


@pytest.mark.parametrize("secret", VENDORS)
def test_keys_of_all_vendors_are_masked(secret: str) -> None:
    assert redact(f"use {secret} now") == f"use {MASK} now"
    assert json.loads(redact(json.dumps({"args": json.dumps([secret])}))) == {"args": f'["{MASK}"]'}


@pytest.mark.parametrize("place", PLACES)
def test_secrets_are_masked_where_they_are_named(place: str) -> None:
    given = place.format("hunter2secret")
    masked = redact(given)
    assert "hunter2secret" not in masked and MASK in masked and "more words" not in masked
    assert ("after" in masked) is ("after" in given) and masked[:1] == (given[:1] if given[:1] != "-" else MASK[:1])
    assert json.loads(redact(json.dumps([given, json.dumps({"k": given})])))[0] == masked


@pytest.mark.parametrize("text", ["total_tokens: 1234", "the token is invalid", "the secretary: Mrs Jones", "?page=2"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    "odd", ["-----BEGIN PRIVATE KEY-----\nMII", "password: \\", 'token=a\nb"c', "secret: é\u2028\n", 'key: "a\\"b']
)
def test_json_stays_json_whatever_is_masked(odd: str, ascii_only: bool) -> None:
    for depth in range(3):
        given = json.dumps(
            [{"t": odd, "password": None, "secret": True, "api_key": 12345678, "tokens": 5, "secrets": ["a b c d", 1]}],
            ensure_ascii=ascii_only,
        )
        for _ in range(depth):
            given = json.dumps({"args": given}, ensure_ascii=ascii_only)
        masked = redact(given)
        for _ in range(depth):
            masked = json.loads(masked)["args"]
        (found,) = json.loads(masked)
        assert (found["password"], found["secret"], found["api_key"], found["tokens"]) == (None, True, MASK, 5)
        assert found["secrets"] == [MASK, 1]


def test_without_content_no_word_of_an_error_is_left() -> None:
    spans = Spans()
    tracer = Tracer("lead", "team", "i1", spans, content="off", strict=True)
    with tracer.query("team", text="canary"):
        with suppress(ValueError), tracer.tool_call(name="t", arguments={"to": "canary"}):
            raise ValueError("can't find the\n  canary bird")
        with tracer.tool_call(name="u") as call:
            call.status_update("working", "the canary sings").cancelled("no canary, please").retry(2, "unreachable")
    assert "canary" not in spans.body.decode(errors="replace")
    tool = spans.named("execute_tool t")
    assert (tool.status.code, attributes(tool)[v.ERROR_TYPE]) == (2, "ValueError")
    (event,) = tool.events
    assert attributes(event)[v.EXCEPTION_TYPE] == "ValueError"
    assert f'File "{__file__}", line ' in str(attributes(event)[v.EXCEPTION_STACKTRACE])
    reasons = [attributes(event).get(v.REASON) for event in spans.named("execute_tool u").events]
    assert reasons == [None, None, "unreachable"]


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
    assert (secret in raw) is (content == "full") and ("mail" in raw) is (content == "full" or f"mail {MASK}" in raw)
    tool, top = spans.named("execute_tool t"), spans.named("invoke_workflow team")
    assert (v.TOOL_ARGUMENTS in attributes(tool)) is (v.OUTPUT_MESSAGES in attributes(top)) is kept
    assert ("gen_ai.prompt.0" in attributes(tool)) is kept
    assert tool.status.message == {"full": secret, "redacted": f"mail {MASK}", "off": ""}[content]


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
