"""One agent process, spoken to over HTTP: messages, streams, tasks, sessions, cancel, tokens."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_stream_response_text, new_text_message
from a2a.types import CancelTaskRequest, GetTaskRequest, Role, SendMessageRequest, TaskState
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Issuer
from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, USAGE_EXT
from tests.agents.conftest import tries, wait_for

if TYPE_CHECKING:
    from .conftest import Span, Team

CODE = """
    import asyncio, os, threading
    from teamwright import Agent, Answer, tool

    class Worker(Agent):
        "Does as it is told."
        name = "Worker"

        @tool
        def double(self, number: int) -> int:
            "Doubles a number."
            return 2 * number

        async def run(self, turn):
            word, _, rest = turn.text.partition(" ")
            if word == "hang":
                open(rest, "w").close()
                await asyncio.sleep(100)
            if word == "deaf":
                while not os.path.exists(rest):
                    try:
                        await asyncio.sleep(0.1)
                    except asyncio.CancelledError:
                        pass
            if word == "stream":
                for piece in rest.split():
                    await turn.stream(piece)
                    await asyncio.sleep(0.02)
                return rest.replace(" ", "")
            if word == "fail":
                raise ValueError("it broke")
            if word == "data":
                return Answer("see data", data={"n": 1})
            if word == "history":
                return " | ".join(f"{m.role}: {m.text}" for m in turn.history)
            if word == "who":
                return f"{turn.user} {turn.run.depth} {turn.session}"
            return await super().run(turn)

    class Generator(Agent):
        async def run(self, turn):
            yield "one "
            yield "two"
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("serve"))) as team:
        team.write("worker.py", CODE)
        callers = ("front-door", "team/friend")
        team.launch("worker", module="worker", type="Worker", callers=callers)
        team.launch("generator", module="worker", type="Generator")
        team.launch("inner", callers=("team/friend",))
        for agent in team.processes:
            httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()
        yield team


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": text}], **more}


def said(task: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for artifact in task.get("artifacts", []) for part in artifact["parts"])


