"""The yardstick: bare a2a-sdk servers, tuned (uvloop, httptools, the SDK's telemetry off), as processes.

`echo` answers with what it was told, `relay` asks an echo server by the SDK's client and passes its answer on.

    python -m bench.servers LISTENER_FD [URL_TO_RELAY_TO]
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.home import Agent


def main() -> None:
    os.environ["OTEL_INSTRUMENTATION_A2A_SDK_ENABLED"] = "false"  # read when the SDK is imported
    import uvloop

    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:]))


async def serve(sock: socket.socket, relay_to: str | None = None) -> None:
    """Be one of them until SIGTERM."""
    import uvicorn
    from a2a.client import ClientConfig, ClientFactory
    from a2a.helpers import get_message_text, new_text_message
    from a2a.server.agent_execution import AgentExecutor, RequestContext
    from a2a.server.events import EventQueue
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
    from a2a.server.tasks import InMemoryTaskStore
    from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role, SendMessageRequest
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    def card(url: str) -> AgentCard:
        return AgentCard(
            name="echo",
            description="echo",
            version="1",
            capabilities=AgentCapabilities(streaming=True),
            supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
            default_input_modes=["text/plain"],
            default_output_modes=["text/plain"],
            skills=[AgentSkill(id="echo", name="echo", description="echo", tags=["echo"])],
        )

    client = None
    if relay_to is not None:
        pool = httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100))
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=pool)).create(card(relay_to))

    async def answer(text: str) -> str:
        if client is None:
            return text
        async for response in client.send_message(SendMessageRequest(message=new_text_message(text))):
            return get_message_text(response.message)
        return ""

    class Echo(AgentExecutor):
        async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
            text = await answer(context.get_user_input())
            await event_queue.enqueue_event(
                new_text_message(text, context_id=context.context_id, role=Role.ROLE_AGENT),
            )

        async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
            raise NotImplementedError

    async def ready(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    own = card("http://127.0.0.1/")
    handler = DefaultRequestHandler(agent_executor=Echo(), task_store=InMemoryTaskStore(), agent_card=own)
    app = Starlette(
        routes=[*create_jsonrpc_routes(handler, "/"), *create_agent_card_routes(own), Route("/readyz", ready)]
    )
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, backlog=1024
    )
    await uvicorn.Server(config).serve(sockets=[sock])


@contextmanager
def bare(relay_to: str | None = None) -> Iterator[Agent]:
    """An echo server, or one that relays to another's URL."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    command = [sys.executable, "-m", "bench.servers", str(sock.fileno())]
    if relay_to is not None:
        command.append(relay_to)
    process = subprocess.Popen(command, pass_fds=[sock.fileno()], cwd=Path(__file__).parents[1], start_new_session=True)
    try:
        httpx.get(f"{url}readyz", timeout=30, trust_env=False).raise_for_status()
        yield Agent(process.pid, url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        sock.close()


if __name__ == "__main__":
    main()
