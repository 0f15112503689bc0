"""The A2A SDK's own client at the front door of a running job, over both bindings: every method, well and badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, create_client
from a2a.compat.v0_3.jsonrpc_transport import CompatJsonRpcTransport
from a2a.compat.v0_3.rest_transport import CompatRestTransport
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
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import InvalidParamsError, MethodNotFoundError, TaskNotFoundError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict

from teamwright.home import Home
from teamwright.tracing.propagation import USAGE_EXT

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: desk}
defaults: {module: clerk, type: Clerk}
agents:
  - {id: lead, push_urls: any}
  - {id: strict, on_disconnect: cancel}
topology: {type: hub-spoke, hub: lead, spokes: [strict]}
"""
CODE = """
import asyncio, os
from teamwright import Agent, Answer, File


class Clerk(Agent):
    "Sits at the desk."

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
        if word == "ask":
            return "you said " + await turn.ask_user("Well?")
        if word == "fail":
            raise ValueError("it broke")
        if word == "file":
            return Answer("see", files=(File("a.txt", "text/plain", b"abc"),), data={"n": 1})
        return f"echo {turn.text}"
"""
BINDINGS = ["JSONRPC", "HTTP+JSON"]


class Desk:
    """The running job, and how to reach it."""

    def __init__(self, deploy: Deploy, folder: Path) -> None:
        self.deploy = deploy
        self.folder = folder
        home = Home(deploy.home)
        self.url = json.loads((deploy.home / "engine.json").read_text())["url"] + "/a2a/desk"
        self.headers = {"authorization": f"Bearer {home.operator_token.read_text().strip()}"}

    @asynccontextmanager
    async def client(self, binding: str, *, streaming: bool = False, agent: str = "") -> AsyncIterator[Any]:
        async with httpx.AsyncClient(headers=self.headers, timeout=60, trust_env=False) as http:
            config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])
            yield await create_client(self.url + agent, client_config=config)

    def trace(self, trace_id: str) -> Any:
        return self.deploy("trace", "show", trace_id, "--json").ok().json