@asynccontextmanager
async def a2a(team: Team, agent: str, *, streaming: bool) -> AsyncIterator[Any]:
    headers = {"authorization": f"Bearer {team.token(agent)}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        yield await create_client(team.url(agent), client_config=ClientConfig(httpx_client=http, streaming=streaming))


def test_the_card_is_open_and_says_what_the_agent_is(team: Team) -> None:
    response = httpx.get(f"{team.url('worker')}/.well-known/agent-card.json", timeout=60)
    card = response.json()
    assert response.headers["etag"]
    assert (card["name"], card["description"], card["version"]) == ("Worker", "Does as it is told.", "1.0.0")
    assert card["supportedInterfaces"][0]["url"] == f"{team.url('worker')}/"
    assert [skill["id"] for skill in card["skills"]] == ["double"]
    assert card["capabilities"]["streaming"] is True
    assert {extension["uri"] for extension in card["capabilities"]["extensions"]} == {TRACE_EXT, RUN_EXT, USAGE_EXT}
    for path in ("/livez", "/readyz"):
        assert httpx.get(team.url("worker") + path, timeout=60).status_code == 200


async def test_the_sdks_client_sends_streams_and_reads_tasks(team: Team) -> None:
    async with a2a(team, "worker", streaming=False) as client:
        request = SendMessageRequest(message=new_text_message("hello there", role=Role.ROLE_USER))
        events = [event async for event in client.send_message(request)]
        task = events[-1].task
        assert task.status.state == TaskState.TASK_STATE_COMPLETED
        assert "hello there" in get_stream_response_text(events[-1]) or "hello there" in task.artifacts[0].parts[0].text
        again = await client.get_task(GetTaskRequest(id=task.id))
        assert again.artifacts == task.artifacts

    async with a2a(team, "worker", streaming=True) as client:
        request = SendMessageRequest(message=new_text_message("stream a b c", role=Role.ROLE_USER))
        kinds, text = [], ""
        async for event in client.send_message(request):
            kinds.append(event.WhichOneof("payload"))
            if event.HasField("artifact_update"):
                text += event.artifact_update.artifact.parts[0].text
        assert kinds == ["task", "artifact_update", "artifact_update", "artifact_update", "status_update"]
        assert text == "abc"


async def test_an_async_generator_streams(team: Team) -> None:
    async with a2a(team, "generator", streaming=True) as client:
        request = SendMessageRequest(message=new_text_message("go", role=Role.ROLE_USER))
        pieces = [
            event.artifact_update.artifact.parts[0].text
            async for event in client.send_message(request)
            if event.HasField("artifact_update")
        ]
        assert pieces == ["one ", "two"]


async def test_cancel_stops_the_work_and_ends_cancelled(team: Team) -> None:
    async with a2a(team, "worker", streaming=True) as client:
        for one in tries(0.3):
            request = SendMessageRequest(message=new_text_message(f"hang {team.folder / 'hung'}", role=Role.ROLE_USER))
            states, task_id = [], ""
            async for event in client.send_message(request):
                if event.HasField("task"):
                    task_id, began = event.task.id, time.monotonic()
                    cancelled = await client.cancel_task(CancelTaskRequest(id=task_id))
                    one.seconds = time.monotonic() - began
                    assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
                elif event.HasField("status_update"):
                    states.append(event.status_update.status.state)
            assert states == [TaskState.TASK_STATE_CANCELED]  # and the stream has ended, long before the work would
            spans = [span for span in team.spans("worker") if span.attributes.get("a2a.task.id") == task_id]
            (span,) = spans
            assert (span["status"], span.attributes["error.type"], "cancel" in span["events"]) == (2, "canceled", True)


def test_work_that_ignores_cancel_is_cancelled_all_the_same(team: Team) -> None:
    over = team.folder / "over"
    sent = {"message": message(f"deaf {over}"), "configuration": {"returnImmediately": True}}
    started = team.rpc("worker", "SendMessage", sent).json()["result"]["task"]
    assert started["status"]["state"] == "TASK_STATE_WORKING"
    answer = team.rpc("worker", "CancelTask", {"id": started["id"]}).json()  # it works until the file is there
    assert answer["result"]["status"]["state"] == "TASK_STATE_CANCELED"
    again = team.rpc("worker", "CancelTask", {"id": started["id"]}).json()
    assert again["error"]["code"] == -32002
    over.touch()


def test_a_session_has_a_memory_and_users_do_not_share_it(team: Team) -> None:
    first = team.ask("worker", "who")["task"]
    context = first["contextId"]
    assert said(first) == f"ann 0 {context}"
    second = team.ask("worker", "history", contextId=context)["task"]
    assert second["contextId"] == context
    assert said(second) == f"user: who | agent: ann 0 {context}"
    bob = team.issuer.mint("bob", "team/worker", job="team", role="front-door")
    assert said(team.ask("worker", "history", contextId=context, token=bob)["task"]) == ""
    assert team.rpc("worker", "GetTask", {"id": first["id"]}, token=bob).json()["error"]["code"] == -32001
    assert team.rpc("worker", "GetTask", {"id": first["id"]}).json()["result"]["id"] == first["id"]
    engine = team.issuer.mint("engine", "team/worker", job="team", role="engine")
    assert team.rpc("worker", "GetTask", {"id": first["id"]}, token=engine).json()["result"]["id"] == first["id"]
    listed = team.rpc("worker", "ListTasks", {"contextId": context}).json()["result"]["tasks"]
    assert [task["id"] for task in listed] == [second["id"], first["id"]]


def test_a_quick_answer_between_agents_is_a_message_with_usage_and_run(team: Team) -> None:
    result = team.ask("worker", "who", token=team.token("worker", "friend"))
    assert set(result) == {"message"}
    assert result["message"]["role"] == "ROLE_AGENT"
    assert result["message"]["parts"][0]["text"].startswith("None 0 ")
    metadata = result["message"]["metadata"]
    assert metadata[RUN_EXT]["agent"] == "worker"
    assert metadata[USAGE_EXT]["model_calls"] == 0
    data = team.ask("worker", "data", token=team.token("worker", "friend"))["message"]["parts"]
    assert data[1]["data"] == {"n": 1}


def test_a_failure_is_a_failed_task_with_its_reason(team: Team) -> None:
    for token in (team.token("worker", "friend"), None):
        task = team.ask("worker", "fail", token=token)["task"]
        assert task["status"]["state"] == "TASK_STATE_FAILED"
        assert task["status"]["message"]["parts"][0]["text"] == "ValueError: it broke"
        assert task["metadata"][RUN_EXT]["reason"] == "internal"
        span = next(
            span for span in team.spans("worker")
            if span.attributes.get("teamwright.run.id") == task["metadata"][RUN_EXT]["run_id"]
        )  # fmt: skip
        assert (span["status"], span["message"]) == (2, "it broke")
    assert "ValueError: it broke" in team.log("worker")


def test_spans_are_in_the_spool_before_the_answer_leaves_and_continue_the_callers_trace(team: Team) -> None:
    trace, parent = uuid4().hex, uuid4().hex[:16]
    metadata: dict[str, Any] = {
        TRACE_EXT: {"traceparent": f"00-{trace}-{parent}-01"},
        RUN_EXT: {"run_id": str(uuid4()), "depth": 3, "user": "zoe", "agent": "worker", "labels": {"team": "red"}},
    }
    token = team.token("worker", "friend")
    result = team.ask("worker", "count double 21", token=token, metadata=metadata)["message"]
    spans = [span for span in team.spans("worker") if span["trace_id"] == trace]
    assert [span["name"] for span in spans] == [
        "invoke_agent worker", "chat offline", "execute_tool double", "chat offline",
    ]  # fmt: skip
    root, *below = spans
    assert root["parent_id"] == parent
    assert root["kind"] == 2
    assert all(span["parent_id"] == root["span_id"] for span in below)
    assert all(span["end_ns"] > span["start_ns"] for span in spans)
    assert root.attributes["teamwright.run.id"] == metadata[RUN_EXT]["run_id"]
    assert root.attributes["user.id"] == "zoe"
    assert root.attributes["teamwright.label.team"] == "red"
    assert root.attributes["teamwright.run.depth"] == 3
    calls = json.loads(below[0].attributes["gen_ai.output.messages"])[0]["parts"]
    assert calls == [{"type": "tool_call", "id": "call_1", "name": "double", "arguments": {"number": 21}}]
    assert below[1].attributes["gen_ai.tool.call.result"] == "42"
    assert "null" not in below[0].attributes["gen_ai.output.messages"]
    assert "42" in result["parts"][0]["text"]
    by_header = team.rpc("worker", "SendMessage", {"message": message("who")}, token=token)
    assert by_header.json()["result"]["message"]["metadata"][RUN_EXT]["trace_id"] != trace


def test_refusals(team: Team) -> None:
    def status(token: str | None, agent: str = "worker") -> tuple[int, str]:
        headers = {"A2A-Version": "1.0"} | ({"authorization": f"Bearer {token}"} if token else {})
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message("who")}}
        response = httpx.post(team.url(agent), json=body, headers=headers, timeout=60)
        if response.status_code == 200:
            return 200, ""
        assert ("www-authenticate" in response.headers) == (response.status_code == 401)
        return response.status_code, str(response.json()["error"]["message"])

    stranger = Issuer(Ed25519PrivateKey.generate(), team.home.id, EpochFile.open(team.home.epoch_file))
    assert status(None) == (401, "no token")
    assert status("rubbish") == (401, "this is not a token")
    forged = stranger.mint("ann", "team/worker", role="front-door")
    assert status(forged) == (401, "the token's signature is wrong")
    assert status(team.token("worker", ttl=-1)) == (401, "the token has expired")
    assert status(team.token("inner")) == (401, "this token is for team/inner, not for team/worker")
    assert status(team.token("worker", "enemy")) == (403, "team/enemy may not call team/worker")
    assert status(team.token("inner"), "inner") == (403, "ann may not call team/inner")
    operator = team.issuer.mint("operator", "*", role="operator")
    assert status(operator)[0] == 200
    assert status(operator, "inner") == (403, "operator may not call team/inner")
    # The engine of these tests is away, so an agent's token counts a while longer.
    assert status(team.token("worker", "friend", ttl=-10))[0] == 200
    assert status(team.token("worker", "friend", ttl=-4000)) == (401, "the token has expired")


