"""The front door in front of an agent that a test plays by hand, over a real socket."""

from __future__ import annotations

import asyncio

from teamwright.home import Home
from teamwright.safety.tokens import Issuer, unverified
from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, USAGE_EXT
from teamwright.tracing.reading.reader import SpanReader
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

from .conftest import until


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
    assert found["teamwright.run.id"] == told["run_id"] and found["a2a.task.id"] == "task-1"
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


async def test_a_hundred_at_once(door: Door) -> None:
    answers = await asyncio.gather(*(door.ask(f"question {number}") for number in range(100)))
    told = [answer["result"]["task"]["metadata"][USAGE_EXT] for answer in answers]
    assert len({item["trace_id"] for item in told}) == len({item["run_id"] for item in told}) == 100
    await door.inside.engine.spans.drain()
    with SpanReader(door.inside.home.spans_db) as reader:
        assert len(reader.list_traces(limit=200)) == 100
