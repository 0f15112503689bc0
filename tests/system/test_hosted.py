"""A hosted a2a-sdk executor and the SDK's own client: at the agent and through the front door, over both bindings."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import new_text_message
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict

from teamwright.home import Home
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: hosted}
defaults: {module: hosted, type: Hosted}
agents:
  - {id: lead, push_urls: any}
  - {id: strict, on_disconnect: cancel}
  - {id: single, max_concurrent: 1, queue: 1}
  - {id: alone, max_concurrent: 1, queue: 0}
topology: {type: hub-spoke, hub: lead, spokes: [strict, single, alone]}
"""
WAYS = [(way, binding) for way in ("direct", "door") for binding in ("JSONRPC", "HTTP+JSON")]
AT_ONCE = 20
TRIES = 10


class Office:
    """The running job, and the two ways to its agents."""

    def __init__(self, deploy: Deploy, folder: Path) -> None:
        self.deploy = deploy
        self.folder = folder
        self.door = json.loads((deploy.home / "engine.json").read_text())["url"] + "/a2a/hosted"
        self.agents = {one["id"]: one["url"] for one in deploy("ps", "hosted", "--json").ok().json["agents"]}
        self.headers = {"authorization": f"Bearer {Home(deploy.home).operator_token.read_text().strip()}"}

    def url(self, way: str, agent: str) -> str:
        return f"{self.door}/{agent}" if way == "door" else str(self.agents[agent]).rstrip("/")

    @asynccontextmanager
    async def client(
        self, way: str, binding: str, agent: str = "lead", *, streaming: bool = False
    ) -> AsyncIterator[Any]:
        async with httpx.AsyncClient(headers=self.headers, timeout=60, trust_env=False) as http:
            config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])
            yield await create_client(self.url(way, agent), client_config=config)

    def servers(self, trace_id: str) -> list[Any]:
        """The SERVER spans of a trace, as they are once it is whole."""
        spans = self.deploy("trace", "show", trace_id, "--json").ok().json["spans"]
        return [span for span in spans if span["kind"] == "SERVER"]


@pytest.fixture(scope="module")
def office(shared_deploy: Deploy) -> Iterator[Office]:
    folder = shared_deploy.home.parent / "job"
    folder.mkdir()
    (folder / "hosted.yaml").write_text(JOB)
    (folder / "brief.yaml").write_text("agents: [{id: brief, module: hosted, type: Hosted}]")
    shutil.copy(Path(__file__).parent / "team" / "hosted.py", folder)
    shared_deploy("start", folder / "hosted.yaml").ok()
    yield Office(shared_deploy, folder)
    shared_deploy("stop", "--all").ok()


def words(text: str, parts: tuple[Part, ...] = (), **more: str) -> SendMessageRequest:
    message = new_text_message(text, role=Role.ROLE_USER)
    message.parts.extend(parts)
    for key, value in more.items():
        setattr(message, key, value)
    return SendMessageRequest(message=message)


async def send(client: Any, text: str, parts: tuple[Part, ...] = (), **more: str) -> Task:
    task: Task = [event async for event in client.send_message(words(text, parts, **more))][-1].task
    return task


def told(task: Task, extension: str) -> Any:
    """What an agent of ours says under one of its extensions."""
    return MessageToDict(task.metadata)[extension]


def state(task: Task) -> str:
    return str(TaskState.Name(task.status.state)).removeprefix("TASK_STATE_")


def artifact(task: Task) -> str:
    return "".join(part.text for item in task.artifacts for part in item.parts)


async def until_over(client: Any, task_id: str) -> Task:
    async with asyncio.timeout(60):
        while True:
            task: Task = await client.get_task(GetTaskRequest(id=task_id))
            if state(task) != "WORKING":
                return task
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_streams(office: Office, way: str, binding: str) -> None:
    async with office.client(way, binding, streaming=True) as client:
        events = [event async for event in client.send_message(words("stream a b c"))]
        kinds = [event.WhichOneof("payload") for event in events]
        assert kinds[0] == "task" and kinds.count("artifact_update") == 3 and kinds[-1] == "status_update"
        pieces = [event.artifact_update for event in events if event.HasField("artifact_update")]
        assert [piece.artifact.parts[0].text for piece in pieces] == ["a", "b", "c"]
        assert [piece.append for piece in pieces] == [False, True, True]
        assert [piece.last_chunk for piece in pieces] == [False, False, True]
        last = events[-1].status_update
        assert last.status.state == TaskState.TASK_STATE_COMPLETED
        assert RUN_EXT in last.metadata and USAGE_EXT in last.metadata
    async with office.client(way, binding) as client:
        task = await client.get_task(GetTaskRequest(id=events[0].task.id))
        assert [part.text for part in task.artifacts[0].parts] == ["a", "b", "c"]
        found = await client.list_tasks(ListTasksRequest(context_id=task.context_id, include_artifacts=True))
        assert [artifact(one) for one in found.tasks] == ["abc"]
        assert not (await client.list_tasks(ListTasksRequest(context_id="another"))).tasks


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_asks_and_goes_on(office: Office, way: str, binding: str) -> None:
    async with office.client(way, binding) as client:
        for with_context in (True, False):
            asked = await send(client, "ask")
            assert state(asked) == "INPUT_REQUIRED"
            assert asked.status.message.parts[0].text == "Which one?"
            more = {"context_id": asked.context_id} if with_context else {}
            said = await send(client, "blue", (), task_id=asked.id, **more)
            assert (state(said), artifact(said), said.id) == ("COMPLETED", "you said blue", asked.id)
            assert said.context_id == asked.context_id
    before, after = (told(found, RUN_EXT)["trace_id"] for found in (asked, said))
    if way == "door":
        before = told(asked, USAGE_EXT)["trace_id"]
    states = [span["attributes"]["a2a.task.state"] for span in office.servers(before)]
    assert "TASK_STATE_INPUT_REQUIRED" in states
    assert [span["attributes"]["a2a.task.state"] for span in office.servers(after)] == ["TASK_STATE_COMPLETED"]


