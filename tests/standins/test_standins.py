"""The stand-ins themselves: what they send is what a script says, and they notice who leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.standins.chat_completions import ChatCompletions
from tests.standins.generate_content import GenerateContent
from tests.standins.script import Call, Reply, Seen

ASK: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def chat() -> Iterator[ChatCompletions]:
    with ChatCompletions() as model:
        yield model


def post(model: ChatCompletions, body: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{model.url}/chat/completions", json=body, timeout=60)


def test_replies_come_in_order_and_then_nothing(chat: ChatCompletions) -> None:
    chat.say(Reply("one two"), lambda seen: Reply(f"heard {seen.user}"))
    assert post(chat, ASK).json()["choices"][0]["message"]["content"] == "one two"
    frames = [line for line in post(chat, {**ASK, "stream": True}).text.split("\n\n") if line]
    assert [json.loads(frame[6:])["choices"][0]["delta"].get("content") for frame in frames[1:3]] == ["heard ", "hello"]
    assert frames[-1] == "data: [DONE]"
    assert (chat.unsaid, chat.unexpected) == (0, [])
    assert post(chat, ASK).status_code == 400
    assert len(chat.unexpected) == 1


def test_what_reached_it(chat: ChatCompletions) -> None:
    chat.always(Reply("ok"))
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    post(
        chat,
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "go"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "7"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    )
    seen = chat.wait()
    assert (seen.system, seen.user, seen.tools, seen.results) == ("be brief", "go", ["f"], {"c1": "7"})


def test_errors_cuts_and_silence(chat: ChatCompletions) -> None:
    chat.say(Reply(status=429, headers={"retry-after": "2"}), Reply("a b c", end="cut", after=2), Reply(end="hang"))
    refused = post(chat, ASK)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    with pytest.raises(httpx.RemoteProtocolError):
        post(chat, {**ASK, "stream": True})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{chat.url}/chat/completions", json={**ASK, "stream": True}, timeout=0.1)
    seen = chat.wait(3)
    assert seen.gone.wait(60) and not seen.answered.is_set()


def test_a_stream_is_held_in_its_middle(chat: ChatCompletions) -> None:
    rest = threading.Event()
    chat.say(Reply("a b", held=rest, after=2))
    with httpx.stream("POST", f"{chat.url}/chat/completions", json={**ASK, "stream": True}, timeout=60) as answer:
        lines = (line for line in answer.iter_lines() if '"content":' in line)
        assert [json.loads(next(lines)[6:])["choices"][0]["delta"]["content"] for _ in range(2)] == ["", "a "]
        assert not chat.wait().answered.is_set()
        rest.set()
        assert json.loads(next(lines)[6:])["choices"][0]["delta"]["content"] == "b"


def test_two_at_once(chat: ChatCompletions) -> None:
    together = threading.Barrier(2)

    def line(seen: Seen) -> Reply:
        return Reply(seen.user, delay=0.05)

    chat.always(line)
    found: list[str] = []

    def ask(text: str) -> None:
        together.wait(60)
        body: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": text}]}
        found.append(post(chat, body).json()["choices"][0]["message"]["content"])

    threads = [threading.Thread(target=ask, args=(text,)) for text in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["x", "y"]


def test_gemini() -> None:
    with GenerateContent() as model:
        model.say(Reply(thinking="hm", calls=[Call("f", {"a": 1})]), Reply(finish="BLOCKED"))
        url = f"{model.url}/v1beta/models/gemini-x:generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": "go"}]}]}
        parts = httpx.post(url, json=body, timeout=60).json()["candidates"][0]["content"]["parts"]
        assert parts[0]["thought"] and parts[1]["functionCall"]["args"] == {"a": 1}
        assert "candidates" not in httpx.post(url, json=body, timeout=60).json()
        assert (model.wait().model, model.wait().user) == ("gemini-x", "go")
