"""What a trace must tell of a query through three agents with failures: the real command line, engine and processes."""

from __future__ import annotations

import itertools
import json
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Deploy

Span = dict[str, Any]

CODE = """
    import asyncio, os
    from teamwright import Agent, tool
    from teamwright.backends import loop
    from teamwright.backends.api import Usage

    class Lead(Agent):
        "Hands on to the middle."

        async def run(self, turn):
            word = turn.text.split()[0]
            if word == "unknown":
                return (await turn.ask_peer("nobody", turn.text)).text
            if word == "url":
                return (await turn.ask_peer("http://169.254.169.254/latest", turn.text)).text
            if word in ("away", "silent"):
                return (await turn.ask_peer(word, turn.text)).text
            return (await turn.ask_peer("middle", turn.text)).text

    class Middle(Agent):
        "Hands on to the worker."

        async def run(self, turn):
            return (await turn.ask_peer("worker", turn.text)).text

    class Worker(Agent):
        "Looks things up with a tool that fails the first time, and a model that takes 300 ms."
        tries = 0

        @tool
        async def look_up(self, word: str) -> str:
            "Look a word up."
            Worker.tries += 1
            if Worker.tries == 1:
                raise ConnectionError("the library is closed")
            return f"{word} means much"

        async def run(self, turn):
            calls = [
                loop.ToolCall("c1", "look_up", {"word": "whale"}),
                loop.ToolCall("c2", "look_up", {"word": "whale"}),
                loop.ToolCall("c3", "look_up", {"wrong": 1}),
                None,
            ]

            async def step(entries):
                with turn.tracer.model_call(model="slow", provider="test", messages=loop.to_messages(entries)) as call:
                    await asyncio.sleep(0.1)
                    call.first_token()
                    await asyncio.sleep(0.2)
                    wanted = calls.pop(0)
                    said = "" if wanted else "a whale"
                    call.answer([loop.reply_message(said, [wanted] if wanted else [])], finish_reason="stop")
                return loop.Reply(said, (wanted,) if wanted else (), Usage(1, 1))

            return await loop.run(turn, step)
"""
JOB = """
    agents:
      - {{id: lead, module: three, type: Lead, calls: [middle, away, silent], limits: {{duration: 60s}}}}
      - {{id: middle, module: three, type: Middle, calls: [worker]}}
      - {{id: worker, module: three, type: Worker}}
      - {{id: away, url: "http://127.0.0.1:{away}"}}
      - {{id: silent, url: "http://127.0.0.1:{silent}", limits: {{duration: 2s}}}}
"""