def test_is_answered_by_the_command_that_it_names(office: Office) -> None:
    asked = office.deploy("query", "hosted/strict", "ask", "--user", "ada").ok()
    assert asked.out == "Which one?\n"
    (line,) = (line for line in asked.err.splitlines() if line.startswith("next: "))
    told = shlex.split(line.removeprefix("next: deploy "))
    assert (told[:3], told[5:]) == (["query", "hosted/strict", "your answer"], ["--user", "ada"])
    task = told[told.index("--task") + 1]
    said = office.deploy("query", "hosted/strict", "blue", "--task", task, "--user", "ada", "--json").ok().json
    assert (said["answer"], said["state"], said["task_id"]) == ("you said blue", "completed", task)
    again = office.deploy("query", "hosted/strict", "red", "--task", task, "--user", "ada")
    unknown = office.deploy("query", "hosted/strict", "red", "--task", "nothing")
    assert (again.code, unknown.code) == (1, 1)
    assert "not found" in unknown.err and len(again.err.splitlines()) <= 2
    brief = office.deploy("query", office.folder / "brief.yaml", "ask").ok()
    assert brief.out == "Which one?\n" and "with --keep" in brief.err


def test_is_called_what_it_is(office: Office) -> None:
    shown = office.deploy("ps", "hosted", "--json").ok().json["agents"]
    assert {one["backend"] for one in shown} == {"executor"}


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_is_cancelled(office: Office, way: str, binding: str) -> None:
    took: defaultdict[str, list[float]] = defaultdict(list)  # a busy machine may make some of them longer
    async with office.client(way, binding) as client, office.client(way, binding, streaming=True) as streams:
        for text in (f"wait {office.folder / 'never'}", "stuck") * TRIES:
            stream = streams.send_message(words(text))
            running = (await anext(stream)).task.id
            await anext(stream)
            began = time.monotonic()
            cancelled = await client.cancel_task(CancelTaskRequest(id=running))
            took[text].append(time.monotonic() - began)
            assert state(cancelled) == "CANCELED"
            rest = [event async for event in stream]
            assert rest[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED
            assert state(await client.get_task(GetTaskRequest(id=running))) == "CANCELED"
            with pytest.raises(TaskNotCancelableError):
                await client.cancel_task(CancelTaskRequest(id=running))
            if len(took) == 2 and all(min(tries) < 0.3 for tries in took.values()):
                break
        else:
            raise AssertionError(f"no cancel took less than 0.3 s: {dict(took)}")


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_fails(office: Office, way: str, binding: str) -> None:
    async with office.client(way, binding) as client, office.client(way, binding, streaming=True) as streams:
        for text, line in (("fail", "it can't"), ("raise", "KeyError: 'in the middle'")):
            failed = await send(client, text)
            assert state(failed) == "FAILED"
            assert failed.status.message.parts[0].text.startswith(line)
            (server,) = office.servers(told(failed, RUN_EXT)["trace_id"])
            assert (server["status"], server["attributes"]["a2a.task.state"]) == ("error", "TASK_STATE_FAILED")
            last = [event async for event in streams.send_message(words(text))][-1].status_update
            assert last.status.state == TaskState.TASK_STATE_FAILED


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_files_and_data(office: Office, way: str, binding: str) -> None:
    sent = Part(raw=bytes(range(256)), filename="in.bin", media_type="application/octet-stream")
    async with office.client(way, binding) as client:
        task = await send(client, "files", (sent,))
        text, data, raw, linked = task.artifacts[0].parts
        assert text.text == "see"
        assert MessageToDict(data.data) == {"n": 1, "got": ["in.bin"]}
        assert (raw.raw, raw.filename) == (b"\x00abc", "a.bin")
        assert (linked.url, linked.media_type) == ("https://example.com/b.pdf", "application/pdf")


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_is_subscribed_to_again(office: Office, way: str, binding: str) -> None:
    flag = office.folder / f"again-{way}-{binding.replace('+', '')}"
    async with office.client(way, binding, streaming=True) as client:
        stream = client.send_message(words(f"wait {flag}"))
        running = (await anext(stream)).task.id
        await stream.aclose()
        again = client.subscribe(SubscribeToTaskRequest(id=running))
        assert state((await anext(again)).task) == "WORKING"
        flag.touch()
        rest = [event async for event in again]
        assert rest[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        assert artifact(await client.get_task(GetTaskRequest(id=running))) == "working done"
        with pytest.raises(UnsupportedOperationError):
            await anext(client.subscribe(SubscribeToTaskRequest(id=running)))


@pytest.mark.parametrize("agent", ["lead", "strict"])
@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_a_client_that_goes_away(office: Office, way: str, binding: str, agent: str) -> None:
    flag = office.folder / f"gone-{way}-{binding.replace('+', '')}-{agent}"
    async with office.client(way, binding, agent, streaming=True) as client:
        stream = client.send_message(words(f"wait {flag}"))
        running = (await anext(stream)).task.id
        await stream.aclose()
    async with office.client(way, binding, agent) as client:
        if agent == "lead":
            task = await client.get_task(GetTaskRequest(id=running))
            assert state(task) == "WORKING"
            flag.touch()
        assert state(await until_over(client, running)) == ("COMPLETED" if agent == "lead" else "CANCELED")


class Hook:
    """A server that push notifications are sent to."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.over = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()
                hook.got.append((self.headers["x-a2a-notification-token"], body))
                if body.get("statusUpdate", {}).get("status", {}).get("state") == "TASK_STATE_COMPLETED":
                    hook.over.set()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_push(office: Office, way: str, binding: str) -> None:
    hook = Hook()
    try:
        async with office.client(way, binding) as client:
            asked = words("stream a b")
            asked.configuration.CopyFrom(
                SendMessageConfiguration(
                    return_immediately=True,
                    task_push_notification_config=TaskPushNotificationConfig(url=hook.url, token="t-1"),
                )
            )
            task = [event async for event in client.send_message(asked)][-1].task
            assert await asyncio.to_thread(hook.over.wait, 60)
            assert state(await until_over(client, task.id)) == "COMPLETED"
        assert {token for token, _ in hook.got} == {"t-1"}
        assert [body["artifactUpdate"]["artifact"]["parts"][0]["text"]
                for _, body in hook.got if "artifactUpdate" in body] == ["a", "b"]  # fmt: skip
    finally:
        hook.close()


@pytest.mark.parametrize("agent", ["single", "alone"])
@pytest.mark.parametrize("method", ["blocking", "streaming"])
@pytest.mark.parametrize(("way", "binding"), WAYS)
async def test_a_full_agent_says_when_to_come_again(
    office: Office, way: str, binding: str, method: str, agent: str
) -> None:
    """Twenty at once at one slot: each is answered, or refused with retry-after; no task is made for the latter."""
    rpc = binding == "JSONRPC"
    url = office.url(way, agent) + ("" if rpc else f"/message:{'send' if method == 'blocking' else 'stream'}")
    headers = {**office.headers, "a2a-version": "1.0", "content-type": "application/json"}
    context = f"full-{way}-{binding}-{method}"

    async def ask(client: httpx.AsyncClient, number: int) -> str:
        message = {
            "messageId": f"{context}-{number}", "contextId": context, "role": "ROLE_USER", "parts": [{"text": "hello"}],
        }  # fmt: skip
        body: dict[str, Any] = {"message": message}
        if rpc:
            name = "SendMessage" if method == "blocking" else "SendStreamingMessage"
            body = {"jsonrpc": "2.0", "id": number, "method": name, "params": body}
        response = await client.post(url, json=body)
        text = response.text
        if "retryAfter" in text:
            assert response.headers["retry-after"] == "1"
            assert "busy" in text
            if not text.startswith(("data:", "event:")):
                error = response.json()["error"]
                details = error["data" if rpc else "details"][0]
                assert details["metadata"].items() >= {"reason": "busy", "retryAfter": "1"}.items()
            return "full"
        assert response.status_code == 200, text
        assert "TASK_STATE_COMPLETED" in text, text
        return "answered"

    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:
        ends = await asyncio.gather(*(ask(client, number) for number in range(AT_ONCE)))
        assert set(ends) == {"answered", "full"}
        assert await ask(client, AT_ONCE) == "answered"
    async with office.client(way, binding, agent) as found:
        tasks = (await found.list_tasks(ListTasksRequest(context_id=context, page_size=100))).tasks
    assert [state(task) for task in tasks] == ["COMPLETED"] * (ends.count("answered") + 1)