@pytest.fixture
def desk(deploy: Deploy, tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "desk.yaml").write_text(JOB)
    (folder / "clerk.py").write_text(CODE)
    deploy("start", folder / "desk.yaml").ok()
    yield Desk(deploy, folder)
    deploy("stop", "--all").ok()


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
async def test_every_method(desk: Desk, binding: str) -> None:
    async with desk.client(binding) as client, desk.client(binding, streaming=True) as streams:
        task = await send(client, "hello")
        assert (task.status.state, artifact(task)) == (TaskState.TASK_STATE_COMPLETED, "echo hello")
        assert artifact(await client.get_task(GetTaskRequest(id=task.id))) == "echo hello"
        listed = await client.list_tasks(ListTasksRequest(context_id=task.context_id, include_artifacts=True))
        assert [artifact(found) for found in listed.tasks] == ["echo hello"]

        more = [(await send(client, "more", context_id=task.context_id)).id for _ in range(4)]
        token = ""
        paged: list[list[str]] = []
        while not paged or token:
            page = await client.list_tasks(ListTasksRequest(context_id=task.context_id, page_size=2, page_token=token))
            paged.append([found.id for found in page.tasks])
            token = page.next_page_token
        assert [len(ids) for ids in paged] == [2, 2, 1] and page.total_size == 5
        assert {found for ids in paged for found in ids} == {task.id, *more}
        for wrong in ({"page_size": 0}, {"page_size": 1000}, {"page_token": "zzz"}, {"history_length": -1}):
            with pytest.raises(InvalidParamsError):
                await client.list_tasks(ListTasksRequest(**wrong))
        assert not (await client.get_task(GetTaskRequest(id=task.id, history_length=0))).history

        asked = await send(client, "ask")
        assert asked.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        said = await send(client, "yes", task_id=asked.id)
        assert artifact(said) == "you said yes"
        before, after = (desk.trace(found.metadata[USAGE_EXT]["trace_id"]) for found in (asked, said))
        assert before["trace_id"] != after["trace_id"]
        root = next(span for span in after["spans"] if span["parent_id"] is None)
        assert [link["trace_id"] for link in root["links"]] == [before["trace_id"]]

        stream = streams.send_message(words(f"wait {desk.folder / 'flag'}"))
        running = (await anext(stream)).task.id
        await stream.aclose()
        again = streams.subscribe(SubscribeToTaskRequest(id=running))
        assert (await anext(again)).task.status.state == TaskState.TASK_STATE_WORKING
        (desk.folder / "flag").touch()
        assert [event async for event in again][-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED

        stream = streams.send_message(words(f"wait {desk.folder / 'never'}"))
        running = (await anext(stream)).task.id
        cancelled = await client.cancel_task(CancelTaskRequest(id=running))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
        assert [event async for event in stream][-1].status_update.status.state == TaskState.TASK_STATE_CANCELED

        failed = await send(client, "fail")
        assert failed.status.state == TaskState.TASK_STATE_FAILED
        text, data, file = (await send(client, "file")).artifacts[0].parts
        assert (text.text, data.data.struct_value["n"], file.raw) == ("see", 1, b"abc")
        pieces = [event async for event in streams.send_message(words("stream a b"))]
        assert [event.WhichOneof("payload") for event in pieces] == [
            "task", "artifact_update", "artifact_update", "status_update",
        ]  # fmt: skip

        card = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
        assert "ask-strict" in [skill.id for skill in card.skills]
        assert {interface.url for interface in card.supported_interfaces} == {desk.url}

        asked = await send(client, "ask")
        address = TaskPushNotificationConfig(task_id=asked.id, id="one", url="http://127.0.0.1:9/hook")
        assert (await client.create_task_push_notification_config(address)).url == address.url
        one = GetTaskPushNotificationConfigRequest(task_id=asked.id, id="one")
        assert (await client.get_task_push_notification_config(one)).id == "one"
        every = ListTaskPushNotificationConfigsRequest(task_id=asked.id)
        assert len((await client.list_task_push_notification_configs(every)).configs) == 1
        gone = DeleteTaskPushNotificationConfigRequest(task_id=asked.id, id="one")
        await client.delete_task_push_notification_config(gone)
        assert not (await client.list_task_push_notification_configs(every)).configs

        for attempt in (
            client.get_task(GetTaskRequest(id="nobody")),
            client.cancel_task(CancelTaskRequest(id="nobody")),
            client.get_task_push_notification_config(one),
            send(client, "hello", task_id="nobody"),
        ):
            with pytest.raises(TaskNotFoundError):
                await attempt
        with pytest.raises(UnsupportedOperationError):
            await anext(streams.subscribe(SubscribeToTaskRequest(id=task.id)))
        with pytest.raises(InvalidParamsError):
            await send(client, "   ")


def older(text: str, **more: str) -> SendMessageRequest:
    """A message that waits: without any configuration the SDK's older HTTP+JSON returns at once."""
    request = words(text, **more)
    request.configuration.accepted_output_modes.append("text/plain")
    return request


async def test_clients_of_the_older_version(desk: Desk) -> None:
    """The SDK's own clients of A2A 0.3, over both bindings."""
    async with httpx.AsyncClient(headers=desk.headers, timeout=60, trust_env=False) as http:
        card = await A2ACardResolver(http, desk.url).get_agent_card()
        found = [item for item in card.supported_interfaces if item.protocol_version == "0.3"]
        assert [(item.protocol_binding, item.url) for item in found] == [(name, desk.url) for name in BINDINGS]
        for transport in (CompatJsonRpcTransport(http, card, desk.url), CompatRestTransport(http, card, desk.url)):
            task = (await transport.send_message(older("hello"))).task
            assert (task.status.state, artifact(task)) == (TaskState.TASK_STATE_COMPLETED, "echo hello")
            trace = desk.trace(MessageToDict(task.metadata)[USAGE_EXT]["trace_id"])
            root = next(span for span in trace["spans"] if span["parent_id"] is None)
            assert (root["name"], root["status"]) == ("invoke_workflow desk", "ok")
            assert "hello" in root["attributes"]["gen_ai.input.messages"]
            assert "echo hello" in root["attributes"]["gen_ai.output.messages"]
            (server,) = (span for span in trace["spans"] if span["kind"] == "SERVER")
            assert (server["parent_id"], server["attributes"]["a2a.method.name"]) == (
                root["span_id"], "message/send",
            )  # fmt: skip
            assert artifact(await transport.get_task(GetTaskRequest(id=task.id))) == "echo hello"

            pieces = [event async for event in transport.send_message_streaming(older("stream a b"))]
            kinds = [event.WhichOneof("payload") for event in pieces]
            assert kinds == ["task", "artifact_update", "artifact_update", "status_update"]
            assert USAGE_EXT in pieces[-1].status_update.metadata

            asked = (await transport.send_message(older("ask"))).task
            assert asked.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
            said = (await transport.send_message(older("yes", task_id=asked.id, context_id=asked.context_id))).task
            assert artifact(said) == "you said yes"

            stream = transport.send_message_streaming(older(f"wait {desk.folder / 'never'}"))
            running = (await anext(stream)).task.id
            again = transport.subscribe(SubscribeToTaskRequest(id=running))
            assert (await anext(again)).task.id == running
            cancelled = await transport.cancel_task(CancelTaskRequest(id=running))
            assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
            for rest in (stream, again):
                last = [event async for event in rest][-1]
                assert last.status_update.status.state == TaskState.TASK_STATE_CANCELED
            assert (await transport.send_message(older("fail"))).task.status.state == TaskState.TASK_STATE_FAILED
            with pytest.raises((TaskNotFoundError, MethodNotFoundError)):  # what the SDK makes of a 404
                await transport.get_task(GetTaskRequest(id="nobody"))
            extended = await transport.get_extended_agent_card(GetExtendedAgentCardRequest())
            assert "ask-strict" in [skill.id for skill in extended.skills]
            address = TaskPushNotificationConfig(task_id=asked.id, id="one", url="http://127.0.0.1:9/hook")
            asked = (await transport.send_message(older("ask"))).task
            address.task_id = asked.id
            assert (await transport.create_task_push_notification_config(address)).url == address.url


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_client_that_goes_away(desk: Desk, binding: str) -> None:
    for agent, end in (("", "COMPLETED"), ("/strict", "CANCELED")):
        flag = desk.folder / f"flag{end}"
        async with desk.client(binding, streaming=True, agent=agent) as client:
            stream = client.send_message(words(f"wait {flag}"))
            streamed = (await anext(stream)).task.id
            await anext(stream)
            await stream.aclose()
        async with desk.client(binding, agent=agent) as client:
            call = asyncio.create_task(send(client, f"wait {flag}", context_id=f"blocking{end}"))
            working = ListTasksRequest(context_id=f"blocking{end}")
            async with asyncio.timeout(60):
                while not (await client.list_tasks(working)).tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0.5)
        if end == "COMPLETED":
            flag.touch()
        async with desk.client(binding, agent=agent) as client:
            (blocking,) = (await client.list_tasks(ListTasksRequest(context_id=f"blocking{end}"))).tasks
            for task_id in (streamed, blocking.id):
                async with asyncio.timeout(60):
                    while True:
                        task = await client.get_task(GetTaskRequest(id=task_id))
                        if task.status.state != TaskState.TASK_STATE_WORKING:
                            break
                        await asyncio.sleep(0.05)
                assert TaskState.Name(task.status.state) == f"TASK_STATE_{end}"
    async with asyncio.timeout(60):
        while "running" in (found := await asyncio.to_thread(statuses, desk)):
            pass
    assert found == ["error", "error", "ok", "ok"]


def statuses(desk: Desk) -> list[str]:
    """Of the traces of what waits."""
    listed = desk.deploy("trace", "list", "--json").ok().json["traces"]
    return sorted(trace["status"] for trace in listed if trace["query"].startswith("wait"))
