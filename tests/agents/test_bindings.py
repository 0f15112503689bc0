"""Both bindings of an agent, clients of A2A 0.3, cards, push notifications, and the codes of what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import new_text_message
from a2a.types import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError, UnsupportedOperationError

from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT

if TYPE_CHECKING:
    from .conftest import Team

CODE = """
    import asyncio, os
    from teamwright import Agent, Answer, File, tool

    class Worker(Agent):
        "Works."

        @tool
        def double(self, number: int) -> int:
            "Doubles a number."
            return 2 * number

        async def run(self, turn):
            word, _, rest = turn.text.partition(" ")
            if word == "stream":
                for piece in rest.split():
                    await turn.stream(piece)
                return rest.replace(" ", "")
            if word == "wait":
                await turn.stream("working ")
                while not os.path.exists(rest):
                    await asyncio.sleep(0.02)
                return "working done"
            if word == "fail":
                raise ValueError("it broke")
            if word == "ask":
                return "you said " + await turn.ask_user("Well?")
            if word == "file":
                return Answer("see", files=(File("a.txt", "text/plain", b"abc"),), data={"n": 1})
            return f"echo {turn.text}"
"""
BINDINGS = ["JSONRPC", "HTTP+JSON"]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("bindings"))) as team:
        team.write("worker.py", CODE)
        kind = {"module": "worker", "type": "Worker"}
        team.launch("worker", **kind, callers=("front-door", "team/friend"), push_urls="any")
        team.launch("careful", **kind, calls=["worker"])
        for agent in team.processes:
            httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()
        yield team


@asynccontextmanager
async def a2a(
    team: Team, binding: str = "JSONRPC", agent: str = "worker", *, streaming: bool = False
) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(headers=bearer(team, agent), timeout=60) as http:
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])
        yield await create_client(team.url(agent), client_config=config)


def bearer(team: Team, agent: str = "worker") -> dict[str, str]:
    return {"authorization": f"Bearer {team.token(agent)}"}


def words(text: str, **more: str) -> SendMessageRequest:
    message = new_text_message(text, role=Role.ROLE_USER)
    for key, value in more.items():
        setattr(message, key, value)
    return SendMessageRequest(message=message)


async def send(client: Any, text: str, **more: str) -> Any:
    return [event async for event in client.send_message(words(text, **more))][-1].task


def artifact(task: Any) -> str:
    return "".join(part.text for item in task.artifacts for part in item.parts)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_every_method(team: Team, binding: str) -> None:
    flag = team.folder / f"flag-{binding[:4]}"
    async with a2a(team, binding) as client, a2a(team, binding, streaming=True) as streams:
        task = await send(client, "hello")
        assert artifact(task) == "echo hello"
        assert artifact(await client.get_task(GetTaskRequest(id=task.id))) == "echo hello"
        listed = await client.list_tasks(ListTasksRequest(context_id=task.context_id, include_artifacts=True))
        assert [artifact(found) for found in listed.tasks] == ["echo hello"]

        stream = streams.send_message(words(f"wait {flag}"))
        running = (await anext(stream)).task.id
        await stream.aclose()
        again = streams.subscribe(SubscribeToTaskRequest(id=running))
        assert (await anext(again)).task.status.state == TaskState.TASK_STATE_WORKING
        cancelled = await client.cancel_task(CancelTaskRequest(id=running))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
        assert [event async for event in again][-1].status_update.status.state == TaskState.TASK_STATE_CANCELED

        asked = await send(client, "ask")
        assert asked.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert artifact(await send(client, "yes", task_id=asked.id)) == "you said yes"

        failed = await send(client, "fail")
        assert failed.status.state == TaskState.TASK_STATE_FAILED
        assert "it broke" in failed.status.message.parts[0].text

        found = await send(client, "file")
        text, data, file = found.artifacts[0].parts
        assert (text.text, data.data.struct_value["n"], file.raw, file.filename) == ("see", 1, b"abc", "a.txt")

        pieces = [event async for event in streams.send_message(words("stream a b"))]
        assert [event.WhichOneof("payload") for event in pieces] == [
            "task", "artifact_update", "artifact_update", "status_update",
        ]  # fmt: skip
        with pytest.raises(TaskNotFoundError):
            await client.get_task(GetTaskRequest(id="nobody"))
        with pytest.raises(UnsupportedOperationError):
            await anext(streams.subscribe(SubscribeToTaskRequest(id=task.id)))
        with pytest.raises(InvalidParamsError):
            await send(client, "   ")
    spans = [span for span in team.spans("worker") if span.attributes.get("a2a.task.id") == task.id]
    assert spans[0].attributes["a2a.method.name"] == "SendMessage"


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_extended_card_needs_a_token(team: Team, binding: str) -> None:
    async with a2a(team, binding, "careful") as client:
        card = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
        assert [skill.id for skill in card.skills] == ["ask-worker", "double", "query_agent", "list_peers"]
    async with httpx.AsyncClient(base_url=team.url("careful"), timeout=60) as http:
        refused = await http.get("/extendedAgentCard", headers={"A2A-Version": "1.0"})
        assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
        public = (await http.get("/.well-known/agent-card.json")).json()
    assert [skill["id"] for skill in public["skills"]] == ["double"]


def test_the_card_is_sent_once(team: Team) -> None:
    url = f"{team.url('worker')}/.well-known/agent-card.json"
    first = httpx.get(url, timeout=60)
    card = first.json()
    assert [(item["protocolBinding"], item["protocolVersion"]) for item in card["supportedInterfaces"]] == [
        ("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "0.3"),
    ]  # fmt: skip
    assert card["capabilities"]["pushNotifications"] is card["capabilities"]["extendedAgentCard"] is True
    assert (card["protocolVersion"], card["preferredTransport"]) == ("0.3", "JSONRPC")
    tag, date = first.headers["etag"], first.headers["last-modified"]
    for headers in ({"if-none-match": tag}, {"if-none-match": f'"x", W/{tag}'}, {"if-modified-since": date}):
        known = httpx.get(url, headers=headers, timeout=60)
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    for headers in (
        {"if-none-match": '"x"'},
        {"if-none-match": '"x"', "if-modified-since": date},
        {"if-modified-since": formatdate(0, usegmt=True)},
        {"if-modified-since": "nonsense"},
    ):
        assert httpx.get(url, headers=headers, timeout=60).status_code == 200


def test_versions_types_and_extensions(team: Team) -> None:
    url, headers = team.url("worker"), bearer(team)
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}

    def rpc(query: str = "", **more: str) -> httpx.Response:
        return httpx.post(f"{url}/{query}", json=call, headers=headers | more, timeout=60)

    def rest(query: str = "", **more: str) -> httpx.Response:
        return httpx.post(f"{url}/message:send{query}", json=call["params"], headers=headers | more, timeout=60)

    assert "result" in rpc("?A2A-Version=1.0").json()
    assert "result" in rpc(**{"A2A-Version": "1.0.3"}).json()
    assert "task" in rest("?A2A-Version=1.0").json()
    for version in ({}, {"A2A-Version": "0.3"}, {"A2A-Version": "2.0"}, {"A2A-Version": "x"}):
        assert rpc(**version).json()["error"]["code"] == -32009
        error = rest(**version)
        assert error.status_code == 400
        assert error.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"

    known = rest(**{"A2A-Version": "1.0", "A2A-Extensions": f"{RUN_EXT}, https://else.where, {USAGE_EXT}"})
    assert known.headers["a2a-extensions"] == f"{RUN_EXT}, {USAGE_EXT}"
    assert "a2a-extensions" not in rpc(**{"A2A-Version": "1.0", "A2A-Extensions": "https://else.where"}).headers

    for path in ("/", "/message:send", "/tasks/t/pushNotificationConfigs"):
        wrong = httpx.post(
            url + path,
            content=b"<x/>",
            headers={**headers, "A2A-Version": "1.0", "content-type": "text/xml"},
            timeout=60,
        )
        assert wrong.status_code == 415
        assert wrong.json()["error"]["code"] == (-32005 if path == "/" else 415)
    good = httpx.post(
        f"{url}/message:send",
        content=json.dumps(call["params"]),
        headers={**headers, "A2A-Version": "1.0", "content-type": "application/a2a+json; charset=utf-8"},
        timeout=60,
    )
    assert good.headers["content-type"] == "application/a2a+json"
    assert (
        httpx.post(f"{url}/message:send", json={}, headers={"A2A-Version": "1.0"}, timeout=60).json()["error"]["code"]
        == 401
    )
    bad = httpx.post(f"{url}/message:send", content=b"{", headers={**headers, "A2A-Version": "1.0"}, timeout=60)
    assert (bad.status_code, bad.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    gone = httpx.get(f"{url}/tasks/nobody", headers={**headers, "A2A-Version": "1.0"}, timeout=60)
    assert (gone.status_code, gone.json()["error"]["details"][0]["reason"]) == (404, "TASK_NOT_FOUND")


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 5000])
def test_what_is_no_json_is_the_callers_fault(team: Team, body: bytes) -> None:
    for path in ("/", "/message:send", "/message:stream", "/v1/message:send"):
        version = "0.3" if path.startswith("/v1") else "1.0"
        answer = httpx.post(team.url("worker") + path, content=body, headers={**bearer(team), "A2A-Version": version})
        if path == "/":
            assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32700)
        else:
            assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_an_older_method_needs_the_older_version(team: Team) -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": {"id": "nobody"}}
    for version, code in {"1.0": -32009, "0.3": -32001, "": -32001}.items():
        answer = httpx.post(team.url("worker"), json=call, headers={**bearer(team), "A2A-Version": version}).json()
        assert (answer["id"], answer["error"]["code"]) == (7, code)


def test_clients_of_the_older_version(team: Team) -> None:
    url, headers = team.url("worker"), bearer(team)

    def rpc(method: str, params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(url, json=body, headers=headers, timeout=60).json()

    message = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "old"}]}
    task = rpc("message/send", {"message": message})["result"]
    assert (task["kind"], task["status"]["state"]) == ("task", "completed")
    assert task["artifacts"][0]["parts"][0]["text"] == "echo old"
    assert rpc("tasks/get", {"id": task["id"]})["result"]["id"] == task["id"]
    assert rpc("tasks/get", {"id": "nobody"})["error"]["code"] == -32001
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"message": message}}
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        events = [json.loads(line[5:])["result"] for line in answer.iter_lines() if line.startswith("data:")]
    assert [event["kind"] for event in events] == ["task", "artifact-update", "status-update"]
    assert events[-1]["final"] is True
    rest = {"message": {"messageId": "m", "role": "ROLE_USER", "content": [{"text": "old"}]}}
    found = httpx.post(f"{url}/v1/message:send", json=rest, headers=headers, timeout=60).json()
    assert found["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


class Hook:
    """Somebody's server that is told of news; `answers` are the statuses it gives, then 200."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.news: list[tuple[dict[str, str], Any]] = []
        self.tries = 0

    async def __aenter__(self) -> Hook:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook?secret=1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.tries += 1
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.news.append((headers, body))
        writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(30):
            while len(self.news) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return [next(iter(body)) for _, body in self.news]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_push_notifications_are_sent_again_and_in_order(team: Team, binding: str) -> None:
    async with Hook(503, 429) as hook, a2a(team, binding, streaming=False) as client:
        config = TaskPushNotificationConfig(url=hook.url, token="tok")
        config.authentication.scheme = "Bearer"
        config.authentication.credentials = "abc"
        request = words("stream a b")
        request.configuration.CopyFrom(SendMessageConfiguration(task_push_notification_config=config))
        (event,) = [event async for event in client.send_message(request)]
        assert await hook.until(4) == ["task", "artifactUpdate", "artifactUpdate", "statusUpdate"]
        assert hook.tries == 6
        headers, last = hook.news[-1]
        assert headers["authorization"] == "bearer abc"
        assert headers["x-a2a-notification-token"] == "tok"
        assert last["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
        task_id = event.task.id
    async with asyncio.timeout(30):
        while True:
            spans = [s for s in team.spans("worker") if s.attributes.get("a2a.task.id") == task_id]
            if sum(span["events"].count("push delivery") for span in spans) == 4:
                break
            await asyncio.sleep(0.05)
    run = next(span for span in spans if span["name"] == "invoke_agent worker")
    assert all(span["parent_id"] == run["span_id"] for span in spans if span is not run)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_addresses_are_set_read_listed_and_deleted(team: Team, binding: str) -> None:
    async with Hook() as hook, a2a(team, binding) as client:
        task = await send(client, "ask")
        made = await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, id="one", url=hook.url)
        )
        assert (made.id, made.url, made.task_id) == ("one", hook.url, task.id)
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, id="two", url=hook.url + "2")
        )
        ask = GetTaskPushNotificationConfigRequest(task_id=task.id, id="two")
        assert (await client.get_task_push_notification_config(ask)).url.endswith("2")
        every = ListTaskPushNotificationConfigsRequest(task_id=task.id)
        found = await client.list_task_push_notification_configs(every)
        assert [config.id for config in found.configs] == ["one", "two"]
        gone = DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="two")
        await client.delete_task_push_notification_config(gone)
        found = await client.list_task_push_notification_configs(every)
        assert [config.id for config in found.configs] == ["one"]
        await send(client, "yes", task_id=task.id)
        assert await hook.until(3) == ["statusUpdate", "artifactUpdate", "statusUpdate"]
        with pytest.raises(TaskNotFoundError):
            await client.get_task_push_notification_config(ask)
        with pytest.raises(TaskNotFoundError):
            await client.create_task_push_notification_config(
                TaskPushNotificationConfig(task_id="nobody", id="x", url=hook.url)
            )
        with pytest.raises(InvalidParamsError):
            await client.create_task_push_notification_config(
                TaskPushNotificationConfig(task_id=task.id, id="x", url="file:///etc/passwd")
            )


async def test_by_default_nothing_is_sent_into_our_own_network(team: Team) -> None:
    async with Hook() as hook, a2a(team, agent="careful") as client:
        task = await send(client, "ask")
        for url in (hook.url, "http://169.254.169.254/latest", "http://localhost:1/", "http://10.0.0.1/", "gopher://x"):
            with pytest.raises(InvalidParamsError):
                await client.create_task_push_notification_config(
                    TaskPushNotificationConfig(task_id=task.id, id="x", url=url)
                )
        request = words("hello")
        config = TaskPushNotificationConfig(url=hook.url)
        request.configuration.CopyFrom(SendMessageConfiguration(task_push_notification_config=config))
        with pytest.raises(InvalidParamsError):
            [event async for event in client.send_message(request)]
        assert hook.tries == 0