class Quiet:
    """Somebody else's agent: it has a card, and never answers a call."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            if client.recv(65536).startswith(b"GET"):
                url = f"http://127.0.0.1:{self.port}/"
                interface = {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
                card = {"name": "Quiet", "description": "", "version": "1", "skills": [], "capabilities": {},
                        "defaultInputModes": ["text"], "defaultOutputModes": ["text"],
                        "supportedInterfaces": [interface]}  # fmt: skip
                body = json.dumps(card).encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                client.sendall(head.encode() + b"connection: close\r\n\r\n" + body)
                client.close()
            else:
                self._held.append(client)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread: a socket that is waited on listens on
        self._thread.join(10)
        for held in (self._socket, *self._held):
            held.close()


@pytest.fixture(scope="module")
def team(shared_deploy: Deploy) -> Iterator[Deploy]:
    folder = shared_deploy.home.parent
    silent, away = Quiet(), Quiet()
    (folder / "three.py").write_text(textwrap.dedent(CODE))
    (folder / "three.yaml").write_text(textwrap.dedent(JOB.format(away=away.port, silent=silent.port)))
    shared_deploy("start", folder / "three.yaml").ok()
    away.close()
    yield shared_deploy
    shared_deploy("stop", "--all").ok()
    silent.close()


def asked(deploy: Deploy, question: str, code: int = 0) -> tuple[dict[str, Any], list[Span]]:
    """What `query` told, and the spans of its trace; nothing in them is empty, and all hang together."""
    done = deploy("query", "three", question, "--json")
    assert done.code == code, str(done)
    show = deploy("trace", "show", done.json["trace_id"], "--json").ok().json
    spans: list[Span] = show["spans"]
    ids = {span["span_id"] for span in spans}
    assert [span["name"] for span in spans if span["parent_id"] not in ids] == ["invoke_workflow three"]
    assert show["complete"] and show["status"] == ("error" if code else "ok")
    empty = [(span["name"], key) for span in spans for key, value in span["attributes"].items()
             if value in (None, "", "null", "[]")]  # fmt: skip
    assert not empty
    assert sum(show["time_ns"].values()) == spans[0]["end_ns"] - spans[0]["start_ns"]
    return done.json, spans


def named(spans: list[Span], name: str, kind: str | None = None) -> list[Span]:
    return [span for span in spans if span["name"] == name and kind in (None, span["kind"])]


def test_three_agents_a_tool_that_fails_and_a_retry(team: Deploy) -> None:
    told, spans = asked(team, "what is a whale?")
    assert told["answer"] == "a whale"
    by_id = {span["span_id"]: span for span in spans}

    def line(span: Span) -> list[str]:
        found = []
        current: Span | None = span
        while current is not None:
            found.append(f"{current['agent']} {current['name']} {current['kind']}")
            current = by_id.get(current["parent_id"])
        return found[::-1]

    (server,) = named(spans, "invoke_agent worker", "SERVER")
    assert line(server) == [
        "lead invoke_workflow three INTERNAL",
        "lead invoke_agent lead SERVER",
        "lead invoke_agent middle CLIENT",
        "middle invoke_agent middle SERVER",
        "middle invoke_agent worker CLIENT",
        "worker invoke_agent worker SERVER",
    ]
    assert {span["attributes"]["teamwright.run.id"] for span in spans if span["agent"] == "worker"} == {
        server["attributes"]["teamwright.run.id"]
    }
    tools = named(spans, "execute_tool look_up")
    chats = named(spans, "chat slow")
    assert {span["parent_id"] for span in tools + chats} == {server["span_id"]}
    assert [(tool["attributes"]["gen_ai.tool.call.id"], tool["status"]) for tool in tools] == [
        ("c1", "error"), ("c2", "ok"), ("c3", "error"),
    ]  # fmt: skip
    failed, again, wrong = tools
    assert failed["message"] == "the library is closed" and failed["attributes"]["error.type"] == "ConnectionError"
    assert again["attributes"]["gen_ai.tool.call.result"] == "whale means much"
    assert "wrong" in wrong["message"] and json.loads(wrong["attributes"]["gen_ai.tool.call.arguments"]) == {"wrong": 1}
    # The order: model, failed call, model, retry, model, wrong call, model.
    order = sorted(tools + chats, key=lambda span: int(span["start_ns"]))
    assert [span["name"].split()[0] for span in order] == ["chat", "execute_tool"] * 3 + ["chat"]
    assert all(one["end_ns"] <= other["start_ns"] for one, other in itertools.pairwise(order))
    for chat in chats:
        first = first_token(chat)
        assert chat["attributes"]["gen_ai.response.time_to_first_chunk"] == pytest.approx(
            (first["at_ns"] - chat["start_ns"]) / 1e9
        )
    assert json.loads(chats[0]["attributes"]["gen_ai.output.messages"])[0]["parts"] == [
        {"type": "tool_call", "id": "c1", "name": "look_up", "arguments": {"word": "whale"}}
    ]


def first_token(chat: Span) -> dict[str, Any]:
    (first,) = [event for event in chat["events"] if event["name"] == "first token"]
    found: dict[str, Any] = first
    return found


def test_a_model_call_takes_as_long_as_it_took(team: Deploy) -> None:
    """300 ms, of which 100 to the first token: a busy machine makes some of them longer, never any shorter."""
    for _ in range(10):
        chats = named(asked(team, "what is a whale?")[1], "chat slow")
        took = [(chat["end_ns"] - chat["start_ns"]) / 1e6 for chat in chats]
        first = [(first_token(chat)["at_ns"] - chat["start_ns"]) / 1e6 for chat in chats]
        assert min(took) >= 299 and min(first) >= 99
        assert all(whole - begun >= 199 for whole, begun in zip(took, first, strict=True))
        if min(took) <= 350 and min(first) <= 150:
            return
    raise AssertionError(f"not one of many model calls took 300 ± 50 ms: {took}")


@pytest.mark.parametrize(
    ("question", "reason", "says"),
    [
        ("unknown " + "x" * 5000, "unknown_peer", "there is no agent 'nobody' to ask"),
        ("url and more", "blocked_url", "asked by name, not by URL"),
        ("away and more", "unreachable", "away"),
        ("silent and more", "timeout", "silent did not answer in time"),
    ],
)
def test_a_call_that_fails_is_a_span_with_the_whole_question(
    team: Deploy, question: str, reason: str, says: str
) -> None:
    told, spans = asked(team, question, code=1)
    assert told["status"] == "error" and told["run_id"]
    (server,) = named(spans, "invoke_agent lead", "SERVER")
    (call,) = [span for span in spans if span["kind"] == "CLIENT"]
    assert call["parent_id"] == server["span_id"] and call["status"] == "error"
    assert call["attributes"]["error.type"] == reason == server["attributes"]["error.type"] and says in call["message"]
    assert json.loads(call["attributes"]["gen_ai.input.messages"])[0]["parts"][0]["content"] == question
    page = team("trace", "show", told["trace_id"]).ok().out
    assert page.index("went wrong: 1") < page.index("SPAN") and f"{reason}: " in page


def test_the_page_fits_a_narrow_terminal(team: Deploy) -> None:
    asked(team, "what is a whale?")
    for width in (80, 140):
        for words in (("trace", "list"), ("trace", "show"), ("runs", "list"), ("runs", "show")):
            out = team(*words, environment={"COLUMNS": str(width)}).ok().out
            assert all(len(line) <= max(width, 120) for line in out.splitlines()) or words[1] == "list", out


def test_tail_tells_spans_as_they_end(team: Deploy) -> None:
    process = team.begin("trace", "tail", "three", "--json")
    lines: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, b"")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    until = time.monotonic() + 60
    wanted = (b"invoke_workflow three", b"invoke_agent lead")
    while not all(any(name in line for line in lines) for name in wanted) and time.monotonic() < until:
        team("query", "three", "url please")
    process.terminate()
    reader.join(10)
    process.communicate(timeout=60)
    spans = [json.loads(line) for line in lines if line.endswith(b"\n")]  # the last one may have been cut
    assert {"invoke_workflow three", "invoke_agent lead"} <= {span["name"] for span in spans}
    assert all(span["job"] == "three" and span["status"] == "error" for span in spans)
