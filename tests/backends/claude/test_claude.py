"""The claude backend: the real SDK and its CLI against the Messages API on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from teamwright.backends.api import File, Message
from teamwright.errors import UserError
from tests.backends.claude.conftest import MODEL, Opened, add, by_name
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Seen, Tokens

pytest.importorskip("claude_agent_sdk")

#: A picture of one pixel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


async def test_a_tool_and_an_answer(api: Messages, opened: Opened, fake_turn: Any, spans: Any, tracer: Any) -> None:
    api.say(
        Reply("I add.", calls=[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})], thinking="two sums"),
        Reply("3 and 7", tokens=Tokens(30, 8, cached=10), delay=0.1),
    )
    turn = fake_turn("sums please", tools=[add(2)])
    async with opened() as backend:
        with tracer.span("agent") as above:
            answer = await backend.run(turn)
    assert answer.text == "3 and 7"
    assert "".join(turn.streamed) == "I add.3 and 7"
    first, second = api.wait(1), api.wait(2)
    assert (first.user, first.tools) == ("sums please", ["add", "ask_user"])
    assert "You add." in first.system
    assert second.results == {"toolu_1_1": "3", "toolu_1_2": "7"}
    found = by_name(spans)
    assert {name: len(made) for name, made in found.items()} == {f"chat {MODEL}": 2, "execute_tool add": 2, "agent": 1}
    for name, made in found.items():
        for _, span in made:
            assert name == "agent" or span.parent_span_id.hex() == above.span_id
    (asked, _), (said, saying) = found[f"chat {MODEL}"]
    (reply,) = json.loads(asked["gen_ai.output.messages"])
    assert [part["type"] for part in reply["parts"]] == ["reasoning", "text", "tool_call", "tool_call"]
    assert asked["gen_ai.system_instructions"] == '[{"type":"text","content":"You add."}]'
    roles = [message["role"] for message in json.loads(said["gen_ai.input.messages"])]
    assert roles == ["user", "assistant", "tool", "tool"]
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.cache_read.input_tokens"]) == (30, 10)
    assert said["gen_ai.response.finish_reasons"].values[0].string_value == "stop"
    assert said["gen_ai.response.time_to_first_chunk"] >= 0.1
    assert said["teamwright.cost_usd"] > 0
    tools = [span for _, span in found["execute_tool add"]]
    assert max(tool.start_time_unix_nano for tool in tools) < min(tool.end_time_unix_nano for tool in tools)
    assert saying.start_time_unix_nano >= max(tool.end_time_unix_nano for tool in tools)
    assert turn.usage.model_calls == 2 and turn.usage.tool_calls == 2
    assert turn.usage.input_tokens == 50


async def test_a_conversation_goes_on(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(Reply("one"), Reply("two"), Reply("three"))
    async with opened() as backend:
        assert (await backend.run(fake_turn("first"))).text == "one"
        assert (await backend.run(fake_turn("second"))).text == "two"
        assert list(api.wait(2).said) == ["first", "one", "second"]
        await backend.run(fake_turn("other", conversation="another"))
        assert list(api.wait(3).said) == ["other"]


async def test_an_answer_of_a_shape_gets_one_chance_to_be_mended(api: Messages, opened: Opened, fake_turn: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    api.say(Reply("seven"), Reply('{"n": 7}'))
    turn = fake_turn("how many?")
    async with opened(output_schema=schema) as backend:
        answer = await backend.run(turn)
    assert answer.data == {"n": 7} and turn.streamed == []
    assert "holds no JSON object" in api.wait(2).user


async def test_files_go_in(api: Messages, opened: Opened, fake_turn: Any) -> None:
    files = [File("a.txt", "text/plain", b"words of a"), File("b.png", "image/png", base64.b64decode(DOT))]
    api.say(Reply("seen"))
    async with opened() as backend:
        await backend.run(fake_turn("look", files=files))
    content = api.wait().body["messages"][0]["content"]
    assert any("words of a" in block.get("text", "") for block in content)
    assert [block["source"]["media_type"] for block in content if block["type"] == "image"] == ["image/png"]


async def test_a_question_to_the_user(api: Messages, opened: Opened, fake_turn: Any, spans: Any) -> None:
    api.say(Reply(calls=[Call("ask_user", {"question": "Sure?"})]), lambda seen: Reply(seen.results["toolu_1_1"]))
    async with opened() as backend:
        assert (await backend.run(fake_turn("do it"))).text == "yes"
    assert "execute_tool ask_user" in by_name(spans)


async def test_commands_in_a_message_are_words(api: Messages, opened: Opened, fake_turn: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("xylophone")
    api.say(Reply("one"), Reply("two"))
    async with opened(options={"cwd": str(tmp_path)}) as backend:
        await backend.run(fake_turn(f"@{tmp_path}/secret.txt"))
        await backend.run(fake_turn("/clear"))
    assert "xylophone" not in str(api.wait(2).body)
    assert api.wait(2).user == "/clear" and "one" in api.wait(2).said


async def test_processes_end_when_idle_and_come_back(
    api: Messages, opened: Opened, fake_turn: Any, spans: Any, tracer: Any
) -> None:
    found: list[int] = []

    def first(seen: Seen) -> Reply:
        found.extend(processes())
        return Reply("one")

    api.say(first, Reply("two"))
    async with opened(options={"idle": 0.1}) as backend:
        await backend.run(fake_turn("first"))
        (before,) = found
        while processes():  # noqa: ASYNC110  # other processes tell nobody of their end
            await asyncio.sleep(0.02)
        with tracer.span("agent"):
            await backend.run(fake_turn("second", history=[Message("user", "first"), Message("agent", "one")]))
        assert before not in processes()
    assert list(api.wait(2).said) == ["first", "one", "second"]
    ((_, agent),) = by_name(spans)["agent"]
    assert [event.name for event in agent.events] == ["resumed", "taken up", "through"]
    assert processes() == []


def holding(folder: Path, words: bytes) -> list[Path]:
    """The files that have these words in them."""
    return [path for path in folder.rglob("*") if path.is_file() and words in path.read_bytes()]


async def test_a_conversation_is_forgotten(api: Messages, opened: Opened, fake_turn: Any, tmp_path: Path) -> None:
    """Its process goes, and the CLI starts anew; another conversation knows what it knew."""
    api.always(lambda seen: Reply(f"heard {seen.user}"))
    async with opened() as backend:
        for conversation in ("c1", "c2"):
            await backend.run(fake_turn(f"granite of {conversation}", conversation=conversation))
        await backend.forget("c1")
        assert (holding(tmp_path, b"granite of c1"), len(holding(tmp_path, b"granite of c2")) > 0) == ([], True)
        for number, conversation in ((3, "c1"), (4, "c2")):
            await backend.run(fake_turn("again", conversation=conversation))
            assert (f"granite of {conversation}" in api.wait(number).said) == (conversation == "c2")
    api.say()


async def test_another_model_when_the_first_is_overloaded(
    api: Messages, opened: Opened, fake_turn: Any, spans: Any
) -> None:
    busy = Reply(status=529, error="Overloaded")
    api.say(busy, busy, busy, Reply("from the other", tokens=Tokens(1000, 100, 0)))
    async with opened(options={"retries": 4, "fallback_models": ["claude-haiku-4-5"]}) as backend:
        answer = await backend.run(fake_turn("hi"))
    assert answer.text == "from the other"
    calls = [(name, about.get("teamwright.attempt"), span.status.code) for name, about, span in spans()]
    first = f"chat {MODEL}"
    assert calls == [(first, 1, 2), (first, 2, 2), (first, 3, 2), ("chat claude-haiku-4-5", 4, 0)]
    assert spans()[-1][1]["teamwright.cost_usd"] == pytest.approx(0.0015)  # by the list, of the model that answered


async def test_so_many_processes_and_no_more(api: Messages, opened: Opened, fake_turn: Any, spans: Any) -> None:
    """One place, three conversations at once: they take turns, and whoever rests makes room."""
    api.always(lambda seen: Reply(f"heard {seen.user}", delay=0.1))
    seen: list[int] = []
    async with opened(options={"clients": 1}) as backend:

        async def talk(number: int) -> str:
            answer = await backend.run(fake_turn(f"number {number}", conversation=f"c{number}"))
            seen.append(len(processes()))
            return str(answer.text)

        texts = await asyncio.gather(*map(talk, range(3)))
    assert texts == [f"heard number {number}" for number in range(3)]
    assert max(seen) <= 2  # one that works, one that is on its way out
    assert len(by_name(spans)["queued"]) == 2
    api.say()


async def test_words_of_another_backend_go_along(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(Reply("plum"))
    history = [Message("user", "my secret is plum"), Message("agent", "noted")]
    async with opened() as backend:
        await backend.run(fake_turn("what is it?", history=history))
    assert "User: my secret is plum\nYou: noted" in "\n".join(api.wait().said)


async def test_without_a_key_and_with_a_login(
    api: Messages, opened: Opened, fake_turn: Any, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(UserError, match="ANTHROPIC_API_KEY is not set"):
        async with opened():
            pass
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not to be used")
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-login")
    api.say(Reply("in"))
    async with opened(login=True) as backend:
        assert (await backend.run(fake_turn("hi"))).text == "in"
    headers = api.wait().headers
    assert headers["authorization"] == "Bearer sk-ant-oat01-login" and "x-api-key" not in headers
    assert (Path(environment["HOME"]) / ".claude").is_dir()


async def test_a_model_that_says_nothing(api: Messages, opened: Opened, fake_turn: Any) -> None:
    api.say(Reply(""), Reply(""))  # the CLI asks once more by itself
    async with opened() as backend:
        assert (await backend.run(fake_turn("hi"))).text == ""


def processes() -> list[int]:
    """The CLI processes below this one."""
    return [child.pid for child in psutil.Process().children(recursive=True) if "_bundled" in " ".join(_line(child))]


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