def test_a_halt_shuts_tokens_out_at_once(team: Team) -> None:
    token = team.issuer.mint("team/friend", "team/worker", job="team", agent="friend", group="g", role="agent")
    assert "message" in team.ask("worker", "who", token=token)
    EpochFile.open(team.home.epoch_file).bump("group:team/g")
    response = team.rpc("worker", "SendMessage", {"message": message("who")}, token=token)
    assert response.status_code == 401
    assert "halted" in response.json()["error"]["message"]


def test_wrong_requests_get_the_specifications_codes(team: Team) -> None:
    def code(method: str, params: Any, **headers: str) -> int:
        base = {"A2A-Version": "1.0", "authorization": f"Bearer {team.token('worker')}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(team.url("worker"), json=body, headers=base | headers, timeout=60).json()
        return int(answer["error"]["code"])

    assert code("Nonsense", {}) == -32601
    assert code("SendMessage", {"message": {"nonsense": 1}}) == -32602
    assert code("SendMessage", {"message": message("")}) == -32602
    assert code("SendMessage", {"message": message("  \n ")}) == -32602
    assert code("GetTask", {"id": "nobody"}) == -32001
    assert code("CancelTask", {"id": "nobody"}) == -32001
    assert code("SendMessage", {"message": message("who", taskId="nobody")}) == -32001
    assert code("SendMessage", {"message": message("who")}, **{"A2A-Version": "0.3"}) == -32009
    headers = {"A2A-Version": "1.0", "authorization": f"Bearer {team.token('worker')}"}
    assert (
        httpx.post(team.url("worker"), content=b"{nonsense", headers=headers, timeout=60).json()["error"]["code"]
        == -32700
    )
    large = httpx.post(team.url("worker"), content=b" " * (17 << 20), headers=headers, timeout=60)
    assert large.status_code == 413


def test_a_megabyte_goes_through(team: Team) -> None:
    text = "x" * 1_000_000
    task = team.ask("generator", text)["task"]
    assert task["history"][0]["parts"][0]["text"] == text


def test_fifty_at_once(team: Team) -> None:
    before = len(team.spans("generator"))

    def one(number: int) -> str:
        return said(team.ask("generator", f"number {number}")["task"])

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(50)))
    assert answers == ["one two"] * 50
    spans = team.spans("generator")[before:]
    assert len({span["trace_id"] for span in spans}) == len(spans) == 50


