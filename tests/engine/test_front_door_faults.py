"""The front door when calls are wrong, agents fail or go, clients go, engines end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from teamwright.home import Home
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
from tests.engine.played import (
    SSE_HEAD,
    STREAM,
    Agent,
    Door,
    Request,
    question,
    streamed,
    task,
    whole,
)

from .conftest import in_process, make_plan, patient, until
from .test_jobs import start


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
    headers = {**door.inside.operator, "A2A-Version": "1.0"}
    body = question(method="SendStreamingMessage")
    client = asyncio.create_task(door.inside.http.post("/a2a/team", json=body, headers=headers))
    await until(lambda: door.agent.asked)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    assert door.open == 1
    gate.set()
    await until(lambda: door.open == 0)
    assert (await door.root())["status"] == "ok"


async def test_a_job_that_does_not_run(door: Door) -> None:
    await door.inside.http.post("/stop", headers=door.inside.operator, json={"targets": ["team"]})
    error = (await door.ask())["error"]
    assert error["message"] == "job team is stopped" and await door.traces() == []


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
