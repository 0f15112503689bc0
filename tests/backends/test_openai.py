"""The openai backend against chat completions on loopback: its dialects, retries and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from teamwright.backends import openai
from teamwright.backends.api import BackendConfig, File, Message, Tool, Turn
from teamwright.backends.calls import ModelError, retry_after
from teamwright.backends.openai import OpenAIBackend
from teamwright.errors import UserError
from tests.standins.chat_completions import ChatCompletions
from tests.standins.script import Call, Reply, Tokens


@pytest.fixture(scope="module", params=["reasoning_content", "reasoning"])
def model(request: pytest.FixtureRequest) -> Iterator[ChatCompletions]:
    with ChatCompletions(request.param) as made:
        yield made


@pytest.fixture
def chat(model: ChatCompletions) -> Iterator[ChatCompletions]:
    yield model
    assert model.unexpected == []


@asynccontextmanager
async def opened(chat: ChatCompletions, name: str = "llama3.2", **more: Any) -> AsyncIterator[OpenAIBackend]:
    options = {"base_url": chat.url, **more.pop("options", {})}
    backend = openai.create()
    await backend.open(
        BackendConfig("a", more.pop("prompt", ""), name, more.pop("model_options", {}), options, ".", **more)
    )
    try:
        yield backend
    finally:
        await backend.close()


def add() -> Tool:
    async def call(given: Mapping[str, Any], turn: Turn) -> Any:
        return given["a"] + given["b"]

    numbers = {name: {"type": "integer"} for name in "ab"}
    return Tool("add", "Adds.", {"type": "object", "properties": numbers}, call)


async def test_words_stream_as_they_come(chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply("Hello there you", thinking="hm", tokens=Tokens(30, 8, cached=10, reasoning=3)))
    turn = fake_turn("hi", history=[Message("user", "before"), Message("agent", "yes")])
    async with opened(chat, prompt="Be brief.", model_options={"temperature": 0.5}) as backend:
        answer = await backend.run(turn)
    assert (answer.text, turn.streamed) == ("Hello there you", ["Hello ", "there ", "you"])
    seen = chat.wait()
    assert (seen.system, list(seen.said)) == ("Be brief.", ["before", "yes", "hi"])
    assert seen.body["temperature"] == 0.5
    assert "authorization" not in seen.headers
    ((name, values, span),) = spans()
    assert name == "chat llama3.2"
    assert values["gen_ai.usage.input_tokens"] == 30
    assert values["gen_ai.usage.cache_read.input_tokens"] == 10
    assert values["gen_ai.usage.reasoning.output_tokens"] == 3
    assert values["teamwright.cost_usd"] == 0.0 and "teamwright.cost_estimated" not in values
    (said,) = json.loads(values["gen_ai.output.messages"])
    assert [part["type"] for part in said["parts"]] == ["reasoning", "text"]
    assert [event.name for event in span.events] == ["first token"]
    assert turn.usage.cost_usd == 0.0


async def test_tools_and_thoughts_go_back_as_they_came(chat: ChatCompletions, fake_turn: Any) -> None:
    calls = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]
    chat.say(Reply("Let me see.", calls=calls, thinking="two sums"), Reply("3 and 7"))
    async with opened(chat) as backend:
        answer = await backend.run(fake_turn("go", tools=[add()]))
    assert answer.text == "3 and 7"
    second = chat.wait(2)
    assert second.results == {"call_1_1": "3", "call_1_2": "7"}
    back = second.body["messages"][-3]
    assert back[chat.reasoning] == "two sums"
    assert [json.loads(call["function"]["arguments"]) for call in back["tool_calls"]] == [
        {"a": 1, "b": 2},
        {"a": 3, "b": 4},
    ]


async def test_broken_arguments_are_an_error_for_the_model(chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply(calls=[Call("add", '{"a": 1, "b"')]), Reply("sorry"))
    async with opened(chat) as backend:
        await backend.run(fake_turn("go", tools=[add()]))
    assert 'not a JSON object: {"a": 1, "b"' in chat.wait(2).results["call_1_1"]
    assert chat.wait(2).body["messages"][-2]["tool_calls"][0]["function"]["arguments"] == "{}"
    tool = next(values for name, values, _ in spans() if name == "execute_tool add")
    assert (tool["error.type"], tool["gen_ai.tool.call.arguments"]) == ("malformed_arguments", '"{\\"a\\": 1, \\"b\\""')


@pytest.mark.parametrize("pieces", [["<think>hm</think>", "Yes."], ["<th", "ink>h", "m</th", "ink>\n\nYes."]])
async def test_thoughts_between_tags(pieces: list[str], chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply(pieces))
    async with opened(chat) as backend:
        turn = fake_turn("go")
        assert (await backend.run(turn)).text == "Yes."
    assert "".join(turn.streamed) == "Yes."
    assert '"type":"reasoning","content":"hm"' in spans()[0][1]["gen_ai.output.messages"]


async def test_what_only_looks_like_a_tag(chat: ChatCompletions, fake_turn: Any) -> None:
    chat.say(Reply(["<", "th"]))
    async with opened(chat) as backend:
        turn = fake_turn("go")
        assert (await backend.run(turn)).text == "<th" == "".join(turn.streamed)


async def test_servers_that_do_not_stream_or_count(chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply("one two three", tokens=None), Reply("four", tokens=None))
    async with opened(chat, options={"stream": False}) as backend:
        turn = fake_turn("go")
        assert (await backend.run(turn)).text == "one two three"
    assert "stream" not in chat.wait().body
    async with opened(chat) as backend:
        await backend.run(fake_turn("go"))
    for _, values, _ in spans():
        assert values["teamwright.tokens_estimated"] is True
        assert values["gen_ai.usage.input_tokens"] > 0
    assert turn.usage.estimated


async def test_what_a_server_does_not_know_is_left_out(chat: ChatCompletions, fake_turn: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    keys = ("stream_options", "response_format")
    unknown = [Reply(status=400, error=f"Unrecognized parameter: {key}") for key in keys]
    chat.say(*unknown, Reply('{"n": 7}'), Reply('{"n": 8}'))
    async with opened(chat, output_schema=schema) as backend:
        assert (await backend.run(fake_turn("go"))).data == {"n": 7}
        assert (await backend.run(fake_turn("go"))).data == {"n": 8}
    assert chat.wait(1).body["response_format"]["json_schema"]["schema"] == schema
    assert set(keys) & set(chat.wait(4).body) == set()


@pytest.mark.parametrize(
    ("status", "error", "reason", "calls"),
    [
        (401, "Incorrect API key provided", "bad_key", 1),
        (402, "pay", "no_credit", 1),
        (429, "slow down", "rate_limited", 2),
        (429, "insufficient_quota", "no_credit", 1),
        (503, "overloaded", "server_error", 2),
        (400, "context too long", "bad_request", 1),
        (404, "no such model", "unknown_model", 1),
    ],
)
async def test_errors_have_reasons(
    status: int, error: str, reason: str, calls: int, chat: ChatCompletions, fake_turn: Any, spans: Any
) -> None:
    chat.always(Reply(status=status, error=error, headers={"retry-after": "0"}))
    async with opened(chat, options={"retries": 1}) as backend:
        with pytest.raises(ModelError, match=error) as caught:
            await backend.run(fake_turn("go"))
    assert caught.value.reason == reason
    found = spans()
    assert [values["teamwright.attempt"] for _, values, _ in found] == list(range(1, calls + 1))
    assert {values["error.type"] for _, values, _ in found} == {reason}
    limited = [event.name for _, _, span in found for event in span.events if event.name == "rate limit"]
    assert len(limited) == (calls if reason == "rate_limited" else 0)


async def test_the_servers_own_pause_is_kept(chat: ChatCompletions, fake_turn: Any) -> None:
    chat.say(Reply(status=429, headers={"retry-after": "0.2"}), Reply("ok"))
    async with opened(chat) as backend:
        await backend.run(fake_turn("go"))
    assert 0.2 <= chat.wait(2).at - chat.wait(1).at < 2


async def test_a_pause_of_hours_is_not_waited_for(chat: ChatCompletions, fake_turn: Any) -> None:
    chat.say(Reply(status=429, headers={"retry-after": "7200"}))
    async with opened(chat) as backend:
        with pytest.raises(ModelError, match="refused: HTTP 429"):
            await backend.run(fake_turn("go"))


async def test_the_next_model_takes_over(chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply(status=500, headers={"retry-after": "0"}), Reply(status=404), Reply("ok"))
    options = {"retries": 0, "fallback_models": ["second", "third"]}
    async with opened(chat, options=options) as backend:
        assert (await backend.run(fake_turn("go"))).text == "ok"
    assert [name for name, _, _ in spans()] == ["chat llama3.2", "chat second", "chat third"]


async def test_a_stream_that_breaks_off(chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply("a b", end="cut", after=1), Reply("a b c d", end="cut", after=3))
    async with opened(chat) as backend:
        turn = fake_turn("go")
        with pytest.raises(ModelError) as caught:
            await backend.run(turn)
    # the first attempt had said nothing yet, so it was made again; after the second the words are out
    assert (caught.value.reason, "".join(turn.streamed)) == ("cut", "a b ")
    first, second = [values for _, values, _ in spans()]
    assert "gen_ai.output.messages" not in first
    assert '"a b "' in second["gen_ai.output.messages"]


async def test_silence_has_an_end(chat: ChatCompletions, fake_turn: Any) -> None:
    chat.say(Reply(end="hang"), Reply("a b", end="hang", after=2))
    async with opened(chat, options={"timeout": 0.5, "retries": 1}) as backend:
        with pytest.raises(ModelError, match=r"silent for 0\.5 s") as caught:
            await backend.run(fake_turn("go"))
    assert caught.value.reason == "timeout"


async def test_nobody_there(fake_turn: Any) -> None:
    with ChatCompletions() as gone:
        pass
    async with opened(gone, options={"retries": 0}) as backend:
        with pytest.raises(ModelError) as caught:
            await backend.run(fake_turn("go"))
    assert caught.value.reason == "unreachable"


async def test_an_error_in_the_stream_and_nonsense(chat: ChatCompletions, fake_turn: Any) -> None:
    stream = {"content-type": "text/event-stream"}
    chat.say(
        Reply(raw=b'data: {"error": {"message": "gpu on fire", "code": 500}}\n\n', headers=stream),
        Reply(raw=b"data: oops\n\n", headers=stream),
        Reply(raw=b"<html>"),
    )
    async with opened(chat, options={"retries": 0}) as backend:
        for words in ("gpu on fire", "no JSON object: oops", "no JSON object: <html>"):
            with pytest.raises(ModelError, match=words):
                await backend.run(fake_turn("go"))


@pytest.mark.parametrize(("finish", "reason"), [("length", "length"), ("content_filter", "blocked")])
async def test_nothing_said_for_a_reason(finish: str, reason: str, chat: ChatCompletions, fake_turn: Any) -> None:
    chat.say(Reply(finish=finish))
    async with opened(chat) as backend:
        with pytest.raises(ModelError) as caught:
            await backend.run(fake_turn("go"))
    assert caught.value.reason == reason


async def test_cancelling_closes_the_connection(chat: ChatCompletions, fake_turn: Any, spans: Any) -> None:
    chat.say(Reply("a b c", end="hang", after=2))
    async with opened(chat) as backend:
        work = asyncio.create_task(backend.run(fake_turn("go")))
        await asyncio.to_thread(chat.wait)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert await asyncio.to_thread(chat.wait().gone.wait, 60)
    assert spans()[0][1]["error.type"] == "cancelled"


async def test_files_go_in(chat: ChatCompletions, fake_turn: Any) -> None:
    files = [
        File("a.png", "image/png", b"\x89"),
        File("b.txt", "text/plain", b"hello"),
        File("c.pdf", "application/pdf", b"%PDF"),
        File("d.bin", data=b"\xff"),
    ]
    chat.say(Reply("ok"))
    async with opened(chat) as backend:
        await backend.run(fake_turn("look", files=files))
    text, image, plain, pdf, other = chat.wait().body["messages"][-1]["content"]
    assert (text["text"], image["image_url"]["url"]) == ("look", "data:image/png;base64,iQ==")
    assert plain["text"] == "(file b.txt, text/plain, 5 bytes)\nhello"
    assert pdf["file"]["filename"] == "c.pdf"
    assert other["text"] == "(file d.bin, application/octet-stream, 1 bytes)"


async def test_keys(chat: ChatCompletions, fake_turn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    chat.say(Reply("ok"), Reply(status=401, error="wrong key sk-other"))
    async with opened(chat, "gpt-4o") as backend:
        turn = fake_turn("go")
        await backend.run(turn)
        assert "sk-secret" not in repr(backend._server)
    assert turn.usage.cost_usd and turn.usage.cost_usd > 0  # by the list, also through a proxy on this machine
    async with opened(chat, options={"key_variable": "OTHER_KEY"}) as backend:
        with pytest.raises(ModelError) as caught:
            await backend.run(fake_turn("go"))
    assert "sk-other" not in caught.value.message
    assert [seen.headers["authorization"] for seen in chat.requests] == ["Bearer sk-secret", "Bearer sk-other"]


@pytest.mark.parametrize(
    ("options", "model_options", "words"),
    [
        ({}, {}, "no OPENAI_API_KEY is set for api.openai.com"),
        ({"base_url": "https://example.org/v1"}, {}, "no OPENAI_API_KEY is set for example.org"),
        ({"base_url": "127.0.0.1:11434"}, {}, "base_url must be like"),
        ({"base_url": "http://127.0.0.1/", "key_variable": "NOT_SET"}, {}, "no NOT_SET is set"),
        ({"retries": -1}, {}, "retries must be a whole number from 0, not -1"),
        ({"timeout": True}, {}, "timeout must be a number of seconds over 0, not True"),
        ({"fallback_models": "x"}, {}, "fallback_models must be a list of names"),
        ({"api_key": "sk"}, {}, "backend_options has no key 'api_key'"),
        ({}, {"messages": []}, r"model_options.messages can't be set"),
    ],
)
async def test_wrong_options(options: Any, model_options: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match=words):
        await openai.create().open(BackendConfig("a", "", "m", model_options, options, "."))


def test_pauses() -> None:
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "Sat, 01 Jan 2000 00:00:00 GMT"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