def test_a_caller_that_goes_away_takes_its_work_with_it(team: Team) -> None:
    begun, text = team.folder / "begun", f"hang {team.folder / 'begun'}"
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message(text)}}
    headers = {"A2A-Version": "1.0", "authorization": f"Bearer {team.token('worker', 'friend')}"}
    caller = HTTPConnection(team.url("worker").removeprefix("http://"))
    caller.request("POST", "/", json.dumps(body), {"content-type": "application/json", **headers})
    wait_for(begun.exists)
    caller.close()

    def ended() -> list[Span]:
        return [span for span in team.spans("worker") if text in span.attributes.get("gen_ai.input.messages", "")]

    (span,) = wait_for(ended)  # long before the work would have ended
    assert span.attributes["error.type"] == "canceled"


def test_sigterm_ends_runs_and_streams_and_flushes_spans(tmp_path: Path, new_team: Any) -> None:
    with closing(new_team(tmp_path)) as team:
        team.write("worker.py", CODE)
        team.start("worker", module="worker", type="Worker")
        found: list[dict[str, Any]] = []
        waiting = threading.Thread(target=lambda: found.append(team.ask("worker", f"hang {tmp_path / 'begun'}")))
        waiting.start()
        wait_for((tmp_path / "begun").exists)
        assert team.stop("worker", signal.SIGTERM) == 0  # without waiting for the work
        waiting.join()
        assert found[0]["task"]["status"]["state"] == "TASK_STATE_FAILED"
        assert found[0]["task"]["metadata"][RUN_EXT]["reason"] == "stopping"
        (span,) = team.spans("worker")
        assert (span["status"], span.attributes["error.type"]) == (2, "stopping")
