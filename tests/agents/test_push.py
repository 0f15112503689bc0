"""Push notifications to addresses that fail: what is tried again, what is not, and what the trace tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from a2a.server.context import ServerCallContext
from a2a.types import Task, TaskPushNotificationConfig, TaskState, TaskStatus
from a2a.utils.errors import InvalidParamsError

from teamwright.agents.push import PushConfigs, PushSender, url_check
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

CONTEXT = ServerCallContext()


class Server:
    """Answers with these statuses; an error instead of one is raised."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)


class Sending:
    """A sender with its addresses, over a stand-in for the network."""

    def __init__(self, server: Server, *, urls: Any = "any") -> None:
        self.spans = Spans()
        self.tracer = Tracer("worker", "team", "1", self.spans)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(server), verify=False)
        self.configs = PushConfigs()
        self.sender = PushSender(
            self.http, self.configs, self.tracer, allowed=url_check(urls), span=lambda task: None, pauses=(0.001, 0.001)
        )

    async def send(self, url: str = "http://hook.example/x?key=1") -> dict[str, Any]:
        """What the trace tells of one delivery."""
        await self.configs.set_info("t", TaskPushNotificationConfig(id="c", url=url), CONTEXT)
        task = Task(id="t", context_id="c", status=TaskStatus(state=TaskState.TASK_STATE_COMPLETED))
        await self.sender.send_notification("t", task)
        await asyncio.gather(*self.sender._workers)
        (event,) = self.spans.all()[-1].events
        return {item.key: item.value.string_value or item.value.int_value for item in event.attributes}


@pytest.fixture
async def made() -> AsyncIterator[list[Sending]]:
    sendings: list[Sending] = []
    yield sendings
    for sending in sendings:
        await sending.sender.aclose()
        await sending.http.aclose()


@pytest.mark.parametrize(
    ("answers", "tries", "error"),
    [
        ((200,), 1, None),
        ((500, httpx.ConnectError("no way"), 204), 3, None),
        ((500, 500, 503), 3, "HTTP 503"),
        ((400,), 1, "HTTP 400"),
        ((302,), 1, "HTTP 302"),
        ((429, 200), 2, None),
    ],
)
async def test_what_is_tried_again(made: list[Sending], answers: Any, tries: int, error: str | None) -> None:
    server = Server(*answers)
    made.append(sending := Sending(server))
    told = await sending.send()
    assert len(server.asked) == told["teamwright.attempt"] == tries
    assert told.get("error.type") == error
    assert told["teamwright.a2a.push_to"] == "http://hook.example/x"
    span = sending.spans.all()[-1]
    assert attributes(span)["gen_ai.operation.name"] == "push"


async def test_an_address_is_looked_at_again_before_each_attempt(made: list[Sending]) -> None:
    server = Server()
    made.append(sending := Sending(server, urls="public"))
    told = await sending.send("http://127.0.0.1:9/x")
    assert told["error.type"] == "the address is not allowed"
    assert server.asked == []


async def test_addresses_are_bounded() -> None:
    configs = PushConfigs()
    for number in range(10):
        await configs.set_info("t", TaskPushNotificationConfig(id=str(number), url="http://x"), CONTEXT)
    await configs.set_info("t", TaskPushNotificationConfig(id="9", url="http://y"), CONTEXT)
    with pytest.raises(InvalidParamsError):
        await configs.set_info("t", TaskPushNotificationConfig(id="10", url="http://x"), CONTEXT)
    for number in range(6000):
        await configs.set_info(f"t{number}", TaskPushNotificationConfig(url="http://x"), CONTEXT)
    assert await configs.get_info("t", CONTEXT) == []
    assert len(await configs.get_info("t5999", CONTEXT)) == 1
    configs.forget("t5999")
    assert await configs.get_info("t5999", CONTEXT) == []
