"""The gemini backend against generateContent on loopback: what is its own beside the contract."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from teamwright.backends.api import BackendConfig, File, Message, Tool, Turn
from teamwright.backends.calls import ModelError
from teamwright.backends.gemini_wire import thinks
from teamwright.errors import UserError
from tests.standins.generate_content import SIGNATURE, GenerateContent
from tests.standins.script import Call, Reply, Tokens

pytest.importorskip("google.genai")

from teamwright.backends import gemini
from teamwright.backends import gemini_wire as wire
from teamwright.backends.gemini import GeminiBackend

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture(scope="module")
def model() -> Iterator[GenerateContent]:
    with GenerateContent() as made:
        yield made


@pytest.fixture
def standin(model: GenerateContent) -> Iterator[GenerateContent]:
    yield model
    assert model.unexpected == []


@asynccontextmanager
async def opened(standin: GenerateContent, name: str = "gemini-2.5-flash", **more: Any) -> AsyncIterator[GeminiBackend]:
    options = {"base_url": standin.url, "retries": 1, **more.pop("options", {})}
    backend = gemini.create()
    prompt, model_options = more.pop("prompt", ""), more.pop("model_options", {})
    await backend.open(BackendConfig("a", prompt, name, model_options, options, ".", **more))
    try:
        yield backend
    finally:
        await backend.close()


def add() -> Tool:
    async def call(given: Mapping[str, Any], turn: Turn) -> Any:
        if given["a"] < 0:
            raise ValueError("too small")
        return given["a"] + given["b"]

    numbers = {name: {"type": "integer"} for name in "ab"}
    return Tool("add", "Adds.", {"type": "object", "properties": numbers}, call)


async def test_signatures_and_errors_go_back_as_they_should(standin: GenerateContent, fake_turn: Any) -> None:
    calls = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": -1, "b": 4})]
    standin.say(Reply("Let me see.", calls=calls, thinking="two sums"), Reply("done"))
    history = [Message("user", "before"), Message("agent", "yes")]
    async with opened(standin, prompt="Be brief.", model_options={"max_tokens": 100, "temperature": 0.5}) as backend:
        await backend.run(fake_turn("go", tools=[add()], history=history))
    first, second = standin.requests
    assert (first.system, first.tools, list(first.said)) == ("Be brief.", ["add"], ["before", "yes", "go"])
    assert first.body["generationConfig"]["maxOutputTokens"] == 100
    assert first.body["generationConfig"]["thinkingConfig"] == {"include_thoughts": True}  # the SDK's spelling
    *_, asked, answered = second.body["contents"]
    assert asked["parts"][0] == {"text": "two sums", "thought": True}
    assert [part.get("thoughtSignature") for part in asked["parts"] if "functionCall" in part] == [SIGNATURE, None]
    responses = [part["functionResponse"] for part in answered["parts"]]
    assert [response["response"] for response in responses] == [
        {"output": "3"},
        {"error": "error: ValueError: too small"},
    ]
    assert [response["id"] for response in responses] == ["call_1_1", "call_1_2"]


async def test_tokens_with_thoughts(standin: GenerateContent, fake_turn: Any, spans: Any) -> None:
    standin.say(Reply("x", tokens=Tokens(100, 30, cached=20, reasoning=12)))
    async with opened(standin) as backend:
        turn = fake_turn("go")
        await backend.run(turn)
    ((_, values, _),) = spans()
    assert values["gen_ai.usage.output_tokens"] == 30
    assert values["gen_ai.usage.reasoning.output_tokens"] == 12
    assert values["gen_ai.usage.cache_read.input_tokens"] == 20
    assert values["gen_ai.provider.name"] == "gcp.gemini"
    assert (values["gen_ai.response.model"], values["gen_ai.response.id"]) == ("gemini-2.5-flash-001", "response-1")
    assert turn.usage.cost_usd == values["teamwright.cost_usd"] > 0


@pytest.mark.parametrize(
    ("reply", "reason", "calls"),
    [
        (Reply(finish="BLOCKED"), "blocked", 1),
        (Reply("half an", finish="SAFETY"), "blocked", 1),
        (Reply(finish="MALFORMED_FUNCTION_CALL"), "bad_answer", 2),
        (Reply(finish="MAX_TOKENS"), "length", 1),
        (Reply(status=400, error="API key not valid. Please pass a valid API key."), "bad_key", 1),
        (Reply(status=403, error="denied"), "forbidden", 1),
        (Reply(status=404, error="no such model"), "unknown_model", 1),
        (Reply(status=503, error="overloaded", headers={"retry-after": "0"}), "server_error", 2),
        (Reply("a b", end="cut", after=0), "cut", 2),
        (Reply(raw=b"data: {oops\n\n", headers={"content-type": "text/event-stream"}), "bad_answer", 2),
    ],
)
async def test_reasons(
    reply: Reply, reason: str, calls: int, standin: GenerateContent, fake_turn: Any, spans: Any
) -> None:
    standin.always(reply)
    async with opened(standin) as backend:
        with pytest.raises(ModelError) as caught:
            await backend.run(fake_turn("go"))
    assert caught.value.reason == reason
    assert [values["error.type"] for _, values, _ in spans()] == [reason] * calls


async def test_the_pause_that_google_names(standin: GenerateContent, fake_turn: Any) -> None:
    body = {"error": {"code": 429, "message": "quota", "details": [{"@type": "RetryInfo", "retryDelay": "0.2s"}]}}
    standin.say(Reply(status=429, raw=json.dumps(body).encode()), Reply("ok"))
    async with opened(standin) as backend:
        await backend.run(fake_turn("go"))
    assert 0.2 <= standin.wait(2).at - standin.wait(1).at < 3


async def test_a_model_that_shows_no_thoughts_is_asked_without(standin: GenerateContent, fake_turn: Any) -> None:
    standin.say(Reply(status=400, error="Thinking is not supported for this model"), Reply("ok"), Reply("ok"))
    async with opened(standin) as backend:
        await backend.run(fake_turn("go"))
        await backend.run(fake_turn("go"))
    assert ["thinkingConfig" in seen.body.get("generationConfig", {}) for seen in standin.requests] == [
        True,
        False,
        False,
    ]


async def test_answers_of_a_fixed_shape(standin: GenerateContent, fake_turn: Any) -> None:
    standin.say(Reply('{"n": "x"}'), Reply('{"n": 7}'))
    async with opened(standin, output_schema=SCHEMA) as backend:
        turn = fake_turn("go")
        assert (await backend.run(turn)).data == {"n": 7}
    config = standin.wait().body["generationConfig"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", SCHEMA)
    assert turn.streamed == []
    assert "is not of type 'integer'" in standin.wait(2).user


async def test_files_go_in_and_come_out(standin: GenerateContent, fake_turn: Any) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVA="}}
    frame = {"candidates": [{"content": {"role": "model", "parts": [{"text": "here"}, image]}, "finishReason": "STOP"}]}
    raw = f"data: {json.dumps(frame)}\n\n".encode()
    standin.say(Reply(raw=raw, headers={"content-type": "text/event-stream"}))
    files = [
        File("a.png", "image/png", b"\x89P"),
        File("b.csv", "text/csv", b"x,y"),
        File("c.pdf", "application/pdf", uri="https://example.org/c.pdf"),
        File("d.bin", data=b"\xff"),
    ]
    async with opened(standin) as backend:
        turn = fake_turn("draw", files=files)
        answer = await backend.run(turn)
    assert (answer.text, answer.files) == ("here", (File("file-1.png", "image/png", b"\x89P"),))
    _, png, csv, pdf, other = standin.wait().body["contents"][0]["parts"]
    assert png["inlineData"] == {"mime_type": "image/png", "data": "iVA="}
    assert csv["text"] == "(file b.csv, text/csv, 3 bytes)\nx,y"
    assert pdf["fileData"]["file_uri"] == "https://example.org/c.pdf"
    assert other["text"] == "(file d.bin, application/octet-stream, 1 bytes)"
    assert turn.usage.estimated  # the server said nothing of tokens


@pytest.mark.parametrize(
    ("options", "model_options", "words"),
    [
        ({}, {}, "no GEMINI_API_KEY is set"),
        ({"base_url": "http://127.0.0.1:1"}, {"temperatur3": 1}, "model_options.temperatur3: Extra inputs"),
        ({"base_url": "http://127.0.0.1:1"}, {"tools": []}, "model_options.tools can't be set"),
        ({"thoughts": 3}, {}, "thoughts must be true or false"),
    ],
)
async def test_wrong_options(options: Any, model_options: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=words):
        await gemini.create().open(BackendConfig("a", "", "gemini-2.5-flash", model_options, options, "."))


def test_which_models_have_thoughts_to_show() -> None:
    assert thinks("gemini-2.5-flash") and thinks("models/gemini-3-pro")
    assert not thinks("gemini-2.0-flash") and not thinks("gemini-2.5-flash-image") and not thinks("gemma-3")


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A service account whose tokens come from a server of this machine; what it is asked, and what it says."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    state: dict[str, Any] = {"asked": 0, "status": 200}

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            state["asked"] += 1
            good = state["status"] == 200
            said = {"access_token": "t0ken", "expires_in": 3600} if good else {"error": "invalid_grant"}
            self.send_response(state["status"])
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        account = {
            "type": "service_account", "project_id": "of-the-account", "private_key_id": "1", "private_key": secret,
            "client_email": "a@b", "client_id": "1", "token_uri": f"http://127.0.0.1:{server.server_port}/token",
        }  # fmt: skip
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield state
        server.shutdown()


async def test_vertex_ai_with_a_project(
    standin: GenerateContent, credentials: dict[str, Any], fake_turn: Any, spans: Any
) -> None:
    standin.say(Reply(calls=[Call("add", {"a": 1, "b": 2})]), Reply("3"))
    where = {"vertex": True, "project": "our-project", "location": "europe-west4"}
    async with opened(standin, options=where) as backend:
        assert (await backend.run(fake_turn("1+2?", tools=[add()]))).text == "3"
    place = "/projects/our-project/locations/europe-west4/publishers/google/models/gemini-2.5-flash:"
    assert all(place in seen.path for seen in standin.requests)
    assert {seen.headers["authorization"] for seen in standin.requests} == {"Bearer t0ken"}
    assert credentials["asked"] == 1
    chats = [values for name, values, _ in spans() if name.startswith("chat ")]
    assert {values["gen_ai.provider.name"] for values in chats} == {"gcp.vertex_ai"} and chats[1]["teamwright.cost_usd"]


async def test_vertex_ai_that_gives_no_access(
    standin: GenerateContent, credentials: dict[str, Any], fake_turn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.say()
    credentials["status"] = 400
    async with opened(standin, options={"vertex": True, "project": "p"}) as backend:
        with pytest.raises(ModelError, match=r"Vertex AI gives no access: .*invalid_grant") as caught:
            await backend.run(fake_turn("go"))
    assert caught.value.reason == "bad_key" and standin.requests == []
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(UserError, match=r"Vertex AI: .*nowhere"):
        await gemini.create().open(BackendConfig("a", "", "gemini-2.5-flash", {}, {"vertex": True}, "."))


async def test_vertex_ai_with_a_key(standin: GenerateContent, fake_turn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "express-key")
    standin.say(Reply("yes"))
    async with opened(standin) as backend:
        assert (await backend.run(fake_turn("go"))).text == "yes"
    (seen,) = standin.requests
    assert seen.headers["x-goog-api-key"] == "express-key" and "/publishers/google/models/" in seen.path


def test_the_page_says_of_every_part_and_reason_what_becomes_of_it() -> None:
    """docs/what-a-trace-shows.md, against the installed SDK; and the reasons are treated as it says."""
    from google.genai import types

    page = (Path(__file__).resolve().parents[2] / "docs" / "what-a-trace-shows.md").read_text()
    fields = [*types.Part.model_fields, *types.GenerateContentResponse.model_fields, *types.Candidate.model_fields]
    reasons = [reason.name for reason in types.FinishReason]
    assert len(reasons) > 20
    assert [name for name in (*fields, *reasons) if f"`{name}`" not in page] == []
    rows = {name: row for row in page.splitlines() if row.startswith("| `") for name in reasons if f"`{name}`" in row}
    for name in reasons:
        said = wire.Gathered(text="so far", finish=name)
        try:
            said.check("Gemini")
            told = said.finish_reason
        except ModelError as error:
            told = error.reason
        expected = re.findall(r"`([a-z_]+)`", rows[name])
        assert told in expected or ("lower case" in rows[name] and told == name.lower()), (name, told)
