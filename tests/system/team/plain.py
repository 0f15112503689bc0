"""Somebody else's A2A server, made with the plain a2a-sdk: `plain.py VERSION`; prints its port when it listens.

It says what it was asked, in pieces, and with which version and token. `slow` works until it is cancelled, `file`
sends back what came along, `ask` asks back.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

os.environ["OTEL_INSTRUMENTATION_A2A_SDK_ENABLED"] = "false"

import uvicorn
from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN = "open-sesame"


class Executor(AgentExecutor):
    """Echoes."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        text = context.get_user_input()
        if text == "slow":
            await asyncio.sleep(60)
        if text == "ask":
            await updater.requires_input(updater.new_agent_message([Part(text="Which one?")]))
            return
        if text == "file":
            files = [part for part in context.message.parts if part.HasField("raw")]
            await updater.add_artifact([Part(text="here"), *files], artifact_id="answer")
            await updater.complete()
            return
        words = ["you ", "said ", text]
        for number, word in enumerate(words):
            await updater.add_artifact(
                [Part(text=word)], artifact_id="answer", append=number > 0, last_chunk=number == len(words) - 1
            )
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None and context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(url: str, versions: list[str]) -> AgentCard:
    return AgentCard(
        name="Plain \x1b[31magent",
        description="Echoes",
        version="1",
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding=binding, protocol_version=version)
            for version in versions
            for binding in ("JSONRPC", "HTTP+JSON")
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="Echo", description="Echoes", tags=["echo"])],
    )


class Locked:
    """Wants the token, but for its card."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = dict(scope["headers"]).get(b"authorization") == f"Bearer {TOKEN}".encode()
        app = self._app if known or "/.well-known/" in scope["path"] else Response(status_code=401)
        await app(scope, receive, send)


def app(url: str, version: str) -> ASGIApp:
    versions = [version] if version != "both" else ["1.0", "0.3"]
    about = card(url, versions)
    handler = DefaultRequestHandler(Executor(), InMemoryTaskStore(), about)
    old = "0.3" in versions

    async def huge(request: object) -> Response:
        return Response(b'{"name": "' + b"x" * 3_000_000 + b'"}', media_type="application/json")

    async def future(request: object) -> Response:
        faces = [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "2.0"}]
        return JSONResponse({"name": "Future", "supportedInterfaces": faces})

    async def away(request: object) -> Response:
        faces = [{"url": "http://169.254.169.254/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]
        return JSONResponse({"name": "Away", "supportedInterfaces": faces})

    starlette = Starlette(
        routes=[
            *(
                Route(f"/{name}/.well-known/agent-card.json", answer)
                for name, answer in (("huge", huge), ("future", future), ("away", away))
            ),
            *create_agent_card_routes(about),
            *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=old),
            *create_rest_routes(handler, enable_v0_3_compat=old),
        ]
    )
    return Locked(starlette)


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app(address, sys.argv[1]), log_level="warning", lifespan="off")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
