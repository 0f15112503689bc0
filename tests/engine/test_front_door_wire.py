"""What the front door speaks: cards, versions, HTTP+JSON, headers, follow-ups, the older version."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from teamwright.tracing.propagation import USAGE_EXT
from tests.engine.played import (
    STREAM,
    Agent,
    Door,
    Request,
    done,
    question,
    streamed,
    task,
    whole,
)


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
    assert root["attributes"]["a2a.task.state"] == "TASK_STATE_COMPLETED"
    assert "Hi" in root["attributes"]["gen_ai.output.messages"]
    assert door.agent.asked[-1][1]["a2a-version"] == "0.3"


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
