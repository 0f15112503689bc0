"""The front door in front of an agent that a test plays by hand, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from teamwright.home import Home
from teamwright.safety.tokens import Issuer, unverified
from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, USAGE_EXT
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show

from .conftest import InProcess, in_process, make_plan, patient, until
from .test_jobs import start

Request = tuple[str, dict[str, str], bytes]
Reply = Callable[["Agent", Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Agent:
    """One that answers as `reply` says, and writes down what it was asked."""

    port: int
    reply: Reply
    asked: list[Request] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def call(self) -> Any:
        """The newest JSON-RPC call."""
        return json.loads(self.asked[-1][2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                raw = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((first, {key.lower(): value for key, value in raw.items()}, body))
                await self.reply(self, self.asked[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def whole(body: Any, status: str = "200 OK") -> Reply:
    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        data = json.dumps(body if "jsonrpc" not in body else {**body, "id": json.loads(request[2])["id"]}).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)

    return reply


def task(state: str, text: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": "task-1", "contextId": "ctx", "status": {"state": f"TASK_STATE_{state}"}, **more}
    if text:
        found["artifacts"] = [{"artifactId": "a", "parts": [{"text": text}]}]
    return found


def done(text: str = "Hi", **usage: Any) -> Any:
    return {"jsonrpc": "2.0", "result": {"task": task("COMPLETED", text, metadata={USAGE_EXT: usage})}}


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def frame(result: Any) -> bytes:
    data = b"data: " + json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}).encode() + b"\r\n\r\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def streamed(*frames: bytes, gate: asyncio.Event | None = None, cut: bool = False) -> Reply:
    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        for number, item in enumerate(frames):
            if gate is not None and number == len(frames) - 1:
                await gate.wait()
            writer.write(item)
            await writer.drain()
        if cut:
            writer.close()
        else:
            writer.write(b"0\r\n\r\n")

    return reply


def artifact(text: str, **more: Any) -> bytes:
    part = {"artifactId": "a", "parts": [{"text": text}]}
    return frame({"artifactUpdate": {"taskId": "task-1", "contextId": "ctx", "artifact": part, **more}})


_LAST = {
    "taskId": "task-1",
    "contextId": "ctx",
    "status": {"state": "TASK_STATE_COMPLETED"},
    "metadata": {USAGE_EXT: {"input_tokens": 5, "cost_usd": 0.25}},
}
STREAM = (
    frame({"task": task("SUBMITTED")}),
    artifact("Hel"),
    artifact("lo", append=True),
    frame({"statusUpdate": _LAST}),
)


@dataclass
class Door:
    """The engine with one job whose agent is played."""

    inside: InProcess
    agent: Agent
    server: asyncio.Server

    async def post(self, body: Any, path: str = "/a2a/team", **headers: str) -> httpx.Response:
        return await self.inside.http.post(
            path, json=body, headers={**self.inside.operator, "A2A-Version": "1.0", **headers}
        )

    async def ask(self, text: str = "Hello", method: str = "SendMessage", **message: Any) -> Any:
        answer = await self.post(question(text, method, **message))
        assert answer.status_code == 200
        if method == "SendMessage":
            return answer.json()
        return [json.loads(line[6:]) for line in answer.text.split("\r\n") if line.startswith("data: ")]

    async def traces(self) -> list[Any]:
        """Every whole trace of a query."""
        await self.inside.engine.spans.drain()
        with SpanReader(self.inside.home.spans_db) as reader:
            return [trace_show(reader.show(item["trace"].hex())) for item in reader.list_traces()]

    async def root(self) -> Any:
        """The root of the only trace."""
        (trace,) = await self.traces()
        (span,) = trace["spans"]
        return span

    @property
    def open(self) -> int:
        return len(self.inside.engine.state.tasks)


def question(text: str = "Hello", method: str = "SendMessage", **message: Any) -> Any:
    about = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}], **message}
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {"message": about}}


@pytest.fixture
async def door(inside: InProcess) -> AsyncIterator[Door]:
    agent = Agent(0, whole(done()))
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    await start(inside, make_plan("team", patient("lead", port=agent.port), patient("other")))
    yield Door(inside, agent, server)
    server.close()
    for writer in agent.writers:
        writer.close()


async def test_a_query(door: Door) -> None:
    door.agent.reply = whole(done("Hi", input_tokens=3, output_tokens=4, tool_calls=1, cost_usd=0.5))
    answer = await door.post(question(metadata={RUN_EXT: {"user": "ada", "labels": {"team": "blue"}}}))
    reply = answer.json()
    told = reply["result"]["task"]["metadata"][USAGE_EXT]
    assert reply["id"] == 7 and told["input_tokens"] == 3 and told["agent"] == "team/lead"

    headers = door.agent.asked[0][1]
    sent = door.agent.call["params"]["message"]
    run = sent["metadata"][RUN_EXT]
    assert run["run_id"] == told["run_id"] and run["user"] == "ada" and run["session"] == sent["contextId"]
    assert headers["traceparent"] == sent["metadata"][TRACE_EXT]["traceparent"]
    assert headers["traceparent"].split("-")[1] == told["trace_id"]
    token = unverified(headers["authorization"].removeprefix("Bearer "))
    assert (token.sub, token.aud, token.role) == ("operator", "team/lead", "front-door")

    root = await door.root()
    assert root["name"] == "invoke_workflow team" and root["parent_id"] is None and root["status"] == "ok"
    assert root["span_id"] == headers["traceparent"].split("-")[2]
    found = root["attributes"]
    assert "Hello" in found["gen_ai.input.messages"] and "Hi" in found["gen_ai.output.messages"]
    assert found["user.id"] == "ada" and found["teamwright.label.team"] == "blue"
    assert found["gen_ai.usage.input_tokens"] == 3 and found["teamwright.cost_usd"] == 0.5
    assert found["teamwright.run.id"] == told["run_id"] and found["teamwright.a2a.task_id"] == "task-1"
    assert door.open == 0


async def test_a_stream_passes_piece_by_piece_and_the_root_ends_before_its_end(door: Door) -> None:
    gate = asyncio.Event()
    door.agent.reply = streamed(*STREAM, gate=gate)
    asking = asyncio.create_task(door.ask(method="SendStreamingMessage"))
    await until(lambda: [row.task_id for row in door.inside.engine.state.tasks.values()] == ["task-1"])
    gate.set()
    replies = await asking
    assert [next(iter(reply["result"])) for reply in replies] == [
        "task", "artifactUpdate", "artifactUpdate", "statusUpdate",
    ]  # fmt: skip
    told = replies[-1]["result"]["statusUpdate"]["metadata"][USAGE_EXT]
    root = await door.root()
    assert told["trace_id"] and told["input_tokens"] == 5 and told["cost_usd"] == 0.25
    assert "Hello" in root["attributes"]["gen_ai.output.messages"]


async def test_nothing_but_queries_makes_a_trace(door: Door) -> None:
    door.agent.reply = whole({"jsonrpc": "2.0", "result": task("WORKING")})
    for method in ("GetTask", "ListTasks", "CancelTask"):
        answer = await door.post({"jsonrpc": "2.0", "id": "x", "method": method, "params": {"id": "task-1"}})
        assert answer.json() == {"jsonrpc": "2.0", "id": "x", "result": task("WORKING")}
        assert door.agent.call == {"jsonrpc": "2.0", "id": "x", "method": method, "params": {"id": "task-1"}}
    door.agent.reply = streamed(*STREAM)
    answer = await door.post({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": "task-1"}})
    assert answer.text.count("data: ") == 4 and USAGE_EXT not in answer.text.split("data: ")[1]
    assert await door.traces() == []


async def test_a_callers_trace_is_continued(door: Door) -> None:
    theirs = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    await door.post(question(), traceparent=theirs)
    root = await door.root()
    assert root["parent_id"] == "cd" * 8
    assert door.agent.asked[0][1]["traceparent"].split("-")[1] == "ab" * 16


async def test_agents_by_name(door: Door) -> None:
    answer = await door.post(question(), path="/a2a/team/lead")
    assert answer.json()["result"]["task"]["id"] == "task-1"
    unknown = await door.post(question(), path="/a2a/team/laed")
    assert unknown.status_code == 404 and "lead" in unknown.json()["error"]["hint"]
    unknown = await door.post(question(), path="/a2a/taem")
    assert unknown.status_code == 404 and "team" in unknown.json()["error"]["hint"]


async def test_tokens(door: Door, home: Home) -> None:
    issuer = Issuer.load(home)
    refused = {
        "none": "",
        "wrong": "Bearer x.y.z",
        "another job's": "Bearer " + issuer.mint("ada", "other", job="other", role="user"),
        "expired": "Bearer " + issuer.mint("ada", "team", job="team", role="user", ttl=-1),
        "an agent's": "Bearer " + issuer.mint("team/other", "team/lead", job="team", agent="other", role="agent"),
    }
    for why, value in refused.items():
        answer = await door.post(question(), authorization=value)
        assert answer.status_code == 401, why
    assert door.agent.asked == [] and await door.traces() == []
    mine = issuer.mint("ada", "team", job="team", role="user")
    answer = await door.post(question(metadata={RUN_EXT: {"user": "somebody else"}}), authorization=f"Bearer {mine}")
    assert answer.status_code == 200
    assert door.agent.call["params"]["message"]["metadata"][RUN_EXT]["user"] == "ada"
    halted = issuer._epochs
    assert halted is not None
    halted.bump("job:team")
    assert (await door.post(question(), authorization=f"Bearer {mine}")).status_code == 401


async def test_a_refused_token_is_made_anew_once(door: Door) -> None:
    answers = iter([whole({"error": {"message": "halted"}}, "401 Unauthorized"), whole(done())])

    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        await next(answers)(agent, request, writer)

    door.agent.reply = reply
    assert "result" in await door.ask()
    first, second = (request[1]["authorization"] for request in door.agent.asked)
    assert first != second
    door.agent.reply = whole({"error": {"message": "not you"}}, "403 Forbidden")
    error = (await door.ask())["error"]
    assert error["message"] == "agent lead refused the call: not you"


async def test_the_card(door: Door) -> None:
    door.agent.reply = whole(
        {"name": "Lead", "supportedInterfaces": [{"url": "http://127.0.0.1:9/"}], "signatures": [1]}
    )
    for path in ("/a2a/team", "/a2a/team/lead"):
        answer = await door.inside.http.get(f"{path}/.well-known/agent-card.json")
        assert answer.json() == {
            "name": "Lead",
            "supportedInterfaces": [
                {"url": f"http://127.0.0.1:1{path}", "protocolBinding": binding, "protocolVersion": "1.0"}
                for binding in ("JSONRPC", "HTTP+JSON")
            ],
        }
        for known in (("if-none-match", "etag"), ("if-modified-since", "last-modified")):
            again = await door.inside.http.get(
                f"{path}/.well-known/agent-card.json", headers={known[0]: answer.headers[known[1]]}
            )
            assert (again.status_code, again.content) == (304, b"")
    door.server.close()
    for writer in door.agent.writers:
        writer.close()
    await asyncio.sleep(0.01)
    assert (await door.inside.http.get("/a2a/team/.well-known/agent-card.json")).status_code == 503


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b'"\xff"', -32700),
        (b"[" * 5000, -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "\\ud83d"}}', -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "a", "historyLength": NaN}}', -32700),
        (b"[]", -32600),
        (b'{"jsonrpc": "2.0", "id": 1}', -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "GetTask"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "GetTask"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tasks/send"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": []}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"parts": []}}}', -32602),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": '
            b'{"parts": [{"text": "x"}], "contextId": 5}}}',
            -32602,
        ),
    ],
)
async def test_bad_calls(door: Door, body: bytes, code: int) -> None:
    headers = {**door.inside.operator, "A2A-Version": "1.0"}
    answer = await door.inside.http.post("/a2a/team", headers=headers, content=body)
    assert answer.status_code == 200 and answer.json()["error"]["code"] == code
    assert door.agent.asked == []


async def test_an_agent_that_is_not_there(door: Door) -> None:
    door.server.close()
    error = (await door.ask())["error"]
    assert "can't be reached" in error["message"] and error["data"][0]["metadata"]["reason"] == "refused"
    root = await door.root()
    assert root["status"] == "error" and root["trace_id" if "trace_id" in root else "span_id"]
    assert error["data"][0]["metadata"]["trace_id"] and door.open == 0


@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
async def test_an_agent_that_dies(door: Door, method: str) -> None:
    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        if method == "SendStreamingMessage":
            writer.write(SSE_HEAD + STREAM[0])
            await writer.drain()
        writer.transport.abort()

    door.agent.reply = reply
    found = await door.ask(method=method)
    error = found[-1]["error"] if method == "SendStreamingMessage" else found["error"]
    assert error["message"] == "agent lead ended before it had answered"
    assert error["data"][0]["metadata"]["reason"] == "process_lost"
    assert (await door.root())["status"] == "error" and door.open == 0


async def test_a_stream_that_just_stops(door: Door) -> None:
    door.agent.reply = streamed(*STREAM[:2])
    found = await door.ask(method="SendStreamingMessage")
    assert "broke its answer off" in found[-1]["error"]["message"]
    assert (await door.root())["status"] == "error"


@pytest.mark.parametrize("body", ["nonsense", {"jsonrpc": "2.0", "result": {}}, ["x"]])
async def test_what_is_not_a2a(door: Door, body: Any) -> None:
    door.agent.reply = whole(body)
    error = (await door.ask())["error"]
    assert "agent lead answered with" in error["message"]
    assert (await door.root())["status"] == "error" and door.open == 0


async def test_a_failed_task_is_an_error_of_the_trace(door: Door) -> None:
    failed = task("FAILED", metadata={RUN_EXT: {"reason": "limit"}})
    failed["status"]["message"] = {"parts": [{"text": "too deep"}]}
    door.agent.reply = whole({"jsonrpc": "2.0", "result": {"task": failed}})
    assert (await door.ask())["result"]["task"]["status"]["state"] == "TASK_STATE_FAILED"
    root = await door.root()
    assert root["status"] == "error" and "too deep" in root["message"]


async def test_who_does_not_wait_is_followed(door: Door) -> None:
    states = iter(["WORKING", "WORKING", "COMPLETED"])

    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        state = next(states)
        found = task(state, "Hi" if state == "COMPLETED" else "")
        first = agent.call["method"] == "SendMessage"
        await whole({"jsonrpc": "2.0", "result": {"task": found} if first else found})(agent, request, writer)

    door.agent.reply = reply
    answer = await door.ask()
    assert answer["result"]["task"]["status"]["state"] == "TASK_STATE_WORKING"
    assert answer["result"]["task"]["metadata"][USAGE_EXT]["trace_id"]
    assert door.open == 1
    await until(lambda: door.open == 0)
    assert "Hi" in (await door.root())["attributes"]["gen_ai.output.messages"]


async def test_a_client_that_goes_does_not_end_the_query(door: Door) -> None:
    gate = asyncio.Event()
    door.agent.reply = streamed(*STREAM, gate=gate)
    headers = {**door.inside.operator}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await door.inside.http.post(
                "/a2a/team", json=question(method="SendStreamingMessage"), headers={**headers, "A2A-Version": "1.0"}
            )
    assert door.open == 1
    gate.set()
    await until(lambda: door.open == 0)
    assert (await door.root())["status"] == "ok"


async def test_a_job_that_does_not_run(door: Door) -> None:
    await door.inside.http.post("/stop", headers=door.inside.operator, json={"targets": ["team"]})
    error = (await door.ask())["error"]
    assert error["message"] == "job team is stopped" and await door.traces() == []


async def test_a_hundred_at_once(door: Door) -> None:
    answers = await asyncio.gather(*(door.ask(f"question {number}") for number in range(100)))
    told = [answer["result"]["task"]["metadata"][USAGE_EXT] for answer in answers]
    assert len({item["trace_id"] for item in told}) == len({item["run_id"] for item in told}) == 100
    await door.inside.engine.spans.drain()
    with SpanReader(door.inside.home.spans_db) as reader:
        assert len(reader.list_traces(limit=200)) == 100


async def test_queries_of_an_engine_that_is_gone_are_followed(home: Home) -> None:
    """One whose task was told, one whose task is found by its conversation, one that is nowhere."""
    forever = asyncio.Event()

    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        call = agent.call
        match call["method"]:
            case "SendStreamingMessage":
                await streamed(STREAM[0], STREAM[3], gate=forever)(agent, request, writer)
            case "SendMessage":
                await forever.wait()
            case "ListTasks":
                there = call["params"]["contextId"] == "found"
                tasks = [task("COMPLETED", "late")] if there else []
                await whole({"jsonrpc": "2.0", "result": {"tasks": tasks}})(agent, request, writer)
            case "GetTask":
                await whole({"jsonrpc": "2.0", "result": task("COMPLETED", "late")})(agent, request, writer)

    agent = Agent(0, reply)
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    calls = [
        question("told", "SendStreamingMessage"),
        question("found", contextId="found"),
        question("nowhere", contextId="nowhere"),
    ]
    async with in_process(home) as made:
        await start(made, make_plan("team", patient("lead", port=agent.port)))
        state = made.engine.state
        asking = [
            asyncio.create_task(made.http.post("/a2a/team", json=call, headers={**made.operator, "A2A-Version": "1.0"}))
            for call in calls
        ]
        await until(lambda: len(state.tasks) == 3 and "task-1" in {row.task_id for row in state.tasks.values()})
        roots = {row.trace_id: (row.query, row.span_id) for row in state.tasks.values()}
        await made.engine.front_door.aclose()
        await asyncio.gather(*asking, return_exceptions=True)
    async with in_process(home) as again:
        await until(lambda: not again.engine.state.tasks)
        for task_ in again.engine._tasks:
            if task_.get_name() == "recovery":
                await task_
        await again.engine.spans.drain()
        with SpanReader(home.spans_db) as reader:
            shown = {roots[item["trace"].hex()][0]: trace_show(reader.show(item["trace"].hex()))
                     for item in reader.list_traces()}  # fmt: skip
    server.close()
    assert {query: found["status"] for query, found in shown.items()} == {
        "told": "ok", "found": "ok", "nowhere": "lost",
    }  # fmt: skip
    for query in ("told", "found"):
        (root,) = shown[query]["spans"]
        assert (query, root["span_id"]) == roots[shown[query]["trace_id"]]
        assert "late" in root["attributes"]["gen_ai.output.messages"]


async def test_versions_and_types(door: Door) -> None:
    for version in ("", "0.3", "2.0", "nonsense"):
        answer = await door.post(question(), **{"A2A-Version": version})
        assert answer.json()["error"]["code"] == -32009
        assert answer.json()["error"]["data"][0]["domain"] == "a2a-protocol.org"
        rest = await door.post(question()["params"], "/a2a/team/message:send", **{"A2A-Version": version})
        assert rest.status_code == 400
        assert rest.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"
    assert "result" in (await door.post(question(), "/a2a/team?A2A-Version=1.0", **{"A2A-Version": ""})).json()
    for path in ("/a2a/team", "/a2a/team/message:send"):
        wrong = await door.post(question(), path, **{"content-type": "text/plain"})
        assert wrong.status_code == 415
        assert "a2a-protocol.org" in wrong.text and "teamwright.dev" not in wrong.text
    assert len(door.agent.asked) == 1


async def test_http_json_is_the_same_query(door: Door) -> None:
    door.agent.reply = whole(done("Hi"))
    answer = await door.post(question()["params"], "/a2a/team/lead/message:send")
    assert answer.headers["content-type"] == "application/a2a+json"
    task = answer.json()["task"]
    assert (door.agent.call["method"], door.agent.call["params"]["message"]["parts"]) == (
        "SendMessage", [{"text": "Hello"}],
    )  # fmt: skip
    root = await door.root()
    assert task["metadata"][USAGE_EXT]["trace_id"] == (await door.traces())[0]["trace_id"]
    assert root["status"] == "ok"

    door.agent.reply = streamed(*STREAM)
    answer = await door.post(question()["params"], "/a2a/team/message:stream")
    frames = [json.loads(line[6:]) for line in answer.text.split("\r\n") if line.startswith("data: ")]
    assert [next(iter(frame)) for frame in frames] == ["task", "artifactUpdate", "artifactUpdate", "statusUpdate"]
    assert frames[-1]["statusUpdate"]["metadata"][USAGE_EXT]["run_id"]


@pytest.mark.parametrize(
    ("verb", "path", "method", "params"),
    [
        ("GET", "/tasks/t?historyLength=2", "GetTask", {"id": "t", "historyLength": "2"}),
        (
            "GET", "/tasks?contextId=c&includeArtifacts=true&pageSize=5", "ListTasks",
            {"contextId": "c", "includeArtifacts": True, "pageSize": "5"},
        ),
        ("POST", "/tasks/t:cancel", "CancelTask", {"id": "t"}),
        ("GET", "/tasks/t:subscribe", "SubscribeToTask", {"id": "t"}),
        ("POST", "/tasks/t:subscribe", "SubscribeToTask", {"id": "t"}),
        ("GET", "/tasks/t/pushNotificationConfigs/c", "GetTaskPushNotificationConfig", {"taskId": "t", "id": "c"}),
        ("GET", "/tasks/t/pushNotificationConfigs", "ListTaskPushNotificationConfigs", {"taskId": "t"}),
        (
            "DELETE", "/tasks/t/pushNotificationConfigs/c", "DeleteTaskPushNotificationConfig",
            {"taskId": "t", "id": "c"},
        ),
        ("GET", "/extendedAgentCard", "GetExtendedAgentCard", {}),
    ],
)  # fmt: skip
async def test_http_json_means_the_same_calls(door: Door, verb: str, path: str, method: str, params: Any) -> None:
    door.agent.reply = whole({"jsonrpc": "2.0", "result": {"a": 1}})
    headers = {**door.inside.operator, "A2A-Version": "1.0"}
    for front in ("/a2a/team", "/a2a/team/lead"):
        answer = await door.inside.http.request(verb, front + path, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["a"] == 1
        assert (door.agent.call["method"], door.agent.call["params"]) == (method, params)
    door.agent.reply = whole({"jsonrpc": "2.0", "error": {"code": -32001, "message": "no such task"}})
    answer = await door.inside.http.request(verb, f"/a2a/team{path}", headers=headers)
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"


async def test_headers_of_the_agent_come_back(door: Door) -> None:
    async def reply(agent: Agent, request: Request, writer: asyncio.StreamWriter) -> None:
        data = json.dumps({"jsonrpc": "2.0", "id": 7, "error": {"code": -32603, "message": "busy"}}).encode()
        head = f"HTTP/1.1 200 OK\r\na2a-extensions: x\r\nretry-after: 1\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)

    door.agent.reply = reply
    answer = await door.post(question())
    assert (answer.headers["a2a-extensions"], answer.headers["retry-after"]) == ("x", "1")
    assert door.agent.asked[-1][1]["teamwright-relayed"] == "1"


async def test_a_follow_up_is_linked_to_the_query_before(door: Door) -> None:
    door.agent.reply = whole({"jsonrpc": "2.0", "result": {"task": task("INPUT_REQUIRED", "Who?")}})
    await door.ask("first")
    door.agent.reply = whole(done("Hi"))
    await door.ask("second", taskId="task-1")
    await door.ask("third", taskId="unknown")
    roots = {trace["spans"][0]["attributes"]["gen_ai.input.messages"]: trace for trace in await door.traces()}
    first, second, third = (next(root for text, root in roots.items() if word in text)
                            for word in ("first", "second", "third"))  # fmt: skip
    assert len({first["trace_id"], second["trace_id"], third["trace_id"]}) == 3
    (link,) = second["spans"][0]["links"]
    assert (link["trace_id"], link["span_id"]) == (first["trace_id"], first["spans"][0]["span_id"])
    assert third["spans"][0]["links"] == []


async def test_a_client_of_the_older_version_is_a_query_too(door: Door) -> None:
    old = {
        "kind": "task", "id": "task-1", "contextId": "ctx", "status": {"state": "completed"},
        "artifacts": [{"artifactId": "a", "parts": [{"kind": "text", "text": "Hi"}]}], "metadata": {},
    }  # fmt: skip
    door.agent.reply = whole({"jsonrpc": "2.0", "result": old})
    message = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "Hello"}]}
    call = {"jsonrpc": "2.0", "id": 7, "method": "message/send", "params": {"message": message}}
    answer = (await door.post(call, **{"A2A-Version": ""})).json()
    assert answer["result"]["metadata"][USAGE_EXT]["run_id"]
    root = await door.root()
    assert root["attributes"]["teamwright.a2a.task_state"] == "completed"
    assert "Hi" in root["attributes"]["gen_ai.output.messages"]
    assert door.agent.asked[-1][1]["a2a-version"] == "0.3"
